"""Read the totals from a store: sources, rules, places, failures, tiers."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Final

import msgspec

from nomyo_attest.appraisal.rules import RULES, find_rule
from nomyo_attest.audit.chunk import LINES_LISTED
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.row import PASSING, UNREADABLE, VERDICTS, truncate_value
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import (
    CONSEQUENCE,
    FAIL,
    OUTCOMES,
    PLACES_LISTED,
    SOURCES_LISTED,
    TIERS_LISTED,
    Counts,
    Released,
    RulePlace,
    RuleSummary,
    SourceSummary,
)

_NAMES_CACHED: Final = 4096

_RULE_POSITIONS: Final = {rule.id: index for index, rule in enumerate(RULES)}
_VERDICT_COUNTS: Final = ", ".join(f"coalesce({column}, 0)" for column in VERDICTS)
_SOURCES_QUERY: Final = f"""
SELECT name, kind, size, sha256, blank, problem, coalesce(outside_by_client + outside_by_server, 0),
    coalesce(outside_by_server, 0), {_VERDICT_COUNTS}
FROM sources LEFT JOIN counts ON counts.source = sources.number
ORDER BY problem <> '' OR coalesce(contraindicated + none + unreadable, 0) > 0 DESC, number
LIMIT {SOURCES_LISTED}
"""  # noqa: S608 - constants
# The most important places first: required rules before rules that warn or are ignored, failed before undecided.
_PLACES_QUERY: Final = f"""
SELECT tallies.source, coalesce(name, ''), rule, requirement, outcome, records, lines, message
FROM tallies LEFT JOIN sources ON sources.number = tallies.source
WHERE outcome <> '{CONSEQUENCE}'
ORDER BY CASE requirement WHEN 'required' THEN 0 WHEN 'warn' THEN 1 ELSE 2 END, outcome <> '{FAIL}',
    tallies.source, rule
