"""Appraise records in Arrow batches, for any engine that uses Arrow: batches of records in, batches of verdicts out.

::

    reader = duckdb.sql("SELECT response FROM 'responses.parquet'").to_arrow_reader()
    verdicts = pa.RecordBatchReader.from_batches(RESULT_SCHEMA, appraise_batches(reader, policy))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

import msgspec

from nomyo_attest.audit.record import Outside, RecordAppraiser, unreadable
from nomyo_attest.audit.row import COLUMNS, Row, RowFinding
from nomyo_attest.installation import install_command
from nomyo_attest.policy.model import AppraisalPolicy

try:
    import pyarrow as pa

    from nomyo_attest.audit.arrow_columns import LINE, SOURCE, ColumnError, Columns, InputRow
except ImportError as error:
    raise ImportError(
        f"the audit over Arrow needs pyarrow from the extra parquet: {install_command('parquet')}"
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
"""Maximum rows of a batch of verdicts."""

_BATCH_TEXT_MAX: Final = 16 * 1024 * 1024
"""Bytes of records after which a batch is complete. A row that includes its evidence is as large as its record,
and a column of strings is limited to 2 GiB.
"""


def _list_of(kind: Any) -> Any:
    # Parquet and Spark name a list's items "element"; pyarrow's default is "item".
    return pa.list_(pa.field("element", kind, nullable=False))


_STRINGS: Final = _list_of(pa.string())
_FINDINGS: Final = _list_of(
    pa.struct(
        [pa.field(field.encode_name, pa.string(), nullable=False) for field in msgspec.structs.fields(RowFinding)]
    )
)

_TYPES: Final[dict[str, tuple[Any, bool]]] = {
    "source": (pa.string(), False),
    "line": (pa.int64(), False),
    "payload_id": (pa.string(), True),
    "verdict": (pa.string(), False),
    "failed": (_STRINGS, False),
    "undecided": (_STRINGS, False),
    "reason": (pa.string(), True),
    "trust": (pa.string(), True),
    "processed_at": (pa.int64(), True),
    "recorded_at": (pa.int64(), True),
    "gate": (pa.string(), True),
    "released": (pa.bool_(), True),
    "security_tier": (pa.string(), True),
    "available": (pa.bool_(), True),
    "signature_valid": (pa.bool_(), True),
    "aik_name": (pa.string(), True),
    "aik_pinned": (pa.bool_(), True),
    "quote": (pa.string(), True),
    "clock": (pa.int64(), True),
    "reset_count": (pa.int64(), True),
    "restart_count": (pa.int64(), True),
    "firmware_version": (pa.string(), True),
    "pcr_profile": (pa.string(), True),
    "pcrs": (pa.string(), True),
    "findings": (_FINDINGS, False),
    "evidence": (pa.string(), True),
}
"""A column's type, and whether it may be null. Spark has no unsigned integers, so there are none."""

RESULT_SCHEMA: Final = pa.schema([pa.field(name, *_TYPES[name]) for name in COLUMNS])
"""The columns of `Row`, in order. `pcrs`, `evidence`, and `expected` and `got` of a finding are JSON text."""

