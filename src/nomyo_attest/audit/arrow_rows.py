"""Rows ↔ Arrow: the schema of the results, and rows in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa

from nomyo_attest.audit.row import COLUMNS, Row, RowFinding


def _list_of(kind: Any) -> Any:
    # "element" is what Parquet and Spark call a list's items; pyarrow alone would say "item".
    return pa.list_(pa.field("element", kind, nullable=False))


_STRINGS: Final = _list_of(pa.string())
_FINDINGS: Final = _list_of(
    pa.struct([pa.field(one.encode_name, pa.string(), nullable=False) for one in msgspec.structs.fields(RowFinding)])
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
"""The columns of `Row`, in order. JSON text in `pcrs` and `evidence`, and in `expected` and `got` of a finding."""

_JSON: Final = frozenset({"pcrs", "evidence"})
_FINDING_JSON: Final = ("expected", "got")


def rows_to_batch(rows: Sequence[Row]) -> Any:
    """Rows as one `pyarrow.RecordBatch` of `RESULT_SCHEMA`."""
    arrays = [pa.array([_flat(name, getattr(row, name)) for row in rows], _TYPES[name][0]) for name in COLUMNS]
    return pa.RecordBatch.from_arrays(arrays, schema=RESULT_SCHEMA)


def batch_to_rows(batch: Any) -> Iterator[Row]:
    """The rows of a batch, or table, of `RESULT_SCHEMA`: `encode_row` of each is its line in JSON Lines, byte for
    byte.
    """
    for record in batch.select(list(COLUMNS)).to_pylist():
        yield row_of(record)


def row_of(record: Mapping[str, Any]) -> Row:
    """A row again, of a mapping as engines make them of a result's columns."""
    return Row(**{name: _deep(name, record[name]) for name in COLUMNS})


def _flat(name: str, value: Any) -> Any:
    if name == "findings":
        return [msgspec.structs.asdict(one) | {key: _json(getattr(one, key)) for key in _FINDING_JSON} for one in value]
    return _json(value) if name in _JSON and value is not None else value


def _deep(name: str, value: Any) -> Any:
    if name == "findings":
        return [RowFinding(**(one | {key: _raw(one[key]) for key in _FINDING_JSON})) for one in value]
    return _raw(value) if name in _JSON and value is not None else value


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())
