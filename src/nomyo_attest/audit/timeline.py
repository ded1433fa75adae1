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
from nomyo_attest.audit.place import Place
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
    Profile,
)
from nomyo_attest.audit.totals import SourceOrder

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

BUCKET_LENGTHS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY),
)
"""Lengths of buckets, in seconds. Longer buckets have the last length times a power of two."""

SPAN_MARGIN_MIN: Final = 30 * _DAY
"""Minimum extension of the span of the timeline on both sides, in seconds; see `timeline_of`."""

_UNAVAILABLE: Final = "COUNT(CASE WHEN available = 0 THEN 1 END)"


class Timeline(NamedTuple):
    """The buckets, and the number of records that are in none of them.

    Attributes:
        begins: the time of the first bucket; 0 without buckets.
        seconds: the length of a bucket.
        first, last: the span of the buckets, both ends included.
        buckets: all buckets, including empty ones.
        undated: number of records without a time.
        time_outliers: number of records outside the span.
        gaps, unavailable, usual_interval: see `Summary`.
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
    usual_interval: int = 0

    @property
    def bucket_of(self) -> str:
        """SQL for the number of a fact's bucket; NULL for a fact outside all buckets."""
        return (
            f"CASE WHEN processed_at BETWEEN {self.first} AND {self.last} "
            f"THEN (processed_at - {self.begins}) / {self.seconds} END"
        )


def timeline_of(store: Store) -> Timeline:
    """Compute the timeline of all facts.

    The servers choose the times, and one wrong time must not put all other records into one bucket. Therefore the span
    of the timeline is determined without 0.05% of the records at each end (at least three records, but at most one in
    ten), and then extended on both sides by its length or by `SPAN_MARGIN_MIN`, whichever is longer. Records outside
    the extended span are only counted.
    """
    store.execute("DROP TABLE IF EXISTS temp.seconds")
    columns = ", ".join(f"{column} INTEGER" for column in (*VERDICTS, "records", "unavailable"))
    store.execute(f"CREATE TEMP TABLE seconds (at INTEGER PRIMARY KEY, {columns})")
    counts = ", ".join(f"SUM(verdict = {index})" for index in range(len(VERDICTS)))
    store.execute(
        f"INSERT INTO temp.seconds SELECT processed_at, {counts}, COUNT(*), {_UNAVAILABLE} FROM facts "  # noqa: S608 - constants
        "WHERE processed_at IS NOT NULL GROUP BY processed_at"
    )
    ((dated,),) = store.query("SELECT coalesce(SUM(records), 0) FROM temp.seconds")
    ((undated,),) = store.query("SELECT COUNT(*) FROM facts WHERE processed_at IS NULL")
    if not dated:
        return Timeline(0, BUCKET_LENGTHS[0], 0, -1, [], undated, 0, [], [])
    first, last = _span(store, dated)
    seconds = bucket_length(first, last)
    begins = first // seconds * seconds
    buckets = _buckets(store, begins, seconds, first, last)
    in_buckets = sum(bucket.counts.total for bucket in buckets)
    return Timeline(
        begins,
        seconds,
        first,
        last,
        buckets,
        undated,
        dated - in_buckets,
        _gaps(store, first, last),
        _longest_unavailable(store, first, last),
        _usual_interval(store, first, last),
    )


def bucket_length(first: int, last: int) -> int:
    """Return the shortest bucket length for which `first` to `last` fit into `BUCKETS_MAXIMUM` buckets.

    Buckets begin at multiples of their length.
    """
    for seconds in (*BUCKET_LENGTHS, *(BUCKET_LENGTHS[-1] << doublings for doublings in range(1, 64))):
        if last // seconds - first // seconds < BUCKETS_MAXIMUM:
            return seconds
    raise AssertionError(first, last)  # unreachable: times have at most 54 bits


