"""Read a record's text and its place from the columns of an Arrow batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pyarrow as pa

from nomyo_attest.errors import NomyoAttestError
from nomyo_attest.evidence.strict_json import TEXT_MAX

SOURCE: Final = "source"
LINE: Final = "line"
_LINE_MAX: Final = 2**63 - 1  # of a column of 64 bits


class ColumnError(NomyoAttestError, ValueError):
    """A table lacks a column, or the column has an unsupported type.

    Attributes:
        column: its name.
        expected: the type or number that is expected.
        got: the type or number found.
    """

    def __init__(self, column: str, expected: str, got: str) -> None:
        self.column = column
        self.expected = expected
        self.got = got
        super().__init__(column, expected, got)

    def __str__(self) -> str:
        return f"column {self.column!r}: expected {self.expected}, got {self.got}"


class InputRow(NamedTuple):
    """One input row. `text` is None if it cannot be read; `problem` states why."""

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
        name: the source's name if there is no such column.
    """

    def __init__(self, column: str, source: str | None, line: str | None, name: str) -> None:
        self._column = column
        self._source = source
        self._line = line
        self._name = name

    def check(self, schema: Any) -> None:
        """Raise `ColumnError` for a schema that lacks a column or has it in an unsupported type."""
        for wanted, default, fits, expected in (
            (self._column, self._column, is_text, "JSON text: string or binary"),
            (self._source, SOURCE, is_text, "string"),
            (self._line, LINE, pa.types.is_integer, "integer"),
        ):
            name = wanted or default
            found = schema.get_all_field_indices(name)
            if len(found) > 1 or (wanted and not found):
                have = ", ".join(repr(name) for name in schema.names) or "none"
                raise ColumnError(name, "one column of this name", f"{len(found)} among {have}")
            if found and not fits(plain_type(schema.field(found[0]).type)):
                raise ColumnError(name, expected, str(schema.field(found[0]).type))

    def read(self, batch: Any, count: int) -> Iterator[InputRow]:
        """Yield each row of a batch that `check` accepted; `count` rows came before it."""
        texts = _array(batch, self._column)
        sources = _array(batch, self._source or SOURCE)
        lines = _array(batch, self._line or LINE)
        for index in range(batch.num_rows):
            text, problem = _text(texts[index])
            source = buffer_of(sources[index]) if sources is not None else None
            name = self._name if source is None else source.to_pybytes().decode("utf-8", "replace")
            yield InputRow(name, count + index + 1 if lines is None else _number(lines[index]), text, problem)


def _array(batch: Any, name: str) -> Any:
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
    """Unwrap the extension types around an array; its dictionary, if any, may still have one."""
    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array


def is_text(kind: Any) -> bool:
    """Whether the values of a plain type are strings or bytes, in any of Arrow's layouts."""
    is_one = pa.types
    small = is_one.is_string(kind) or is_one.is_binary(kind)
    return bool(small or is_one.is_large_string(kind) or is_one.is_large_binary(kind) or _is_view(kind))


def _is_view(kind: Any) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _plain_scalar(scalar: Any) -> Any:
    """Unwrap extension types and dictionaries of a value; None for null."""
    while isinstance(scalar, pa.ExtensionScalar | pa.DictionaryScalar) and scalar.is_valid:
        scalar = scalar.value
    return scalar if scalar is not None and scalar.is_valid else None


def buffer_of(scalar: Any) -> Any:
    """Return the bytes of a string or binary value, without a copy; None for null."""
    plain = _plain_scalar(scalar)
    return None if plain is None else plain.as_buffer()


def _text(scalar: Any) -> tuple[bytes | None, str]:
    buffer = buffer_of(scalar)
    if buffer is None:
        return None, "expected JSON text, got null"
    if buffer.size > TEXT_MAX:
        return None, f"expected at most {TEXT_MAX} bytes, got {buffer.size}"
    return buffer.to_pybytes(), ""


def _number(scalar: Any) -> int:
    plain = _plain_scalar(scalar)
    value = 0 if plain is None else plain.as_py()
    return value if 0 <= value <= _LINE_MAX else 0
