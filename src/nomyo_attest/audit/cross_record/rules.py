"""The cross-record rules, in order, with the SQL query of each.

A rule detects something that an honest TPM never does. A finding therefore needs an explanation, and each rule lists
the possible ones. Findings do not change the verdicts of records.

The queries read a table `verdicts` with the columns of `Row`. They use only SQL that SQLite (3.34 or newer), Spark and
DuckDB have in common.
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

_IS_SIGNED: Final = """signature_valid AND aik_name IS NOT NULL AND clock IS NOT NULL AND reset_count IS NOT NULL
    AND restart_count IS NOT NULL"""
"""The condition for a record whose clock and counters the TPM signed. Comparing it also requires a time."""

_IS_SIGNED_AND_DATED: Final = f"{_IS_SIGNED} AND processed_at IS NOT NULL"


def _duplicates_query(column: str, other: str, where: str = "") -> str:
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


_PLACED_BY_AIK_SQL: Final = f"""
placed AS (
  SELECT cross_record_key, source, line, processed_at, detail, high, low,
    COUNT(*) OVER (PARTITION BY cross_record_key) AS records,
    ROW_NUMBER() OVER (PARTITION BY cross_record_key ORDER BY {_PLACE_ORDER}) AS place
  FROM back
),{_LISTED_SQL}"""  # noqa: S608 - constants of this module

_CLOCK_QUERY: Final = f"""
WITH compared AS (
  SELECT aik_name AS cross_record_key, source, line, processed_at, clock AS low,
    MAX(clock) OVER (PARTITION BY aik_name, reset_count {_SECONDS_BEFORE}) AS high
  FROM verdicts
  WHERE {_IS_SIGNED_AND_DATED}
),
back AS (
  SELECT cross_record_key, source, line, processed_at, 'clock' AS detail, high, low
  FROM compared
  WHERE low < high
),{_PLACED_BY_AIK_SQL}"""  # noqa: S608 - constants of this module
"""The query for AIKs whose clock goes back while their reset_count stays the same."""

_COUNTERS_QUERY: Final = f"""
WITH compared AS (
  SELECT aik_name AS cross_record_key, source, line, processed_at, reset_count, restart_count,
    MAX(reset_count) OVER (PARTITION BY aik_name {_SECONDS_BEFORE}) AS resets_before,
    MAX(restart_count) OVER (PARTITION BY aik_name, reset_count {_SECONDS_BEFORE}) AS restarts_before
  FROM verdicts
  WHERE {_IS_SIGNED_AND_DATED}
),
back AS (
  SELECT cross_record_key, source, line, processed_at,
    CASE WHEN reset_count < resets_before THEN 'reset_count' ELSE 'restart_count' END AS detail,
    CASE WHEN reset_count < resets_before THEN resets_before ELSE restarts_before END AS high,
    CASE WHEN reset_count < resets_before THEN reset_count ELSE restart_count END AS low
  FROM compared
  WHERE reset_count < resets_before OR restart_count < restarts_before
),{_PLACED_BY_AIK_SQL}"""  # noqa: S608 - constants of this module
"""The query for AIKs whose reset_count, or restart_count under one reset_count, goes back; a record counts once."""


def _coverage_query(usable: str) -> str:
    """Return the query that counts the appraised records, and those of them that satisfy `usable`, in one row."""
    return f"""
SELECT COUNT(*) AS records, COUNT(CASE WHEN {usable} THEN 1 END) AS usable
FROM verdicts
WHERE verdict <> 'unreadable'
"""  # noqa: S608 - conditions named by the table of rules


def _ordered_comparison_query(group: str) -> str:
    """Return the query that counts, in groups of several records, undated records and those with an earlier record."""
    return f"""
