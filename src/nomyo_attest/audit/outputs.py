"""The verdicts as files: the ending of the name says which kind."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol

from nomyo_attest.audit.placing import OutputError, copy, link, placed
from nomyo_attest.audit.tables import write_csv, write_parquet
from nomyo_attest.installation import install_command

ENDINGS_TOLD: Final = ".jsonl, .ndjson or .csv (each also .gz or .zst), or .parquet"

_Write = Callable[[IO[bytes], IO[bytes]], None]
_WRITERS: Final[dict[str, _Write]] = {".jsonl": copy, ".ndjson": copy, ".csv": write_csv, ".parquet": write_parquet}
_PACKINGS: Final = (".gz", ".zst")
_LEVEL_GZIP: Final = 6


class Output(NamedTuple):
    """A file that gets the rows.

    Attributes:
        name: as typed.
        kind: ``".jsonl"``, ``".ndjson"``, ``".csv"`` or ``".parquet"``.
        packing: ``""``, ``".gz"`` or ``".zst"``.
    """

    name: str
    kind: str
    packing: str


def output(name: str) -> Output:
    """What the ending of `name` asks for. Raises `OutputError` if nothing, or what is not installed."""
    kind, packing = name.lower(), ""
    for ending in _PACKINGS:
        if kind.endswith(ending):
            kind, packing = kind.removesuffix(ending), ending
    for ending in _WRITERS:
        if kind.endswith(ending) and not (packing and ending == ".parquet"):
            if ending == ".parquet" and find_spec("pyarrow") is None:
                raise OutputError(name, f"Parquet needs pyarrow, of the extra parquet: {install_command('parquet')}")
            return Output(name, ending, packing)
    raise OutputError(name, f"its ending says no kind of output; let it end in {ENDINGS_TOLD}")


class Rows(Protocol):
    """A file of rows as JSON Lines, such as `nomyo_attest.audit.state.State` has."""

    def open_rows(self) -> IO[bytes]:
        """Open it for reading."""
        ...

    def link_rows(self, target: Path) -> None:
        """Give it the path `target`, too. Raises `OSError` where that cannot be."""
        ...


def write_rows(rows: Rows, output: Output, *, replace: bool) -> None:
    """Write `rows` as `output`, whole or not at all. Raises `OutputError`."""
    name, writer = output.name, _WRITERS[output.kind]
    if writer is copy and not output.packing and link(rows.link_rows, name, replace=replace):
        return
    with rows.open_rows() as source, placed(name, replace=replace) as out, _packed(out, output.packing) as packed:
        writer(source, packed)


def _packed(out: IO[bytes], packing: str) -> AbstractContextManager[Any]:
    if packing == ".gz":
        # No name and no time: the same rows are the same bytes.
        return gzip.GzipFile("", "wb", _LEVEL_GZIP, out, mtime=0)
    if packing == ".zst":
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        return zstd.ZstdFile(out, "wb")
    return nullcontext(out)
