"""Compute the timeline of an audit: buckets, gaps, periods without evidence, and the PCR profiles in use."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec

from nomyo_attest.audit.cross_record.stored import StoredRecords
from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import (
    BUCKETS_MAXIMUM,
    GAPS_LISTED,
    PROFILES_LISTED,
    PROFILES_OVER_TIME,
    Bucket,
    Counts,
    Gap,
    Place,
    Profile,
)
from nomyo_attest.audit.totals import SourceOrder

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

LADDER: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY),
)
"""The lengths of buckets, in seconds; longer ones are the last length times a power of two."""

REACH: Final = 30 * _DAY

_UNAVAILABLE: Final = "COUNT(CASE WHEN available = 0 THEN 1 END)"
_COUNTS: Final = ", ".join(VERDICTS)


class Timeline(NamedTuple):
    """The buckets, and the records that are in none of them.

    Attributes:
        begins: the time of the first bucket; 0 if there is none.
        seconds: the length of a bucket.
        first, last: the span of the buckets; facts of this time, both ends included, are in buckets.
        buckets: all of them, including empty ones.
        undated: records without a time.
        time_outliers: records whose time is too far from the times of the others.
        gaps, unavailable: see `Summary`.
    """

    begins: int
    seconds: int
    first: int
    last: int
    buckets: list[Bucket]
    undated: int
    time_outliers: int
    gaps: list[Gap]
    unavailable: list[Gap]

    @property
    def bucket_of(self) -> str:
        """SQL for the number of a fact's bucket; NULL for a fact outside all buckets."""
        return (
            f"CASE WHEN processed_at BETWEEN {self.first} AND {self.last} "
            f"THEN (processed_at - {self.begins}) / {self.seconds} END"
        )


def timeline_of(store: Store) -> Timeline:
    """Compute the timeline of all facts.

    The servers choose the times, and one wrong time must not put all other records into one bucket. So 0.05 % of the
    records at each end are ignored (at least three, and at most one in ten), and the span of the others is extended by
    its length on both sides, or by `REACH` if that is more. Records outside the extended span are only counted.
    """
    store.run("DROP TABLE IF EXISTS temp.seconds")
    columns = ", ".join(f"{column} INTEGER" for column in (*VERDICTS, "records", "unavailable"))
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
    """Return the shortest length with which `BUCKETS_MAXIMUM` buckets, at its multiples, contain `first` to `last`."""
    for seconds in (*LADDER, *(LADDER[-1] << doubled for doubled in range(1, 64))):
        if last // seconds - first // seconds < BUCKETS_MAXIMUM:
            return seconds
    raise AssertionError(first, last)  # times are in 54 bits


