"""The audit over Arrow: batches of records in, batches of verdicts out, for any engine that speaks Arrow.

::

    reader = duckdb.sql("SELECT response FROM 'answers.parquet'").to_arrow_reader()
    verdicts = pa.RecordBatchReader.from_batches(RESULT_SCHEMA, appraise_batches(reader, policy))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

from nomyo_attest.audit.record import Outside, RecordAppraiser, unreadable
from nomyo_attest.audit.row import Row
from nomyo_attest.installation import install_command
from nomyo_attest.policy.model import AppraisalPolicy

try:
    from nomyo_attest.audit.arrow_columns import LINE, SOURCE, ColumnError, Columns, Given
    from nomyo_attest.audit.arrow_rows import RESULT_SCHEMA, batch_to_rows, row_of, rows_to_batch
except ImportError as error:
    raise ImportError(
        f"the audit over Arrow needs pyarrow, of the extra parquet: {install_command('parquet')}"
    ) from error

__all__ = [
    "LINE",
    "RESULT_SCHEMA",
    "SOURCE",
    "ColumnError",
    "appraise_batches",
    "batch_to_rows",
    "row_of",
    "rows_to_batch",
]

ROWS_MAX: Final = 1024
"""Rows of the largest batch that comes out."""

_TEXT_IN_HAND: Final = 16 * 1024 * 1024
"""Bytes of records whose rows are held back for one batch. With evidence kept, a row is as large as its record, and a
column of strings ends at 2 GiB.
"""


def appraise_batches(
    batches: Iterable[Any],
    policy: AppraisalPolicy,
    *,
    column: str = "response",
    source: str | None = None,
    line: str | None = None,
    name: str = "-",
    at: datetime | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    keep_evidence: bool = False,
) -> Iterator[Any]:
    """Appraise each row of `batches`, one batch at a time, when it is asked for.

    Every input row gives one row of `RESULT_SCHEMA`, in order, but for those outside `since` and `until`, which give
    none. Null, an oversize text and a broken one are rows too; what is in a record never raises. Batches without rows
    come out as none.

    Args:
        batches: `pyarrow.RecordBatch`es of one schema, such as a `RecordBatchReader`.
        policy: the policy.
        column: the column with the records, each a JSON text: string or binary in any of Arrow's layouts.
        source: the column with the name of what a record stood in; by default ``"source"``, if there is one.
        line: the column with its line or row; by default ``"line"``, if there is one. Null and what is negative
            become 0.
        name: the source's name where there is no such column, or null in it. Where there is no column with a line,
            the line is the record's position, from 1, among all of `batches`: in a partition, where an engine
            partitions.
        at: the time of all appraisals; by default the time of this call, if the policy has a period.
        since, until: appraise only records whose time is at `since` or later, and before `until`, and those that have
            none. The time is `recorded_at` of a ledger's line, and of any other record `processed_at`, which the server
            claims and nothing signs: a server can date a response out of the window. To count what is outside, appraise
            all records and filter the rows by these two columns.
        keep_evidence: keep in each row what it takes to appraise it again.

    Raises:
        TypeError, ValueError: at once, for arguments that no record could be judged by.
        ColumnError: at the first batch, and no later, for columns that are missing or of another type.
    """
    if not isinstance(policy, AppraisalPolicy):
        raise TypeError(f"policy must be an AppraisalPolicy, not {type(policy).__name__}")
    appraiser = RecordAppraiser(
        policy,
        at=moment(policy, at),
        since=_seconds("since", since),
        until=_seconds("until", until),
        keep_evidence=keep_evidence,
    )
    return _appraise(iter(batches), appraiser, Columns(column, source, line, name))


def moment(policy: AppraisalPolicy, at: datetime | None) -> datetime | None:
    """The time of all appraisals: `at`, or now if the policy depends on it. Raises `TypeError`, `ValueError`."""
    if at is None:
        return datetime.now(UTC) if policy.depends_on_time else None
    return _with_offset("at", at)


def _seconds(name: str, time: datetime | None) -> int | None:
    """Seconds since 1970, rounded up: the first whole second that is not before `time`."""
    return None if time is None else ceil(_with_offset(name, time).timestamp())


def _with_offset(name: str, time: object) -> datetime:
    if not isinstance(time, datetime):
        raise TypeError(f"{name} must be a datetime, not {type(time).__name__}")
    if time.utcoffset() is None:
        raise ValueError(f"{name} must have an offset: datetime.now(UTC)")
    return time


def _appraise(batches: Iterator[Any], appraiser: RecordAppraiser, columns: Columns) -> Iterator[Any]:
    count, schema = 0, None
    for batch in batches:
        if schema is None or not batch.schema.equals(schema):
            columns.check(batch.schema)
            schema = batch.schema
        rows: list[Row] = []
        in_hand = 0
        for given in columns.read(batch, count):
            row = _row(appraiser, given)
            if row is not None:
                rows.append(row)
                in_hand += len(given.text or b"")
            if len(rows) >= ROWS_MAX or in_hand >= _TEXT_IN_HAND:
                yield rows_to_batch(rows)
                rows, in_hand = [], 0
        if rows:
            yield rows_to_batch(rows)
        count += batch.num_rows


def _row(appraiser: RecordAppraiser, given: Given) -> Row | None:
    if given.text is None:
        return unreadable(given.name, given.line, given.problem)
    appraised = appraiser.appraise(given.name, given.line, given.text)
    return None if isinstance(appraised, Outside) else appraised.row
