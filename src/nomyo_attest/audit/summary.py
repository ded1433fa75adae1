"""The summary of an audit: plain data that every report is made from, and nothing else."""

from __future__ import annotations

from typing import Any, Final

import msgspec

SUMMARY_FORMAT: Final = "nomyo-attest-audit/1"

# What a summary lists at the most; totals are exact whatever is listed.
SOURCES_LISTED: Final = 1000
FAILURES_LISTED: Final = 1000
PLACES_LISTED: Final = 25_000
"""(source, rule, outcome) triples: no more than SARIF may have."""
SERIES_LISTED: Final = 1000
PROFILES_LISTED: Final = 50
PROFILES_OVER_TIME: Final = 12
TIERS_LISTED: Final = 20
GAPS_LISTED: Final = 10
BUCKETS_MAXIMUM: Final = 120


FAIL: Final = "fail"
UNDECIDED: Final = "undecided"
CONSEQUENCE: Final = "consequence"

OUTCOMES: Final = (FAIL, UNDECIDED, CONSEQUENCE)
"""What a rule can come to for a record, other than that it holds: it fails, it is undecided for a reason of its own, or
it is undecided as the consequence of another rule of the same record.
"""


HELD: Final = "held"
FOUND: Final = "found"
NOT_EVALUATED: Final = "not_evaluated"

SERIES_OUTCOMES: Final = (HELD, FOUND, NOT_EVALUATED)
"""What a cross-record check comes to. A check that was not evaluated says nothing: it never counts as one that held."""


class Place(msgspec.Struct, frozen=True):
    """Where a record stands, and the server's time of it (seconds since 1970; None if it says none)."""

    source: str
    line: int
    processed_at: int | None = None


class Counts(msgspec.Struct, kw_only=True):
    """Records by verdict."""

    affirming: int = 0
    warning: int = 0
    contraindicated: int = 0
    none: int = 0
    unreadable: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.affirming + self.warning + self.contraindicated + self.none + self.unreadable


class SourceSummary(msgspec.Struct, kw_only=True):
    """One source.

    Attributes:
        name: as in the rows.
        kind: ``"json"``, ``"jsonl"``, ``"parquet"``; what could not be opened has its would-be kind.
        size: bytes as stored; None for a pipe.
        sha256: of the bytes as stored, in hex; None where not all could be read.
        counts: its records.
        outside: records outside `since` and `until`: not appraised.
        outside_by_server: those of them that are outside by the server's claim `processed_at`, which nothing signs; the
            others by the time of a ledger's line.
        blank: blank lines.
        problem: why not all of it could be read; empty if it could.
    """

    name: str
    kind: str
    size: int | None = None
    sha256: str | None = None
    counts: Counts
    outside: int = 0
    outside_by_server: int = 0
    blank: int = 0
    problem: str = ""


class Released(msgspec.Struct, kw_only=True):
    """Records of evidence ledgers by whether the client's caller got the completion.

    Attributes:
        known: records that say it.
        released: those whose completion was released.
        not_affirmed: those of them whose verdict is neither affirming nor warning; `counts` has their verdicts.
        gate_off, gate_on: those of `not_affirmed` for which the client's gate was off, and on, by the client's own
            policy; the others do not say.
    """

    known: int = 0
    released: int = 0
    not_affirmed: int = 0
    gate_off: int = 0
    gate_on: int = 0
    counts: Counts = msgspec.field(default_factory=Counts)


class RuleSummary(msgspec.Struct, kw_only=True):
    """All records that have the same outcome of the same rule: everything in it is about these records.

    Attributes:
        rule, requirement: the rule, and what the policy makes of it.
        outcome: one of `OUTCOMES`.
        records: how many records.
        first: the first of them.
        message: the sentence of that one.
    """

    rule: str
    requirement: str
    outcome: str
    records: int
    first: Place
    message: str


class RulePlace(msgspec.Struct, kw_only=True):
    """The records of one source that have the same outcome of the same rule, `CONSEQUENCE` excepted.

    Attributes:
        source: the source.
        rule, requirement: the rule, and what the policy makes of it.
        outcome: `FAIL` or `UNDECIDED`.
        records: how many records.
        lines: the first few of them.
        message: the sentence of the first one.
    """

    source: str
    rule: str
    requirement: str
    outcome: str
    records: int
    lines: list[int]
    message: str


class CrossRecordFinding(msgspec.Struct, kw_only=True):
    """What shows across records only.

    Attributes:
        rule: id of the series rule, such as ``"duplicate.quote"``.
        key: what the records share: a quote's SHA-256, a payload id, a Name.
        records: how many.
        first, last: the first and the last of them.
        places: the first few.
        message: a sentence with the facts.
    """

    rule: str
    key: str
    records: int
    first: Place
    last: Place
    places: list[Place]
    message: str


