"""Run the cross-record rules over a store, in SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nomyo_attest.audit.cross_record.findings import Coverage, QueryRow, findings_of
from nomyo_attest.audit.cross_record.model import AffectedRecord, CrossRecordFinding
from nomyo_attest.audit.cross_record.queries import QUERY_COLUMNS
from nomyo_attest.audit.cross_record.rules import CrossRecordRule, evaluated_rules
from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.totals import SourceOrder

KEY_COLUMNS: Final = {
    "duplicate.quote": "quote",
    "duplicate.payload_id": "payload_id",
    "reused.aik": "aik_name",
    "rollback.clock": "aik_name",
    "rollback.counters": "aik_name",
}
"""The column whose value the records of a finding share. If no records share a value, the rule has no finding."""

_LOOKUP_FACTOR: Final = 8
"""If fewer than one in eight records share their key with another record, the query reads only those records. If more
do, looking up their keys in a table that does not fit into the cache takes longer than sorting all records.
"""

_VERDICT_CASES: Final = " ".join(f"WHEN {place} THEN '{verdict}'" for place, verdict in enumerate(VERDICTS))
_FACT_COLUMNS: Final = (
    f"CASE verdict {_VERDICT_CASES} END AS verdict, "
    "payload_id, processed_at, recorded_at, signature_valid, aik_name, aik_pinned, quote, clock, reset_count, "
    "restart_count"
)
_SOURCE: Final = QUERY_COLUMNS.index("source")


class StoredRecords:
    """Run the cross-record rules over all facts of a store.

    SQLite sorts them within its cache and in temporary files.

    Args:
        store: the store, after its last checkpoint.
        order: the order and the names of its sources.
    """

    def __init__(self, store: Store, order: SourceOrder) -> None:
        self._store = store
        self._order = order
        ((facts,),) = store.query("SELECT COUNT(*) FROM facts")
        self._facts: int = facts
        self._shared: dict[str, int] = {}

    def findings(self, max_gap: int | None = None) -> Iterator[CrossRecordFinding]:
        """Yield all findings, rule by rule. `gap.records` is evaluated only with a limit. Raises `StoreError`."""
        for rule in evaluated_rules(max_gap):
            yield from findings_of(rule, self.query_rows(rule, max_gap))

    def count_shared(self, column: str) -> int:
        """Count the facts that share their value of `column`, a blob or text, with another fact.

        Creates the table `temp.shared_<column>` with each such `value` and its number of `facts`.
        """
        if column not in self._shared:
            table = f"temp.shared_{column}"
            self._store.execute(f"DROP TABLE IF EXISTS {table}")
            self._store.execute(
                f"CREATE TEMP TABLE shared_{column} (value PRIMARY KEY, facts INTEGER, pinned INTEGER) WITHOUT ROWID"
            )
            self._store.execute(
                f"INSERT INTO {table} SELECT {column}, COUNT(*), coalesce(MAX(aik_pinned), 0) FROM facts "  # noqa: S608 - columns named by `KEY_COLUMNS`
                f"WHERE {column} IS NOT NULL GROUP BY {column} HAVING COUNT(*) > 1"
            )
            ((facts,),) = self._store.query(f"SELECT coalesce(SUM(facts), 0) FROM {table}")  # noqa: S608 - as above
            self._shared[column] = facts
        return self._shared[column]

    def count_aiks(self) -> tuple[int, int]:
        """Return the number of distinct AIK Names, and the number of those that the policy pins."""
        self.count_shared("aik_name")
        ((total, pinned),) = self._store.query(
            "SELECT COUNT(aik_name), COUNT(CASE WHEN aik_pinned = 1 THEN aik_name END) FROM facts"
        )
        ((repeated, pinned_repeated),) = self._store.query(
            "SELECT coalesce(SUM(facts - 1), 0), coalesce(SUM((facts - 1) * pinned), 0) FROM temp.shared_aik_name"
        )
        return total - repeated, pinned - pinned_repeated

    def lookup_is_faster(self, column: str) -> bool:
        """Whether so few records share a value of `column` that looking them up is faster than sorting all records."""
        return self.count_shared(column) * _LOOKUP_FACTOR < self._facts

    def coverage(self, rule: CrossRecordRule) -> Coverage:
        """Count the records that the rule compared. Raises `StoreError`."""
        self._create_view("")
        ((records, usable),) = self._store.query(rule.coverage)
        key = KEY_COLUMNS.get(rule.id)
        if key == "aik_name" and rule.id != "reused.aik":
            if not self.count_shared(key):
                return Coverage(records, usable, 0, 0)  # each AIK signed one record
            self._create_view(self._where_shared(key))
        ((undated, compared),) = self._store.query(rule.comparison)
        return Coverage(records, usable, undated, compared)

    def _where_shared(self, key: str) -> str:
        """Return a WHERE clause that excludes records with a unique key, or an empty string if that is not faster."""
        return f"WHERE {key} IN (SELECT value FROM temp.shared_{key})" if self.lookup_is_faster(key) else ""  # noqa: S608 - as above

    def select_shared(self, rule: CrossRecordRule) -> None:
        """Create the view `temp.verdicts` with at least the records that the rule may have a finding about."""
        key = KEY_COLUMNS.get(rule.id)
        self._create_view(self._where_shared(key) if key else "")

    def affected_records(self, rule: CrossRecordRule) -> Iterator[AffectedRecord]:
        """Yield all records of all findings of a rule, finding by finding, each by time. Raises `StoreError`."""
        if not rule.records_query:
            return
        self.select_shared(rule)
        rows = self._store.query(
            f"SELECT * FROM ({rule.records_query}) ORDER BY cross_record_key, processed_at NULLS FIRST, source, line"  # noqa: S608 - constants
        )
        for key, rank, line, at, verdict in rows:
            yield AffectedRecord(
                rule=rule.id,
                key=key.hex() if isinstance(key, bytes) else key,
                source=self._order.name(rank),
                line=line,
                processed_at=at,
                verdict=verdict,
            )

    def _create_view(self, where: str) -> None:
        self._store.execute("DROP VIEW IF EXISTS temp.verdicts")
        self._store.execute(
            f"CREATE TEMP VIEW verdicts AS SELECT {self._order.rank} AS source, line, {_FACT_COLUMNS} "  # noqa: S608 - constants
            f"FROM facts {self._order.join} {where}"
        )

    def query_rows(self, rule: CrossRecordRule, max_gap: int | None = None) -> Iterator[QueryRow]:
        """Yield the result rows of a rule's query. Raises `StoreError`."""
        key = KEY_COLUMNS.get(rule.id)
        if key and not self.count_shared(key):
            return
        self.select_shared(rule)
        for row in self._store.query(rule.query(max_gap)):
            yield (*row[:_SOURCE], self._order.name(row[_SOURCE]), *row[_SOURCE + 1 :])
