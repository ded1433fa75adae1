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

from nomyo_attest.audit.sources.source import DamageError, open_regular, os_problem
from nomyo_attest.evidence.strict_json import TEXT_MAX
from nomyo_attest.installation import install_command

CUT_BYTES: Final = 1024 * 1024
"""Maximum bytes of cells in one `Cut`, unless a single cell has more."""

CUT_CELLS: Final = 64
"""Maximum number of cells in one `Cut`."""

_BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of cells that pyarrow decodes at once, as far as the file's metadata and its dictionaries show their sizes."""

_BATCH_ROWS: Final = 1024
"""Maximum number of rows that pyarrow decodes at once."""

COLUMNS_GUESSED: Final = ("response", "metadata", "_metadata", "evidence", "json", "record")
"""Names of the column with the records in a file with several columns of text."""

_BUFFER: Final = 1024 * 1024
"""Bytes read ahead. Without a buffer, pyarrow reads a whole row group."""

_COLUMNS_LISTED: Final = 10
_MESSAGE_MAX: Final = 200
_MISSING: Final = f"reading Parquet needs pyarrow, of the extra parquet: {install_command('parquet')}"


class Rows(msgspec.Struct, frozen=True, tag=True):
    """The number of rows according to the file's metadata."""

    count: int


class Cut(msgspec.Struct, frozen=True, tag=True):
    """The next cells, from row `first` on, from 1; None is a null."""

    first: int
    cells: list[bytes | None]


class Oversize(msgspec.Struct, frozen=True, tag=True):
    """A cell that is longer than a record may be, with its size in bytes; its text is not sent."""

    line: int
    size: int


class Unreadable(msgspec.Struct, frozen=True, tag=True):
    """The rows from `line` to the end of their row group cannot be read; 0 means the whole file."""

    line: int
    problem: str


Event = Rows | Cut | Oversize | Unreadable


def read_column(path: str, column: str | None, within: str = "", limit: int = 0) -> Iterator[Event]:
    """Yield `Rows`, then all cells; `Unreadable` for rows that cannot be read. A damaged file never raises.

    Args:
        path: the file.
        column: the column that contains the records, if it was given.
        within: as in `open_regular`.
        limit: the memory that this process may use, in bytes, for messages; 0 if it is not limited.
    """
    try:
        from pyarrow import parquet

        from nomyo_attest.audit.arrow_columns import is_text, plain_type
    except ImportError:
        yield Unreadable(0, _MISSING)
        return
    try:
        opened = open_regular(path, within)
    except DamageError as damage:
        yield Unreadable(0, str(damage))
        return
    except (OSError, ValueError) as error:
        yield Unreadable(0, os_problem(error))
        return
    with opened:
        try:
            file = _open(parquet, opened)
            groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
            texts = [field.name for field in file.schema_arrow if is_text(plain_type(field.type))]
            name, problem = _choose_column(list(file.schema_arrow.names), texts, column)
            compact = None if problem else _open(parquet, opened, file.metadata, name)
        except Exception as error:  # noqa: BLE001 - pyarrow raises many types for a damaged file
            yield Unreadable(0, f"cannot be read as Parquet: {_describe(error, limit)}")
            return
        if problem:
            yield Unreadable(0, problem)
            return
        yield Rows(sum(groups))
        first = 1
        for number, rows in enumerate(groups):
            yield from _group((file, compact), number, name, first, rows, limit)
            first += rows


def _open(parquet: Any, opened: BinaryIO, metadata: Any = None, name: str | None = None) -> Any:
    """Open a Parquet file. The column `name` is read as its dictionary, without a cell for each row.

    Pages are read as they are needed, not a whole row group; their checksums are verified if they have any.
    """
    more: dict[str, Any] = {"metadata": metadata, "read_dictionary": [] if name is None else [name]}
    if "arrow_extensions_enabled" in inspect.signature(parquet.ParquetFile).parameters:
        more["arrow_extensions_enabled"] = False  # a column of an extension type has no dictionary
    return parquet.ParquetFile(opened, pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True, **more)


def _bounded_cells(file: Any, compact: Any, group: int, name: str) -> Iterator[memoryview | None]:
    """Yield the cells of a row group, decoded in batches of about `_BATCH_BYTES`.

    A row takes more than its share of the file if rows share a dictionary entry or the beginning of the previous cell.
    A file may hide both; then the memory limit stops the batch, and rows are read one by one.
    """
    metadata = compact.metadata.row_group(group)
    columns = (metadata.column(number) for number in range(metadata.num_columns))
    column = next((candidate for candidate in columns if candidate.path_in_schema == name), None)
    if column is None or "DELTA_BYTE_ARRAY" in column.encodings:
        return _cells(file, group, name, 1)
    first = next(_arrays(compact, group, name, 1), None)
    if first is None:
        return iter(())
    entries = getattr(first, "dictionary", first)
    largest = max((len(cell or b"") for cell in _views(entries)), default=0)
    if largest > _BATCH_BYTES and entries is not first:
        return _cells(compact, group, name, _BATCH_ROWS)
    share = column.total_uncompressed_size // max(1, metadata.num_rows)
    rows = _BATCH_BYTES // max(1, share, largest)
    return _cells(file, group, name, max(1, min(_BATCH_ROWS, rows)))