class CrossRecordRuleSummary(msgspec.Struct, kw_only=True):
    """One series rule.

    Attributes:
        rule, question, remediation: its id, and in plain words what it asks and what to do about a finding.
        findings, records: how many findings, of how many records together.
        outcome: one of `SERIES_OUTCOMES`.
        appraised: records that were appraised.
        usable: those of them that have what the rule compares, apart from a time.
        undated: those of `usable` that have no time, although the rule needs one to compare them.
        compared: records that were compared with another one.
        remark: which records were not compared, and why; empty if all were.
        accepted: whether an option or the policy accepts that the rule was not evaluated.
    """

    rule: str
    question: str
    remediation: str
    findings: int
    records: int
    outcome: str = NOT_EVALUATED
    appraised: int = 0
    usable: int = 0
    undated: int = 0
    compared: int = 0
    remark: str = ""
    accepted: bool = False


class Profile(msgspec.Struct, kw_only=True):
    """A set of PCR values in use. `over_time` has a count for each bucket of the timeline; few have it."""

    profile: str
    pcrs: dict[str, dict[str, str]]
    counts: Counts
    aiks: int
    first: Place
    last: Place
    first_seen: int | None
    last_seen: int | None
    over_time: list[int] = []


class Bucket(msgspec.Struct, kw_only=True):
    """The records whose `processed_at` is from `at` (seconds since 1970) until the next bucket's."""

    at: int
    counts: Counts
    unavailable: int
    """Records without evidence, as part of the counts."""


class Gap(msgspec.Struct, kw_only=True):
    """A time without records, or with records that have no evidence only (`records` of them)."""

    begins: int
    ends: int
    records: int


class Policy(msgspec.Struct, kw_only=True):
    """The policy applied: its id, digest, file, and all it says (`AppraisalPolicy.to_dict`)."""

    id: str
    digest: str
    source: str
    document: dict[str, Any]


class Run(msgspec.Struct, kw_only=True):
    """How the audit was run: what it takes to run it again, and what differs from one run to the next."""

    version: str
    command: list[str]
    at: str | None = None
    """The time of all appraisals (RFC 3339), if the policy asks for one or one was given."""
    since: str | None = None
    until: str | None = None
    select: list[str] = []
    started_at: str = ""
    seconds: float = 0.0
    processes: int = 1
    resumed: int = 0
    """How many times the audit was resumed."""
    workers_lost: int = 0


class Summary(msgspec.Struct, kw_only=True):
    """Everything an audit found out. Lists are cut to the limits above; `*_total` are exact.

    `counts.total + outside` is the number of records read; blank lines are beside that.
    """

    format: str = SUMMARY_FORMAT
    policy: Policy
    run: Run
    counts: Counts
    outside: int
    blank: int
    written: int
    """Rows written: those selected."""
    sources_total: int
    sources_unreadable: int
    sources: list[SourceSummary]
    """The ones with a problem or a failure first, then in the order read."""
    passed_over: list[str]
    passed_over_total: int
    """Files in folders whose names say that they are no records."""
    inputs_digest: str
    """SHA-256 over every source's SHA-256 and name, in order: all inputs in one value."""
    rules: list[RuleSummary]
    places: list[RulePlace]
    places_total: int
    failures: list[dict[str, Any]]
    """Rows (as dicts) whose verdict is contraindicated, none or unreadable."""
    failures_total: int
    cross_record: list[CrossRecordFinding]
    cross_record_rules: list[CrossRecordRuleSummary]
    profiles: list[Profile]
    profiles_total: int
    bucket_seconds: int
    timeline: list[Bucket]
    """Every bucket from the first to the last, empty ones too."""
    undated: int
    """Records without a time, which are in no bucket."""
    beyond: int = 0
    """Records whose time is too far from that of the others to be shown with them: in no bucket, and in no gap."""
    gaps: list[Gap]
    unavailable: list[Gap]
    tiers: list[tuple[str | None, int]]
    tiers_total: int
    aiks: int
    """AIK Names seen."""
    aiks_pinned: int
    not_established: list[str]
    status: int
    """The exit status."""
    status_reason: str
    repeated: list[str] = []
    """Names under which a file was found again: it is read once."""
    repeated_total: int = 0
    outside_by_server: int = 0
    """Records of `outside` that are outside by the server's claim `processed_at`, which nothing signs."""
    released: Released = msgspec.field(default_factory=Released)
