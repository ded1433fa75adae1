"""A Parquet file → the cells of the column that has the records, in a few dozen at a time.

The only module here that imports pyarrow, which is slow to load, and which a file made for it may crash or make take
gigabytes: so this runs in a process of its own (`parquet`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from nomyo_attest.audit.sources.stored import DamageError, open_regular, os_problem
from nomyo_attest.installation import install_command

CELLS: Final = 64
"""Rows read at once: few, since each may have 16 MiB however the file says it is packed."""

COLUMNS_GUESSED: Final = ("response", "metadata", "_metadata", "evidence", "json", "record")
"""Columns taken for the records in a file that has several columns of text."""

_BUFFER: Final = 1024 * 1024
"""Bytes read ahead. Without it pyarrow reads a whole row group."""

_COLUMNS_TOLD: Final = 10
_WORDS_MAX: Final = 200
_MISSING: Final = f"reading Parquet needs pyarrow, of the extra parquet: {install_command('parquet')}"


class Rows(msgspec.Struct, frozen=True, tag=True):
    """How many rows the file says it has."""

    count: int


class Cut(msgspec.Struct, frozen=True, tag=True):
    """The next cells, from row `first` on, from 1; None is a null."""

    first: int
    cells: list[bytes | None]


class Lost(msgspec.Struct, frozen=True, tag=True):
    """The rows from `line` on to the end of their row group cannot be read; 0 stands for the whole file."""

    line: int
    problem: str


Event = Rows | Cut | Lost


def read_column(path: str, column: str | None, within: str = "") -> Iterator[Event]:
    """`Rows`, then all cells; `Lost` for what cannot be read. Never raises for what is wrong with the file.

    For `within` see `open_regular`.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet as pq
    except ImportError:
        yield Lost(0, _MISSING)
        return
    try:
        opened = open_regular(path, within)
    except DamageError as damage:
        yield Lost(0, str(damage))
        return
    except (OSError, ValueError) as error:
        yield Lost(0, os_problem(error))
        return
    with opened:
        try:
            # Pages are read as they are needed, not a whole row group; their checksums are checked where they have any.
            file = pq.ParquetFile(opened, pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True)
            groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
            texts = [field.name for field in file.schema_arrow if _is_text(field.type, pa.types)]
            name, problem = _chosen(list(file.schema_arrow.names), texts, column)
        except Exception as error:  # noqa: BLE001 - pyarrow raises what it likes for a damaged file
            yield Lost(0, f"cannot be read as Parquet: {_words(error)}")
            return
        if problem:
            yield Lost(0, problem)
            return
        yield Rows(sum(groups))
        first = 1
        for number, rows in enumerate(groups):
            yield from _group(file, number, name, first, rows, pa.large_binary())
            first += rows


def _group(file: Any, number: int, name: str, first: int, rows: int, binary: Any) -> Iterator[Event]:
    """One row group, which says that it has `rows` rows."""
    done = 0
    problem = "they are not there"
    try:
        for cells in _cells(file, number, name, CELLS, binary):
            cells = cells[: rows - done]
            if cells:
                yield Cut(first + done, cells)
            done += len(cells)
    except Exception as error:  # noqa: BLE001 - as above
        problem = _words(error)
        # The first of the cells that it was about to read may be readable: all again, one by one.
        try:
            for seen, cells in enumerate(_cells(file, number, name, 1, binary), 1):
                if done < seen <= rows:
                    yield Cut(first + done, cells)
                    done = seen
        except Exception as again:  # noqa: BLE001 - as above
            problem = _words(again)
    if done < rows:
        yield Lost(first + done, f"rows {first + done} to {first + rows - 1} cannot be read: {problem}")


def _cells(file: Any, group: int, name: str, size: int, binary: Any) -> Iterator[list[bytes | None]]:
    for batch in file.iter_batches(batch_size=size, row_groups=[group], columns=[name], use_threads=False):
        array = batch.column(0)
        if hasattr(array, "dictionary_decode"):
            array = array.dictionary_decode()
        # To bytes: text that is no UTF-8 is the record's own problem.
        yield array.cast(binary).to_pylist()


def _is_text(kind: Any, types: Any) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = ("is_string", "is_large_string", "is_binary", "is_large_binary", "is_string_view", "is_binary_view")
    return any(getattr(types, test)(kind) for test in tests if hasattr(types, test))


def _chosen(names: Sequence[str], texts: Sequence[str], column: str | None) -> tuple[str, str]:
    """The column that has the records, or why it cannot be told.

    The one asked for, else the only one of text, else the only one of text that is named as one of `COLUMNS_GUESSED`.
    """
    has = f"; the file has {_listed(names)}"
    if column is None:
        guesses = texts if len(texts) == 1 else [name for name in texts if name in COLUMNS_GUESSED]
        if not texts:
            return "", f"has no column of text{has}"
        if not guesses:
            return "", f"which column has the records cannot be told{has}; name it (--column)"
        if len(guesses) > 1:
            return "", f"more than one column may have the records: {_listed(guesses)}; name it (--column)"
        column = guesses[0]
    elif column not in names:
        return "", f"has no column {column!r}{has}"
    elif column not in texts:
        return "", f"its column {column!r} is no text{has}"
    if names.count(column) > 1:
        return "", f"has the column {column!r} {names.count(column)} times"
    return column, ""


def _listed(names: Sequence[str]) -> str:
    told = ", ".join(name if len(name) <= 50 else f"{name[:50]}…" for name in names[:_COLUMNS_TOLD])
    return told + (f" and {len(names) - _COLUMNS_TOLD} more" if len(names) > _COLUMNS_TOLD else "")


def _words(error: Exception) -> str:
    lines = str(error).splitlines()
    words = lines[0] if lines else type(error).__name__
    return words if len(words) <= _WORDS_MAX else f"{words[:_WORDS_MAX]}…"
