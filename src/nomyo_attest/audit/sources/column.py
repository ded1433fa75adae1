"""Read the column of a Parquet file that contains the records, about a megabyte at a time.

pyarrow is slow to load, and a hostile file may crash it or make it allocate gigabytes, so this runs in a child process
with limited memory (`parquet`).
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final

import msgspec

from nomyo_attest.audit.sources.source import SourceDamageError, open_regular, os_problem
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX
from nomyo_attest.installation import install_command

CELL_BATCH_BYTES: Final = 1024 * 1024
"""Maximum bytes of the cells in one `CellBatch`, unless a single cell is larger."""

CELL_BATCH_CELLS: Final = 64
"""Maximum number of cells in one `CellBatch`."""

_BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of cells that pyarrow decodes per batch, estimated from the file's metadata and its dictionaries."""

_BATCH_ROWS: Final = 1024
"""Maximum number of rows that pyarrow decodes per batch."""

COLUMNS_GUESSED: Final = ("response", "metadata", "_metadata", "evidence", "json", "record")
"""Names by which the column of records is recognized in a file with several text columns."""

_BUFFER_BYTES: Final = 1024 * 1024
"""Bytes to read ahead. Without a buffer, pyarrow reads a whole row group."""

_NAMES_LISTED: Final = 10
_ERROR_MAX: Final = 200
_PYARROW_MISSING: Final = f"reading Parquet needs pyarrow from the extra parquet: {install_command('parquet')}"


class RowCount(msgspec.Struct, frozen=True, tag=True):
    """The number of rows according to the file's metadata."""

    count: int


class CellBatch(msgspec.Struct, frozen=True, tag=True):
    """Consecutive cells, beginning at row `first`, counted from 1; None is a null."""

    first: int
    cells: list[bytes | None]


class OversizeCell(msgspec.Struct, frozen=True, tag=True):
    """A cell that is longer than a record may be: its row, and its size in bytes. Its text is not sent."""

    line: int
    size: int


class UnreadableRows(msgspec.Struct, frozen=True, tag=True):
    """The rows from `line` to the end of their row group cannot be read; 0 means the whole file."""

    line: int
    problem: str


ColumnEvent = RowCount | CellBatch | OversizeCell | UnreadableRows


def read_column(path: str, column: str | None, within: str = "", limit: int = 0) -> Iterator[ColumnEvent]:
    """Yield `RowCount`, then all cells, or `UnreadableRows` for rows that cannot be read. A damaged file never raises.

    Args:
        path: the file.
        column: the column that contains the records; None to find it.
        within: see `open_regular`.
        limit: the memory that this process may use, in bytes, for messages; 0 if it is not limited.
    """
    try:
        from pyarrow import parquet

        from nomyo_attest.audit.arrow_columns import is_text_type, plain_type
    except ImportError:
        yield UnreadableRows(0, _PYARROW_MISSING)
        return
    try:
        opened = open_regular(path, within)
    except SourceDamageError as damage:
        yield UnreadableRows(0, str(damage))
        return
    except (OSError, ValueError) as error:
        yield UnreadableRows(0, os_problem(error))
        return
    with opened:
        try:
            file = _open_parquet(parquet, opened)
            groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
            text_columns = [field.name for field in file.schema_arrow if is_text_type(plain_type(field.type))]
            name, problem = _choose_column(list(file.schema_arrow.names), text_columns, column)
            as_dictionary = None if problem else _open_parquet(parquet, opened, file.metadata, name)
        except Exception as error:  # noqa: BLE001 - pyarrow raises many types for a damaged file
            yield UnreadableRows(0, f"cannot be read as Parquet: {_describe_error(error, limit)}")
            return
        if problem:
            yield UnreadableRows(0, problem)
            return
        yield RowCount(sum(groups))
        first = 1
        for number, rows in enumerate(groups):
            yield from _read_group((file, as_dictionary), number, name, first, rows, limit)
            first += rows


def _open_parquet(parquet: Any, opened: BinaryIO, metadata: Any = None, name: str | None = None) -> Any:
    """Open a Parquet file. The column `name` is read as a dictionary array, without a copy of the cell for each row.

    Pages are read when they are needed, not whole row groups; checksums of pages are verified if the file has them.
    """
    options: dict[str, Any] = {"metadata": metadata, "read_dictionary": [] if name is None else [name]}
    if "arrow_extensions_enabled" in inspect.signature(parquet.ParquetFile).parameters:
        options["arrow_extensions_enabled"] = False  # a column of an extension type has no dictionary
    return parquet.ParquetFile(
        opened, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True, **options
    )


def _read_cells_in_batches(file: Any, as_dictionary: Any, group: int, name: str) -> Iterator[memoryview | None]:
    """Yield the cells of a row group, decoded in batches of about `_BATCH_BYTES`.

    A decoded row may be larger than its share of the file: rows can share a dictionary entry, or the beginning of the
    previous cell. If a file hides both, the memory limit stops the batch, and `_read_group` reads rows one by one.
    """
    metadata = as_dictionary.metadata.row_group(group)
    columns = (metadata.column(number) for number in range(metadata.num_columns))
    column = next((candidate for candidate in columns if candidate.path_in_schema == name), None)
    if column is None or "DELTA_BYTE_ARRAY" in column.encodings:
        return _read_cells(file, group, name, 1)
    first = next(_read_arrays(as_dictionary, group, name, 1), None)
    if first is None:
        return iter(())
    entries = getattr(first, "dictionary", first)
    largest = max((len(cell or b"") for cell in _cell_views(entries)), default=0)
    if largest > _BATCH_BYTES and entries is not first:
        return _read_cells(as_dictionary, group, name, _BATCH_ROWS)
    share = column.total_uncompressed_size // max(1, metadata.num_rows)
    rows = _BATCH_BYTES // max(1, share, largest)
    return _read_cells(file, group, name, max(1, min(_BATCH_ROWS, rows)))


