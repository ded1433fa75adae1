"""Write verdicts as JSON Lines, CSV or Parquet. The file extension selects the format."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import GenericAlias
from typing import IO, Any, Final, NamedTuple, Protocol

import msgspec

from nomyo_attest._files import atomic_file, atomic_link, reason
from nomyo_attest.audit.row import COLUMNS, Row, RowFinding
from nomyo_attest.errors import NomyoAttestError
from nomyo_attest.installation import install_command

OUTPUT_EXTENSIONS: Final = ".jsonl, .ndjson or .csv (each also .gz or .zst), or .parquet"
"""The file extensions of outputs, for messages."""

_COMPRESSIONS: Final = (".gz", ".zst")
_LEVEL_GZIP: Final = 6
_COPY_BYTES: Final = 1024 * 1024

_BATCH_ROWS: Final = 1000
"""Rows in a batch for Parquet: a few megabytes."""

_GROUP_BYTES: Final = 16 * 1024 * 1024
"""Bytes of JSON text in one Parquet row group, which is built in memory."""


class OutputError(NomyoAttestError):
    """An output cannot be written.

    Attributes:
        name: the name of the output.
        problem: why it cannot be written.
    """

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(name, problem)

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}"


class Output(NamedTuple):
    """A file to which rows are written.

    Attributes:
        name: the file's name, as typed.
        extension: ``".jsonl"``, ``".ndjson"``, ``".csv"`` or ``".parquet"``.
        compression: ``""``, ``".gz"`` or ``".zst"``.
    """

    name: str
    extension: str
    compression: str


def parse_output(name: str) -> Output:
    """Parse the name of an output, whose extension selects the format.

    Raises:
        OutputError: the extension is unsupported, or needs a package that is not installed.
    """
    rest, compression = name.lower(), ""
    for extension in _COMPRESSIONS:
        if rest.endswith(extension):
            rest, compression = rest.removesuffix(extension), extension
    for extension in _WRITERS:
        if rest.endswith(extension) and not (compression and extension == ".parquet"):
            if extension == ".parquet" and find_spec("pyarrow") is None:
                raise OutputError(name, f"Parquet needs pyarrow from the extra parquet: {install_command('parquet')}")
            return Output(name, extension, compression)
    raise OutputError(name, f"unsupported file extension; use {OUTPUT_EXTENSIONS}")


class RowsFile(Protocol):
    """A file of rows as JSON Lines; `nomyo_attest.audit.state.State` implements this protocol."""

    def open_rows(self) -> IO[bytes]:
        """Open it for reading."""
        ...

    def link_rows(self, target: Path) -> None:
        """Hard-link it to `target`. Raises `OSError` if that is not possible."""
        ...


def write_rows(rows: RowsFile, output: Output, *, replace: bool) -> None:
    """Write `rows` as `output`, atomically.

    Args:
        rows: the rows.
        output: the file to write.
        replace: whether to replace an existing file.

    Raises:
        OutputError: the file cannot be written, or exists and `replace` is false.
    """
    name, writer = output.name, _WRITERS[output.extension]
    if writer is copy_bytes and not output.compression and _link_rows(rows, name, replace=replace):
        return
    with (
        rows.open_rows() as source,
        atomic_output(name, replace=replace) as out,
        _compress(out, output.compression) as compressed,
    ):
        writer(source, compressed)


@contextlib.contextmanager
def atomic_output(name: str, *, replace: bool) -> Iterator[IO[bytes]]:
    """Open the file `name` for writing; it appears when the context ends without an error.

    Without `replace`, the file must not exist. Raises `OutputError`.
    """
    with _as_output_error(name), atomic_file(Path(name), replace=replace, temporary=_temporary_name(name)) as file:
        yield file


def _link_rows(rows: RowsFile, name: str, *, replace: bool) -> bool:
    with _as_output_error(name):
        return atomic_link(rows.link_rows, Path(name), replace=replace, temporary=_temporary_name(name))


def _temporary_name(name: str) -> str:
    """Return the temporary name for an output, always the same, so that the next audit removes a leftover file."""
    return f".{Path(name).name[:100]}.audit.tmp"


@contextlib.contextmanager
def _as_output_error(name: str) -> Iterator[None]:
    """Raise operating system errors as `OutputError`."""
    try:
        yield
    except FileExistsError:
        raise OutputError(name, "already exists; choose another name, or add --force to overwrite it") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and _is_valid_name(name):
            raise  # the content caused the error, not the name
        raise OutputError(name, f"cannot be written: {reason(error)}") from None


def _is_valid_name(name: str) -> bool:
    """Whether a file can have this name."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def _compress(out: IO[bytes], compression: str) -> AbstractContextManager[Any]:
    if compression == ".gz":
        # Without a name and a time, the same rows result in the same bytes.
        return gzip.GzipFile("", "wb", _LEVEL_GZIP, out, mtime=0)
    if compression == ".zst":
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        return zstd.ZstdFile(out, "wb")
    return nullcontext(out)


