"""What an audit is going to read, taken before it begins."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from nomyo_attest.audit.sources.kinds import STANDARD_INPUT, Kind, Packing, Source, display, kind_of
from nomyo_attest.audit.sources.walk import Found, Walk
from nomyo_attest.errors import NomyoAttestError

_PACK: Final = 1000
"""Sources packed together: sorted names differ little, and a million of them take about 10 MB like this."""

_IDENTITY_FORMAT: Final = b"nomyo-attest-sources/1\n"
"""Changes when the same inputs give other chunks, so that no audit is resumed by a version that cuts otherwise."""


class InventoryError(NomyoAttestError, ValueError):
    """The names given cannot be read together."""


class Inventory:
    """The sources of an audit, in the order in which they are read.

    Attributes:
        column: the column of Parquet files that has the records, if it was given.
        count: how many sources there are.
        size: bytes on disk of all of them, as far as they are known: of a pipe they are not.
        passed_over: the first 100 names of what is in folders and is not named as records are: another ending, or a
            leading dot.
        passed_over_total: how many there are. A hidden folder counts as one.
        repeated: the first 100 names under which something would have been read a second time. It is read once.
        repeated_total: how many there are.
        resumable: whether the same bytes can be read again; not so with standard input.
    """

    def __init__(self, names: Sequence[str], column: str | None) -> None:
        self.column = column
        self.count = self.size = 0
        self.resumable = STANDARD_INPUT not in names
        self._packs: list[bytes] = []
        self._identity = hashlib.sha256(_IDENTITY_FORMAT + msgspec.msgpack.encode(column))
        walk = Walk(names)
        pack: list[tuple[bytes, int | None, int | None, str]] = []
        for found in walk.found():
            pack.append((found.path.encode("utf-8", "surrogatepass"), found.size, found.mtime, found.problem))
            self.count += 1
            self.size += found.size or 0
            if len(pack) == _PACK:
                self._add(pack)
                pack = []
        self._add(pack)
        self.passed_over, self.passed_over_total = tuple(walk.passed_over.first), walk.passed_over.total
        self.repeated, self.repeated_total = tuple(walk.repeated.first), walk.repeated.total

    def _add(self, pack: list[tuple[bytes, int | None, int | None, str]]) -> None:
        encoded = msgspec.msgpack.encode(pack)
        self._identity.update(encoded)
        self._packs.append(zlib.compress(encoded, 1))

    @property
    def sources(self) -> Iterator[Source]:
        """All sources, from the first on each time."""
        number = 0
        for packed in self._packs:
            for path, size, mtime, problem in msgspec.msgpack.decode(
                zlib.decompress(packed), type=list[tuple[bytes, int | None, int | None, str]]
            ):
                yield _source(number, Found(path.decode("utf-8", "surrogatepass"), size, mtime, problem))
                number += 1

    def identity(self) -> str:
        """SHA-256, in hex, over every source's name, size and time of last change, and the column.

        A run that is resumed has the same, or its inputs are not what they were. Of standard input it knows nothing.
        """
        return self._identity.hexdigest()


def _source(number: int, found: Found) -> Source:
    # A pipe is read as JSON Lines; what has no kind does not get so far as to be read.
    known: tuple[Kind, Packing] | None = ("jsonl", "") if found.path == STANDARD_INPUT else kind_of(found.path)
    kind, packing = known or ("json", "")
    return Source(number, display(found.path), found.path, kind, packing, found.size, found.mtime, found.problem)


def take_inventory(names: Sequence[str], *, column: str | None = None) -> Inventory:
    """Find out what there is to read under `names`: files, folders, ``"-"`` for standard input.

    Files are told by their endings, whatever their case: ``.json`` is one record; ``.jsonl`` and ``.ndjson`` have one a
    line; each may also end in ``.gz`` or ``.zst``; ``.parquet`` has one a row. Standard input is JSON Lines, packed or
    not. What is named and cannot be read is a source all the same, with its problem; so is what cannot be read in a
    folder but has the name of a record, and a folder in which nothing has.

    Args:
        names: as typed. A source is named as its file was typed, or ``typed/relative/path`` in a folder.
        column: the column of Parquet files that has the records, where more than one may.

    Raises:
        InventoryError: standard input is named twice.
    """
    if list(names).count(STANDARD_INPUT) > 1:
        raise InventoryError("standard input (-) can be read once only; name it once")
    return Inventory(names, column)