def _read_group(
    files: tuple[Any, Any], group: int, name: str, first: int, rows: int, limit: int
) -> Iterator[ColumnEvent]:
    """Yield the cells of one row group, which has `rows` rows according to the metadata.

    `files` is the file opened twice: with the column as plain cells, and with the column as a dictionary array.

    If a batch cannot be read, its first rows may still be readable, so the remaining rows are read one by one.
    """
    file, as_dictionary = files
    done, problem = 0, ""
    for one_by_one in (False, True):
        batcher = _CellBatcher(first + done)
        problem, failed = "they are missing", False
        try:
            if one_by_one:
                cells = _read_cells(file, group, name, 1)
            else:
                cells = _read_cells_in_batches(file, as_dictionary, group, name)
            for cell in itertools.islice(cells, done, rows):
                yield from batcher.add(cell)
                done += 1
        except Exception as error:  # noqa: BLE001 - as above
            problem, failed = _describe_error(error, limit), True
        yield from batcher.flush()
        if not failed:
            break
    if done < rows:
        yield UnreadableRows(first + done, f"rows {first + done} to {first + rows - 1} cannot be read: {problem}")


class _CellBatcher:
    """Collect cells, beginning at row `first`, into batches. The batches depend on the cells alone."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._cells: list[bytes | None] = []
        self._size = 0

    def add(self, cell: memoryview | None) -> Iterator[ColumnEvent]:
        """Add the next cell; yields the batches that are complete."""
        size = 0 if cell is None else len(cell)
        if size > RECORD_BYTES_MAX:
            yield from self.flush()
            yield OversizeCell(self._first, size)
            self._first += 1
            return
        if self._size + size > CELL_BATCH_BYTES:
            yield from self.flush()
        self._cells.append(None if cell is None else bytes(cell))
        self._size += size
        if self._size >= CELL_BATCH_BYTES or len(self._cells) >= CELL_BATCH_CELLS:
            yield from self.flush()

    def flush(self) -> Iterator[ColumnEvent]:
        """Yield the last, incomplete batch."""
        if self._cells:
            yield CellBatch(self._first, self._cells)
            self._first, self._cells, self._size = self._first + len(self._cells), [], 0


def _read_arrays(file: Any, group: int, name: str, size: int) -> Iterator[Any]:
    """Yield the column of a row group in arrays of `size` rows."""
    from nomyo_attest.audit.arrow_columns import plain_array

    for batch in file.iter_batches(batch_size=size, row_groups=[group], columns=[name], use_threads=False):
        yield plain_array(batch.column(0))


def _cell_views(array: Any) -> Iterator[memoryview | None]:
    """Yield the bytes of each text of an array, without a copy; None for null. Does not check for valid UTF-8."""
    import pyarrow as pa

    if isinstance(array, pa.DictionaryArray):
        entries = list(_cell_views(array.dictionary))
        for index in array.indices.to_pylist():
            yield None if index is None else entries[index]
        return
    array = array.cast(pa.large_binary())
    _, offsets, data = array.buffers()
    bounds = memoryview(offsets).cast("q")[array.offset : array.offset + len(array) + 1]
    text = memoryview(data or b"")
    valid = array.is_valid().to_pylist() if array.null_count else itertools.repeat(True)
    for start, end, is_valid in zip(bounds, bounds[1:], valid, strict=False):
        yield text[start:end] if is_valid else None


def _read_cells(file: Any, group: int, name: str, size: int) -> Iterator[memoryview | None]:
    """Yield each cell of a row group, decoded in batches of `size` rows."""
    for array in _read_arrays(file, group, name, size):
        yield from _cell_views(array)


def _choose_column(names: Sequence[str], text_columns: Sequence[str], column: str | None) -> tuple[str, str]:
    """Return the column that contains the records, and a problem; one of the two is empty.

    It is the requested column, otherwise the only text column, otherwise the only text column with a name in
    `COLUMNS_GUESSED`.
    """
    columns = f"; the file has {_format_names(names)}"
    if column is None:
        guesses = text_columns if len(text_columns) == 1 else [name for name in text_columns if name in COLUMNS_GUESSED]
        if not text_columns:
            return "", f"has no column of text{columns}"
        if not guesses:
            return "", f"more than one column of text{columns}; name the one with the records (--column)"
        if len(guesses) > 1:
            return "", f"more than one column may have the records: {_format_names(guesses)}; name it (--column)"
        column = guesses[0]
    elif column not in names:
        return "", f"has no column {column!r}{columns}"
    elif column not in text_columns:
        return "", f"column {column!r} does not contain text{columns}"
    if names.count(column) > 1:
        return "", f"has the column {column!r} {names.count(column)} times"
    return column, ""


def _format_names(names: Sequence[str]) -> str:
    listed = ", ".join(name if len(name) <= 50 else f"{name[:50]}…" for name in names[:_NAMES_LISTED])
    return listed + (f" and {len(names) - _NAMES_LISTED} more" if len(names) > _NAMES_LISTED else "")


def _describe_error(error: Exception, limit: int) -> str:
    if isinstance(error, MemoryError) and limit:
        return (
            f"reading them takes more than {limit // (1024 * 1024)} MiB of memory, the limit for a file of this size; "
            "hint: write the file again with fewer rows in a page or row group, or as JSON Lines"
        )
    lines = str(error).splitlines()
    message = lines[0] if lines else type(error).__name__
    return message if len(message) <= _ERROR_MAX else f"{message[:_ERROR_MAX]}…"
