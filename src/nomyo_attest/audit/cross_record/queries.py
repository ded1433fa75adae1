"""The SQL queries of the cross-record rules.

The queries read a table `verdicts` with the columns of `Row`. They use only SQL that SQLite (3.34 or newer), Spark and
DuckDB have in common. A findings query returns up to six records of each finding; a records query returns all records
of all findings.
"""

from __future__ import annotations

from typing import Final

PLACES_PER_FINDING: Final = 5
"""Maximum number of records listed for a finding, from the first one on; the last record is listed in addition."""

QUERY_COLUMNS: Final = (
    "cross_record_key",
    "records",
    "place",
    "source",
    "line",
    "processed_at",
    "detail",
    "high",
    "low",
)
"""The columns of a query's result: up to six records of each finding, in order.

`cross_record_key` is the value that the records share, `records` their number, and `place` the number of this record,
from 1. For a duplicate, `detail` is ``different`` or ``same``: whether a second value of the records differs. For a
value that went back, `detail` is its column, `high` the largest value of earlier seconds, and `low` the value itself.
"""

# Records without a time come first, then by time, source and line. NULLS FIRST is not the default of every engine.
_PLACE_ORDER: Final = "processed_at NULLS FIRST, source, line"

# Each finding lists its first few records and the last one. Findings are ordered by their first record.
_LISTED_SQL: Final = f"""
listed AS (
  SELECT cross_record_key, records, place, source, line, processed_at, detail, high, low,
    FIRST_VALUE(processed_at) OVER (PARTITION BY cross_record_key ORDER BY place) AS first_at,
    FIRST_VALUE(source) OVER (PARTITION BY cross_record_key ORDER BY place) AS first_source,
    FIRST_VALUE(line) OVER (PARTITION BY cross_record_key ORDER BY place) AS first_line
  FROM placed
  WHERE place <= {PLACES_PER_FINDING} OR place = records
)
SELECT {", ".join(QUERY_COLUMNS)}
FROM listed
ORDER BY first_at NULLS FIRST, first_source, first_line, cross_record_key, place
"""  # noqa: S608 - constants of this module

# Records of the same second have no order, so a value is compared with the largest value of earlier seconds.
_SECONDS_BEFORE: Final = "ORDER BY processed_at RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"

IS_SIGNED: Final = """signature_valid AND aik_name IS NOT NULL AND clock IS NOT NULL AND reset_count IS NOT NULL
    AND restart_count IS NOT NULL"""
"""The condition for a record whose clock and counters the TPM signed. Comparing it also requires a time."""

_IS_SIGNED_AND_DATED: Final = f"{IS_SIGNED} AND processed_at IS NOT NULL"


def duplicates_query(column: str, other: str, where: str = "") -> str:
    """Return the query for values of `column` in several records; `detail` says whether their `other` values differ."""
    condition = f" AND {where}" if where else ""
    return f"""
WITH counted AS (
  SELECT {column} AS cross_record_key, source, line, processed_at,
    COUNT(*) OVER (PARTITION BY {column}) AS records,
    ROW_NUMBER() OVER (PARTITION BY {column} ORDER BY {_PLACE_ORDER}) AS place,
    MIN({other}) OVER (PARTITION BY {column}) AS lowest,
    MAX({other}) OVER (PARTITION BY {column}) AS highest
  FROM verdicts
  WHERE {column} IS NOT NULL{condition}
),
placed AS (
  SELECT cross_record_key, records, place, source, line, processed_at,
    CASE WHEN lowest < highest THEN 'different' ELSE 'same' END AS detail, NULL AS high, NULL AS low
  FROM counted
  WHERE records > 1
),{_LISTED_SQL}"""  # noqa: S608 - columns named by the table of rules


def shared_records_query(column: str, where: str = "") -> str:
    """Return the query for all records whose value of `column` is in several records."""
    condition = f" AND {where}" if where else ""
    return f"""
SELECT cross_record_key, source, line, processed_at, verdict
FROM (
  SELECT {column} AS cross_record_key, source, line, processed_at, verdict,
    COUNT(*) OVER (PARTITION BY {column}) AS records
  FROM verdicts
  WHERE {column} IS NOT NULL{condition}
) AS counted
WHERE records > 1
"""  # noqa: S608 - columns named by the table of rules


_CLOCK_SQL: Final = f"""
WITH compared AS (
  SELECT aik_name AS cross_record_key, source, line, processed_at, verdict, clock AS low,
    MAX(clock) OVER (PARTITION BY aik_name, reset_count {_SECONDS_BEFORE}) AS high
  FROM verdicts
  WHERE {_IS_SIGNED_AND_DATED}
),
back AS (
  SELECT cross_record_key, source, line, processed_at, verdict, 'clock' AS detail, high, low
  FROM compared
  WHERE low < high
)"""  # noqa: S608 - constants of this module

_COUNTERS_SQL: Final = f"""
WITH compared AS (
  SELECT aik_name AS cross_record_key, source, line, processed_at, verdict, reset_count, restart_count,
    MAX(reset_count) OVER (PARTITION BY aik_name {_SECONDS_BEFORE}) AS resets_before,
    MAX(restart_count) OVER (PARTITION BY aik_name, reset_count {_SECONDS_BEFORE}) AS restarts_before
  FROM verdicts
  WHERE {_IS_SIGNED_AND_DATED}
),
back AS (
  SELECT cross_record_key, source, line, processed_at, verdict,
    CASE WHEN reset_count < resets_before THEN 'reset_count' ELSE 'restart_count' END AS detail,
    CASE WHEN reset_count < resets_before THEN resets_before ELSE restarts_before END AS high,
    CASE WHEN reset_count < resets_before THEN reset_count ELSE restart_count END AS low
  FROM compared
  WHERE reset_count < resets_before OR restart_count < restarts_before
)"""  # noqa: S608 - constants of this module

