"""The PCR profiles in use: how many records, by how many AIKs, from when to when."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec

from nomyo_attest.audit.cross_record.stored import StoredRecords
from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.source_order import SourceOrder
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import PROFILES_LISTED, PROFILES_OVER_TIME, Counts, Place, Profile
from nomyo_attest.audit.timeline import Timeline

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
    store: Store, order: SourceOrder, series: StoredRecords, timeline: Timeline
) -> tuple[list[Profile], int]:
    """The profiles most used, and how many there are."""
    _make_cells(store, timeline)
    ((total,),) = store.query("SELECT COUNT(DISTINCT profile) FROM temp.cells")
    rows = list(store.query(_MOST_USED))
    store.run("DROP TABLE IF EXISTS temp.listed")
    # A profile is a number, or the digest where there was none left: as in the facts, so without a type.
    store.run("CREATE TEMP TABLE listed (profile PRIMARY KEY, first_at INTEGER, last_at INTEGER) WITHOUT ROWID")
    listed = []
    for profile, _, *_, undated, first_seen, last_seen, _ in rows:
        listed.append((profile, None if undated else first_seen, last_seen))
    store.run("INSERT INTO temp.listed VALUES (?, ?, ?)", listed)
    places, aiks, values = _places(store, order), _aiks(store, series), _values(store, [row[0] for row in rows])
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


def _make_cells(store: Store, timeline: Timeline) -> None:
    """The facts by profile, verdict and bucket."""
    store.run("DROP TABLE IF EXISTS temp.cells")
    store.run(
        "CREATE TEMP TABLE cells AS SELECT profile, verdict, "  # noqa: S608 - numbers
        f"{timeline.bucket_of} AS bucket, COUNT(*) AS records, COUNT(*) - COUNT(processed_at) AS undated, "
        "MIN(processed_at) AS first_seen, MAX(processed_at) AS last_seen FROM facts "
        "WHERE profile IS NOT NULL GROUP BY profile, verdict, bucket"
    )


def _places(store: Store, order: SourceOrder) -> dict[Any, tuple[Place, Place]]:
    """First and last record of each profile listed: those without a time first, then by time, source and line."""
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


def _aiks(store: Store, series: StoredRecords) -> Counter[Any]:
    """How many AIK Names each profile listed has. Names of one record alone, where most are, need not be told apart."""
    if not series.few("aik_name"):
        return Counter(dict(store.query(_TOGETHER.format(only=""))))
    alone = Counter(dict(store.query(_ALONE)))
    alone.update(dict(store.query(_TOGETHER.format(only=f"AND aik_name IN {_SHARED}"))))
    return alone


def _values(store: Store, profiles: list[Any]) -> dict[Any, str]:
    """Their PCR values, as JSON text; numbered profiles by number, others by digest."""
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
