"""The summary of an audit: the data of every report."""

from __future__ import annotations

from typing import Any, Final

import msgspec

SUMMARY_FORMAT: Final = "nomyo-attest-audit/1"

# How many entries a summary lists; its totals count all of them.
SOURCES_LISTED: Final = 1000
FAILURES_LISTED: Final = 1000
PLACES_LISTED: Final = 25_000
"""(source, rule, outcome) triples: the limit for results in SARIF."""
CROSS_RECORD_LISTED: Final = 1000
PROFILES_LISTED: Final = 50
PROFILES_OVER_TIME: Final = 12
TIERS_LISTED: Final = 20
GAPS_LISTED: Final = 10
BUCKETS_MAXIMUM: Final = 120
CAUSE_GROUPS_LISTED: Final = 100
BOOTS_LISTED: Final = 10

FAIL: Final = "fail"
UNDECIDED: Final = "undecided"
CONSEQUENCE: Final = "consequence"

OUTCOMES: Final = (FAIL, UNDECIDED, CONSEQUENCE)
"""The outcomes of a rule for a record, other than a pass: it fails, it is undecided independently of other rules, or it
is undecided as the consequence of another finding of the same record.
"""


HELD: Final = "held"
FOUND: Final = "found"
NOT_EVALUATED: Final = "not_evaluated"

CROSS_RECORD_OUTCOMES: Final = (HELD, FOUND, NOT_EVALUATED)
"""The outcomes of a cross-record check. A check that was not evaluated never counts as one that held."""


class Place(msgspec.Struct, frozen=True):
    """The place of a record, and its time by the server's clock (seconds since 1970; None if it has none)."""

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
        """The number of all records."""
        return self.affirming + self.warning + self.contraindicated + self.none + self.unreadable


class SourceSummary(msgspec.Struct, kw_only=True):
    """One source.

    Attributes:
        name: as in the rows.
        kind: ``"json"``, ``"jsonl"`` or ``"parquet"``; that of its name if it could not be opened.
        size: bytes as stored; None for a pipe.
        sha256: of the bytes as stored, in hex; None if not all could be read.
        counts: its records.
        outside: records whose time is outside `since` and `until`; they are not appraised.
        outside_by_server: those of them that are outside by the server's unsigned claim `processed_at`; the others are
            outside by the time of a ledger's line.
        blank: blank lines.
        problem: why it could not be read to the end; empty if it could.
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
    """Records of evidence ledgers, by whether the completion was released.

    Attributes:
        known: records that have this information.
        released: those whose completion was released.
        not_affirmed: those of them whose verdict is neither affirming nor warning; `counts` has their verdicts.
        gate_off, gate_on: those of `not_affirmed` for which the client's gate was off, or on with the client's own
            policy; the others do not have this information.
    """

    known: int = 0
    released: int = 0
    not_affirmed: int = 0
    gate_off: int = 0
    gate_on: int = 0
    counts: Counts = msgspec.field(default_factory=Counts)


class RuleSummary(msgspec.Struct, kw_only=True):
    """All records for which a rule has the same outcome.

    Attributes:
        rule, requirement: the rule, and what the policy says about it.
        outcome: one of `OUTCOMES`.
        records: how many records.
        first: the first of them.
        message: the message of the first one.
    """

    rule: str
    requirement: str
    outcome: str
    records: int
    first: Place
    message: str


class RulePlace(msgspec.Struct, kw_only=True):
    """The records of one source for which a rule has the same outcome, other than `CONSEQUENCE`.

    Attributes:
        source: the source.
        rule, requirement: the rule, and what the policy says about it.
        outcome: `FAIL` or `UNDECIDED`.
        records: how many records.
        lines: the first few of them.
        message: the message of the first one.
    """

    source: str
    rule: str
    requirement: str
    outcome: str
    records: int
    lines: list[int]
    message: str


class CrossRecordFinding(msgspec.Struct, kw_only=True):
    """A finding across records.

    Attributes:
        rule: id of the cross-record rule, such as ``"duplicate.quote"``.
        key: the value that the records share: the SHA-256 of a quote, a payload id, a Name.
        records: how many.
        first, last: the first and the last of them.
        places: the first few.
        message: a sentence with the facts.
        detail: for a duplicate, whether another value of the records is ``"same"`` or ``"different"``; for a value that
            goes back, its name: ``"clock"``, ``"reset_count"`` or ``"restart_count"``.
        high, low: for a value that goes back, the largest value before, and the value of the first record.
    """

    rule: str
    key: str
    records: int
    first: Place
    last: Place
    places: list[Place]
    message: str
    detail: str = ""
    high: int | None = None
    low: int | None = None

    @property
    def may_be_copies(self) -> bool:
        """Whether the records may be copies of one response: neither the other value nor `processed_at` differs."""
        first, last = self.first.processed_at, self.last.processed_at
        return self.detail == "same" and first is not None and first == last


class CauseFinding(msgspec.Struct, kw_only=True):
    """A rule that does not hold for the records of a group; the values and the message are those of the first one.

    The attributes are those of `RowFinding`.
    """

    rule: str
    requirement: str
    outcome: str
    expected: Any
    got: Any
    message: str


class Boot(msgspec.Struct, kw_only=True):
    """The records of a group that one boot of a machine signed.

    Attributes:
        aik: the AIK's Name in hex if the policy pins it. If empty, the boot is inferred from the next two attributes.
        reset_count: of all its quotes.
        clock_epoch: `processed_at` minus the TPM's clock, in whole seconds: the lowest of its records.
        records: how many.
        first, last: the first and the last of them.
    """

    aik: str
    reset_count: int
    clock_epoch: int
    records: int
    first: Place
    last: Place


class CauseGroup(msgspec.Struct, kw_only=True):
    """The records for which the same rules do not hold, with the same values found.

    A record is in one group at most. Rules that the policy ignores, and rules that are undecided as a consequence of
    others, are not considered.

    Attributes:
        findings: the rules.
        values: in how many ways the values differ. If there are too many ways to list, one group has all of them.
        records: how many records.
        first, last: the first and the last of them, by time; records without a time are last.
        boots: the boots with most records.
        boots_total: how many boots there are.
        boots_inferred: those of them that are inferred, because the policy does not pin the AIKs.
        machines_inferred: maximum number of machines of the inferred boots, to within the precision of the times: boots
            whose `processed_at` minus clock is the same, since a TPM's clock continues through a restart.
        pinned_aiks: how many AIKs that the policy pins signed the other records.
        without_boot: records whose boot is unknown: without a time, a clock or a signature that verifies.
    """

    findings: list[CauseFinding]
    values: int
    records: int
    first: Place
    last: Place
    boots: list[Boot]
    boots_total: int
    boots_inferred: int
    machines_inferred: int
    pinned_aiks: int
    without_boot: int


class CrossRecordRuleSummary(msgspec.Struct, kw_only=True):
    """One cross-record rule.

    Attributes:
        rule, question, remediation: its id, what it asks, and what to do about a finding.
        findings, records: the number of findings, and of all records in them.
        outcome: one of `CROSS_RECORD_OUTCOMES`.
        appraised: records that were appraised.
        usable: those of them that have the values that the rule compares, apart from a time.
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
    """A set of PCR values. `over_time` has a count for each bucket of the timeline; only the first profiles have it."""

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
    """The records whose `processed_at` is in the bucket that begins `at` (seconds since 1970)."""

    at: int
    counts: Counts
    unavailable: int
    """Records without evidence; they are included in the counts."""


