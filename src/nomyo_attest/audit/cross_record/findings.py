"""Turn the query results of a cross-record rule into findings, an outcome and a remark, for every engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from nomyo_attest.audit.cross_record.model import FOUND, HELD, NOT_EVALUATED, CrossRecordFinding
from nomyo_attest.audit.cross_record.queries import PLACES_PER_FINDING, QUERY_COLUMNS
from nomyo_attest.audit.cross_record.rules import CrossRecordRule
from nomyo_attest.audit.place import Place

QueryRow = tuple[Any, ...]
"""The columns `QUERY_COLUMNS` of one record."""

_RECORDS, _SOURCE, _LINE, _AT, _DETAIL, _HIGH, _LOW = map(
    QUERY_COLUMNS.index, ("records", "source", "line", "processed_at", "detail", "high", "low")
)
_DUPLICATE_PHRASES: Final = {
    "duplicate.quote": ("the same quote", "but different payload ids"),
    "duplicate.payload_id": ("the same payload id", "but different quotes"),
    "reused.aik": ("the same AIK, which is not pinned", "but different quotes"),
}
_ROLLBACK_NAMES: Final = {"clock": "the clock", "reset_count": "resetCount", "restart_count": "restartCount"}


class Coverage(NamedTuple):
    """Which records a cross-record rule compared; the results of `CrossRecordRule.coverage` and `comparison`.

    Attributes:
        records: number of appraised records.
        usable: those of `records` that have the values that the rule compares, apart from a time.
        undated: those of `usable` that have no time, although the rule needs one to compare them.
        compared: those of `usable` that were compared with another record.
    """

    records: int
    usable: int
    undated: int
    compared: int


def findings_of(rule: CrossRecordRule, rows: Iterable[QueryRow]) -> Iterator[CrossRecordFinding]:
    """Yield the findings of a rule, from the ordered rows of its query."""
    for key, group in groupby(rows, key=itemgetter(0)):
        members = list(group)
        places = [Place(row[_SOURCE], row[_LINE], row[_AT]) for row in members]
        first = members[0]
        yield CrossRecordFinding(
            rule=rule.id,
            key=_finding_key(key, places),
            records=first[_RECORDS],
            first=places[0],
            last=places[-1],
            places=places[:PLACES_PER_FINDING],
            message=_finding_message(rule, first, places),
            detail=first[_DETAIL] or "",
            high=first[_HIGH],
            low=first[_LOW],
        )


def rfc3339(seconds: int) -> str:
    """Format seconds since 1970 as in RFC 3339, or as ``"… s"`` if the year is outside 1 to 9999."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"


def _finding_key(key: Any, places: list[Place]) -> str:
    if isinstance(key, bytes):
        return key.hex()
    if isinstance(key, str):
        return key
    begins, ends = _gap_times(places)
    return f"{rfc3339(begins)}/{rfc3339(ends)}"


def _gap_times(places: list[Place]) -> tuple[int, int]:
    begins, ends = places[0].processed_at, places[-1].processed_at
    assert begins is not None  # a gap is between records with a time
    assert ends is not None
    return begins, ends


def _finding_message(rule: CrossRecordRule, first: QueryRow, places: list[Place]) -> str:
    records, detail = first[_RECORDS], first[_DETAIL]
    if rule.id in _DUPLICATE_PHRASES:
        duplicate, difference = _DUPLICATE_PHRASES[rule.id]
        message = f"{records:,} records have {duplicate}"
        return f"{message}, {difference}" if detail == "different" else message
    if rule.needs_limit:
        begins, ends = _gap_times(places)
        return f"no record for {ends - begins:,} s"
    unit = " ms" if detail == "clock" else ""
    high, low = first[_HIGH], first[_LOW]
    message = f"{_ROLLBACK_NAMES[detail]} goes back by {high - low:,}{unit}, from {high} to {low}"
    others = records - 1
    if not others:
        return message
    lower = "an earlier clock" if detail == "clock" else "a lower counter"
    return f"{message}, and {others:,} more {'record has' if others == 1 else 'records have'} {lower}"


def outcome_of(rule: CrossRecordRule, number: int, coverage: Coverage) -> str:
    """Return the outcome of a rule with `number` findings. With fewer than two records, every rule holds."""
    if number:
        return FOUND
    if coverage.records < 2:
        return HELD
    if rule.needs_limit:  # undated records may be in a gap, so the rule cannot be evaluated with a single time
        return HELD if coverage.compared or not coverage.undated else NOT_EVALUATED
    return NOT_EVALUATED if coverage.undated or not coverage.usable else HELD


def remark_of(rule: CrossRecordRule, coverage: Coverage) -> str:
    """State which records were not compared, and why, as a sentence without a period.

    Empty if all records were compared.
    """
    records, usable, undated, compared = coverage
    if records < 2:
        return "fewer than two records, so nothing to compare"
    if undated:
        verb = "was" if compared == 1 else "were"
        subject = _records(undated) + (" has" if undated == 1 else " have")
        return f"{subject} no usable processed_at, so the order is unknown; {_records(compared)} {verb} compared"
    if not usable:
        return f"no record has {rule.needs}"
    share = f"{usable:,} of {_records(records)} {'has' if usable == 1 else 'have'} {rule.needs}"
    if not compared:
        return f"nothing to compare: {'no AIK signed quotes at different times' if usable > 1 else share}"
    return "" if usable == records else share


def _records(number: int) -> str:
    return f"{number:,} {'record' if number == 1 else 'records'}"
