"""Read the totals from a store: sources, rules, places, failures, tiers."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Final

import msgspec

from nomyo_attest.appraisal.rules import RULES, find_rule
from nomyo_attest.audit.chunk import LINES_LISTED
from nomyo_attest.audit.row import PASSING, UNREADABLE, VERDICTS, bounded
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import (
    CONSEQUENCE,
    FAIL,
    OUTCOMES,
    PLACES_LISTED,
    SOURCES_LISTED,
    TIERS_LISTED,
    Counts,
    Place,
    Released,
    RulePlace,
    RuleSummary,
    SourceSummary,
)

_NAMES_CACHED: Final = 4096

_ORDER: Final = {rule.id: index for index, rule in enumerate(RULES)}
_ZEROS: Final = ", ".join(f"coalesce({column}, 0)" for column in VERDICTS)
_SOURCES: Final = f"""
SELECT name, kind, size, sha256, blank, problem, coalesce(outside_by_client + outside_by_server, 0),
    coalesce(outside_by_server, 0), {_ZEROS}
FROM sources LEFT JOIN counts ON counts.source = sources.number
ORDER BY problem <> '' OR coalesce(contraindicated + none + unreadable, 0) > 0 DESC, number
LIMIT {SOURCES_LISTED}
"""  # noqa: S608 - constants
# The most important ones first: rules required before those that warn or are ignored, failed before undecided.
_PLACES: Final = f"""
SELECT tallies.source, coalesce(name, ''), rule, requirement, outcome, records, lines, message
FROM tallies LEFT JOIN sources ON sources.number = tallies.source
WHERE outcome <> '{CONSEQUENCE}'
ORDER BY CASE requirement WHEN 'required' THEN 0 WHEN 'warn' THEN 1 ELSE 2 END, outcome <> '{FAIL}',
    tallies.source, rule
