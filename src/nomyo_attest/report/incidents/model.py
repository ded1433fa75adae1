"""Data model of incidents: records with one cause, and what a person can do about it."""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import Boot


class Severity(Enum):
    """How urgent an incident is, most urgent first."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Kind(Enum):
    """What happened, most urgent first."""

    PERIOD = "period"
    """The policy had expired, or was not valid yet, at the time of the appraisals: no record is affirmed."""
    EVIDENCE = "evidence"
    """Evidence is malformed, or a TPM did not make it for this response."""
    BOOT = "boot"
    """A machine booted something that the policy does not list."""
    REPLAY = "replay"
    """A response, a quote or a payload id appears more than once, at different times or in different contexts."""
    ROLLBACK = "rollback"
    """The clock or a counter of a TPM went back."""
    REUSED_KEY = "reused_key"
    """An AIK that the policy does not pin signed several quotes."""
    POLICY = "policy"
    """A rule about keys, clocks, claims or the policy itself does not hold."""
    UNDECIDED = "undecided"
    """A required rule could not be evaluated."""
    WARNING = "warning"
    """A rule that the policy makes a warning does not hold."""
    DUPLICATE = "duplicate"
    """A response was recorded more than once."""
    NOT_COMPARED = "not_compared"
    """A cross-record check could not be evaluated."""
    GAP = "gap"
    """No record exists for longer than the limit."""
    MISSING_EVIDENCE = "missing_evidence"
    """Records have no evidence."""
    UNREADABLE = "unreadable"
    """Records or sources could not be read."""


_MEDIUM: Final = frozenset({Kind.UNDECIDED, Kind.WARNING, Kind.DUPLICATE, Kind.NOT_COMPARED, Kind.GAP})
_LOW: Final = frozenset({Kind.MISSING_EVIDENCE, Kind.UNREADABLE})
_KINDS: Final = list(Kind)

COUNTERS: Final = frozenset({"clock", "resetCount", "restartCount"})
"""The values of `Change.what` that name a clock or counter of a TPM. Their `before` is the largest earlier value."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A value that differs from the expected one.

    Attributes:
        what: the PCR, such as ``"sha256:7"``; the counter; or the rule.
        meaning: what a PCR measures; empty for a counter or a rule.
        before: the expected values, or the earlier value; digests in hex.
        labels: the policy's label of each value in `before`; empty for a value without a label.
        after: the value found; empty if no value was found, for example because the PCR is not signed.
    """

    what: str
    meaning: str = ""
    before: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    after: str = ""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Records that are reported together because they have one cause.

    Attributes:
        kind, severity: what happened, and how urgent it is.
        title: a sentence without a period: what happened on which machines, how many records, and when.
        records: the number of records.
        first, last: the first and the last record, by time; None if the incident has no place.
        rules: the rules that do not hold, and the cross-record rules with findings, most important first.
        keys: the `CrossRecordFinding.key` of each finding; empty if the incident combines many findings of a rule.
        changes: the values that differ from the expected ones.
        values: the number of distinct combinations of values; `changes` has the first of them.
        problem: the verifier's message about the first record; empty if the title is sufficient.
        aik: the Name, in hex, of the AIK that the incident concerns; empty if it concerns several AIKs or none.
        aik_label: the policy's label of this AIK; empty if it has no label.
        machine: which machines, and how they are known; empty if the incident does not concern machines.
        boots: the boots with the most records; inferred if `Boot.aik` is empty.
        boots_total: the number of all boots.
        places: the places of further boots, duplicates or sources.
        places_total: the number of all further places.
        remediation: what to do, in sentences.
        affirming: those of `records` that are affirmed; None for an incident that is not about records compared with
            each other, or if they were not counted.
    """

    kind: Kind
    severity: Severity
    title: str
    records: int
    first: Place | None = None
    last: Place | None = None
    rules: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    values: int = 1
    problem: str = ""
    aik: str = ""
    aik_label: str = ""
    machine: str = ""
    boots: tuple[Boot, ...] = ()
    boots_total: int = 0
    places: tuple[Place, ...] = ()
    places_total: int = 0
    remediation: str = ""
    affirming: int | None = None


def severity_of(kind: Kind) -> Severity:
    """Return the severity of all incidents of a kind."""
    return Severity.LOW if kind in _LOW else Severity.MEDIUM if kind in _MEDIUM else Severity.HIGH


def urgency(incident: Incident) -> tuple[int, int, float, str]:
    """Return a sort key: the most urgent kind first, then most records first, then the earliest first."""
    time = incident.first.processed_at if incident.first else None
    return _KINDS.index(incident.kind), -incident.records, float("inf") if time is None else time, incident.title
