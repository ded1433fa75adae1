"""The data of the cross-record checks in a summary."""

from __future__ import annotations

from typing import Final

import msgspec

from nomyo_attest.audit.place import Place

HELD: Final = "held"
FOUND: Final = "found"
NOT_EVALUATED: Final = "not_evaluated"
CROSS_RECORD_OUTCOMES: Final = (HELD, FOUND, NOT_EVALUATED)
"""The outcomes of a cross-record check. `NOT_EVALUATED` never counts as `HELD`."""


class CrossRecordFinding(msgspec.Struct, kw_only=True):
    """A finding across records.

    Attributes:
        rule: id of the cross-record rule, such as ``"duplicate.quote"``.
        key: the value that the records share: the SHA-256 of a quote, a payload id, or a Name. For a gap, its times.
        records: number of records.
        first, last: the first and the last of these records.
        places: the first few records.
        message: the facts in a sentence.
        detail: for a duplicate, whether a second value of the records is ``"same"`` or ``"different"``; for a value
            that goes back, its name: ``"clock"``, ``"reset_count"`` or ``"restart_count"``.
        high, low: for a value that goes back, the largest earlier value, and the value of the first record.
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
        """Whether the records may be copies of one response: neither the second value nor `processed_at` differs."""
        first, last = self.first.processed_at, self.last.processed_at
        return self.detail == "same" and first is not None and first == last


class CrossRecordRuleSummary(msgspec.Struct, kw_only=True):
    """One cross-record rule.

    Attributes:
        rule, question, remediation: see `CrossRecordRule`.
        findings, records: number of findings, and of all records in them.
        outcome: one of `CROSS_RECORD_OUTCOMES`.
        appraised, usable, undated, compared: see `Coverage`; `appraised` is its `records`.
        remark: which records were not compared, and why; empty if all records were compared.
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


class AffectedRecord(msgspec.Struct, kw_only=True):
    """A record in a finding of a cross-record rule, except ``gap.records``: a line of ``--affected``.

    Attributes:
        rule, key: those of the finding.
        source, line, processed_at, verdict: those of the record's row.
    """

    rule: str
    key: str
    source: str
    line: int
    processed_at: int | None
    verdict: str


class AffectedKey(msgspec.Struct, kw_only=True):
    """The records in the findings that have one key; each record counts once.

    Attributes:
        family: the first part of the rules' ids: ``"duplicate"``, ``"reused"`` or ``"rollback"``.
        key: the `key` of the findings.
        records: number of records.
        affirming: those of `records` that are affirmed.
    """

    family: str
    key: str
    records: int
    affirming: int


class Affected(msgspec.Struct, kw_only=True):
    """The records in the findings of all cross-record rules except ``gap.records``; each record counts once.

    Attributes:
        records: number of records.
        affirming: those of `records` that are affirmed.
        by_key: the records of the listed findings.
    """

    records: int = 0
    affirming: int = 0
    by_key: list[AffectedKey] = []