_JSON: Final = frozenset({"pcrs", "evidence"})
_FINDING_JSON: Final = ("expected", "got")


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
    """Appraise each row of `batches`, one batch at a time, as the result is consumed.

    Every input row results in one row of `RESULT_SCHEMA`, in order, except those outside `since` and `until`, which are
    omitted. A null, a text that is too long and malformed evidence result in rows too; the content of a record never
    raises. Empty batches are omitted.

    Args:
        batches: `pyarrow.RecordBatch`es of one schema, such as a `RecordBatchReader`.
        policy: the policy.
        column: the column with the records, each a JSON text: string or binary in any of Arrow's layouts.
        source: the column with the name of a record's source; by default ``"source"``, if it exists.
        line: the column with a record's line or row; by default ``"line"``, if it exists. Null and negative numbers
            become 0.
        name: the source's name if there is no such column, or its value is null. Without a column for the line, the
            line is the record's position in `batches`, from 1: in its partition, if an engine partitions the data.
        at: the time of all appraisals; by default the time of this call, if the policy has a period.
        since, until: appraise only records whose time is at `since` or later, and before `until`, and those without a
            time. The time is `recorded_at` of a ledger's line, and of any other record `processed_at`, which the server
            claims without a signature: a server can date a response out of the window. To count the records outside,
            appraise all records and filter the rows by these two columns.
        keep_evidence: include the evidence in each row, so that the record can be re-appraised.

    Raises:
        TypeError, ValueError: immediately, for invalid arguments.
        ColumnError: at the first batch, for columns that are missing or of another type.
    """
    if not isinstance(policy, AppraisalPolicy):
        raise TypeError(f"policy must be an AppraisalPolicy, not {type(policy).__name__}")
    appraiser = RecordAppraiser(
        policy,
        at=appraisal_time(policy, at),
        since=_seconds("since", since),
        until=_seconds("until", until),
        keep_evidence=keep_evidence,
    )
    return _appraise(iter(batches), appraiser, Columns(column, source, line, name))


def appraisal_time(policy: AppraisalPolicy, at: datetime | None) -> datetime | None:
    """Return the time of all appraisals: `at`, or now if the policy depends on it. Raises `TypeError`, `ValueError`."""
    if at is None:
        return datetime.now(UTC) if policy.depends_on_time else None
    return _with_offset("at", at)


def _seconds(name: str, time: datetime | None) -> int | None:
    """Return seconds since 1970, rounded up: the first whole second that is not before `time`."""
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
        text_size = 0
        for record in columns.read(batch, count):
            row = _row(appraiser, record)
            if row is not None:
                rows.append(row)
                text_size += len(record.text or b"")
            if len(rows) >= ROWS_MAX or text_size >= _BATCH_TEXT_MAX:
                yield rows_to_batch(rows)
                rows, text_size = [], 0
        if rows:
            yield rows_to_batch(rows)
        count += batch.num_rows


def _row(appraiser: RecordAppraiser, record: InputRow) -> Row | None:
    if record.text is None:
        return unreadable(record.name, record.line, record.problem)
    appraised = appraiser.appraise(record.name, record.line, record.text)
    return None if isinstance(appraised, Outside) else appraised.row


def rows_to_batch(rows: Sequence[Row]) -> Any:
    """Convert rows to one `pyarrow.RecordBatch` of `RESULT_SCHEMA`."""
    arrays = [pa.array([_flat(name, getattr(row, name)) for row in rows], _TYPES[name][0]) for name in COLUMNS]
    return pa.RecordBatch.from_arrays(arrays, schema=RESULT_SCHEMA)


def batch_to_rows(batch: Any) -> Iterator[Row]:
    """Yield the rows of a batch or table of `RESULT_SCHEMA`.

    `encode_row` returns the line of each in JSON Lines, byte for byte.
    """
    for record in batch.select(list(COLUMNS)).to_pylist():
        yield row_of(record)


def row_of(record: Mapping[str, Any]) -> Row:
    """Convert a mapping, such as an engine returns for one row of a result, to a `Row`."""
    return Row(**{name: _structured(name, record[name]) for name in COLUMNS})


def _flat(name: str, value: Any) -> Any:
    if name == "findings":
        return [
            msgspec.structs.asdict(finding) | {key: _json(getattr(finding, key)) for key in _FINDING_JSON}
            for finding in value
        ]
    return _json(value) if name in _JSON and value is not None else value


def _structured(name: str, value: Any) -> Any:
    if name == "findings":
        return [RowFinding(**(finding | {key: _raw(finding[key]) for key in _FINDING_JSON})) for finding in value]
    return _raw(value) if name in _JSON and value is not None else value


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())
