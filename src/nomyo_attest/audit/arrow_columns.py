"""Read the text, source and line of each record from the columns of an Arrow batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pyarrow as pa

from nomyo_attest.errors import NomyoAttestError
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX

SOURCE: Final = "source"
LINE: Final = "line"
_LINE_MAX: Final = 2**63 - 1  # the column `line` of verdicts is a signed 64-bit integer


class ColumnError(NomyoAttestError, ValueError):
    """A table lacks a column, or the column has an unsupported type.

    Attributes:
        column: the name of the column.
        expected: the expected type or number of columns.
        got: the actual type or number of columns.
    """

    def __init__(self, column: str, expected: str, got: str) -> None:
        self.column = column
        self.expected = expected
        self.got = got
        super().__init__(column, expected, got)

    def __str__(self) -> str:
        return f"column {self.column!r}: expected {self.expected}, got {self.got}"


class InputRow(NamedTuple):
    """One input row. If its text cannot be read, `text` is None and `problem` states why."""

    name: str
    line: int
    text: bytes | None
    problem: str


class Columns:
    """The columns that contain the records.

    Args:
        column: the column with the JSON text.
        source, line: the columns with the name of a record's source and its line; by default ``"source"`` and
            ``"line"``, if they exist.
        name: the name of the source if no column contains it.
    """

    def __init__(self, column: str, source: str | None, line: str | None, name: str) -> None:
        self._column = column
        self._source = source
        self._line = line
        self._name = name

    def check(self, schema: Any) -> None:
        """Check that the columns exist and have supported types. Raises `ColumnError`."""
        for requested, default, is_supported, expected in (
            (self._column, self._column, is_text_type, "JSON text: string or binary"),
            (self._source, SOURCE, is_text_type, "string"),
            (self._line, LINE, pa.types.is_integer, "integer"),
        ):
            name = requested or default
            indices = schema.get_all_field_indices(name)
            if len(indices) > 1 or (requested and not indices):
                names = ", ".join(repr(name) for name in schema.names) or "none"
                raise ColumnError(name, "one column with this name", f"{len(indices)} among {names}")
            if indices and not is_supported(plain_type(schema.field(indices[0]).type)):
                raise ColumnError(name, expected, str(schema.field(indices[0]).type))

    def read(self, batch: Any, count: int) -> Iterator[InputRow]:
        """Yield each row of a batch that `check` accepted; `count` is the number of rows before it."""
        texts = _find_array(batch, self._column)
        sources = _find_array(batch, self._source or SOURCE)
        lines = _find_array(batch, self._line or LINE)
        for index in range(batch.num_rows):
            text, problem = _record_text(texts[index])
            source = buffer_of(sources[index]) if sources is not None else None
            name = self._name if source is None else source.to_pybytes().decode("utf-8", "replace")
            yield InputRow(name, count + index + 1 if lines is None else _line_number(lines[index]), text, problem)


def _find_array(batch: Any, name: str) -> Any:
    return plain_array(batch.column(name)) if name in batch.schema.names else None


def plain_type(kind: Any) -> Any:
    """Return a column's value type, without extension types (`pa.json_()`, DuckDB's JSON) and dictionaries."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind):
            kind = kind.value_type
        else:
            return kind


def plain_array(array: Any) -> Any:
    """Return the storage of an array without extension types. Its dictionary, if any, may still have one."""
    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array


def is_text_type(kind: Any) -> bool:
    """Whether the values of a plain type are strings or bytes, in any of Arrow's layouts."""
    types = pa.types
    is_string = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return bool(is_string or types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _plain_scalar(scalar: Any) -> Any:
    """Return a value without extension types and dictionaries; None for null."""
    while isinstance(scalar, pa.ExtensionScalar | pa.DictionaryScalar) and scalar.is_valid:
        scalar = scalar.value
    return scalar if scalar is not None and scalar.is_valid else None


def buffer_of(scalar: Any) -> Any:
    """Return the bytes of a string or binary value, without a copy; None for null."""
    plain = _plain_scalar(scalar)
    return None if plain is None else plain.as_buffer()


def _record_text(scalar: Any) -> tuple[bytes | None, str]:
    buffer = buffer_of(scalar)
    if buffer is None:
        return None, "expected JSON text, got null"
    if buffer.size > RECORD_BYTES_MAX:
        return None, f"expected at most {RECORD_BYTES_MAX} bytes, got {buffer.size}"
    return buffer.to_pybytes(), ""


def _line_number(scalar: Any) -> int:
    plain = _plain_scalar(scalar)
    value = 0 if plain is None else plain.as_py()
    return value if 0 <= value <= _LINE_MAX else 0