def _span(store: Store, dated: int) -> tuple[int, int]:
    """Return the first and the last time of the timeline."""
    ignored = min(max(dated // 2000, 3), dated // 10)
    low, high = _after(store, ignored, "ASC"), _after(store, ignored, "DESC")
    reach = max(high - low, REACH)
    ((first, last),) = store.query(
        "SELECT MIN(at), MAX(at) FROM temp.seconds WHERE at BETWEEN ? AND ?", (low - reach, high + reach)
    )
    return first, last


def _after(store: Store, ignored: int, direction: str) -> int:
    """Return the time of the first record, in this direction, that is not ignored."""
    for at, records in store.query(f"SELECT at, records FROM temp.seconds ORDER BY at {direction}"):  # noqa: S608 - ASC or DESC
        ignored -= records
        if ignored < 0:
            return int(at)
    raise AssertionError(ignored)  # fewer records are ignored than exist


def _buckets(store: Store, begins: int, seconds: int, first: int, last: int) -> list[Bucket]:
    sums = ", ".join(f"SUM({column})" for column in (*VERDICTS, "unavailable"))
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
    """Return the longest periods, of at least one whole second, without a record."""
    rows = store.query(
        "SELECT before, at FROM (SELECT at, LAG(at) OVER (ORDER BY at) AS before FROM temp.seconds "
        "WHERE at BETWEEN ? AND ?) WHERE at - before > 1 ORDER BY at - before DESC, at LIMIT ?",
        (first, last, GAPS_LISTED),
    )
    return [Gap(begins=begins, ends=ends, records=0) for begins, ends in rows]


def _runs(store: Store, first: int, last: int) -> list[Gap]:
    """Return the longest periods in which no record had evidence."""
    query = "SELECT EXISTS (SELECT 1 FROM temp.seconds WHERE unavailable = records AND at BETWEEN ? AND ?)"
    ((exists,),) = store.query(query, (first, last))
    if not exists:
        return []
    found = heapq.nlargest(GAPS_LISTED, _all_runs(store, first, last), key=_weight)
    return sorted(found, key=_weight, reverse=True)


def _all_runs(store: Store, first: int, last: int) -> Iterator[Gap]:
    query = "SELECT unavailable = records, at, records FROM temp.seconds WHERE at BETWEEN ? AND ? ORDER BY at"
    for without, seconds in groupby(store.query(query, (first, last)), key=itemgetter(0)):
        if without:
            _, begins, records = next(seconds)
            ends = begins
            for _, ends, more in seconds:  # noqa: B007 - the value of the last iteration is used
                records += more
            yield Gap(begins=begins, ends=ends, records=records)


def _weight(run: Gap) -> tuple[int, int, int]:
    return run.ends - run.begins, run.records, -run.begins


_MOST_USED: Final = f"""
SELECT cells.profile, coalesce(profiles.profile, cells.profile) AS digest,
    {", ".join(f"SUM(CASE WHEN verdict = {place} THEN records ELSE 0 END)" for place in range(len(VERDICTS)))},
    SUM(undated), MIN(first_seen), MAX(last_seen), SUM(records) AS total
FROM temp.cells LEFT JOIN profiles ON profiles.number = cells.profile
WHERE cells.profile IS NOT NULL
GROUP BY cells.profile
ORDER BY total DESC, digest
LIMIT {PROFILES_LISTED}
"""  # noqa: S608 - constants

_LISTED: Final = "FROM facts WHERE aik_name IS NOT NULL AND profile IN (SELECT profile FROM temp.listed)"
_SHARED: Final = "(SELECT value FROM temp.shared_aik_name)"
_ALONE: Final = f"SELECT profile, COUNT(*) {_LISTED} AND aik_name NOT IN {_SHARED} GROUP BY profile"
_TOGETHER: Final = (
    f"SELECT profile, COUNT(*) FROM (SELECT profile, aik_name {_LISTED} {{only}} GROUP BY profile, aik_name) "  # noqa: S608 - constants
    "GROUP BY profile"
)


def profiles_of(
    store: Store, order: SourceOrder, stored: StoredRecords, timeline: Timeline
) -> tuple[list[Profile], int]:
    """Return the profiles of most records, and how many profiles there are."""
    _create_cells(store, timeline)
    ((total,),) = store.query("SELECT COUNT(DISTINCT profile) FROM temp.cells")
    rows = list(store.query(_MOST_USED))
    store.run("DROP TABLE IF EXISTS temp.listed")
    # A profile is a number or a digest, as in the facts, so its column has no type.
    store.run("CREATE TEMP TABLE listed (profile PRIMARY KEY, first_at INTEGER, last_at INTEGER) WITHOUT ROWID")
    listed = []
    for profile, _, *_, undated, first_seen, last_seen, _ in rows:
        listed.append((profile, None if undated else first_seen, last_seen))
    store.run("INSERT INTO temp.listed VALUES (?, ?, ?)", listed)
    places, aiks, values = _places(store, order), _aiks(store, stored), _values(store, [row[0] for row in rows])
    over_time = _over_time(store, [row[0] for row in rows[:PROFILES_OVER_TIME]], len(timeline.buckets))
    found = []
    for profile, digest, *counts, _, first_seen, last_seen, _ in rows:
        first, last = places[profile]
        found.append(
            Profile(
                profile=digest.hex(),
                pcrs=msgspec.json.decode(values.get(profile, "{}"), type=dict[str, dict[str, str]]),
                counts=Counts(**dict(zip(VERDICTS, counts, strict=True))),
                aiks=aiks[profile],
                first=first,
                last=last,
                first_seen=first_seen,
                last_seen=last_seen,
                over_time=over_time.get(profile, []),
            )
        )
    return found, total


def _create_cells(store: Store, timeline: Timeline) -> None:
    """Count the facts by profile, verdict and bucket."""
    store.run("DROP TABLE IF EXISTS temp.cells")
    store.run(
        "CREATE TEMP TABLE cells AS SELECT profile, verdict, "  # noqa: S608 - numbers
        f"{timeline.bucket_of} AS bucket, COUNT(*) AS records, COUNT(*) - COUNT(processed_at) AS undated, "
        "MIN(processed_at) AS first_seen, MAX(processed_at) AS last_seen FROM facts "
        "WHERE profile IS NOT NULL GROUP BY profile, verdict, bucket"
    )


def _places(store: Store, order: SourceOrder) -> dict[Any, tuple[Place, Place]]:
    """Return the first and the last record of each profile listed: without a time first, then by time, source, line."""
    first: dict[Any, tuple[int, int, int | None]] = {}
    last: dict[Any, tuple[int, int, int | None]] = {}
    rows = store.query(
        f"SELECT facts.profile, processed_at IS first_at, processed_at IS last_at, {order.rank}, line, processed_at "  # noqa: S608 - constants
        f"FROM facts CROSS JOIN temp.listed {order.join} "
        "WHERE listed.profile = facts.profile AND (processed_at IS first_at OR processed_at IS last_at)"
    )
    for profile, is_first, is_last, rank, line, at in rows:
        place = (rank, line, at)
        if is_first and (profile not in first or place[:2] < first[profile][:2]):
            first[profile] = place
        if is_last and (profile not in last or place[:2] > last[profile][:2]):
            last[profile] = place
    return {
        profile: (Place(order.name(a), b, c), Place(order.name(x), y, z))
        for profile, (a, b, c) in first.items()
        for x, y, z in (last[profile],)
    }


def _aiks(store: Store, stored: StoredRecords) -> Counter[Any]:
    """Return how many AIK Names each listed profile has. A Name of a single record counts without comparison."""
    if not stored.lookup_is_faster("aik_name"):
        return Counter(dict(store.query(_TOGETHER.format(only=""))))
    alone = Counter(dict(store.query(_ALONE)))
    alone.update(dict(store.query(_TOGETHER.format(only=f"AND aik_name IN {_SHARED}"))))
    return alone


def _values(store: Store, profiles: list[Any]) -> dict[Any, str]:
    """Return the PCR values of profiles as JSON text, by number or digest."""
    values: dict[Any, str] = {}
    digests = [profile for profile in profiles if isinstance(profile, bytes)]
    for profile in profiles:
        if isinstance(profile, int):
            values |= dict(store.query("SELECT number, pcrs FROM profiles WHERE number = ?", (profile,)))
    if digests:
        marks = ", ".join("?" * len(digests))
        values |= dict(store.query(f"SELECT profile, pcrs FROM profiles WHERE profile IN ({marks})", digests))  # noqa: S608 - question marks
    return values


def _over_time(store: Store, profiles: list[Any], buckets: int) -> dict[Any, list[int]]:
    counts = {profile: [0] * buckets for profile in profiles}
    marks = ", ".join("?" * len(profiles))
    query = (
        f"SELECT profile, bucket, SUM(records) FROM temp.cells WHERE profile IN ({marks}) "  # noqa: S608 - question marks
        "AND bucket IS NOT NULL GROUP BY profile, bucket"
    )
    for profile, bucket, records in store.query(query, profiles):
        counts[profile][bucket] = records
    return counts
