"""List the files that an audit reads, each once, in an order that the names determine."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import heapq
import os
import stat
import zlib
from collections.abc import Generator, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from nomyo_attest.audit.sources.source import (
    EXTENSIONS,
    STANDARD_INPUT,
    Kind,
    Packing,
    Source,
    display,
    is_within,
    kind_of,
    link_problem,
    os_problem,
    real_path,
    special_problem,
)
from nomyo_attest.errors import NomyoAttestError

NAMES_MAX: Final = 100
"""Maximum listed names of files that are not read; all are counted."""

NAMES_SORTED: Final = 20_000
"""Names of a folder that are sorted at once."""

_PACK: Final = 1000
"""Sources compressed together: sorted names differ little, and a million of them take about 10 MB like this."""

_IDENTITY_FORMAT: Final = b"nomyo-attest-sources/3\n"
"""Changes when the same inputs result in other chunks, so that a version with other chunks cannot resume an audit."""

_SUCCESS: Final = "_SUCCESS"
_TEMPORARY: Final = "_temporary"
_DELTA_LOG: Final = "_delta_log"
_NOT_ENTERED: Final = frozenset({".git", ".hg", ".svn", _TEMPORARY, _DELTA_LOG})

_DELTA: Final = (
    "is a Delta table, whose Parquet files may also contain rows that were deleted or replaced; export the version that"
    " is to be audited as Parquet or JSON Lines, or name the Parquet files themselves to audit all rows"
)


class InventoryError(NomyoAttestError, ValueError):
    """The names given cannot be read together."""


class Found(NamedTuple):
    """A file to be read: its path, size in bytes, time of last change in nanoseconds; or why it cannot be read.

    `within` is the real path of the folder that it must be in when it is opened; empty for anywhere.
    """

    path: str
    size: int | None
    mtime: int | None
    problem: str = ""
    within: str = ""


_Packed = tuple[bytes, int | None, int | None, str, bytes]  # the fields of `Found`, paths as bytes


class Names:
    """The first `NAMES_MAX` names of a set of files, and their number."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self.total = 0

    def add(self, path: str) -> None:
        """Add a name."""
        self.total += 1
        if len(self.first) < NAMES_MAX:
            self.first.append(display(path))


