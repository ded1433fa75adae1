"""Rows as tables: from JSON Lines to CSV and Parquet, a stretch at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from types import GenericAlias
from typing import IO, Any, Final

import msgspec

from nomyo_attest.audit.row import COLUMNS, Row, RowFinding

_BATCH: Final = 1000
"""Rows of a batch for Parquet: some megabytes."""

_GROUP_BYTES: Final = 16 * 1024 * 1024
"""JSON text of the rows of one Parquet row group, which is held in memory."""


def _like(kind: type[msgspec.Struct], **other: Any) -> Any:
    """`kind` with other types for some fields."""
    fields = [(one.name, other.get(one.name, one.type)) for one in msgspec.structs.fields(kind)]
    return msgspec.defstruct(f"Raw{kind.__name__}", fields, frozen=True)


# What may be any JSON stays text, so that nothing of it changes on the way.
_FINDINGS: Final = GenericAlias(list, (_like(RowFinding, expected=msgspec.Raw, got=msgspec.Raw),))
_FOR_CSV: Final = msgspec.json.Decoder(_like(Row, pcrs=msgspec.Raw, findings=msgspec.Raw, evidence=msgspec.Raw))
_FOR_PARQUET: Final = msgspec.json.Decoder(_like(Row, pcrs=msgspec.Raw, findings=_FINDINGS, evidence=msgspec.Raw))

_NULL: Final = b"null"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def write_csv(rows: IO[bytes], out: IO[bytes]) -> None:
    """JSON Lines `rows` as CSV (RFC 4180), in UTF-8, with a header.

    Lists are joined by blanks; ``pcrs``, ``findings`` and ``evidence`` are JSON text; nothing is an empty cell. Text
    that a spreadsheet would take for a formula has an apostrophe before it.
    """
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=False)
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for line in rows:
        row = _FOR_CSV.decode(line)
        writer.writerow([_cell(getattr(row, name)) for name in COLUMNS])
    text.flush()
    text.detach()


def _cell(value: Any) -> str | int:
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return value
    if isinstance(value, msgspec.Raw):
        return "" if bytes(value) == _NULL else bytes(value).decode()
    text = value if isinstance(value, str) else " ".join(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def write_parquet(rows: IO[bytes], out: IO[bytes]) -> None:
    """JSON Lines `rows` as Parquet of the schema that results have in Arrow. Needs the extra ``parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from nomyo_attest.audit.arrow_rows import RESULT_SCHEMA, rows_to_batch

    with pq.ParquetWriter(out, RESULT_SCHEMA, compression="zstd") as writer:
        for group in _groups(rows):
            batches = [rows_to_batch(group[at : at + _BATCH]) for at in range(0, len(group), _BATCH)]
            writer.write_table(pa.Table.from_batches(batches, RESULT_SCHEMA))


def _groups(rows: IO[bytes]) -> Iterator[list[Any]]:
    """The rows of a row group each."""
    while lines := rows.readlines(_GROUP_BYTES):
        yield [_without_null(_FOR_PARQUET.decode(line)) for line in lines]


def _without_null(row: Any) -> Any:
    nulls = {name: None for name in ("pcrs", "evidence") if bytes(getattr(row, name)) == _NULL}
    return msgspec.structs.replace(row, **nulls) if nulls else row