def _group(files: tuple[Any, Any], group: int, name: str, first: int, rows: int, limit: int) -> Iterator[Event]:
    """Yield the cells of one row group, which has `rows` rows according to the metadata.

    If reading a batch fails, its first rows may still be readable: from there on, rows are read one by one.
    """
    file, compact = files
    done, problem = 0, ""
    for one_by_one in (False, True):
        cut = _Cutter(first + done)
        problem, failed = "they are missing", False
        try:
            reading = _cells(file, group, name, 1) if one_by_one else _bounded_cells(file, compact, group, name)
            for cell in itertools.islice(reading, done, rows):
                yield from cut.add(cell)
                done += 1
        except Exception as error:  # noqa: BLE001 - as above
            problem, failed = _describe(error, limit), True
        yield from cut.rest()
        if not failed:
            break
    if done < rows:
        yield Unreadable(first + done, f"rows {first + done} to {first + rows - 1} cannot be read: {problem}")


class _Cutter:
    """Collect cells, from row `first` on, into cuts. The cuts depend on the cells alone."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._cells: list[bytes | None] = []
        self._size = 0

    def add(self, cell: memoryview | None) -> Iterator[Event]:
        """Add the next cell; yields the cuts that are complete."""
        size = 0 if cell is None else len(cell)
        if size > TEXT_MAX:
            yield from self.rest()
            yield Oversize(self._first, size)
            self._first += 1
            return
        if self._size + size > CUT_BYTES:
            yield from self.rest()
        self._cells.append(None if cell is None else bytes(cell))
        self._size += size
        if self._size >= CUT_BYTES or len(self._cells) >= CUT_CELLS:
            yield from self.rest()

    def rest(self) -> Iterator[Event]:
        """Yield the cells that were not sent yet."""
        if self._cells:
            yield Cut(self._first, self._cells)
            self._first, self._cells, self._size = self._first + len(self._cells), [], 0


def _arrays(file: Any, group: int, name: str, size: int) -> Iterator[Any]:
    """Yield the column of a row group in arrays of `size` rows."""
    from nomyo_attest.audit.arrow_columns import plain_array

    for batch in file.iter_batches(batch_size=size, row_groups=[group], columns=[name], use_threads=False):
        yield plain_array(batch.column(0))


def _views(array: Any) -> Iterator[memoryview | None]:
    """Yield the bytes of each text of an array, without a copy; None for null. Does not check for valid UTF-8."""
    import pyarrow as pa

    if isinstance(array, pa.DictionaryArray):
        entries = list(_views(array.dictionary))
        for index in array.indices.to_pylist():
            yield None if index is None else entries[index]
        return
    array = array.cast(pa.large_binary())
    _, offsets, data = array.buffers()
    places = memoryview(offsets).cast("q")[array.offset : array.offset + len(array) + 1]
    text = memoryview(data or b"")
    valid = array.is_valid().to_pylist() if array.null_count else itertools.repeat(True)
    for start, end, is_text in zip(places, places[1:], valid, strict=False):
        yield text[start:end] if is_text else None


def _cells(file: Any, group: int, name: str, size: int) -> Iterator[memoryview | None]:
    """Yield each cell of a row group, decoded in batches of `size` rows."""
    for array in _arrays(file, group, name, size):
        yield from _views(array)


def _choose_column(names: Sequence[str], texts: Sequence[str], column: str | None) -> tuple[str, str]:
    """Return the column that contains the records, or why there is none; one of the two is empty.

    It is the column asked for, else the only column of text, else the only one of text with a name in
    `COLUMNS_GUESSED`.
    """
    has = f"; the file has {_listed(names)}"
    if column is None:
        guesses = texts if len(texts) == 1 else [name for name in texts if name in COLUMNS_GUESSED]
        if not texts:
            return "", f"has no column of text{has}"
        if not guesses:
            return "", f"more than one column of text{has}; name the one with the records (--column)"
        if len(guesses) > 1:
            return "", f"more than one column may have the records: {_listed(guesses)}; name it (--column)"
        column = guesses[0]
    elif column not in names:
        return "", f"has no column {column!r}{has}"
    elif column not in texts:
        return "", f"column {column!r} does not contain text{has}"
    if names.count(column) > 1:
        return "", f"has the column {column!r} {names.count(column)} times"
    return column, ""


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(name if len(name) <= 50 else f"{name[:50]}…" for name in names[:_COLUMNS_LISTED])
    return listed + (f" and {len(names) - _COLUMNS_LISTED} more" if len(names) > _COLUMNS_LISTED else "")


def _describe(error: Exception, limit: int) -> str:
    if isinstance(error, MemoryError) and limit:
        return (
            f"reading them takes more than {limit // (1024 * 1024)} MiB of memory, the limit for a file of this size; "
            "hint: write the file again with fewer rows in a page or row group, or as JSON Lines"
        )
    lines = str(error).splitlines()
    message = lines[0] if lines else type(error).__name__
    return message if len(message) <= _MESSAGE_MAX else f"{message[:_MESSAGE_MAX]}…"
