"""The audit on a Spark cluster: verdicts, and what only shows across records.

::

    from nomyo_attest.audit import spark as audit

    verdicts = audit.appraise(spark.table("answers"), policy, column="response")
    findings = audit.cross_record(verdicts)
    checks = audit.cross_record_checks(verdicts)

Needs the extra `spark` on the driver, and this package with pyarrow wherever executors run Python. All functions return
lazy DataFrames; nothing is collected. For PySpark 3.5 and 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from nomyo_attest.installation import install_command
from nomyo_attest.policy.model import AppraisalPolicy

try:
    from pyspark import TaskContext
    from pyspark.sql import types

    from nomyo_attest.audit.arrow import LINE, RESULT_SCHEMA, SOURCE, ColumnError, appraise_batches, moment
    from nomyo_attest.audit.spark_cross_record import cross_record, cross_record_checks
    from nomyo_attest.audit.spark_schema import spark_schema
except ImportError as error:
    raise ImportError(
        f"the audit on Spark needs PySpark and pyarrow, of the extra spark: {install_command('spark')}"
    ) from error

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["SCHEMA", "appraise", "cross_record", "cross_record_checks"]

_RECORD: Final = "response"  # what the column is called on its way, whatever it is called in the table


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
    """The verdict of each row of `df`, as a DataFrame with the columns of `nomyo_attest.audit.row.Row`.

    Arguments are those of `nomyo_attest.audit.arrow.appraise_batches`, and the rows are the same. The policy travels
    to the executors as the document it stands for.

    Args:
        df: any DataFrame; only the columns named here are read.
        policy: the policy.
        column: the column with the records, each a JSON text; string or binary.
        source, line: columns with a record's place; by default ``"source"`` and ``"line"``, where they are there.
            Without them a place tells partition and position, which differ wherever Spark partitions otherwise.
        name: the source's name where there is no such column; by default ``"partition 0"`` and so on.
        at: the time of all appraisals; by default the time of this call, if the policy has a period. It does not
            depend on when a task runs, or runs again.
        since, until, keep_evidence: as there.

    Raises:
        TypeError, ValueError: for arguments that no record could be judged by.
        ColumnError: for columns that are missing or of another type.
    """
    arguments: dict[str, Any] = {"at": at, "since": since, "until": until, "keep_evidence": keep_evidence}
    appraise_batches((), policy, **arguments)  # raises here, not in a task, for what is wrong with them
    arguments["at"] = moment(policy, at)
    wanted = {
        _RECORD: _found(df, column, (types.StringType, types.BinaryType), "JSON text: string or binary"),
        SOURCE: _found(df, source or SOURCE, (types.StringType,), "string", optional=source is None),
        LINE: _found(df, line or LINE, (types.IntegralType,), "integer", optional=line is None),
    }
    records = df.selectExpr(*(f"{_quoted(found)} AS {alias}" for alias, found in wanted.items() if found))
    return records.mapInArrow(_on_partition(policy, name, arguments), SCHEMA)


def _on_partition(
    policy: AppraisalPolicy, name: str | None, arguments: dict[str, Any]
) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """What a task runs. Pickled with the policy, which becomes its document and is checked again when it arrives."""

    def appraise_partition(batches: Iterator[Any]) -> Iterator[Any]:
        task = TaskContext.get()
        place = name or f"partition {task.partitionId() if task else 0}"
        return appraise_batches(batches, policy, column=_RECORD, name=place, **arguments)

    return appraise_partition


def _found(
    df: DataFrame, name: str, kinds: tuple[type[types.DataType], ...], expected: str, *, optional: bool = False
) -> str | None:
    """`name`, if `df` has one such column, of one of the kinds; None for an optional one that it has not."""
    found = [field for field in df.schema.fields if field.name == name]
    if not found and optional:
        return None
    if len(found) != 1:
        have = ", ".join(map(repr, df.columns)) or "none"
        raise ColumnError(name, "one column of this name", f"{len(found)} among {have}")
    kind = found[0].dataType
    if not isinstance(kind, kinds):
        hint = "; to_json() makes JSON text of it" if isinstance(kind, types.StructType) else ""
        raise ColumnError(name, expected, f"{kind.simpleString()}{hint}")
    return name


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


SCHEMA: Final = spark_schema(RESULT_SCHEMA)
"""`RESULT_SCHEMA` in Spark's types."""
