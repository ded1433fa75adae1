"""Was a series rule evaluated, and for how many records? The same for every engine."""

from __future__ import annotations

from typing import NamedTuple

from nomyo_attest.audit.cross_record.rules import CrossRecordRule
from nomyo_attest.audit.summary import FOUND, HELD, NOT_EVALUATED


class Coverage(NamedTuple):
    """Records of a series rule; the columns of the queries `CrossRecordRule.coverage` and `CrossRecordRule.comparison`.

    Attributes:
        records: records that were appraised.
        usable: those that have what the rule compares, apart from a time.
        undated: those of `usable` that have no time, although the rule needs one to compare them with others.
        compared: those that were compared with another record.
    """

    records: int
    usable: int
    undated: int
    compared: int


def outcome_of(rule: CrossRecordRule, findings: int, covered: Coverage) -> str:
    """What the rule comes to. An audit of one record holds: there is nothing that was not compared."""
    if findings:
        return FOUND
    if covered.records < 2:
        return HELD
    if rule.if_asked:  # what is missing in a gap may be in it, so that one time alone shows nothing
        return HELD if covered.compared or not covered.undated else NOT_EVALUATED
    return NOT_EVALUATED if covered.undated or not covered.usable else HELD


def remark_of(rule: CrossRecordRule, covered: Coverage) -> str:
    """Which records were not compared, and why, in a sentence without its end; empty if all were, or there is one."""
    records, usable, undated, compared = covered
    if undated:
        were = "was" if compared == 1 else "were"
        left = _records(undated) + (" has" if undated == 1 else " have")
        return f"{left} no usable processed_at, so the order is unknown; {_records(compared)} {were} compared"
    if records < 2:
        return ""
    if not usable:
        return f"no record has {rule.needs}"
    part = f"{usable:,} of {_records(records)} {'has' if usable == 1 else 'have'} {rule.needs}"
    if not compared:
        return f"nothing to compare: {rule.alone if usable > 1 else part}"
    return "" if usable == records else part


def _records(number: int) -> str:
    return f"{number:,} {'record' if number == 1 else 'records'}"