class Inventory:
    """The sources of an audit, in the order in which they are read.

    Attributes:
        column: the column of Parquet files that contains the records, if it was given.
        count: number of sources.
        size: stored bytes of all of them, except pipes, whose size is unknown.
        skipped: the first 100 files in folders that do not have a name of records.
        skipped_total: their number. A folder that is not entered counts as one.
        duplicate_names: the first 100 names under which a file would have been read a second time. It is read once.
        duplicate_names_total: their number.
        resumable: whether the same bytes can be read again, which is false for standard input.
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
        self.skipped, self.skipped_total = tuple(walk.skipped.first), walk.skipped.total
        self.duplicate_names, self.duplicate_names_total = tuple(walk.duplicate_names.first), walk.duplicate_names.total

    def _add(self, pack: list[_Packed]) -> None:
        # Without the real path of the folder: the folder may have been moved when the audit is resumed.
        self._identity.update(msgspec.msgpack.encode([packed[:4] for packed in pack]))
        self._packs.append(zlib.compress(msgspec.msgpack.encode(pack), 1))

    @property
    def sources(self) -> Iterator[Source]:
        """Iterate over all sources, each time from the first."""
        number = 0
        for packed in self._packs:
            pack = msgspec.msgpack.decode(zlib.decompress(packed), type=list[_Packed])
            for path, size, mtime, problem, within in pack:
                texts = (text.decode("utf-8", "surrogatepass") for text in (path, within))
                yield _source(number, Found(next(texts), size, mtime, problem, next(texts)))
                number += 1

    def identity(self) -> str:
        """SHA-256, in hex, over every source's name, size and time of last change, and the column.

        An audit that is resumed must have the same identity. Nothing of standard input is included.
        """
        return self._identity.hexdigest()


def take_inventory(names: Sequence[str], *, column: str | None = None, follow_links: bool = False) -> Inventory:
    """List the sources under `names`: files, folders, ``"-"`` for standard input.

    Files are recognized by their extensions, in any case: ``.json`` is one record; ``.jsonl`` and ``.ndjson`` have one
    per line; each may also end in ``.gz`` or ``.zst``; ``.parquet`` has one per row. Standard input is JSON Lines,
    compressed or not. A name that cannot be read is still a source, with its problem; so are an unreadable file
    of records in a folder, and a folder without records.

    Args:
        names: as typed. A source is named as its file was typed, or ``typed/relative/path`` in a folder.
        column: the column of Parquet files that contains the records, where more than one may.
        follow_links: read also what symbolic links in a folder lead to outside that folder. Without this such a link
            is a source with a problem. Links that are named themselves are always followed.

    Raises:
        InventoryError: standard input is named twice.
    """
    if list(names).count(STANDARD_INPUT) > 1:
        raise InventoryError("standard input (-) can be read only once; give it once")
    return Inventory(names, column, follow_links=follow_links)


def _source(number: int, found: Found) -> Source:
    # A pipe is read as JSON Lines; a source without a kind has a problem and is never read.
    known: tuple[Kind, Packing] | None = ("jsonl", "") if found.path == STANDARD_INPUT else kind_of(found.path)
    kind, packing = known or ("json", "")
    name = display(found.path)
    return Source(number, name, found.path, kind, packing, found.size, found.mtime, found.problem, found.within)


class Walk:
    """List the files under names: folders depth first, the names in each sorted.

    No file is read twice, since its records would be found to be duplicates. A file or folder that is named is read
    where it is named and left out of the folders around it. Links in folders are followed as far as they stay in the
    folder that was named, but not to where a name or an earlier link leads. If several
    names are hard links to one file, only the first is read. Content is not compared: a copy is another file.

    A name that begins with a dot or an underscore is a name like others. The audit skips the folders of version control
    (`.git`), and `_temporary` and `_delta_log` in folders that Spark writes.

    Args:
        names: as typed.
        follow_links: follow links also out of the folder that was named.

    Attributes:
        skipped: files in folders that do not have a name of records, and folders that are not entered.
        duplicate_names: names of files that are read under another name.
    """

    def __init__(self, names: Sequence[str], *, follow_links: bool = False) -> None:
        self.skipped = Names()
        self.duplicate_names = Names()
        self._names = names
        self._follow_links = follow_links
        self._within = ""  # real path of the folder that was named; empty if links may lead out of it
        self._real = {name: _real(name) for name in names if name != STANDARD_INPUT}
        self._claimed = set(self._real.values())  # real paths of everything named
        self._folders = sorted({real for real in self._claimed if os.path.isdir(real)})  # noqa: PTH112 - pathlib raises where this returns False
        self._done: set[str] = set()  # real paths of what was named and read, or linked to and read
        self._inodes: set[tuple[int, int]] = set()  # of files with several names

    def found(self) -> Iterator[Found]:
        """Yield all files to be read, in order."""
        for name in self._names:
            if name == STANDARD_INPUT:
                yield Found(name, None, None)
            elif (real := self._real[name]) in self._done:
                self.duplicate_names.add(name)
            else:
                self._done.add(real)
                yield from self._named(name, real)

    def _named(self, name: str, real: str) -> Iterator[Found]:
        try:
            status = os.stat(name)  # noqa: PTH116 - a name as typed, which may contain NUL bytes
        except (OSError, ValueError) as error:
            yield Found(name, None, None, os_problem(error))
            return
        if stat.S_ISDIR(status.st_mode):
            before = self.duplicate_names.total
            empty = True
            for found in self._folder(name, real):
                empty = False
                yield found
            if empty and self.duplicate_names.total == before:
                yield Found(name, None, None, f"contains no file of records: expected names ending in {EXTENSIONS}")
        elif not stat.S_ISREG(status.st_mode):
            yield Found(name, None, None, special_problem(status.st_mode))
        elif kind_of(name) is None:
            problem = f"unsupported file extension: expected {EXTENSIONS}; other content can be read from a pipe (-)"
            yield Found(name, status.st_size, status.st_mtime_ns, problem)
        else:
            yield from self._file(name, status)

    def _folder(self, top: str, top_real: str) -> Iterator[Found]:
        """All files in a folder. Uses its own stack: folders may be nested deeper than calls can be."""
        self._within = "" if self._follow_links else _real_folder(top, top_real)
        stack: list[tuple[str, str, Iterator[str]]] = []
        entering: tuple[str, str] | None = (top.rstrip("/") if top.strip("/") else "", top_real)
        while entering or stack:
            if entering:
                path, real = entering
                entering = None
                try:
                    stack.append((path, real, sorted_names(path or "/")))
                except OSError as error:
                    yield Found(path or "/", None, None, os_problem(error, "cannot be listed"))
                continue
            path, real, names = stack[-1]
            name = next(names, None)
            if name is None:
                stack.pop()
                continue
            if _is_not_entered(path, name):
                self.skipped.add(f"{path}/{name}")
                if name == _DELTA_LOG:
                    yield Found(path or "/", None, None, _DELTA)
                continue
            entering = yield from self._entry(f"{path}/{name}", f"{real.rstrip('/')}/{name}")

    def _entry(self, path: str, real: str) -> Generator[Found, None, tuple[str, str] | None]:
        """One entry of a folder; returns path and real path of the folder to enter, if it is one."""
        try:
            status = os.lstat(path)
            linked = stat.S_ISLNK(status.st_mode)
            if linked:
                status, real = os.stat(path), _real(path)  # noqa: PTH116 - as above
        except OSError as error:
            # A dangling link is judged by its name. Anything else might be a folder of records.
            if kind_of(path) is None and error.errno in {errno.ENOENT, errno.ELOOP}:
                self.skipped.add(path)
            else:
                yield Found(path, None, None, os_problem(error))
            return None
        if stat.S_ISDIR(status.st_mode):
            if real in self._claimed or (linked and self._reached(real)):
                self.duplicate_names.add(path)
                return None
            if linked and self._leads_out(real):
                yield Found(path, None, None, link_problem(display(real), display(self._within)))
                return None
            if linked:
                self._claimed.add(real)
                self._folders.append(real)
            return path, real
        if kind_of(path) is None:
            self.skipped.add(path)
        elif not stat.S_ISREG(status.st_mode):
            yield Found(path, None, None, special_problem(status.st_mode))
        elif real in self._claimed or real in self._done or (linked and kind_of(real) and self._reached(real)):
            self.duplicate_names.add(path)
        elif linked and self._leads_out(real):
            yield Found(path, None, None, link_problem(display(real), display(self._within)))
        else:
            if linked:
                self._done.add(real)
            yield from self._file(path, status, self._within)
        return None

    def _leads_out(self, real: str) -> bool:
        return bool(self._within) and not is_within(real, self._within)

    def _reached(self, real: str) -> bool:
        """Whether a folder that is listed contains this real path, with no folder between that is not entered."""
        return any(is_within(real, folder) and not _has_not_entered(folder, real) for folder in self._folders)

    def _file(self, path: str, status: os.stat_result, within: str = "") -> Iterator[Found]:
        if status.st_nlink > 1:
            inode = status.st_dev, status.st_ino
            if inode in self._inodes:
                self.duplicate_names.add(path)
                return
            self._inodes.add(inode)
        yield Found(path, status.st_size, status.st_mtime_ns, within=within)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path


def _real_folder(path: str, real: str) -> str:
    """Real path of a folder, as `open_regular` finds it for the files in it; `real` is what its path leads to."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:
        return real
    try:
        return real_path(descriptor, path) or real
    except OSError:
        return real
    finally:
        os.close(descriptor)


