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

_IDENTITY_FORMAT: Final = b"nomyo-attest-sources/2\n"
"""Changes when the same inputs give other chunks, so that no audit is resumed by a version that cuts otherwise."""


_Packed = tuple[bytes, int | None, int | None, str, bytes]  # the fields of `Found`, `within` last


class InventoryError(NomyoAttestError, ValueError):
    """The names given cannot be read together."""


class Inventory:
    """The sources of an audit, in the order in which they are read.

    Attributes:
        column: the column of Parquet files that has the records, if it was given.
        count: how many sources there are.
        size: bytes on disk of all of them, as far as they are known: of a pipe they are not.
        passed_over: the first 100 names of what is in folders and is not named as records are.
        passed_over_total: how many there are. A folder that is not entered counts as one.
        repeated: the first 100 names under which something would have been read a second time. It is read once.
        repeated_total: how many there are.
        resumable: whether the same bytes can be read again; not so with standard input.
    """

    def __init__(self, names: Sequence[str], column: str | None, *, follow_links: bool) -> None:
        self.column = column
        self.count = self.size = 0
        self.resumable = STANDARD_INPUT not in names
        self._packs: list[bytes] = []
        self._identity = hashlib.sha256(_IDENTITY_FORMAT + msgspec.msgpack.encode(column))
        walk = Walk(names, follow_links=follow_links)
        pack: list[_Packed] = []
        for found in walk.found():
            path, within = (text.encode("utf-8", "surrogatepass") for text in (found.path, found.within))
            pack.append((path, found.size, found.mtime, found.problem, within))
            self.count += 1
            self.size += found.size or 0
            if len(pack) == _PACK:
                self._add(pack)
                pack = []
        self._add(pack)
        self.passed_over, self.passed_over_total = tuple(walk.passed_over.first), walk.passed_over.total
        self.repeated, self.repeated_total = tuple(walk.repeated.first), walk.repeated.total

    def _add(self, pack: list[_Packed]) -> None:
        # Without the real path of the folder: the folder may have been moved when the audit is resumed.
        self._identity.update(msgspec.msgpack.encode([packed[:4] for packed in pack]))
        self._packs.append(zlib.compress(msgspec.msgpack.encode(pack), 1))

    @property
    def sources(self) -> Iterator[Source]:
        """All sources, from the first on each time."""
        number = 0
        for packed in self._packs:
            for path, size, mtime, problem, within in msgspec.msgpack.decode(
                zlib.decompress(packed), type=list[_Packed]
            ):
                texts = (text.decode("utf-8", "surrogatepass") for text in (path, within))
                yield _source(number, Found(next(texts), size, mtime, problem, next(texts)))
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
    name = display(found.path)
    return Source(number, name, found.path, kind, packing, found.size, found.mtime, found.problem, found.within)


def take_inventory(names: Sequence[str], *, column: str | None = None, follow_links: bool = False) -> Inventory:
    """Find out what there is to read under `names`: files, folders, ``"-"`` for standard input.

    Files are told by their endings, whatever their case: ``.json`` is one record; ``.jsonl`` and ``.ndjson`` have one a
    line; each may also end in ``.gz`` or ``.zst``; ``.parquet`` has one a row. Standard input is JSON Lines, packed or
    not. What is named and cannot be read is a source all the same, with its problem; so is what cannot be read in a
    folder but has the name of a record, and a folder in which nothing has.

    Args:
        names: as typed. A source is named as its file was typed, or ``typed/relative/path`` in a folder.
        column: the column of Parquet files that has the records, where more than one may.
        follow_links: read also what symbolic links in a folder lead to outside that folder. Without this such a link
            is a source with a problem. Links that are named themselves are always followed.

    Raises:
        InventoryError: standard input is named twice.
    """
    if list(names).count(STANDARD_INPUT) > 1:
        raise InventoryError("standard input (-) can be read once only; name it once")
    return Inventory(names, column, follow_links=follow_links)
