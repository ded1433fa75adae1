"""The rules' queries, in the SQL that SQLite (3.34 or newer), Spark and DuckDB all read, over a table `verdicts`.

Its columns are those of `Row`. A query answers with the columns `ANSWER`: up to six records of each finding, in order.
"""

from __future__ import annotations

from typing import Final

PLACES_TOLD: Final = 5
"""Records of a finding that are told, from the first on; the last one is told beside them."""

ANSWER: Final = ("cross_record_key", "records", "place", "source", "line", "processed_at", "detail", "high", "low")
"""What a query answers with.

`cross_record_key` is the value that the records share, `records` their number, `place` this record's number, from 1.
`detail`, `high` and `low` are a rule's own: of a repeated value, whether something else of the records differs; of what
goes back, its column, the largest value of the seconds before, and the value it went back to.
"""

# Records without a time come first, then by time, then by where they stand: an order that is the same everywhere,
# which is why NULLS FIRST is said although two of the three engines would do so anyway.
_ORDER: Final = "processed_at NULLS FIRST, source, line"

# Told are the first few and the last; findings are put in order by their first record.
_TELL: Final = f"""
told AS (
  SELECT cross_record_key, records, place, source, line, processed_at, detail, high, low,
    FIRST_VALUE(processed_at) OVER (PARTITION BY cross_record_key ORDER BY place) AS first_at,
    FIRST_VALUE(source) OVER (PARTITION BY cross_record_key ORDER BY place) AS first_source,
    FIRST_VALUE(line) OVER (PARTITION BY cross_record_key ORDER BY place) AS first_line
  FROM placed
  WHERE place <= {PLACES_TOLD} OR place = records
)
SELECT {", ".join(ANSWER)}
FROM told
ORDER BY first_at NULLS FIRST, first_source, first_line, cross_record_key, place
"""  # noqa: S608 - constants of this module

# Nothing orders answers of one same second, so a value is compared with the largest of the seconds before.
_SECONDS_BEFORE: Final = "ORDER BY processed_at RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"

_VOUCHED_FOR: Final = """signature_valid AND aik_name IS NOT NULL AND processed_at IS NOT NULL
    AND clock IS NOT NULL AND reset_count IS NOT NULL AND restart_count IS NOT NULL"""


def repeated(column: str, other: str, where: str = "") -> str:
    """Values of `column` that more than one record has; `detail` is ``different`` if their `other` is not the same."""
    only = f" AND {where}" if where else ""
    return f"""
WITH counted AS (
  SELECT {column} AS cross_record_key, source, line, processed_at,
    COUNT(*) OVER (PARTITION BY {column}) AS records,
    ROW_NUMBER() OVER (PARTITION BY {column} ORDER BY {_ORDER}) AS place,
    MIN({other}) OVER (PARTITION BY {column}) AS least,
    MAX({other}) OVER (PARTITION BY {column}) AS most
  FROM verdicts
  WHERE {column} IS NOT NULL{only}
),
placed AS (
  SELECT cross_record_key, records, place, source, line, processed_at,
    CASE WHEN least < most THEN 'different' ELSE 'same' END AS detail, NULL AS high, NULL AS low
  FROM counted
  WHERE records > 1
),{_TELL}"""  # noqa: S608 - columns named by the table of rules


_PLACED_BY_AIK: Final = f"""
placed AS (
  SELECT cross_record_key, source, line, processed_at, detail, high, low,
    COUNT(*) OVER (PARTITION BY cross_record_key) AS records,
    ROW_NUMBER() OVER (PARTITION BY cross_record_key ORDER BY {_ORDER}) AS place
  FROM back
),{_TELL}"""  # noqa: S608 - constants of this module

CLOCK: Final = f"""
WITH compared AS (
  SELECT aik_name AS cross_record_key, source, line, processed_at, clock AS low,
    MAX(clock) OVER (PARTITION BY aik_name, reset_count {_SECONDS_BEFORE}) AS high
  FROM verdicts
  WHERE {_VOUCHED_FOR}
),
back AS (
  SELECT cross_record_key, source, line, processed_at, 'clock' AS detail, high, low
  FROM compared
  WHERE low < high
),{_PLACED_BY_AIK}"""  # noqa: S608 - constants of this module
"""AIKs whose clock goes back while their reset_count is the same."""

COUNTERS: Final = f"""
WITH compared AS (
  SELECT aik_name AS cross_record_key, source, line, processed_at, reset_count, restart_count,
    MAX(reset_count) OVER (PARTITION BY aik_name {_SECONDS_BEFORE}) AS resets_before,
    MAX(restart_count) OVER (PARTITION BY aik_name, reset_count {_SECONDS_BEFORE}) AS restarts_before
  FROM verdicts
  WHERE {_VOUCHED_FOR}
),
back AS (
  SELECT cross_record_key, source, line, processed_at,
    CASE WHEN reset_count < resets_before THEN 'reset_count' ELSE 'restart_count' END AS detail,
    CASE WHEN reset_count < resets_before THEN resets_before ELSE restarts_before END AS high,
    CASE WHEN reset_count < resets_before THEN reset_count ELSE restart_count END AS low
  FROM compared
  WHERE reset_count < resets_before OR restart_count < restarts_before
),{_PLACED_BY_AIK}"""  # noqa: S608 - constants of this module
"""AIKs whose reset_count goes back, or their restart_count while reset_count is the same; a record counts once."""

VOUCHED_FOR: Final = """signature_valid AND aik_name IS NOT NULL AND clock IS NOT NULL AND reset_count IS NOT NULL
    AND restart_count IS NOT NULL"""
"""Records whose clock can be compared, once they have a time."""


def coverage(usable: str) -> str:
    """How many records were appraised, and how many of them satisfy `usable`; one row."""
    return f"""
SELECT COUNT(*) AS records, COUNT(CASE WHEN {usable} THEN 1 END) AS usable
FROM verdicts
WHERE verdict <> 'unreadable'
"""  # noqa: S608 - conditions named by the table of rules


def in_order(group: str) -> str:
    """How many records of a group of more than one have no time, and how many have one that a record of an earlier
    second can be compared with; one row.
    """
    return f"""
WITH seconds AS (
  SELECT {group}, processed_at, COUNT(*) AS records
  FROM verdicts
  WHERE {VOUCHED_FOR}
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


def present(column: str) -> str:
    """How many records have `column`, each of which is compared with all others; one row."""
    return f"""
SELECT 0 AS undated, CASE WHEN COUNT({column}) > 1 THEN COUNT({column}) ELSE 0 END AS compared FROM verdicts
"""  # noqa: S608 - columns named by the table of rules


DATED: Final = """
SELECT COUNT(*) - COUNT(COALESCE(recorded_at, processed_at)) AS undated,
  CASE WHEN COUNT(COALESCE(recorded_at, processed_at)) > 1 THEN COUNT(COALESCE(recorded_at, processed_at)) ELSE 0 END
    AS compared
FROM verdicts
WHERE verdict <> 'unreadable'
"""
"""How many records have no time, and how many have one that another record's can be compared with; one row."""

# A ledger's line has the client's own time; the server's time of any other record is a claim.
_TIMES: Final = "SELECT source, line, COALESCE(recorded_at, processed_at) AS processed_at FROM verdicts"

_GAP: Final = """
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


def gap(max_gap: int) -> str:
    """Times of more than `max_gap` seconds without a record: the last record before, the first one after."""
    return _GAP.format(times=_TIMES, max_gap=int(max_gap))
