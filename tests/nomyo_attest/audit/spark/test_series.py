"""What shows across records shows on a cluster as it does in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from nomyo_attest.audit.arrow import rows_to_batch
from nomyo_attest.audit.row import COLUMNS, Row
from nomyo_attest.audit.series.findings import findings
from nomyo_attest.audit.series.rules import SERIES_RULES, rules_asked
from nomyo_attest.audit.summary import SeriesFinding
from tests.nomyo_attest.audit.mixed_bag import POLICY, mixed_bag

pytestmark = pytest.mark.spark

MAX_GAP = 3600


def in_sqlite(rows: list[Row]) -> Iterator[SeriesFinding]:
    """The findings of the same queries in SQLite."""
    database = sqlite3.connect(":memory:")
    database.execute(f"CREATE TABLE verdicts ({', '.join(COLUMNS)})")
    for record in rows_to_batch(rows).to_pylist():
        plain = {name: None if isinstance(value, list) else value for name, value in record.items()}
        database.execute(f"INSERT INTO verdicts VALUES ({', '.join('?' * len(COLUMNS))})", list(plain.values()))
    for rule in rules_asked(MAX_GAP):
        yield from findings(rule, database.execute(rule.query(MAX_GAP)))
    database.close()


def told(found: Iterator[dict[str, Any]]) -> list[bytes]:
    return sorted(msgspec.json.encode(one, order="sorted") for one in found)


def test_every_series_rule_finds_the_same_as_in_sqlite(table_of: Callable[..., Any]) -> None:
    from nomyo_attest.audit import spark as audit

    verdicts = audit.appraise(table_of(mixed_bag()), POLICY).persist()
    found = audit.series(verdicts, max_gap=MAX_GAP)
    on_cluster = [one.asDict(recursive=True) for one in found.collect()]
    verdicts.unpersist()

    assert {one["rule"] for one in on_cluster} == {rule.id for rule in SERIES_RULES}, "a rule that finds nothing"
    on_one_machine = map(msgspec.to_builtins, in_sqlite([one.row() for one in mixed_bag()]))
    assert told(iter(on_cluster)) == told(on_one_machine)