class Gap(msgspec.Struct, kw_only=True):
    """A period without records, or one in which none of its `records` has evidence."""

    begins: int
    ends: int
    records: int


class Policy(msgspec.Struct, kw_only=True):
    """The policy: its id, digest, file, and document (`AppraisalPolicy.to_dict`)."""

    id: str
    digest: str
    source: str
    document: dict[str, Any]


class Run(msgspec.Struct, kw_only=True):
    """How the audit was run: its options, and what differs between runs."""

    version: str
    command: list[str]
    at: str | None = None
    """The time of all appraisals (RFC 3339), if the policy depends on it or it was given."""
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
    """The results of an audit. Lists are cut to the limits above; `*_total` count all entries.

    `counts.total + outside` is the number of records read, without blank lines.
    """

    format: str = SUMMARY_FORMAT
    policy: Policy
    run: Run
    counts: Counts
    outside: int
    blank: int
    written: int
    """Rows written, which are those of the selected verdicts."""
    sources_total: int
    sources_unreadable: int
    sources: list[SourceSummary]
    """Those with a problem or a failure first, then in the order read."""
    skipped: list[str]
    skipped_total: int
    """Files in folders whose extension is not one of records."""
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
    """Every bucket from the first to the last, including empty ones."""
    undated: int
    """Records without a time, which are in no bucket."""
    time_outliers: int = 0
    """Records whose time is too far from that of the others; they are in no bucket and in no gap."""
    gaps: list[Gap]
    unavailable: list[Gap]
    tiers: list[tuple[str | None, int]]
    tiers_total: int
    aiks: int
    """How many AIK Names there are."""
    aiks_pinned: int
    not_established: list[str]
    status: int
    """The exit status."""
    status_reason: str
    duplicate_names: list[str] = []
    """Further names of files that were read already; each file is read once."""
    duplicate_names_total: int = 0
    outside_by_server: int = 0
    """Records of `outside` that are outside by the server's unsigned claim `processed_at`."""
    released: Released = msgspec.field(default_factory=Released)
    cause_groups: list[CauseGroup] = []
    """Records that are not affirmed, grouped by cause; the largest groups only."""
    cause_groups_total: int = 0
