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

from nomyo_attest.audit.record import OutsideWindow, RecordAppraiser, unreadable_row
from nomyo_attest.audit.row import COLUMNS, Row, RowFinding
from nomyo_attest.installation import install_command
from nomyo_attest.policy.model import AppraisalPolicy

try:
    import pyarrow as pa

    from nomyo_attest.audit.arrow_columns import LINE, SOURCE, ColumnError, Columns, InputRow
except ImportError as error:
    raise ImportError(
        f"an audit of Arrow data needs pyarrow from the extra parquet: {install_command('parquet')}"
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
"""Bytes of records after which a batch of verdicts is complete. A row that includes its evidence is about as large as
its record, and a column of strings can have at most 2 GiB.
"""


def _list_of(kind: Any) -> Any:
    # Parquet and Spark call the items of a list "element"; pyarrow's default is "item".
    return pa.list_(pa.field("element", kind, nullable=False))


_STRING_LIST: Final = _list_of(pa.string())
_FINDING_LIST: Final = _list_of(
    pa.struct(
        [pa.field(field.encode_name, pa.string(), nullable=False) for field in msgspec.structs.fields(RowFinding)]
    )
)

_TYPES: Final[dict[str, tuple[Any, bool]]] = {
    "source": (pa.string(), False),
    "line": (pa.int64(), False),
    "payload_id": (pa.string(), True),
    "verdict": (pa.string(), False),
    "failed": (_STRING_LIST, False),
    "undecided": (_STRING_LIST, False),
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
    "findings": (_FINDING_LIST, False),
    "evidence": (pa.string(), True),
}
"""The type of each column, and whether it may be null. Integers are signed, since Spark has no unsigned integers."""

RESULT_SCHEMA: Final = pa.schema([pa.field(name, *_TYPES[name]) for name in COLUMNS])
"""The columns of `Row`, in order. `pcrs`, `evidence`, and `expected` and `got` of a finding are JSON text."""

_JSON_COLUMNS: Final = frozenset({"pcrs", "evidence"})
_FINDING_JSON_FIELDS: Final = ("expected", "got")


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
    omitted. Nulls, texts that are too long and malformed evidence also result in rows; the content of a record
    never causes an exception. Empty batches are omitted.

    Args:
        batches: `pyarrow.RecordBatch`es of one schema, such as a `RecordBatchReader`.
        policy: the policy.
        column: the column with the records, each a JSON text: string or binary in any of Arrow's layouts.
        source: the column with the name of a record's source; by default ``"source"``, if it exists.
        line: the column with a record's line or row; by default ``"line"``, if it exists. Null and negative numbers
            become 0. Without such a column, the line is the record's position in `batches`, from 1; if an engine
            partitions the data, the position in its partition.
        name: the name of the source if no column contains it, or if its value is null.
        at: the time of all appraisals; by default the time of this call, if the policy has a validity period.
        since, until: appraise only records whose time is at `since` or later and before `until`, and records without a
            time. The time of a ledger's line is `recorded_at`. The time of any other record is `processed_at`, an
            unsigned claim by the server, which can therefore date a response out of the window. To count the records
            outside the window, appraise all records and filter the rows by these two columns.
        keep_evidence: include the evidence in each row, so that the record can be re-appraised.

    Raises:
        TypeError, ValueError: immediately, for invalid arguments.
        ColumnError: at the first batch, for columns that are missing or have an unsupported type.
    """
    if not isinstance(policy, AppraisalPolicy):
        raise TypeError(f"policy must be an AppraisalPolicy, not {type(policy).__name__}")
    appraiser = RecordAppraiser(
        policy,
        at=appraisal_time(policy, at),
        since=_whole_seconds("since", since),
        until=_whole_seconds("until", until),
        keep_evidence=keep_evidence,
    )
    return _appraise(iter(batches), appraiser, Columns(column, source, line, name))


def appraisal_time(policy: AppraisalPolicy, at: datetime | None) -> datetime | None:
    """Return the time of all appraisals: `at`, or now if the policy depends on the time.

    Raises `TypeError`, `ValueError`.
    """
    if at is None:
        return datetime.now(UTC) if policy.depends_on_time else None
    return _check_datetime("at", at)


def _whole_seconds(name: str, time: datetime | None) -> int | None:
    """Return seconds since 1970, rounded up to the first whole second that is not before `time`."""
    return None if time is None else ceil(_check_datetime(name, time).timestamp())


def _check_datetime(name: str, time: object) -> datetime:
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
            row = _appraise_record(appraiser, record)
            if row is not None:
                rows.append(row)
                text_size += len(record.text or b"")
            if len(rows) >= ROWS_MAX or text_size >= _BATCH_TEXT_MAX:
                yield rows_to_batch(rows)
                rows, text_size = [], 0
        if rows:
            yield rows_to_batch(rows)
        count += batch.num_rows


def _appraise_record(appraiser: RecordAppraiser, record: InputRow) -> Row | None:
    if record.text is None:
        return unreadable_row(record.name, record.line, record.problem)
    appraised = appraiser.appraise(record.name, record.line, record.text)
    return None if isinstance(appraised, OutsideWindow) else appraised.row


def rows_to_batch(rows: Sequence[Row]) -> Any:
    """Convert rows to one `pyarrow.RecordBatch` of `RESULT_SCHEMA`."""
    arrays = [
        pa.array([_to_column_value(name, getattr(row, name)) for row in rows], _TYPES[name][0]) for name in COLUMNS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=RESULT_SCHEMA)


def batch_to_rows(batch: Any) -> Iterator[Row]:
    """Yield the rows of a batch or table of `RESULT_SCHEMA`.

    `encode_row` encodes each of them as a line of JSON, with the same bytes as `nomyo-attest audit`.
    """
    for record in batch.select(list(COLUMNS)).to_pylist():
        yield row_of(record)


def row_of(record: Mapping[str, Any]) -> Row:
    """Convert one result row, as a mapping from column names to values, to a `Row`."""
    return Row(**{name: _from_column_value(name, record[name]) for name in COLUMNS})


def _to_column_value(name: str, value: Any) -> Any:
    if name == "findings":
        return [
            msgspec.structs.asdict(finding) | {key: _encode_json(getattr(finding, key)) for key in _FINDING_JSON_FIELDS}
            for finding in value
        ]
    return _encode_json(value) if name in _JSON_COLUMNS and value is not None else value


def _from_column_value(name: str, value: Any) -> Any:
    if name == "findings":
        return [
            RowFinding(**(finding | {key: _decode_json(finding[key]) for key in _FINDING_JSON_FIELDS}))
            for finding in value
        ]
    return _decode_json(value) if name in _JSON_COLUMNS and value is not None else value


def _encode_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _decode_json(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())
