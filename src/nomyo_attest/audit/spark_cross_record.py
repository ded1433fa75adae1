"""The series rules on a cluster: the queries that SQLite runs too, and the same findings of their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa

from nomyo_attest.audit.cross_record.coverage import Coverage, outcome_of, remark_of
from nomyo_attest.audit.cross_record.findings import AnswerRow, findings
from nomyo_attest.audit.cross_record.rules import CrossRecordRule, find_cross_record_rule, rules_asked
from nomyo_attest.audit.cross_record.sql import ANSWER
from nomyo_attest.audit.spark_schema import spark_schema
from nomyo_attest.audit.summary import CrossRecordFinding

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
"""The fields of `CrossRecordFinding`, in order."""

CHECKS_SCHEMA: Final = pa.schema(
    [
        pa.field("rule", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("findings", pa.int64(), nullable=False),
        pa.field("records", pa.int64(), nullable=False),
        pa.field("appraised", pa.int64(), nullable=False),
        pa.field("usable", pa.int64(), nullable=False),
        pa.field("undated", pa.int64(), nullable=False),
        pa.field("compared", pa.int64(), nullable=False),
        pa.field("remark", pa.string(), nullable=False),
    ]
)
"""The fields of `CrossRecordRuleSummary` that depend on the records."""

_COUNTED: Final = ("findings", "in_findings", "appraised", "usable", "undated", "compared")

_FINDINGS_AT_ONCE: Final = 1024


def cross_record(verdicts: DataFrame, *, max_gap: int | None = None) -> DataFrame:
    """What shows across records only, as a DataFrame of `CrossRecordFinding`'s fields, in no order.

    Each rule reads `verdicts` once or twice, and would appraise everything again: write the verdicts to a table first
    and hand over that table.

    Args:
        verdicts: what `appraise` gave, or a table it was written to, with all its columns or more.
        max_gap: seconds; longer times without a record are findings of ``gap.records``. By default that is not asked.
    """
    asked = [_asked(verdicts, rule, max_gap) for rule in rules_asked(max_gap)]
    return reduce(lambda one, other: one.unionAll(other), asked)


def cross_record_checks(verdicts: DataFrame, *, max_gap: int | None = None) -> DataFrame:
    """What each rule comes to, as a DataFrame with one row a rule and the columns `CHECKS_SCHEMA`.

    ``outcome`` is ``"held"``, ``"found"`` or ``"not_evaluated"``; the last is no answer, and ``remark`` says what the
    records lack. The counts are those of `CrossRecordRuleSummary`. The audit on one machine fails for a rule that is
    found or not evaluated.

    Args:
        verdicts, max_gap: as for `cross_record`.
    """
    checks = [_checked(verdicts, rule, max_gap) for rule in rules_asked(max_gap)]
    return reduce(lambda one, other: one.unionAll(other), checks)


def _checked(verdicts: DataFrame, rule: CrossRecordRule, max_gap: int | None) -> DataFrame:
    found = (
        "SELECT COUNT(CASE WHEN place = 1 THEN 1 END) AS findings, "  # noqa: S608 - text of the table of rules
        "COALESCE(SUM(CASE WHEN place = 1 THEN records END), 0) AS in_findings "
        f"FROM ({rule.query(max_gap)})"
    )
    covered = f"SELECT records AS appraised, usable FROM ({rule.coverage})"  # noqa: S608 - as above
    query = (
        "WITH verdicts AS (SELECT * FROM {verdicts}) "  # noqa: S608 - as above
        f"SELECT * FROM ({found}) CROSS JOIN ({covered}) CROSS JOIN ({rule.comparison})"
    )
    answer = verdicts.sparkSession.sql(query, verdicts=verdicts).selectExpr(
        *(f"CAST({name} AS BIGINT) AS {name}" for name in _COUNTED)
    )
    return answer.mapInArrow(_check(rule.id), spark_schema(CHECKS_SCHEMA))


def _check(rule_id: str) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """What a task runs: pickled with the rule's name, not with the rule."""

    def check(batches: Iterator[Any]) -> Iterator[Any]:
        rule = find_cross_record_rule(rule_id)
        for batch in batches:
            checks = []
            for row in batch.to_pylist():
                findings, in_findings, *counts = (row[name] for name in _COUNTED)
                covered = Coverage(*counts)
                values = (rule_id, outcome_of(rule, findings, covered), findings, in_findings, *covered)
                checks.append(dict(zip(CHECKS_SCHEMA.names, (*values, remark_of(rule, covered)), strict=True)))
            yield pa.RecordBatch.from_pylist(checks, schema=CHECKS_SCHEMA)

    return check


def _asked(verdicts: DataFrame, rule: CrossRecordRule, max_gap: int | None) -> DataFrame:
    query = f"WITH verdicts AS (SELECT * FROM {{verdicts}}) SELECT * FROM ({rule.query(max_gap)})"  # noqa: S608 - text of the table of rules
    answer = verdicts.sparkSession.sql(query, verdicts=verdicts)
    # All of a finding's rows in one partition, one after another: there is nothing more to a group.
    grouped = answer.repartition("cross_record_key").sortWithinPartitions("cross_record_key", "place")
    return grouped.mapInArrow(_on_partition(rule.id), spark_schema(SERIES_SCHEMA))


def _on_partition(rule_id: str) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """What a task runs: pickled with the rule's name, not with the rule."""

    def find(batches: Iterator[Any]) -> Iterator[Any]:
        return _batches(findings(find_cross_record_rule(rule_id), _rows(batches)))

    return find


def _rows(batches: Iterator[Any]) -> Iterator[AnswerRow]:
    for batch in batches:
        for row in batch.to_pylist():
            yield tuple(row[name] for name in ANSWER)


def _batches(found: Iterator[CrossRecordFinding]) -> Iterator[Any]:
    in_hand: list[dict[str, Any]] = []
    for finding in found:
        in_hand.append(msgspec.to_builtins(finding))
        if len(in_hand) == _FINDINGS_AT_ONCE:
            yield pa.RecordBatch.from_pylist(in_hand, schema=SERIES_SCHEMA)
            in_hand = []
    if in_hand:
        yield pa.RecordBatch.from_pylist(in_hand, schema=SERIES_SCHEMA)