WITH seconds AS (
  SELECT {group}, processed_at, COUNT(*) AS records
  FROM verdicts
  WHERE {_IS_SIGNED}
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


def _presence_query(column: str) -> str:
    """Return the query that counts the records with a value of `column`, each of which is compared with all others."""
    return f"""
SELECT 0 AS undated, CASE WHEN COUNT({column}) > 1 THEN COUNT({column}) ELSE 0 END AS compared FROM verdicts
"""  # noqa: S608 - columns named by the table of rules


_DATED_QUERY: Final = """
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


def _gap_query(max_gap: int) -> str:
    """Return the query for gaps of more than `max_gap` seconds, with the last record before and the first one after."""
    return _GAP_QUERY_TEMPLATE.format(times=_TIMES_QUERY, max_gap=int(max_gap))


class CrossRecordRule:
    """One cross-record rule.

    `id`, `field`, `question`, `explanation` and `remediation` have the same meaning as in an appraisal `Rule`.

    Attributes:
        id: the stable name of the rule.
        field: the structure field that the rule examines, or the key of a response.
        question: what the rule checks, as a question.
        explanation: why the rule exists, and what else may cause a finding.
        remediation: what to do about a finding.
        needs: the values that a record must have to be compared, as a noun phrase.
        coverage, comparison: the queries that count the compared records; see `Coverage`.
        needs_limit: whether the rule is evaluated only with a limit.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the public name
        text: str,
        field: str,
        query: str = "",
        *,
        needs: str,
        usable: str,
        comparison: str,
        needs_limit: bool = False,
    ) -> None:
        parts = [" ".join(part.split()) for part in text.strip().split("\n\n")]
        self.id = id
        self.field = field
        self.question = parts[0]
        self.explanation = "\n\n".join(parts[1:-1])
        self.remediation = parts[-1].removeprefix("Remediation: ")
        self.needs = needs
        self.coverage = _coverage_query(usable)
        self.comparison = comparison
        self.needs_limit = needs_limit
        self._query = query

    def query(self, max_gap: int | None = None) -> str:
        """Return the SQL over the table `verdicts`, with the result columns `QUERY_COLUMNS`.

        Args:
            max_gap: the limit of `gap.records`, in seconds.

        Raises:
            ValueError: for `gap.records` without a limit.
        """
        if not self.needs_limit:
            return self._query
        if max_gap is None:
            raise ValueError(f"{self.id} is evaluated only with a limit")
        return _gap_query(max_gap)