def _is_not_entered(folder: str, name: str) -> bool:
    """Whether `name` in `folder` is the folder of a tool, not one of records."""
    if name not in _NOT_ENTERED or not os.path.isdir(f"{folder}/{name}"):  # noqa: PTH112 - see above
        return False
    return name != _TEMPORARY or _is_table(folder)


def _is_table(folder: str) -> bool:
    """Whether a folder contains the files of a table that Spark wrote."""
    with contextlib.suppress(OSError), os.scandir(folder or "/") as entries:
        return any(
            entry.name in {_SUCCESS, _DELTA_LOG} or entry.name.startswith("part-") or entry.name.endswith(".parquet")
            for entry in entries
        )
    return False


def _has_not_entered(folder: str, real: str) -> bool:
    """Whether a folder between `folder` and `real` is not entered."""
    for name in real[len(folder) :].strip("/").split("/"):
        if _is_not_entered(folder, name):
            return True
        folder = f"{folder.rstrip('/')}/{name}"
    return False


def sorted_names(folder: str) -> Iterator[str]:
    """Iterate over the names in `folder` in the order of their bytes. Raises `OSError` immediately, not on iteration.

    Sorted runs of bytes need about 40 MB for a million names; a list of str needs 100 MB.
    """
    runs: list[bytes] = []
    names: list[bytes] = []
    with os.scandir(os.fsencode(folder)) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) == NAMES_SORTED:
                runs.append(b"/".join(sorted(names)) + b"/")  # no name contains a slash
                names = []
    if not runs:
        return map(os.fsdecode, sorted(names))
    if names:
        runs.append(b"/".join(sorted(names)) + b"/")
    return map(os.fsdecode, heapq.merge(*map(_names, runs)))


def _names(run: bytes) -> Iterator[bytes]:
    begin = 0
    while (end := run.find(b"/", begin)) >= 0:
        yield run[begin:end]
        begin = end + 1
