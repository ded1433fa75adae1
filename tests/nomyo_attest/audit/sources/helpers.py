"""Read sources as a worker does, and write files for tests."""

from __future__ import annotations

import gzip
import pickle
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nomyo_attest.audit.chunk import RawRecord, SourceEnd
from nomyo_attest.audit.sources import Inventory, read_chunks, take_inventory

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Read(NamedTuple):
    """The result of reading sources, by chunk."""

    inventory: Inventory
    chunks: list[tuple[int, int, list[RawRecord], tuple[SourceEnd, ...]]]

    @property
    def records(self) -> list[RawRecord]:
        return [record for _, _, records, _ in self.chunks for record in records]

    @property
    def texts(self) -> list[bytes]:
        return [record.text for record in self.records if record.text is not None]

    @property
    def places(self) -> list[tuple[str, int]]:
        return [(record.name, record.line) for record in self.records]

    @property
    def ends(self) -> list[SourceEnd]:
        return [end for *_, ends in self.chunks for end in ends]

    @property
    def end(self) -> SourceEnd:
        """The end of the only source."""
        (end,) = self.ends
        return end

    @property
    def problem(self) -> str:
        """The problem of the only source; check that its end and its last record, which is unreadable, agree."""
        last = self.records[-1]
        assert last.text is None
        assert last.problem == self.end.problem
        assert [record.problem for record in self.records[:-1]] == [""] * (len(self.records) - 1)
        return last.problem


def read(*names: str | Path, column: str | None = None, skip: int = 0, inventory: Inventory | None = None) -> Read:
    """Read sources; pickle every chunk, as for another process."""
    if inventory is None:
        inventory = take_inventory([str(name) for name in names], column=column)
    chunks = []
    for chunk in read_chunks(inventory, skip=skip):
        sent = pickle.loads(pickle.dumps(chunk))
        records = list(sent.records())
        chunks.append((sent.number, sent.progress, records, sent.source_ends()))
    return Read(inventory, chunks)


def gz(text: bytes) -> bytes:
    return gzip.compress(text, mtime=0)


def zst(text: bytes) -> bytes:
    return zstd.compress(text, options={zstd.CompressionParameter.checksum_flag: 1})


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files to `folder` and return it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def numbered_lines(count: int, size: int = 0) -> list[bytes]:
    """Return `count` different lines of about `size` bytes."""
    return [b'{"n": %d, "filler": "%s"}' % (number, b"x" * size) for number in range(count)]


def join_lines(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
