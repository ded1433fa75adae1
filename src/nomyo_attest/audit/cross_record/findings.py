"""From the rows that a rule's query answers with to findings: the same for every engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from nomyo_attest.audit.cross_record.rules import CrossRecordRule
from nomyo_attest.audit.cross_record.sql import ANSWER, PLACES_TOLD
from nomyo_attest.audit.summary import CrossRecordFinding, Place

AnswerRow = tuple[Any, ...]
"""The columns `ANSWER` of one record."""

_RECORDS, _SOURCE, _LINE, _AT, _DETAIL, _HIGH, _LOW = map(
    ANSWER.index, ("records", "source", "line", "processed_at", "detail", "high", "low")
)
_REPEATED: Final = {
    "duplicate.quote": ("one quote", "with different payload ids"),
    "duplicate.payload_id": ("one payload id", "with different quotes"),
    "reused.aik": ("one AIK that is not pinned", "with different quotes"),
}
_NAMES: Final = {"clock": "the clock", "reset_count": "resetCount", "restart_count": "restartCount"}


def findings(rule: CrossRecordRule, rows: Iterable[AnswerRow]) -> Iterator[CrossRecordFinding]:
    """A rule's findings, one after another, from the rows of its query in their order."""
    for key, group in groupby(rows, key=itemgetter(0)):
        members = list(group)
        places = [Place(row[_SOURCE], row[_LINE], row[_AT]) for row in members]
        first = members[0]
        yield CrossRecordFinding(
            rule=rule.id,
            key=_key(key, places),
            records=first[_RECORDS],
            first=places[0],
            last=places[-1],
            places=places[:PLACES_TOLD],
            message=_message(rule, first, places),
        )


def moment(seconds: int) -> str:
    """A time since 1970 in RFC 3339, or what is outside the years of that form as its seconds."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"


def _key(key: Any, places: list[Place]) -> str:
    if isinstance(key, bytes):
        return key.hex()
    if isinstance(key, str):
        return key
    begins, ends = places[0].processed_at, places[-1].processed_at
    assert begins is not None  # a gap is between times
    assert ends is not None
    return f"{moment(begins)}/{moment(ends)}"


def _message(rule: CrossRecordRule, first: AnswerRow, places: list[Place]) -> str:
    records, detail = first[_RECORDS], first[_DETAIL]
    if rule.id in _REPEATED:
        what, differs = _REPEATED[rule.id]
        told = f"{what} in {records:,} records"
        return f"{told}, {differs}" if detail == "different" else told
    if rule.if_asked:
        begins, ends = places[0].processed_at, places[-1].processed_at
        assert begins is not None  # a gap is between times
        assert ends is not None
        return f"no record for {ends - begins:,} s"
    unit = " ms" if detail == "clock" else ""
    high, low = first[_HIGH], first[_LOW]
    told = f"{_NAMES[detail]} goes back by {high - low:,}{unit}, from {high} to {low}"
    others = records - 1
    return f"{told}, and {others:,} more {'record is' if others == 1 else 'records are'} behind" if others else told
