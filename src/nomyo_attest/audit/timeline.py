"""The records over time: which span to show, in which steps, and where nothing was, or nothing but no evidence."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import BUCKETS_MAXIMUM, GAPS_LISTED, Bucket, Counts, Gap

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

LADDER: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY),
)
"""How long a bucket may be, in seconds; beyond that the last one doubled, as often as it takes."""

REACH: Final = 30 * _DAY

_UNAVAILABLE: Final = "COUNT(CASE WHEN available = 0 THEN 1 END)"
_COUNTS: Final = ", ".join(VERDICTS)


class Timeline(NamedTuple):
    """The buckets, and what is in none of them.

    Attributes:
        begins: the first bucket's time; 0 if there is none.
        seconds: a bucket's length.
        first, last: the time shown, both included: facts of that time are in buckets.
        buckets: every one from the first to the last.
        undated: records without a time.
        beyond: records with a time too far from the others'.
        gaps, unavailable: see `Summary`.
    """

    begins: int
    seconds: int
    first: int
    last: int
    buckets: list[Bucket]
    undated: int
    beyond: int
    gaps: list[Gap]
    unavailable: list[Gap]

    @property
    def bucket_of(self) -> str:
        """SQL for the number of a fact's bucket; NULL if it is in none."""
        return (
            f"CASE WHEN processed_at BETWEEN {self.first} AND {self.last} "
            f"THEN (processed_at - {self.begins}) / {self.seconds} END"
        )


def timeline_of(store: Store) -> Timeline:
    """The timeline of all facts.

    Times are the servers' word, and one wrong one must not press all others into one bucket. So the ends are left out
    of account, 0.05 % of the records on each side (or three, but no more than one in ten), and what remains is widened
    by as much again on both sides, or by `REACH` if that is more. Records beyond that are in no bucket and in no gap,
    and are counted.
    """
    store.run("DROP TABLE IF EXISTS temp.seconds")
    columns = ", ".join(f"{one} INTEGER" for one in (*VERDICTS, "records", "unavailable"))
    store.run(f"CREATE TEMP TABLE seconds (at INTEGER PRIMARY KEY, {columns})")
    counts = ", ".join(f"SUM(verdict = {place})" for place in range(len(VERDICTS)))
    store.run(
        f"INSERT INTO temp.seconds SELECT processed_at, {counts}, COUNT(*), {_UNAVAILABLE} FROM facts "  # noqa: S608 - constants
        "WHERE processed_at IS NOT NULL GROUP BY processed_at"
    )
    ((dated,),) = store.query("SELECT coalesce(SUM(records), 0) FROM temp.seconds")
    ((undated,),) = store.query("SELECT COUNT(*) FROM facts WHERE processed_at IS NULL")
    if not dated:
        return Timeline(0, LADDER[0], 0, -1, [], undated, 0, [], [])
    first, last = _span(store, dated)
    seconds = bucket_length(first, last)
    begins = first // seconds * seconds
    buckets = _buckets(store, begins, seconds, first, last)
    shown = sum(bucket.counts.total for bucket in buckets)
    return Timeline(
        begins,
        seconds,
        first,
        last,
        buckets,
        undated,
        dated - shown,
        _gaps(store, first, last),
        _runs(store, first, last),
    )


def bucket_length(first: int, last: int) -> int:
    """The shortest length of which `BUCKETS_MAXIMUM`, each at a multiple of it, hold all from `first` to `last`."""
    for seconds in (*LADDER, *(LADDER[-1] << doubled for doubled in range(1, 64))):
        if last // seconds - first // seconds < BUCKETS_MAXIMUM:
            return seconds
    raise AssertionError(first, last)  # times are in 54 bits


def _span(store: Store, dated: int) -> tuple[int, int]:
    """First and last time to show."""
    ignored = min(max(dated // 2000, 3), dated // 10)
    low, high = _after(store, ignored, "ASC"), _after(store, ignored, "DESC")
    reach = max(high - low, REACH)
    ((first, last),) = store.query(
        "SELECT MIN(at), MAX(at) FROM temp.seconds WHERE at BETWEEN ? AND ?", (low - reach, high + reach)
    )
    return first, last


def _after(store: Store, ignored: int, direction: str) -> int:
    """The time of the next record when so many have been left out."""
    for at, records in store.query(f"SELECT at, records FROM temp.seconds ORDER BY at {direction}"):  # noqa: S608 - ASC or DESC
        ignored -= records
        if ignored < 0:
            return int(at)
    raise AssertionError(ignored)  # fewer are ignored than there are


def _buckets(store: Store, begins: int, seconds: int, first: int, last: int) -> list[Bucket]:
    sums = ", ".join(f"SUM({one})" for one in (*VERDICTS, "unavailable"))
    found = {
        number: (Counts(**dict(zip(VERDICTS, counts, strict=True))), unavailable)
        for number, *counts, unavailable in store.query(
            f"SELECT (at - ?) / ? AS number, {sums} FROM temp.seconds WHERE at BETWEEN ? AND ? GROUP BY number",  # noqa: S608 - constants
            (begins, seconds, first, last),
        )
    }
    return [
        Bucket(at=begins + number * seconds, counts=counts, unavailable=unavailable)
        for number in range((last - begins) // seconds + 1)
        for counts, unavailable in (found.get(number, (Counts(), 0)),)
    ]


def _gaps(store: Store, first: int, last: int) -> list[Gap]:
    """The longest times without a record, of those in which a whole second is missing."""
    rows = store.query(
        "SELECT before, at FROM (SELECT at, LAG(at) OVER (ORDER BY at) AS before FROM temp.seconds "
        "WHERE at BETWEEN ? AND ?) WHERE at - before > 1 ORDER BY at - before DESC, at LIMIT ?",
        (first, last, GAPS_LISTED),
    )
    return [Gap(begins=begins, ends=ends, records=0) for begins, ends in rows]


def _runs(store: Store, first: int, last: int) -> list[Gap]:
    """The longest times in which no record had evidence."""
    query = "SELECT EXISTS (SELECT 1 FROM temp.seconds WHERE unavailable = records AND at BETWEEN ? AND ?)"
    ((any_at_all,),) = store.query(query, (first, last))
    if not any_at_all:
        return []
    found = heapq.nlargest(GAPS_LISTED, _all_runs(store, first, last), key=_weight)
    return sorted(found, key=_weight, reverse=True)


def _all_runs(store: Store, first: int, last: int) -> Iterator[Gap]:
    query = "SELECT unavailable = records, at, records FROM temp.seconds WHERE at BETWEEN ? AND ? ORDER BY at"
    for without, seconds in groupby(store.query(query, (first, last)), key=itemgetter(0)):
        if without:
            _, begins, records = next(seconds)
            ends = begins
            for _, ends, more in seconds:  # noqa: B007 - the last one's is what is wanted
                records += more
            yield Gap(begins=begins, ends=ends, records=records)


def _weight(run: Gap) -> tuple[int, int, int]:
    return run.ends - run.begins, run.records, -run.begins
