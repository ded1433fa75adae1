"""Run a distributed audit on Spark: verdicts and cross-record checks.

::

    from nomyo_attest.audit import spark as audit

    verdicts = audit.appraise(spark.table("responses"), policy, column="response")
    findings = audit.cross_record(verdicts)
    checks = audit.cross_record_checks(verdicts)

The driver needs the extra `spark`; executors need this package and pyarrow. All functions return lazy DataFrames and
collect no data. PySpark 3.5 and 4 are supported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nomyo_attest.audit.cross_record.findings import Coverage, QueryRow, findings_of, outcome_of, remark_of
from nomyo_attest.audit.cross_record.model import CrossRecordFinding
from nomyo_attest.audit.cross_record.queries import QUERY_COLUMNS
from nomyo_attest.audit.cross_record.rules import CrossRecordRule, evaluated_rules, find_cross_record_rule
from nomyo_attest.installation import install_command
from nomyo_attest.policy.model import AppraisalPolicy

try:
    import pyarrow as pa
    from pyspark import TaskContext
    from pyspark.sql import types

    from nomyo_attest.audit.arrow import LINE, RESULT_SCHEMA, SOURCE, ColumnError, appraisal_time, appraise_batches
except ImportError as error:
    raise ImportError(
        f"an audit on Spark needs PySpark and pyarrow from the extra spark: {install_command('spark')}"
    ) from error

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["SCHEMA", "appraise", "cross_record", "cross_record_checks"]

_RECORD_COLUMN: Final = "response"  # the name of the column in tasks, regardless of its name in the table

_PLACE_STRUCT: Final = pa.struct(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("processed_at", pa.int64()),
    ]
)

FINDINGS_SCHEMA: Final = pa.schema(
    [
        pa.field("rule", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("records", pa.int64(), nullable=False),
        pa.field("first", _PLACE_STRUCT, nullable=False),
        pa.field("last", _PLACE_STRUCT, nullable=False),
        pa.field("places", pa.list_(pa.field("element", _PLACE_STRUCT, nullable=False)), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("high", pa.int64()),
        pa.field("low", pa.int64()),
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

_COUNTS: Final = ("findings", "in_findings", "appraised", "usable", "undated", "compared")

_FINDINGS_PER_BATCH: Final = 1024


def _spark_schema(fields: Any) -> types.StructType:
    """Convert the fields of a `pyarrow` schema or struct to Spark's. Raises `KeyError` for an unsupported type."""
    return types.StructType(
        [types.StructField(field.name, _spark_type(field.type), field.nullable) for field in fields]
    )


def _spark_type(kind: Any) -> types.DataType:
    if pa.types.is_list(kind):
        return types.ArrayType(_spark_type(kind.value_type), containsNull=kind.value_field.nullable)
    if pa.types.is_struct(kind):
        return _spark_schema(kind)
    simple: dict[Any, types.DataType] = {
        pa.string(): types.StringType(),
        pa.int64(): types.LongType(),
        pa.bool_(): types.BooleanType(),
    }
    return simple[kind]


SCHEMA: Final = _spark_schema(RESULT_SCHEMA)
"""`RESULT_SCHEMA` in Spark's types."""


def appraise(
    df: DataFrame,
    policy: AppraisalPolicy,
    *,
    column: str = "response",
    source: str | None = None,
    line: str | None = None,
    name: str | None = None,
    at: datetime | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    keep_evidence: bool = False,
) -> DataFrame:
    """Appraise each row of `df`; returns a DataFrame with the columns of `nomyo_attest.audit.row.Row`.

    The arguments have the same meaning as for `nomyo_attest.audit.arrow.appraise_batches`, and the rows are the same.
    The policy is sent to the executors as its document.

    Args:
        df: any DataFrame; only the columns named here are read.
        policy: the policy.
        column: the column with the records, each a JSON text; string or binary.
        source, line: the columns with the source and line of a record; by default ``"source"`` and ``"line"``, if they
            exist. Without them, partition and position are used, which change when Spark partitions the data
            differently.
        name: the name of the source if no column contains it; by default ``"partition 0"`` and so on.
        at: the time of all appraisals; by default the time of this call, if the policy has a validity period. It does
            not depend on when a task runs, or runs again.
        since, until, keep_evidence: see `nomyo_attest.audit.arrow.appraise_batches`.

    Raises:
        TypeError, ValueError: for invalid arguments.
        ColumnError: for columns that are missing or have an unsupported type.
    """
    arguments: dict[str, Any] = {"at": at, "since": since, "until": until, "keep_evidence": keep_evidence}
    appraise_batches((), policy, **arguments)  # raises for invalid arguments here, not in a task
    arguments["at"] = appraisal_time(policy, at)
    columns = {
        _RECORD_COLUMN: _find_column(df, column, (types.StringType, types.BinaryType), "JSON text: string or binary"),
        SOURCE: _find_column(df, source or SOURCE, (types.StringType,), "string", optional=source is None),
        LINE: _find_column(df, line or LINE, (types.IntegralType,), "integer", optional=line is None),
    }
    records = df.selectExpr(*(f"{_quote_column(found)} AS {alias}" for alias, found in columns.items() if found))
    return records.mapInArrow(_appraise_task(policy, name, arguments), SCHEMA)


