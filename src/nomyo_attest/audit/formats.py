"""Write the verdicts as JSON Lines, CSV or Parquet; the extension of the file's name selects the format."""

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
"""The extensions of outputs, for messages."""

_COMPRESSIONS: Final = (".gz", ".zst")
_LEVEL_GZIP: Final = 6
_PIECE: Final = 1024 * 1024

_BATCH: Final = 1000
"""Rows of a batch for Parquet: some megabytes."""

_GROUP_BYTES: Final = 16 * 1024 * 1024
"""JSON text of the rows of one Parquet row group, which is held in memory."""


class OutputError(NomyoAttestError):
    """An output cannot be written.

    Attributes:
        name: the name of the file.
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


class Rows(Protocol):
    """A file of rows as JSON Lines, such as `nomyo_attest.audit.state.State` has."""

    def open_rows(self) -> IO[bytes]:
        """Open it for reading."""
        ...

    def link_rows(self, target: Path) -> None:
        """Hard-link it to `target`. Raises `OSError` if that is not possible."""
        ...


def write_rows(rows: Rows, output: Output, *, replace: bool) -> None:
    """Write `rows` as `output`, atomically.

    Args:
        rows: the rows.
        output: the file.
        replace: replace a file that has the name.

    Raises:
        OutputError: the file cannot be written, or exists and `replace` is false.
    """
    name, writer = output.name, _WRITERS[output.extension]
    if writer is copy and not output.compression and _link(rows, name, replace=replace):
        return
    with (
        rows.open_rows() as source,
        atomic_output(name, replace=replace) as out,
        _compressed(out, output.compression) as compressed,
    ):
        writer(source, compressed)


@contextlib.contextmanager
def atomic_output(name: str, *, replace: bool) -> Iterator[IO[bytes]]:
    """Open the file `name` for writing; it appears when the context ends without an error.

    Without `replace` the name must be free. Raises `OutputError`.
    """
    with _as_output_error(name), atomic_file(Path(name), replace=replace, temporary=_temporary(name)) as file:
        yield file


def _link(rows: Rows, name: str, *, replace: bool) -> bool:
    with _as_output_error(name):
        return atomic_link(rows.link_rows, Path(name), replace=replace, temporary=_temporary(name))


def _temporary(name: str) -> str:
    """Return the temporary name: always the same for an output, so that the next audit removes a leftover file."""
    return f".{Path(name).name[:100]}.audit.tmp"


@contextlib.contextmanager
def _as_output_error(name: str) -> Iterator[None]:
    """Raise operating system errors as `OutputError`."""
    try:
        yield
    except FileExistsError:
        raise OutputError(name, "already exists; choose another name, or add --force to overwrite it") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and _is_possible(name):
            raise  # about the content, not about the name
        raise OutputError(name, f"cannot be written: {reason(error)}") from None


def _is_possible(name: str) -> bool:
    """Whether a file can have this name."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def _compressed(out: IO[bytes], compression: str) -> AbstractContextManager[Any]:
    if compression == ".gz":
        # No name and no time, so that the same rows result in the same bytes.
        return gzip.GzipFile("", "wb", _LEVEL_GZIP, out, mtime=0)
    if compression == ".zst":
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        return zstd.ZstdFile(out, "wb")
    return nullcontext(out)


def copy(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy the rest of `source` to `target`, a megabyte at a time."""
    while piece := source.read(_PIECE):
        target.write(piece)


def _like(kind: type[msgspec.Struct], **other: Any) -> Any:
    """Copy the struct type `kind` with other types for some fields."""
    fields = [(field.name, other.get(field.name, field.type)) for field in msgspec.structs.fields(kind)]
    return msgspec.defstruct(f"Raw{kind.__name__}", fields, frozen=True)


# A value of any JSON type remains JSON text, so that it is copied unchanged.
_FINDINGS: Final = GenericAlias(list, (_like(RowFinding, expected=msgspec.Raw, got=msgspec.Raw),))
_FOR_CSV: Final = msgspec.json.Decoder(_like(Row, pcrs=msgspec.Raw, findings=msgspec.Raw, evidence=msgspec.Raw))
_FOR_PARQUET: Final = msgspec.json.Decoder(_like(Row, pcrs=msgspec.Raw, findings=_FINDINGS, evidence=msgspec.Raw))

_NULL: Final = b"null"
_FORMULA: Final = re.compile(r"""((?:^|;)[\s"']*)([=+\-@\uff0b\uff0d\uff1d\uff20])""")
"""The start of a formula: at the start of a cell, or after a semicolon, which separates cells in much of Europe."""

_FORMULA_IN_JSON: Final = re.compile(r"""(;[\s"\\]*)([=+\-@\uff0b\uff0d\uff1d\uff20])""")


def write_csv(rows: IO[bytes], out: IO[bytes]) -> None:
    """Write JSON Lines as CSV (RFC 4180), in UTF-8, with a header.

    Lists are joined by spaces; ``pcrs``, ``findings`` and ``evidence`` are JSON text; null is an empty cell. A
    character that does not print, a line end included, is written as an escape, such as ``\\n``. Where a spreadsheet
    would begin a formula, at the start of a cell and after a semicolon, an apostrophe is put before the character, and
    in JSON the character is an escape.
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
    """Replace each character that does not print by an escape."""
    return text if text.isprintable() else "".join(char if char.isprintable() else escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _escape_in_json(char: str) -> str:
    """Return the JSON escape of a character, two beyond U+FFFF (RFC 8259, section 7)."""
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _json_cell(text: str) -> str:
    """Rewrite JSON text so that every character prints and none begins a formula; the value stays the same."""
    text = _printing(text, _escape_in_json)
    return _FORMULA_IN_JSON.sub(lambda found: f"{found[1]}\\u{ord(found[2]):04x}", text)


def write_parquet(rows: IO[bytes], out: IO[bytes]) -> None:
    """Write JSON Lines as Parquet, with the Arrow schema of results. Needs the extra ``parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from nomyo_attest.audit.arrow import RESULT_SCHEMA, rows_to_batch

    with pq.ParquetWriter(out, RESULT_SCHEMA, compression="zstd") as writer:
        for group in _groups(rows):
            batches = [rows_to_batch(group[at : at + _BATCH]) for at in range(0, len(group), _BATCH)]
            writer.write_table(pa.Table.from_batches(batches, RESULT_SCHEMA))


def _groups(rows: IO[bytes]) -> Iterator[list[Any]]:
    """Yield the rows of one row group after another."""
    while lines := rows.readlines(_GROUP_BYTES):
        yield [_without_null(_FOR_PARQUET.decode(line)) for line in lines]


def _without_null(row: Any) -> Any:
    nulls = {name: None for name in ("pcrs", "evidence") if bytes(getattr(row, name)) == _NULL}
    return msgspec.structs.replace(row, **nulls) if nulls else row


_Writer = Callable[[IO[bytes], IO[bytes]], None]
_WRITERS: Final[dict[str, _Writer]] = {".jsonl": copy, ".ndjson": copy, ".csv": write_csv, ".parquet": write_parquet}