def copy_bytes(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy the rest of `source` to `target`, a megabyte at a time."""
    while piece := source.read(_COPY_BYTES):
        target.write(piece)


def _with_field_types(kind: type[msgspec.Struct], **types: Any) -> Any:
    """Return a copy of the struct type `kind` in which some fields have different types."""
    fields = [(field.name, types.get(field.name, field.type)) for field in msgspec.structs.fields(kind)]
    return msgspec.defstruct(f"Raw{kind.__name__}", fields, frozen=True)


# Fields of any JSON type are not decoded, so that their JSON text is copied unchanged.
_RAW_FINDINGS: Final = GenericAlias(list, (_with_field_types(RowFinding, expected=msgspec.Raw, got=msgspec.Raw),))
_CSV_DECODER: Final = msgspec.json.Decoder(
    _with_field_types(Row, pcrs=msgspec.Raw, findings=msgspec.Raw, evidence=msgspec.Raw)
)
_PARQUET_DECODER: Final = msgspec.json.Decoder(
    _with_field_types(Row, pcrs=msgspec.Raw, findings=_RAW_FINDINGS, evidence=msgspec.Raw)
)

_NULL: Final = b"null"
_FORMULA: Final = re.compile(r"""((?:^|;)[\s"']*)([=+\-@\uff0b\uff0d\uff1d\uff20])""")
"""The first character of a formula: at the beginning of a cell, or after a semicolon, which may separate cells."""

_FORMULA_IN_JSON: Final = re.compile(r"""(;[\s"\\]*)([=+\-@\uff0b\uff0d\uff1d\uff20])""")


def write_csv(rows: IO[bytes], out: IO[bytes]) -> None:
    """Write JSON Lines as CSV (RFC 4180), in UTF-8, with a header.

    Lists are joined by spaces; ``pcrs``, ``findings`` and ``evidence`` are JSON text; null is an empty cell.
    Unprintable characters, including newlines, are written as escapes, such as ``\\n``. A character that could begin a
    formula in a spreadsheet, at the beginning of a cell or after a semicolon, is preceded by an apostrophe; in JSON it
    is written as an escape.
    """
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=False)
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for line in rows:
        row = _CSV_DECODER.decode(line)
        writer.writerow([_csv_cell(getattr(row, name)) for name in COLUMNS])
    text.flush()
    text.detach()


def _csv_cell(value: Any) -> str | int:
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return value
    if isinstance(value, msgspec.Raw):
        return "" if bytes(value) == _NULL else _json_cell(bytes(value).decode())
    text = _escape_unprintable(value if isinstance(value, str) else " ".join(value), _escape)
    return _FORMULA.sub(r"\1'\2", text)


def _escape_unprintable(text: str, escape: Callable[[str], str]) -> str:
    """Replace each unprintable character by an escape."""
    return text if text.isprintable() else "".join(char if char.isprintable() else escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _escape_in_json(char: str) -> str:
    """Return the JSON escape of a character; beyond U+FFFF, two escapes (RFC 8259, section 7)."""
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _json_cell(text: str) -> str:
    """Escape unprintable characters and the beginnings of formulas in JSON text, without changing its value."""
    text = _escape_unprintable(text, _escape_in_json)
    return _FORMULA_IN_JSON.sub(lambda match: f"{match[1]}\\u{ord(match[2]):04x}", text)


def write_parquet(rows: IO[bytes], out: IO[bytes]) -> None:
    """Write JSON Lines as Parquet, with the schema `RESULT_SCHEMA`. Needs the extra ``parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from nomyo_attest.audit.arrow import RESULT_SCHEMA, rows_to_batch

    with pq.ParquetWriter(out, RESULT_SCHEMA, compression="zstd") as writer:
        for group in _row_groups(rows):
            starts = range(0, len(group), _BATCH_ROWS)
            batches = [rows_to_batch(group[start : start + _BATCH_ROWS]) for start in starts]
            writer.write_table(pa.Table.from_batches(batches, RESULT_SCHEMA))


def _row_groups(rows: IO[bytes]) -> Iterator[list[Any]]:
    """Yield the rows in row groups."""
    while lines := rows.readlines(_GROUP_BYTES):
        yield [_without_nulls(_PARQUET_DECODER.decode(line)) for line in lines]


def _without_nulls(row: Any) -> Any:
    nulls = {name: None for name in ("pcrs", "evidence") if bytes(getattr(row, name)) == _NULL}
    return msgspec.structs.replace(row, **nulls) if nulls else row


_Writer = Callable[[IO[bytes], IO[bytes]], None]
_WRITERS: Final[dict[str, _Writer]] = {
    ".jsonl": copy_bytes,
    ".ndjson": copy_bytes,
    ".csv": write_csv,
    ".parquet": write_parquet,
}
