"""The summary of an audit: the data of every report."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from nomyo_attest.audit.cross_record.model import Affected, CrossRecordFinding, CrossRecordRuleSummary
from nomyo_attest.audit.place import Place

SUMMARY_FORMAT: Final = "nomyo-attest-audit/1"

# Maximum number of entries that a summary lists. Its totals count all entries.
SOURCES_LISTED: Final = 1000
FAILURES_LISTED: Final = 1000
PLACES_LISTED: Final = 25_000  # the maximum number of results in SARIF
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
"""The outcomes of a rule that does not pass for a record: it fails, it is undecided independently of other rules, or it
is undecided as a consequence of another finding of the same record.
"""


class Counts(msgspec.Struct, kw_only=True):
    """Records by verdict."""

    affirming: int = 0
    warning: int = 0
    contraindicated: int = 0
    none: int = 0
    unreadable: int = 0

    @property
    def total(self) -> int:
        """The total number of records."""
        return self.affirming + self.warning + self.contraindicated + self.none + self.unreadable


class SourceSummary(msgspec.Struct, kw_only=True):
    """One source.

    Attributes:
        name: its name, as in the rows.
        kind: ``"json"``, ``"jsonl"`` or ``"parquet"``; by its name if it could not be opened.
        size: stored bytes; None for a pipe.
        sha256: SHA-256 over the stored bytes, in hex; None if they could not be read completely.
        counts: its records by verdict.
        outside: number of records whose time is outside `since` and `until`; they are not appraised.
        outside_by_server: those of `outside` that are outside by the server's unsigned claim `processed_at`. The others
            are outside by the time of a ledger's line.
        blank: number of blank lines.
        problem: why it could not be read completely; empty if it could.
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
    """The number of ledger records whose completion was released.

    Attributes:
        known: records that state whether the completion was released.
        released: those of `known` whose completion was released.
        not_affirmed: those of `released` whose verdict is neither affirming nor warning.
        gate_off, gate_on: those of `not_affirmed` recorded with the client's gate off, or on with the client's policy.
        counts: `not_affirmed` by verdict.
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
        rule, requirement: the rule, and the policy's requirement for it.
        outcome: one of `OUTCOMES`.
        records: number of records.
        first: the first of these records.
        message: the message of the first record.
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
        rule, requirement: the rule, and the policy's requirement for it.
        outcome: `FAIL` or `UNDECIDED`.
        records: number of records.
        lines: lines of the first few records.
        message: the message of the first record.
    """

    source: str
    rule: str
    requirement: str
    outcome: str
    records: int
    lines: list[int]
    message: str


class CauseFinding(msgspec.Struct, kw_only=True):
    """A rule that does not hold for the records of a group, with the values and the message of the first record.

    The attributes are those of `RowFinding`.
    """

    rule: str
    requirement: str
    outcome: str
    expected: Any
    got: Any
    message: str


class Boot(msgspec.Struct, kw_only=True):
    """The records of a group whose quotes were signed in one boot of a machine.

    Attributes:
        aik: the AIK's Name in hex if the policy pins it. If empty, the boot is inferred from the next two attributes.
        reset_count: resetCount of all its quotes.
        clock_epoch: the minimum of `processed_at` minus the TPM's clock over its records, in whole seconds.
        records: number of records.
        first, last: the first and the last of these records.
    """

    aik: str
    reset_count: int
    clock_epoch: int
    records: int
    first: Place
    last: Place


