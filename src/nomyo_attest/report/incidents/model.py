"""Data model of incidents: records with one cause, and what a person can do about it."""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from nomyo_attest.audit.summary import Boot, Place


class Severity(Enum):
    """How urgent an incident is, most urgent first."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Kind(Enum):
    """What happened, most urgent first."""

    EVIDENCE = "evidence"
    """Evidence is malformed, or a TPM did not make it for this response."""
    BOOT = "boot"
    """A machine booted something that the policy does not list."""
    REPLAY = "replay"
    """A response, a quote or a payload id appears again."""
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
    """There is no record for longer than the limit."""
    MISSING_EVIDENCE = "missing_evidence"
    """Records have no evidence."""
    UNREADABLE = "unreadable"
    """Records or sources could not be read."""


_MEDIUM: Final = frozenset({Kind.UNDECIDED, Kind.WARNING, Kind.DUPLICATE, Kind.NOT_COMPARED, Kind.GAP})
_LOW: Final = frozenset({Kind.MISSING_EVIDENCE, Kind.UNREADABLE})
_KINDS: Final = list(Kind)

COUNTERS: Final = frozenset({"clock", "resetCount", "restartCount"})
"""Values of `Change.what` that are counters of a TPM, whose `before` is the largest value before."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A value that is not the one expected.

    Attributes:
        what: the PCR, such as ``"sha256:7"``; the counter; or the rule.
        meaning: what it measures; empty if `what` is sufficient.
        before: the values expected, or the value before; digests in hex.
        labels: the policy's label of each of `before`; empty for none.
        after: the value found; empty if there is none, such as for a PCR that is not signed.
    """

    what: str
    meaning: str = ""
    before: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    after: str = ""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Records that are reported together, because one cause explains them.

    Attributes:
        kind, severity: what happened, and how urgent it is.
        title: a sentence without a period: who, what, when, how many.
        records: how many records.
        first, last: the first and the last of them, by time; None for an incident without a place.
        rules: the rules that do not hold, and the cross-record rules with findings, most important first.
        keys: the values that the records share, of findings across records: `CrossRecordFinding.key`; empty where one
            incident has many findings of the same rule.
        changes: the values that differ, with those expected.
        values: number of distinct combinations of values; `changes` has the first.
        problem: a sentence of the verifier; empty if the title is sufficient.
        aik: the Name, in hex, of the one AIK that the incident concerns; empty if it concerns several or none.
        aik_label: the policy's label of this AIK; empty without one.
        machine: which machines, and how that is known; empty if the incident does not concern machines.
        boots: the boots with most records; inferred if `Boot.aik` is empty.
        boots_total: how many boots there are.
        places: further places: of each boot, duplicate or source.
        places_total: how many there are.
        remediation: what to do, in sentences.
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


def severity_of(kind: Kind) -> Severity:
    """Return the severity of all incidents of a kind."""
    return Severity.LOW if kind in _LOW else Severity.MEDIUM if kind in _MEDIUM else Severity.HIGH


def urgency(incident: Incident) -> tuple[int, int, float, str]:
    """Return a key that sorts incidents: most urgent first, then those with most records, then the earliest."""
    at = incident.first.processed_at if incident.first else None
    return _KINDS.index(incident.kind), -incident.records, float("inf") if at is None else at, incident.title