LIMIT {PLACES_LISTED}
"""  # noqa: S608 - constants
# Columns that are neither grouped by nor aggregated have the values of the row with the minimum, the first source (see
# "Bare columns in an aggregate query" in SQLite's documentation of SELECT).
_RULES_QUERY: Final = """
SELECT rule, requirement, outcome, SUM(records), MIN(tallies.source), lines, message, coalesce(name, '')
FROM tallies LEFT JOIN sources ON sources.number = tallies.source
GROUP BY rule, outcome
"""


def counts_of(store: Store) -> tuple[Counts, int, int]:
    """Return the records by verdict, and the numbers of records outside the window by client's and server's clock."""
    sums = ", ".join(f"coalesce(SUM({column}), 0)" for column in (*VERDICTS, "outside_by_client", "outside_by_server"))
    ((*counts, by_client, by_server),) = store.query(f"SELECT {sums} FROM counts")  # noqa: S608 - constants
    return _to_counts(counts), by_client, by_server


def released_of(store: Store) -> Released:
    """Return the counts of released records, from the lines of ledgers."""
    totals = Released()
    for released, gate, index, records in store.query("SELECT released, gate, verdict, records FROM released"):
        totals.known += records
        if not released:
            continue
        totals.released += records
        verdict = VERDICTS[index]
        if verdict in PASSING:
            continue
        totals.not_affirmed += records
        totals.gate_off += records * (gate == "off")
        totals.gate_on += records * (gate == "on")
        setattr(totals.counts, verdict, getattr(totals.counts, verdict) + records)
    return totals


def has_evidence(store: Store) -> bool:
    """Whether any record has evidence, which may be malformed."""
    unreadable = VERDICTS.index(UNREADABLE)
    ((exists,),) = store.query(
        "SELECT EXISTS(SELECT 1 FROM facts WHERE available IS NOT 0 AND verdict <> ?)", (unreadable,)
    )
    return bool(exists)


def sources_of(store: Store) -> list[SourceSummary]:
    """Return the listed sources: those with a problem or a failure first, otherwise in the order read."""
    return [
        SourceSummary(
            name=name,
            kind=kind,
            size=size,
            sha256=sha256,
            counts=_to_counts(counts),
            outside=outside,
            outside_by_server=by_server,
            blank=blank,
            problem=problem,
        )
        for name, kind, size, sha256, blank, problem, outside, by_server, *counts in store.query(_SOURCES_QUERY)
    ]


def inputs_digest_of(store: Store) -> str:
    """Return the SHA-256, in hex, over a line of JSON for each source, in the order read.

    The line is an array of the source's SHA-256 (null if it could not be read completely) and its name.
    """
    digest = hashlib.sha256()
    for row in store.query("SELECT sha256, name FROM sources ORDER BY number"):
        digest.update(msgspec.json.encode(row) + b"\n")
    return digest.hexdigest()


def rules_of(store: Store) -> list[RuleSummary]:
    """Return an entry for each rule and each of its outcomes other than a pass, in the order of the table of rules."""
    summaries = []
    for rule, requirement, outcome, records, source, lines, message, name in store.query(_RULES_QUERY):
        line = _parse_lines(lines)[0]
        summaries.append(
            RuleSummary(
                rule=rule,
                requirement=requirement,
                outcome=outcome,
                records=records,
                first=Place(name, line, _time_of(store, source, line)),
                message=message,
            )
        )
    return sorted(summaries, key=lambda rule: (_rule_order(rule.rule), _outcome_order(rule.outcome)))


def places_of(store: Store) -> list[RulePlace]:
    """Return the listed places, in the order read. If there are too many, the least important are omitted."""
    rows = sorted(store.query(_PLACES_QUERY), key=lambda row: (row[0], _rule_order(row[2]), _outcome_order(row[4])))
    return [
        RulePlace(
            source=name,
            rule=rule,
            requirement=requirement,
            outcome=outcome,
            records=records,
            lines=_parse_lines(lines),
            message=message,
        )
        for _, name, rule, requirement, outcome, records, lines, message in rows
    ]


def places_total_of(store: Store) -> int:
    """Return the number of all places."""
    ((total,),) = store.query("SELECT COUNT(*) FROM tallies WHERE outcome <> ?", (CONSEQUENCE,))
    return int(total)


def failures_of(store: Store) -> list[dict[str, Any]]:
    """Return the rows of the listed failures, without the evidence and with long values truncated."""
    failures = []
    for (row,) in store.query("SELECT row FROM failures ORDER BY number"):
        failure: dict[str, Any] = msgspec.json.decode(row)
        failure["evidence"] = None
        for finding in failure.get("findings", ()):
            for side in ("expected", "got"):
                finding[side] = truncate_value(finding[side])
        failures.append(failure)
    return failures


def tiers_of(store: Store) -> tuple[list[tuple[str | None, int]], int]:
    """Return the most frequent tiers with their numbers of records, and the number of tiers; None means no tier."""
    ((total,),) = store.query("SELECT COUNT(*) FROM tiers")
    rows = store.query(
        "SELECT named, tier, records FROM tiers ORDER BY records DESC, named, tier LIMIT ?", (TIERS_LISTED,)
    )
    return [(tier if named else None, records) for named, tier, records in rows], total


def _time_of(store: Store, source: int, line: int) -> int | None:
    """Return `processed_at` of the record at a line, by binary search: facts are in the order read."""
    ((low, high),) = store.query("SELECT 1, coalesce(MAX(rowid), 0) FROM facts")
    while low <= high:
        middle = (low + high) // 2
        rows = "SELECT source, line, processed_at, rowid FROM facts WHERE rowid >= ? ORDER BY rowid LIMIT 1"
        ((*position, at, row),) = store.query(rows, (middle,))
        if position == [source, line]:
            return None if at is None else int(at)
        if position < [source, line]:
            low = row + 1
        else:
            high = middle - 1
    return None


def _to_counts(counts: list[int]) -> Counts:
    return Counts(**dict(zip(VERDICTS, counts, strict=True)))


def _parse_lines(joined: str) -> list[int]:
    return [int(line) for line in joined.split(",", LINES_LISTED)[:LINES_LISTED]]


def _rule_order(rule: str) -> tuple[int, str]:
    try:
        return _RULE_POSITIONS[find_rule(rule).id], rule
    except KeyError:  # a rule of a different version
        return len(_RULE_POSITIONS), rule


def _outcome_order(outcome: str) -> int:
    return OUTCOMES.index(outcome) if outcome in OUTCOMES else len(OUTCOMES)


class SourceOrder:
    """The ranks of the sources when they are sorted by name (as UTF-8 bytes). Sorting facts by rank needs less space.

    Attributes:
        rank: SQL for the rank of a fact's source.
        join: SQL that `rank` needs after `FROM facts`; empty if the sources were read in the order of their names.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        ((unordered,),) = store.query(
            "SELECT EXISTS (SELECT 1 FROM (SELECT name, LAG(name) OVER (ORDER BY number) AS before FROM sources) "
            "WHERE name <= before)"
        )
        if not unordered:
            self.rank, self.join = "facts.source", ""
            self._name = "SELECT name FROM sources WHERE number = ?"
        else:
            store.execute("DROP TABLE IF EXISTS temp.ranks")
            store.execute("CREATE TEMP TABLE ranks (number INTEGER PRIMARY KEY, rank INTEGER NOT NULL)")
            store.execute(
                "INSERT INTO temp.ranks SELECT number, placed FROM "
                "(SELECT number, DENSE_RANK() OVER (ORDER BY name) AS placed FROM sources) ORDER BY number"
            )
            store.execute("CREATE INDEX temp.ranks_by_rank ON ranks (rank)")
            self.rank, self.join = "ranks.rank", "LEFT JOIN temp.ranks ON ranks.number = facts.source"
            self._name = "SELECT name FROM temp.ranks CROSS JOIN sources USING (number) WHERE rank = ? LIMIT 1"
        self.name = lru_cache(_NAMES_CACHED)(self._find_name)

    def _find_name(self, rank: int) -> str:
        names = [name for (name,) in self._store.query(self._name, (rank,))]
        return names[0] if names else ""  # an incomplete audit has no name for a source that was not read to its end