_PLACED_BY_AIK_SQL: Final = f""",
placed AS (
  SELECT cross_record_key, source, line, processed_at, detail, high, low,
    COUNT(*) OVER (PARTITION BY cross_record_key) AS records,
    ROW_NUMBER() OVER (PARTITION BY cross_record_key ORDER BY {_PLACE_ORDER}) AS place
  FROM back
),{_LISTED_SQL}"""  # noqa: S608 - constants of this module

_BACK_SQL: Final = "\nSELECT cross_record_key, source, line, processed_at, verdict FROM back\n"

CLOCK_QUERY: Final = _CLOCK_SQL + _PLACED_BY_AIK_SQL
"""The query for AIKs whose clock goes back while their reset_count stays the same."""

CLOCK_RECORDS_QUERY: Final = _CLOCK_SQL + _BACK_SQL
"""The query for all records of the findings of `CLOCK_QUERY`."""

COUNTERS_QUERY: Final = _COUNTERS_SQL + _PLACED_BY_AIK_SQL
"""The query for AIKs whose reset_count, or restart_count under one reset_count, goes back; a record counts once."""

COUNTERS_RECORDS_QUERY: Final = _COUNTERS_SQL + _BACK_SQL
"""The query for all records of the findings of `COUNTERS_QUERY`."""


def coverage_query(usable: str) -> str:
    """Return the query that counts the appraised records, and those of them that satisfy `usable`, in one row."""
    return f"""
SELECT COUNT(*) AS records, COUNT(CASE WHEN {usable} THEN 1 END) AS usable
FROM verdicts
WHERE verdict <> 'unreadable'
"""  # noqa: S608 - conditions named by the table of rules


def ordered_comparison_query(group: str) -> str:
    """Return the query that counts, in groups of several records, undated records and those with an earlier record."""
    return f"""
WITH seconds AS (
  SELECT {group}, processed_at, COUNT(*) AS records
  FROM verdicts
  WHERE {IS_SIGNED}
  GROUP BY {group}, processed_at
),
grouped AS (
  SELECT processed_at, records,
    SUM(records) OVER (PARTITION BY {group}) AS together,
    MIN(processed_at) OVER (PARTITION BY {group}) AS begins
  FROM seconds
)
SELECT COALESCE(SUM(CASE WHEN processed_at IS NULL AND together > 1 THEN records END), 0) AS undated,
  COALESCE(SUM(CASE WHEN processed_at > begins THEN records END), 0) AS compared
FROM grouped
"""  # noqa: S608 - columns named by the table of rules


def presence_query(column: str) -> str:
    """Return the query that counts the records with a value of `column`, each of which is compared with all others."""
    return f"""
SELECT 0 AS undated, CASE WHEN COUNT({column}) > 1 THEN COUNT({column}) ELSE 0 END AS compared FROM verdicts
"""  # noqa: S608 - columns named by the table of rules


DATED_QUERY: Final = """
SELECT COUNT(*) - COUNT(COALESCE(recorded_at, processed_at)) AS undated,
  CASE WHEN COUNT(COALESCE(recorded_at, processed_at)) > 1 THEN COUNT(COALESCE(recorded_at, processed_at)) ELSE 0 END
    AS compared
FROM verdicts
WHERE verdict <> 'unreadable'
"""
"""The query that counts records without a time, and records whose time is compared with that of another record."""

# A ledger's line has the client's own time; any other record has only the server's claim.
_TIMES_QUERY: Final = "SELECT source, line, COALESCE(recorded_at, processed_at) AS processed_at FROM verdicts"

_GAP_QUERY_TEMPLATE: Final = """
WITH times AS (
  {times}
),
seconds AS (
  SELECT processed_at FROM times WHERE processed_at IS NOT NULL GROUP BY processed_at
),
steps AS (
  SELECT LAG(processed_at) OVER (ORDER BY processed_at) AS gap_begins, processed_at AS gap_ends FROM seconds
),
gaps AS (
  SELECT gap_begins, gap_ends FROM steps WHERE gap_ends - gap_begins > {max_gap}
),
edges AS (
  SELECT gap_begins, 1 AS place, source, line, processed_at,
    ROW_NUMBER() OVER (PARTITION BY gap_begins ORDER BY source DESC, line DESC) AS nearest
  FROM times JOIN gaps ON processed_at = gap_begins
  UNION ALL
  SELECT gap_begins, 2 AS place, source, line, processed_at,
    ROW_NUMBER() OVER (PARTITION BY gap_begins ORDER BY source, line) AS nearest
  FROM times JOIN gaps ON processed_at = gap_ends
)
SELECT gap_begins AS cross_record_key, 2 AS records, place, source, line, processed_at,
  NULL AS detail, NULL AS high, NULL AS low
FROM edges
WHERE nearest = 1
ORDER BY gap_begins, place
"""


def gap_query(max_gap: int) -> str:
    """Return the query for gaps of more than `max_gap` seconds, with the last record before and the first one after."""
    return _GAP_QUERY_TEMPLATE.format(times=_TIMES_QUERY, max_gap=int(max_gap))