def _appraise_task(
    policy: AppraisalPolicy, name: str | None, arguments: dict[str, Any]
) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Return the function of a task. It is pickled with the policy, whose document an executor validates again."""

    def appraise_partition(batches: Iterator[Any]) -> Iterator[Any]:
        task = TaskContext.get()
        place = name or f"partition {task.partitionId() if task else 0}"
        return appraise_batches(batches, policy, column=_RECORD_COLUMN, name=place, **arguments)

    return appraise_partition


def _find_column(
    df: DataFrame, name: str, kinds: tuple[type[types.DataType], ...], expected: str, *, optional: bool = False
) -> str | None:
    """Return `name` if `df` has one such column of one of the types; None for an optional column that is missing."""
    fields = [field for field in df.schema.fields if field.name == name]
    if not fields and optional:
        return None
    if len(fields) != 1:
        names = ", ".join(map(repr, df.columns)) or "none"
        raise ColumnError(name, "one column with this name", f"{len(fields)} among {names}")
    kind = fields[0].dataType
    if not isinstance(kind, kinds):
        hint = "; convert it to JSON text with to_json()" if isinstance(kind, types.StructType) else ""
        raise ColumnError(name, expected, f"{kind.simpleString()}{hint}")
    return name


def _quote_column(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def cross_record(verdicts: DataFrame, *, max_gap: int | None = None) -> DataFrame:
    """Return the findings of the cross-record checks as a DataFrame with `CrossRecordFinding`'s fields, unordered.

    Each rule reads `verdicts` once or twice, and each time a lazy DataFrame would appraise every record again: write
    the verdicts to a table first and pass that table.

    Args:
        verdicts: the result of `appraise`, or a table it was written to, with at least all its columns.
        max_gap: the limit of ``gap.records``, in seconds; None to not evaluate that rule.
    """
    frames = [_findings_frame(verdicts, rule, max_gap) for rule in evaluated_rules(max_gap)]
    return reduce(lambda frame, other: frame.unionAll(other), frames)


def cross_record_checks(verdicts: DataFrame, *, max_gap: int | None = None) -> DataFrame:
    """Return the outcome of each cross-record rule: a DataFrame of `CHECKS_SCHEMA` with one row per rule.

    ``outcome`` is ``"held"``, ``"found"`` or ``"not_evaluated"``; for the last, ``remark`` states which values the
    records lack. The counts are those of `CrossRecordRuleSummary`. The audit on one machine fails for a rule that has
    findings or was not evaluated.

    Args:
        verdicts, max_gap: as for `cross_record`.
    """
    frames = [_check_frame(verdicts, rule, max_gap) for rule in evaluated_rules(max_gap)]
    return reduce(lambda frame, other: frame.unionAll(other), frames)


def _check_frame(verdicts: DataFrame, rule: CrossRecordRule, max_gap: int | None) -> DataFrame:
    findings = (
        "SELECT COUNT(CASE WHEN place = 1 THEN 1 END) AS findings, "  # noqa: S608 - text of the table of rules
        "COALESCE(SUM(CASE WHEN place = 1 THEN records END), 0) AS in_findings "
        f"FROM ({rule.query(max_gap)})"
    )
    coverage = f"SELECT records AS appraised, usable FROM ({rule.coverage})"  # noqa: S608 - as above
    query = (
        "WITH verdicts AS (SELECT * FROM {verdicts}) "  # noqa: S608 - as above
        f"SELECT * FROM ({findings}) CROSS JOIN ({coverage}) CROSS JOIN ({rule.comparison})"
    )
    counts = verdicts.sparkSession.sql(query, verdicts=verdicts).selectExpr(
        *(f"CAST({name} AS BIGINT) AS {name}" for name in _COUNTS)
    )
    return counts.mapInArrow(_check_task(rule.id), _spark_schema(CHECKS_SCHEMA))


def _check_task(rule_id: str) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Return the function of a task, which is pickled with the rule's id, not with the rule."""

    def check(batches: Iterator[Any]) -> Iterator[Any]:
        rule = find_cross_record_rule(rule_id)
        for batch in batches:
            checks = []
            for row in batch.to_pylist():
                number, in_findings, *counts = (row[name] for name in _COUNTS)
                coverage = Coverage(*counts)
                values = (rule_id, outcome_of(rule, number, coverage), number, in_findings, *coverage)
                checks.append(dict(zip(CHECKS_SCHEMA.names, (*values, remark_of(rule, coverage)), strict=True)))
            yield pa.RecordBatch.from_pylist(checks, schema=CHECKS_SCHEMA)

    return check


def _findings_frame(verdicts: DataFrame, rule: CrossRecordRule, max_gap: int | None) -> DataFrame:
    query = f"WITH verdicts AS (SELECT * FROM {{verdicts}}) SELECT * FROM ({rule.query(max_gap)})"  # noqa: S608 - text of the table of rules
    rows = verdicts.sparkSession.sql(query, verdicts=verdicts)
    # Put all rows of a finding into one partition, next to each other.
    grouped = rows.repartition("cross_record_key").sortWithinPartitions("cross_record_key", "place")
    return grouped.mapInArrow(_findings_task(rule.id), _spark_schema(FINDINGS_SCHEMA))


def _findings_task(rule_id: str) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Return the function of a task, which is pickled with the rule's id, not with the rule."""

    def find(batches: Iterator[Any]) -> Iterator[Any]:
        return _finding_batches(findings_of(find_cross_record_rule(rule_id), _query_rows(batches)))

    return find


def _query_rows(batches: Iterator[Any]) -> Iterator[QueryRow]:
    for batch in batches:
        for row in batch.to_pylist():
            yield tuple(row[name] for name in QUERY_COLUMNS)


def _finding_batches(findings: Iterator[CrossRecordFinding]) -> Iterator[Any]:
    rows: list[dict[str, Any]] = []
    for finding in findings:
        rows.append(msgspec.to_builtins(finding))
        if len(rows) == _FINDINGS_PER_BATCH:
            yield pa.RecordBatch.from_pylist(rows, schema=FINDINGS_SCHEMA)
            rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=FINDINGS_SCHEMA)