class CauseGroup(msgspec.Struct, kw_only=True):
    """The records for which the same rules do not hold, with the same values found.

    A record is in at most one group. Rules that the policy ignores, and rules that are undecided as a consequence of
    others, are not considered.

    Attributes:
        findings: the rules.
        values: number of different sets of values found; more than 1 if too many groups differ only in their values.
        records: number of records.
        first, last: the first and the last of these records, by time; records without a time are last.
        boots: the boots with the most records.
        boots_total: number of boots.
        boots_inferred: number of boots that are inferred, because the policy does not pin the AIKs.
        machines_inferred: maximum number of machines of the inferred boots. Boots with nearly the same `processed_at`
            minus clock count as one machine, since a TPM's clock continues through a restart.
        pinned_aiks: number of pinned AIKs that signed the other records.
        without_boot: number of records whose boot is unknown: without a time, a clock or a valid signature.
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


class Profile(msgspec.Struct, kw_only=True):
    """A set of PCR values, and the records with these values.

    Attributes:
        profile, pcrs: see `pcr_profile` and `pcrs` of `Row`.
        counts: records by verdict.
        aiks: number of AIK Names.
        first, last: the first and the last of the records.
        first_seen, last_seen: the times of the earliest and the latest record with a time, in seconds since 1970.
        over_time: number of records in each bucket of the timeline, for the first `PROFILES_OVER_TIME` profiles.
    """

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
    """A period without records, or a period in which all `records` lack evidence."""

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
    """The time of all appraisals (RFC 3339), if the policy depends on the time or the user set it."""
    since: str | None = None
    until: str | None = None
    select: list[str] = []
    started_at: str = ""
    seconds: float = 0.0
    processes: int = 1
    resumed: int = 0
    """Number of times that the audit was resumed."""
    workers_lost: int = 0


class Summary(msgspec.Struct, kw_only=True):
    """The results of an audit. Its lists are limited by the constants above; the `*_total` count all entries.

    `counts.total + outside` is the number of records read, not including blank lines.
    """

    format: str = SUMMARY_FORMAT
    policy: Policy
    run: Run
    counts: Counts
    outside: int
    blank: int
    written: int
    """Number of rows with a selected verdict."""
    sources_total: int
    sources_unreadable: int
    sources: list[SourceSummary]
    """Sources with a problem or a failure first; otherwise in the order read."""
    skipped: list[str]
    skipped_total: int
    """Number of files in folders whose extension is not one of records."""
    inputs_digest: str
    """SHA-256 over every source's SHA-256 and name, in order: all inputs in one value."""
    rules: list[RuleSummary]
    places: list[RulePlace]
    places_total: int
    failures: list[dict[str, Any]]
    """Rows, as dicts, whose verdict is contraindicated, none or unreadable."""
    failures_total: int
    cross_record: list[CrossRecordFinding]
    cross_record_rules: list[CrossRecordRuleSummary]
    profiles: list[Profile]
    profiles_total: int
    bucket_seconds: int
    timeline: list[Bucket]
    """Every bucket from the first to the last, including empty ones."""
    undated: int
    """Number of records without a time, which are in no bucket."""
    time_outliers: int = 0
    """Number of records whose time is too far from the others'; they are in no bucket and no gap."""
    gaps: list[Gap]
    unavailable: list[Gap]
    tiers: list[tuple[str | None, int]]
    tiers_total: int
    aiks: int
    """Number of distinct AIK Names."""
    aiks_pinned: int
    not_established: list[str]
    status: int
    """The exit status."""
    status_reason: str
    duplicate_names: list[str] = []
    """Further names of files that are read under another name; each file is read once."""
    duplicate_names_total: int = 0
    outside_by_server: int = 0
    """Those of `outside` that are outside by the server's unsigned claim `processed_at`."""
    released: Released = msgspec.field(default_factory=Released)
    cause_groups: list[CauseGroup] = []
    """Records that are not affirmed, grouped by cause; only the largest groups."""
    cause_groups_total: int = 0
    period_begins: int | None = None
    """The time of the first record in the timeline; None without a timeline."""
    period_ends: int | None = None
    """The time of the last record in the timeline."""
    usual_interval: int = 0
    """The median time, in seconds, between records of the timeline with different times; 0 if it is unknown."""
    affected: Affected | None = None
    """None in a summary of a version that did not count these records."""
