"""Rows as tables: from JSON Lines to CSV and Parquet, a stretch at a time."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
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
_FORMULA: Final = re.compile(r"""((?:^|;)[\s"']*)([=+\-@\uff0b\uff0d\uff1d\uff20])""")
"""A formula at the beginning of a cell, or of what is one where a semicolon separates cells, as in much of Europe."""

_FORMULA_IN_JSON: Final = re.compile(r"""(;[\s"\\]*)([=+\-@\uff0b\uff0d\uff1d\uff20])""")


def write_csv(rows: IO[bytes], out: IO[bytes]) -> None:
    """JSON Lines `rows` as CSV (RFC 4180), in UTF-8, with a header.

    Lists are joined by blanks; ``pcrs``, ``findings`` and ``evidence`` are JSON text; nothing is an empty cell.
    No cell has a character that does not print, a line end included: it is an escape, such as ``\\n``. A character
    with which a spreadsheet would begin a formula has an apostrophe before it, and is an escape in JSON, at the
    beginning of a cell and after a semicolon.
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
        return "" if bytes(value) == _NULL else _json_cell(bytes(value).decode())
    text = _printing(value if isinstance(value, str) else " ".join(value), _escape)
    return _FORMULA.sub(r"\1'\2", text)


def _printing(text: str, escape: Callable[[str], str]) -> str:
    """`text` with an escape for each character that does not print."""
    return text if text.isprintable() else "".join(char if char.isprintable() else escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _escape_in_json(char: str) -> str:
    """As two escapes beyond U+FFFF, as JSON has it (RFC 8259, section 7)."""
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _json_cell(text: str) -> str:
    """JSON text of the same value, in which every character prints and none begins a formula."""
    text = _printing(text, _escape_in_json)
    return _FORMULA_IN_JSON.sub(lambda found: f"{found[1]}\\u{ord(found[2]):04x}", text)


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