CROSS_RECORD_RULES: Final = (
    CrossRecordRule(
        "duplicate.quote",
        """Is every quote unique?

        Two records with the same TPMS_ATTEST contain the same quote: a response was replayed, or recorded twice. The
        signed structure is compared, not the signature, since anyone can compute a second valid form of an ECDSA
        signature.

        Remediation: compare the records listed. If they are the same response, stored in two files or sent twice, audit
        it once. If their payload ids differ, one response contains the quote of another response: do not rely on them.
        """,
        "TPMS_ATTEST",
        _duplicates_query("quote", "payload_id"),
        needs="a quote",
        usable="quote IS NOT NULL",
        comparison=_presence_query("quote"),
    ),
    CrossRecordRule(
        "duplicate.payload_id",
        """Is every payload id unique?

        A client generates a random payload id for each request, and the quote's nonce is derived from it. An attacker
        who knows that an id will be used again can prepare a quote for it. Two records with the same payload id are a
        response that was recorded twice, a request that was sent again with the same id, or a replay.

        Remediation: compare the records listed. If they are the same response, audit it once. If one of your clients
        reuses payload ids, fix that client.
        """,
        "payload_id",
        _duplicates_query("payload_id", "quote"),
        needs="a payload id",
        usable="payload_id IS NOT NULL",
        comparison=_presence_query("payload_id"),
    ),
    CrossRecordRule(
        "reused.aik",
        """Is every AIK that the policy does not pin used only once?

        The service creates an AIK for each response and discards it. If a Name that the policy does not pin appears
        again, the key was stored, possibly outside any TPM, or a response was recorded twice. A Name that the policy
        pins may appear any number of times.

        Remediation: if the service now keeps its AIKs, pin their Names in the policy's `key.pinned`. If the records are
        the same response, audit it once. Otherwise ask the operator of the service, and do not rely on these responses
        until you have an explanation.
        """,
        "TPMT_PUBLIC",
        _duplicates_query("aik_name", "quote", "aik_pinned = FALSE"),
        needs="an AIK",
        usable="aik_name IS NOT NULL",
        comparison=_presence_query("aik_name"),
    ),
    CrossRecordRule(
        "rollback.clock",
        """Does the clock of each AIK only increase while its resetCount stays the same?

        The records of an AIK are ordered by `processed_at`, and each clock is compared with the largest clock of all
        earlier seconds. Records of the same second are not compared. Only quotes whose signature verifies count.

        A TPM's clock continues through TPM Restart and TPM Resume. A power failure without TPM2_Shutdown may set it
        back to the value saved last, by up to 70 minutes by default, but the next start is then a TPM Reset, which
        increments resetCount. Therefore clocks are compared only under the same resetCount, where a power failure
        cannot explain a clock that goes back. The time counted between TPM2_Shutdown and the power-off before a TPM
        Resume, usually moments, may be lost. TPM2_Clear resets the clock to zero.

        `processed_at` is a claim by the server, taken from the server's own clock, in whole seconds. If that clock was
        set back, or if a response overtook one whose quote was created earlier, the records are not in the order of
        their quotes, and the TPM's clock appears to go back by the difference. A record without a usable `processed_at`
        cannot be ordered. If its AIK also signed other records, the rule is not evaluated.

        Remediation: check by how much the clock went back. If by moments, responses overtook each other, or the
        server's clock was set back. If by more, two TPMs share a key, a virtual TPM was restored to an earlier state,
        or old quotes were given a new date. Do not rely on the responses until you have an explanation.
        """,
        "TPMS_CLOCK_INFO.clock",
        _CLOCK_QUERY,
        needs="a quote with a clock and a signature that verifies",
        usable=_IS_SIGNED,
        comparison=_ordered_comparison_query("aik_name, reset_count"),
    ),
    CrossRecordRule(
        "rollback.counters",
        """Do the reset and restart counters of each AIK only increase?

        The records of an AIK are ordered by `processed_at`. resetCount must not be less than the largest resetCount of
        all earlier seconds. The same applies to restartCount among records with the same resetCount, since a TPM Reset
        sets it to zero. Only quotes whose signature verifies count. Records without a usable `processed_at` are treated
        as in `rollback.clock`.

        For a key outside the endorsement and platform hierarchies, a TPM obfuscates both counters by adding a value
        that is constant for the key, so they can be compared only for the same AIK. The sum is 32 bits wide and wraps
        to zero once in 2^32 counts. TPM2_Clear sets both counters to zero.

        Remediation: as for `rollback.clock`. Two TPMs share a key, a virtual TPM was restored to an earlier state, old
        quotes were given a new date, the TPM was cleared, or the server's clock was set back across a restart.
        """,
        "TPMS_CLOCK_INFO.resetCount, restartCount",
        _COUNTERS_QUERY,
        needs="a quote with counters and a signature that verifies",
        usable=_IS_SIGNED,
        comparison=_ordered_comparison_query("aik_name"),
    ),
    CrossRecordRule(
        "gap.records",
        """Is every gap between consecutive records within the limit?

        This rule is evaluated only with a limit (`--max-gap`), the maximum time between two consecutive records. The
        time of a ledger's line is `recorded_at`; the time of any other record is the server's claim `processed_at`.
        Records count regardless of their verdict. The time before the first record and after the last one is not
        examined. If fewer than two records have a usable time and others have none, the rule is not evaluated.

        Remediation: find out whether the service sent no responses in that time, or whether they were not recorded.
        """,
        "processed_at",
        needs="a processed_at",
        usable="TRUE",
        comparison=_DATED_QUERY,
        needs_limit=True,
    ),
)


def find_cross_record_rule(rule_id: str) -> CrossRecordRule:
    """Return the cross-record rule with this id. Raises `KeyError` for an unknown id."""
    for rule in CROSS_RECORD_RULES:
        if rule.id == rule_id:
            return rule
    raise KeyError(rule_id)


def evaluated_rules(max_gap: int | None) -> tuple[CrossRecordRule, ...]:
    """Return the rules that are evaluated, in order; `gap.records` only with a limit."""
    return tuple(rule for rule in CROSS_RECORD_RULES if max_gap is not None or not rule.needs_limit)
