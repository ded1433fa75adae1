"""The series rules on a cluster: the queries that SQLite runs too, and the same findings of their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa

from nomyo_attest.audit.series.findings import AnswerRow, findings
from nomyo_attest.audit.series.rules import SeriesRule, find_series_rule, rules_asked
from nomyo_attest.audit.series.sql import ANSWER
from nomyo_attest.audit.spark_schema import spark_schema
from nomyo_attest.audit.summary import SeriesFinding

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_PLACE: Final = pa.struct(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("processed_at", pa.int64()),
    ]
)

SERIES_SCHEMA: Final = pa.schema(
    [
        pa.field("rule", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("records", pa.int64(), nullable=False),
        pa.field("first", _PLACE, nullable=False),
        pa.field("last", _PLACE, nullable=False),
        pa.field("places", pa.list_(pa.field("element", _PLACE, nullable=False)), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)
"""The fields of `SeriesFinding`, in order."""

_FINDINGS_AT_ONCE: Final = 1024


def series(verdicts: DataFrame, *, max_gap: int | None = None) -> DataFrame:
    """What shows across records only, as a DataFrame of `SeriesFinding`'s fields, in no order.

    Each rule reads `verdicts` once or twice, and would appraise everything again: write the verdicts to a table first
    and hand over that table.

    Args:
        verdicts: what `appraise` gave, or a table it was written to, with all its columns or more.
        max_gap: seconds; longer times without a record are findings of ``series.gap``. By default that is not asked.
    """
    asked = [_asked(verdicts, rule, max_gap) for rule in rules_asked(max_gap)]
    return reduce(lambda one, other: one.unionAll(other), asked)


def _asked(verdicts: DataFrame, rule: SeriesRule, max_gap: int | None) -> DataFrame:
    query = f"WITH verdicts AS (SELECT * FROM {{verdicts}}) SELECT * FROM ({rule.query(max_gap)})"  # noqa: S608 - text of the table of rules
    answer = verdicts.sparkSession.sql(query, verdicts=verdicts)
    # All of a finding's rows in one partition, one after another: there is nothing more to a group.
    grouped = answer.repartition("series_key").sortWithinPartitions("series_key", "place")
    return grouped.mapInArrow(_on_partition(rule.id), spark_schema(SERIES_SCHEMA))


def _on_partition(rule_id: str) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """What a task runs: pickled with the rule's name, not with the rule."""

    def find(batches: Iterator[Any]) -> Iterator[Any]:
        return _batches(findings(find_series_rule(rule_id), _rows(batches)))

    return find


def _rows(batches: Iterator[Any]) -> Iterator[AnswerRow]:
    for batch in batches:
        for row in batch.to_pylist():
            yield tuple(row[name] for name in ANSWER)


def _batches(found: Iterator[SeriesFinding]) -> Iterator[Any]:
    in_hand: list[dict[str, Any]] = []
    for finding in found:
        in_hand.append(msgspec.to_builtins(finding))
        if len(in_hand) == _FINDINGS_AT_ONCE:
            yield pa.RecordBatch.from_pylist(in_hand, schema=SERIES_SCHEMA)
            in_hand = []
    if in_hand:
        yield pa.RecordBatch.from_pylist(in_hand, schema=SERIES_SCHEMA)