def _span(store: Store, dated: int) -> tuple[int, int]:
    """Return the first and the last time of the timeline."""
    ignored = min(max(dated // 2000, 3), dated // 10)
    low, high = _time_after(store, ignored, "ASC"), _time_after(store, ignored, "DESC")
    margin = max(high - low, SPAN_MARGIN_MIN)
    ((first, last),) = store.query(
        "SELECT MIN(at), MAX(at) FROM temp.seconds WHERE at BETWEEN ? AND ?", (low - margin, high + margin)
    )
    return first, last


def _time_after(store: Store, ignored: int, direction: str) -> int:
    """Return the first time after skipping `ignored` records, in the direction ``"ASC"`` or ``"DESC"``."""
    for at, records in store.query(f"SELECT at, records FROM temp.seconds ORDER BY at {direction}"):  # noqa: S608 - ASC or DESC
        ignored -= records
        if ignored < 0:
            return int(at)
    raise AssertionError(ignored)  # unreachable: at most one in ten records is ignored


def _buckets(store: Store, begins: int, seconds: int, first: int, last: int) -> list[Bucket]:
    sums = ", ".join(f"SUM({column})" for column in (*VERDICTS, "unavailable"))
    counts_by_bucket = {
        number: (Counts(**dict(zip(VERDICTS, counts, strict=True))), unavailable)
        for number, *counts, unavailable in store.query(
            f"SELECT (at - ?) / ? AS number, {sums} FROM temp.seconds WHERE at BETWEEN ? AND ? GROUP BY number",  # noqa: S608 - constants
            (begins, seconds, first, last),
        )
    }
    return [
        Bucket(at=begins + number * seconds, counts=counts, unavailable=unavailable)
        for number in range((last - begins) // seconds + 1)
        for counts, unavailable in (counts_by_bucket.get(number, (Counts(), 0)),)
    ]


def _gaps(store: Store, first: int, last: int) -> list[Gap]:
    """Return the longest periods, of at least one whole second, without a record."""
    rows = store.query(
        "SELECT before, at FROM (SELECT at, LAG(at) OVER (ORDER BY at) AS before FROM temp.seconds "
        "WHERE at BETWEEN ? AND ?) WHERE at - before > 1 ORDER BY at - before DESC, at LIMIT ?",
        (first, last, GAPS_LISTED),
    )
    return [Gap(begins=begins, ends=ends, records=0) for begins, ends in rows]


def _usual_interval(store: Store, first: int, last: int) -> int:
    """Return the median of the intervals between consecutive times of records; 0 if there is one time."""
    ((times,),) = store.query("SELECT COUNT(*) FROM temp.seconds WHERE at BETWEEN ? AND ?", (first, last))
    rows = store.query(
        "SELECT at - before AS seconds FROM (SELECT at, LAG(at) OVER (ORDER BY at) AS before FROM temp.seconds "
        "WHERE at BETWEEN ? AND ?) WHERE before IS NOT NULL ORDER BY seconds LIMIT 1 OFFSET ?",
        (first, last, max(times - 2, 0) // 2),
    )
    return next((seconds for (seconds,) in rows), 0)


def _longest_unavailable(store: Store, first: int, last: int) -> list[Gap]:
    """Return the longest periods in which no record had evidence."""
    query = "SELECT EXISTS (SELECT 1 FROM temp.seconds WHERE unavailable = records AND at BETWEEN ? AND ?)"
    ((exists,),) = store.query(query, (first, last))
    if not exists:
        return []
    longest = heapq.nlargest(GAPS_LISTED, _all_unavailable(store, first, last), key=_sort_key)
    return sorted(longest, key=_sort_key, reverse=True)


def _all_unavailable(store: Store, first: int, last: int) -> Iterator[Gap]:
    query = "SELECT unavailable = records, at, records FROM temp.seconds WHERE at BETWEEN ? AND ? ORDER BY at"
    for lacks_evidence, seconds in groupby(store.query(query, (first, last)), key=itemgetter(0)):
        if lacks_evidence:
            _, begins, records = next(seconds)
            ends = begins
            for _, ends, number in seconds:  # noqa: B007 - the value of the last iteration is used
                records += number
            yield Gap(begins=begins, ends=ends, records=records)


def _sort_key(gap: Gap) -> tuple[int, int, int]:
    return gap.ends - gap.begins, gap.records, -gap.begins


_MOST_USED_QUERY: Final = f"""
SELECT cells.profile, coalesce(profiles.profile, cells.profile) AS digest,
    {", ".join(f"SUM(CASE WHEN verdict = {index} THEN records ELSE 0 END)" for index in range(len(VERDICTS)))},
    SUM(undated), MIN(first_seen), MAX(last_seen), SUM(records) AS total
FROM temp.cells LEFT JOIN profiles ON profiles.number = cells.profile
WHERE cells.profile IS NOT NULL
GROUP BY cells.profile
ORDER BY total DESC, digest
LIMIT {PROFILES_LISTED}
"""  # noqa: S608 - constants

_FROM_LISTED: Final = "FROM facts WHERE aik_name IS NOT NULL AND profile IN (SELECT profile FROM temp.listed)"
_SHARED_NAMES: Final = "(SELECT value FROM temp.shared_aik_name)"
_COUNT_UNSHARED: Final = f"SELECT profile, COUNT(*) {_FROM_LISTED} AND aik_name NOT IN {_SHARED_NAMES} GROUP BY profile"
_COUNT_DISTINCT: Final = (
    f"SELECT profile, COUNT(*) FROM (SELECT profile, aik_name {_FROM_LISTED} {{condition}} GROUP BY profile, aik_name) "  # noqa: S608 - constants
    "GROUP BY profile"
)


def profiles_of(
    store: Store, order: SourceOrder, stored: StoredRecords, timeline: Timeline
) -> tuple[list[Profile], int]:
    """Return the profiles with the most records, and the number of profiles."""
    _create_cells(store, timeline)
    ((total,),) = store.query("SELECT COUNT(DISTINCT profile) FROM temp.cells")
    rows = list(store.query(_MOST_USED_QUERY))
    store.execute("DROP TABLE IF EXISTS temp.listed")
    # As in the facts, a profile is a number or a digest, so its column has no type.
    store.execute("CREATE TEMP TABLE listed (profile PRIMARY KEY, first_at INTEGER, last_at INTEGER) WITHOUT ROWID")
    listed = []
    for profile, _, *_, undated, first_seen, last_seen, _ in rows:
        listed.append((profile, None if undated else first_seen, last_seen))
    store.execute("INSERT INTO temp.listed VALUES (?, ?, ?)", listed)
    places = _first_and_last(store, order)
    aiks = _count_aiks_of_profiles(store, stored)
    values = _pcr_values(store, [row[0] for row in rows])
    over_time = _profile_counts(store, [row[0] for row in rows[:PROFILES_OVER_TIME]], len(timeline.buckets))
    profiles = []
    for profile, digest, *counts, _, first_seen, last_seen, _ in rows:
        first, last = places[profile]
        profiles.append(
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
    return profiles, total


def _create_cells(store: Store, timeline: Timeline) -> None:
    """Count the facts by profile, verdict and bucket."""
    store.execute("DROP TABLE IF EXISTS temp.cells")
    store.execute(
        "CREATE TEMP TABLE cells AS SELECT profile, verdict, "  # noqa: S608 - numbers
        f"{timeline.bucket_of} AS bucket, COUNT(*) AS records, COUNT(*) - COUNT(processed_at) AS undated, "
        "MIN(processed_at) AS first_seen, MAX(processed_at) AS last_seen FROM facts "
        "WHERE profile IS NOT NULL GROUP BY profile, verdict, bucket"
    )


def _first_and_last(store: Store, order: SourceOrder) -> dict[Any, tuple[Place, Place]]:
    """Return the first and the last record of each listed profile. Records without a time come first."""
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
    return {profile: (_to_place(order, first[profile]), _to_place(order, last[profile])) for profile in first}


def _to_place(order: SourceOrder, position: tuple[int, int, int | None]) -> Place:
    rank, line, at = position
    return Place(order.name(rank), line, at)


def _count_aiks_of_profiles(store: Store, stored: StoredRecords) -> Counter[Any]:
    """Return the number of AIK Names of each listed profile. Names of single records are counted without sorting."""
    if not stored.lookup_is_faster("aik_name"):
        return Counter(dict(store.query(_COUNT_DISTINCT.format(condition=""))))
    numbers = Counter(dict(store.query(_COUNT_UNSHARED)))
    numbers.update(dict(store.query(_COUNT_DISTINCT.format(condition=f"AND aik_name IN {_SHARED_NAMES}"))))
    return numbers


def _pcr_values(store: Store, profiles: list[Any]) -> dict[Any, str]:
    """Return the PCR values of each profile (a number or a digest) as JSON text."""
    values: dict[Any, str] = {}
    digests = [profile for profile in profiles if isinstance(profile, bytes)]
    for profile in profiles:
        if isinstance(profile, int):
            values |= dict(store.query("SELECT number, pcrs FROM profiles WHERE number = ?", (profile,)))
    if digests:
        marks = ", ".join("?" * len(digests))
        values |= dict(store.query(f"SELECT profile, pcrs FROM profiles WHERE profile IN ({marks})", digests))  # noqa: S608 - question marks
    return values


def _profile_counts(store: Store, profiles: list[Any], buckets: int) -> dict[Any, list[int]]:
    counts = {profile: [0] * buckets for profile in profiles}
    marks = ", ".join("?" * len(profiles))
    query = (
        f"SELECT profile, bucket, SUM(records) FROM temp.cells WHERE profile IN ({marks}) "  # noqa: S608 - question marks
        "AND bucket IS NOT NULL GROUP BY profile, bucket"
    )
    for profile, bucket, records in store.query(query, profiles):
        counts[profile][bucket] = records
    return counts