LIMIT {PLACES_LISTED}
"""  # noqa: S608 - constants
# Other columns than those grouped by or aggregated are those of the row with the minimum, the first source (SQLite,
# "Bare columns in an aggregate query").
_RULES: Final = """
SELECT rule, requirement, outcome, SUM(records), MIN(tallies.source), lines, message, coalesce(name, '')
FROM tallies LEFT JOIN sources ON sources.number = tallies.source
GROUP BY rule, outcome
"""


def counts_of(store: Store) -> tuple[Counts, int, int]:
    """Return the records by verdict, and how many were outside the window by the client's and by the server's clock."""
    sums = ", ".join(f"coalesce(SUM({column}), 0)" for column in (*VERDICTS, "outside_by_client", "outside_by_server"))
    ((*counts, by_client, by_server),) = store.query(f"SELECT {sums} FROM counts")  # noqa: S608 - constants
    return _counts(counts), by_client, by_server


def released_of(store: Store) -> Released:
    """Return the counts of released records, from the lines of ledgers."""
    found = Released()
    for released, gate, index, records in store.query("SELECT released, gate, verdict, records FROM released"):
        found.known += records
        if not released:
            continue
        found.released += records
        verdict = VERDICTS[index]
        if verdict in PASSING:
            continue
        found.not_affirmed += records
        found.gate_off += records * (gate == "off")
        found.gate_on += records * (gate == "on")
        setattr(found.counts, verdict, getattr(found.counts, verdict) + records)
    return found


def has_evidence(store: Store) -> bool:
    """Whether any record has evidence, which may be malformed."""
    unreadable = VERDICTS.index(UNREADABLE)
    ((found,),) = store.query(
        "SELECT EXISTS(SELECT 1 FROM facts WHERE available IS NOT 0 AND verdict <> ?)", (unreadable,)
    )
    return bool(found)


def sources_of(store: Store) -> list[SourceSummary]:
    """Return the sources listed: those with a problem or a failure first, then in the order read."""
    return [
        SourceSummary(
            name=name,
            kind=kind,
            size=size,
            sha256=sha256,
            counts=_counts(counts),
            outside=outside,
            outside_by_server=by_server,
            blank=blank,
            problem=problem,
        )
        for name, kind, size, sha256, blank, problem, outside, by_server, *counts in store.query(_SOURCES)
    ]


def inputs_digest_of(store: Store) -> str:
    """Return the SHA-256, in hex, over a line of JSON for each source, in the order read.

    The line has the source's SHA-256 (null if it could not be read to the end) and its name.
    """
    digest = hashlib.sha256()
    for row in store.query("SELECT sha256, name FROM sources ORDER BY number"):
        digest.update(msgspec.json.encode(row) + b"\n")
    return digest.hexdigest()


def rules_of(store: Store) -> list[RuleSummary]:
    """Return the rules that did not pass for some record, in the order of the table of rules, one entry per outcome."""
    found = []
    for rule, requirement, outcome, records, source, lines, message, name in store.query(_RULES):
        line = _lines(lines)[0]
        found.append(
            RuleSummary(
                rule=rule,
                requirement=requirement,
                outcome=outcome,
                records=records,
                first=Place(name, line, _time_of(store, source, line)),
                message=message,
            )
        )
    return sorted(found, key=lambda rule: (_rule_order(rule.rule), _outcome_order(rule.outcome)))


def places_of(store: Store) -> list[RulePlace]:
    """Return the listed places in the order read; if there are too many, the least important are omitted."""
    rows = sorted(store.query(_PLACES), key=lambda row: (row[0], _rule_order(row[2]), _outcome_order(row[4])))
    return [
        RulePlace(
            source=name,
            rule=rule,
            requirement=requirement,
            outcome=outcome,
            records=records,
            lines=_lines(lines),
            message=message,
        )
        for _, name, rule, requirement, outcome, records, lines, message in rows
    ]


def places_total_of(store: Store) -> int:
    """Return how many places there are, listed or not."""
    ((total,),) = store.query("SELECT COUNT(*) FROM tallies WHERE outcome <> ?", (CONSEQUENCE,))
    return int(total)


def failures_of(store: Store) -> list[dict[str, Any]]:
    """Return the rows of the failures listed, without the evidence, and with long values cut."""
    found = []
    for (row,) in store.query("SELECT row FROM failures ORDER BY number"):
        failure: dict[str, Any] = msgspec.json.decode(row)
        failure["evidence"] = None
        for finding in failure.get("findings", ()):
            for side in ("expected", "got"):
                finding[side] = bounded(finding[side])
        found.append(failure)
    return found


def tiers_of(store: Store) -> tuple[list[tuple[str | None, int]], int]:
    """Return the tiers that most records claim, and how many tiers there are; None stands for no tier."""
    ((total,),) = store.query("SELECT COUNT(*) FROM tiers")
    rows = store.query(
        "SELECT named, tier, records FROM tiers ORDER BY records DESC, named, tier LIMIT ?", (TIERS_LISTED,)
    )
    return [(tier if named else None, records) for named, tier, records in rows], total


def _time_of(store: Store, source: int, line: int) -> int | None:
    """Return `processed_at` of the record at a line, found by bisection, since facts are in the order read."""
    ((low, high),) = store.query("SELECT 1, coalesce(MAX(rowid), 0) FROM facts")
    while low <= high:
        middle = (low + high) // 2
        rows = "SELECT source, line, processed_at, rowid FROM facts WHERE rowid >= ? ORDER BY rowid LIMIT 1"
        ((*found, at, row),) = store.query(rows, (middle,))
        if found == [source, line]:
            return None if at is None else int(at)
        if found < [source, line]:
            low = row + 1
        else:
            high = middle - 1
    return None


def _counts(counts: list[int]) -> Counts:
    return Counts(**dict(zip(VERDICTS, counts, strict=True)))


def _lines(joined: str) -> list[int]:
    return [int(line) for line in joined.split(",", LINES_LISTED)[:LINES_LISTED]]


def _rule_order(rule: str) -> tuple[int, str]:
    try:
        return _ORDER[find_rule(rule).id], rule
    except KeyError:  # of a rule of another version
        return len(_ORDER), rule


def _outcome_order(outcome: str) -> int:
    return OUTCOMES.index(outcome) if outcome in OUTCOMES else len(OUTCOMES)


class SourceOrder:
    """Ranks of the sources by name, as UTF-8 bytes: sorting ranks needs less space than sorting names.

    Attributes:
        rank: SQL for the rank of a fact's source.
        join: SQL that `rank` needs after `FROM facts`; empty if the sources were read in that order.
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
            store.run("DROP TABLE IF EXISTS temp.ranks")
            store.run("CREATE TEMP TABLE ranks (number INTEGER PRIMARY KEY, rank INTEGER NOT NULL)")
            store.run(
                "INSERT INTO temp.ranks SELECT number, placed FROM "
                "(SELECT number, DENSE_RANK() OVER (ORDER BY name) AS placed FROM sources) ORDER BY number"
            )
            store.run("CREATE INDEX temp.ranks_by_rank ON ranks (rank)")
            self.rank, self.join = "ranks.rank", "LEFT JOIN temp.ranks ON ranks.number = facts.source"
            self._name = "SELECT name FROM temp.ranks CROSS JOIN sources USING (number) WHERE rank = ? LIMIT 1"
        self.name = lru_cache(_NAMES_CACHED)(self._find)

    def _find(self, rank: int) -> str:
        names = [name for (name,) in self._store.query(self._name, (rank,))]
        return names[0] if names else ""  # of a source whose end was not added, in an audit that is not complete
