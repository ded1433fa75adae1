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
    SOURCE_EXTENSIONS,
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
"""Number of names of a folder that are sorted together."""

_PACK_SOURCES: Final = 1000
"""Number of sources that are compressed together. Sorted names differ little, so a million of them take about 10 MB."""

_IDENTITY_FORMAT: Final = b"nomyo-attest-sources/3\n"
"""Changed whenever the same inputs result in different chunks: a version with other chunks cannot resume an audit."""

_SPARK_SUCCESS: Final = "_SUCCESS"
_SPARK_TEMPORARY: Final = "_temporary"
_DELTA_LOG: Final = "_delta_log"
_EXCLUDED: Final = frozenset({".git", ".hg", ".svn", _SPARK_TEMPORARY, _DELTA_LOG})

_DELTA_PROBLEM: Final = (
    "is a Delta table, whose Parquet files may also contain rows that were deleted or replaced; export the version that"
    " is to be audited as Parquet or JSON Lines, or name the Parquet files themselves to audit all rows"
)


class InventoryError(NomyoAttestError, ValueError):
    """The names cannot be audited together."""


class FoundFile(NamedTuple):
    """A file to read, with its size in bytes and its time of change in nanoseconds, or with a problem; see `Source`."""

    path: str
    size: int | None
    mtime: int | None
    problem: str = ""
    within: str = ""


_PackedFile = tuple[bytes, int | None, int | None, str, bytes]  # the fields of `FoundFile`, paths as bytes


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
        column: the column of Parquet files that contains the records; None if none was passed.
        count: number of sources.
        size: stored bytes of all sources, except pipes, whose size is unknown.
        skipped: the first 100 files in folders whose extension is not one of records.
        skipped_total: the number of such files. An excluded folder counts as one file.
        duplicate_names: the first 100 further names of files that are read under another name. Each file is read once.
        duplicate_names_total: the number of such names.
        is_rereadable: whether the same bytes can be read again, which is false for standard input.
    """

    def __init__(self, names: Sequence[str], column: str | None, *, follow_links: bool) -> None:
        self.column = column
        self.count = self.size = 0
        self.is_rereadable = STANDARD_INPUT not in names
        self._packs: list[bytes] = []
        self._identity = hashlib.sha256(_IDENTITY_FORMAT + msgspec.msgpack.encode(column))
        walk = Walk(names, follow_links=follow_links)
        pack: list[_PackedFile] = []
        for file in walk.files():
            path, within = (text.encode("utf-8", "surrogatepass") for text in (file.path, file.within))
            pack.append((path, file.size, file.mtime, file.problem, within))
            self.count += 1
            self.size += file.size or 0
            if len(pack) == _PACK_SOURCES:
                self._add(pack)
                pack = []
        self._add(pack)
        self.skipped, self.skipped_total = tuple(walk.skipped.first), walk.skipped.total
        self.duplicate_names, self.duplicate_names_total = tuple(walk.duplicate_names.first), walk.duplicate_names.total

    def _add(self, pack: list[_PackedFile]) -> None:
        # Without the real path of the folder: the folder may have been moved when the audit is resumed.
        self._identity.update(msgspec.msgpack.encode([packed[:4] for packed in pack]))
        self._packs.append(zlib.compress(msgspec.msgpack.encode(pack), 1))

    @property
    def sources(self) -> Iterator[Source]:
        """Iterate over all sources, each time from the first."""
        number = 0
        for packed in self._packs:
            pack = msgspec.msgpack.decode(zlib.decompress(packed), type=list[_PackedFile])
            for path, size, mtime, problem, within in pack:
                texts = (text.decode("utf-8", "surrogatepass") for text in (path, within))
                yield _source(number, FoundFile(next(texts), size, mtime, problem, next(texts)))
                number += 1

    def identity(self) -> str:
        """SHA-256, in hex, over every source's name, size and time of last change, and the column.

        An audit that is resumed must have the same identity. The content of standard input is not included.
        """
        return self._identity.hexdigest()


def take_inventory(names: Sequence[str], *, column: str | None = None, follow_links: bool = False) -> Inventory:
    """List the sources under `names`: files, folders, ``"-"`` for standard input.

    Files are recognized by their extensions, in any case: ``.json`` is one record; ``.jsonl`` and ``.ndjson`` have one
    per line; each may also end in ``.gz`` or ``.zst``; ``.parquet`` has one per row. Standard input is JSON Lines,
    compressed or not. A name that cannot be read, an unreadable file of records in a folder, and a folder without
    records are sources with a problem.

    Args:
        names: as typed. A source is named as its file was typed, or ``typed/relative/path`` in a folder.
        column: the column of Parquet files that contains the records; needed if more than one may contain them.
        follow_links: also follow symbolic links that lead out of the folder that contains them. Otherwise such a link
            is a source with a problem. A link in `names` is always followed.

    Raises:
        InventoryError: standard input is named twice.
    """
    if list(names).count(STANDARD_INPUT) > 1:
        raise InventoryError("standard input (-) can be read only once; pass it once")
    return Inventory(names, column, follow_links=follow_links)


def _source(number: int, found: FoundFile) -> Source:
    # A pipe is read as JSON Lines; a source without a kind has a problem and is never read.
    known: tuple[Kind, Packing] | None = ("jsonl", "") if found.path == STANDARD_INPUT else kind_of(found.path)
    kind, packing = known or ("json", "")
    name = display(found.path)
    return Source(number, name, found.path, kind, packing, found.size, found.mtime, found.problem, found.within)


class Walk:
    """List the files under `names`: folders depth first, sorted by name.

    Each file is read once, since a second reading would result in duplicates. A file or folder in `names`
    is read at its position in `names`, not as part of a folder that contains it. A link in a folder is followed if its
    target is in the same top-level folder, and is not read anyway through `names` or an earlier link. If several names
    are hard links to one file, only the first is read. Contents are not compared, so a copy is read.

    The walk excludes the folders of version control (`.git`), and the `_temporary` and `_delta_log` of Spark tables.

    Args:
        names: as typed.
        follow_links: also follow links that lead out of a folder in `names`.

    Attributes:
        skipped: files in folders whose extension is not one of records, and excluded folders.
        duplicate_names: further names of files that are read under another name.
    """

    def __init__(self, names: Sequence[str], *, follow_links: bool = False) -> None:
        self.skipped = Names()
        self.duplicate_names = Names()
        self._names = names
        self._follow_links = follow_links
        self._within = ""  # real path of the current folder of `names`; empty if links may lead out of it
        self._real_paths = {name: _resolve(name) for name in names if name != STANDARD_INPUT}
        self._claimed = set(self._real_paths.values())  # real paths of all names, and of folders reached by a link
        self._folders = sorted({real for real in self._claimed if os.path.isdir(real)})  # noqa: PTH112 - pathlib raises where this returns False
        self._done: set[str] = set()  # real paths of the names, and of the targets of links, that were listed
        self._inodes: set[tuple[int, int]] = set()  # of files with several hard links

    def files(self) -> Iterator[FoundFile]:
        """Yield all files to read, in order."""
        for name in self._names:
            if name == STANDARD_INPUT:
                yield FoundFile(name, None, None)
            elif (real := self._real_paths[name]) in self._done:
                self.duplicate_names.add(name)
            else:
                self._done.add(real)
                yield from self._walk_name(name, real)

    def _walk_name(self, name: str, real: str) -> Iterator[FoundFile]:
        try:
            status = os.stat(name)  # noqa: PTH116 - a name as typed, which may contain NUL bytes
        except (OSError, ValueError) as error:
            yield FoundFile(name, None, None, os_problem(error))
            return
        if stat.S_ISDIR(status.st_mode):
            before = self.duplicate_names.total
            empty = True
            for file in self._walk_folder(name, real):
                empty = False
                yield file
            if empty and self.duplicate_names.total == before:
                yield FoundFile(
                    name, None, None, f"contains no file of records: expected names ending in {SOURCE_EXTENSIONS}"
                )
        elif not stat.S_ISREG(status.st_mode):
            yield FoundFile(name, None, None, special_problem(status.st_mode))
        elif kind_of(name) is None:
            problem = (
                f"unsupported file extension: expected {SOURCE_EXTENSIONS}; other content can be read from a pipe (-)"
            )
            yield FoundFile(name, status.st_size, status.st_mtime_ns, problem)
        else:
            yield from self._walk_file(name, status)

    def _walk_folder(self, top: str, top_real: str) -> Iterator[FoundFile]:
        """Yield all files in a folder. Not recursive: folders may be nested deeper than Python's recursion limit."""
        self._within = "" if self._follow_links else _resolve_folder(top, top_real)
        stack: list[tuple[str, str, Iterator[str]]] = []
        entering: tuple[str, str] | None = (top.rstrip("/") if top.strip("/") else "", top_real)
        while entering or stack:
            if entering:
                path, real = entering
                entering = None
                try:
                    stack.append((path, real, sorted_names(path or "/")))
                except OSError as error:
                    yield FoundFile(path or "/", None, None, os_problem(error, "cannot be listed"))
                continue
            path, real, names = stack[-1]
            name = next(names, None)
            if name is None:
                stack.pop()
                continue
            if _is_excluded(path, name):
                self.skipped.add(f"{path}/{name}")
                if name == _DELTA_LOG:
                    yield FoundFile(path or "/", None, None, _DELTA_PROBLEM)
                continue
            entering = yield from self._walk_entry(f"{path}/{name}", f"{real.rstrip('/')}/{name}")

    def _walk_entry(self, path: str, real: str) -> Generator[FoundFile, None, tuple[str, str] | None]:
        """Yield the file at an entry of a folder; return path and real path if it is a folder to enter."""
        try:
            status = os.lstat(path)
            is_link = stat.S_ISLNK(status.st_mode)
            if is_link:
                status, real = os.stat(path), _resolve(path)  # noqa: PTH116 - as above
        except OSError as error:
            # The name of a dangling link decides whether it is one of records. Other entries may be folders of records.
            if kind_of(path) is None and error.errno in {errno.ENOENT, errno.ELOOP}:
                self.skipped.add(path)
            else:
                yield FoundFile(path, None, None, os_problem(error))
            return None
        if stat.S_ISDIR(status.st_mode):
            if real in self._claimed or (is_link and self._is_listed_anyway(real)):
                self.duplicate_names.add(path)
                return None
            if is_link and self._leads_out(real):
                yield FoundFile(path, None, None, link_problem(display(real), display(self._within)))
                return None
            if is_link:
                self._claimed.add(real)
                self._folders.append(real)
            return path, real
        if kind_of(path) is None:
            self.skipped.add(path)
        elif not stat.S_ISREG(status.st_mode):
            yield FoundFile(path, None, None, special_problem(status.st_mode))
        elif (
            real in self._claimed or real in self._done or (is_link and kind_of(real) and self._is_listed_anyway(real))
        ):
            self.duplicate_names.add(path)
        elif is_link and self._leads_out(real):
            yield FoundFile(path, None, None, link_problem(display(real), display(self._within)))
        else:
            if is_link:
                self._done.add(real)
            yield from self._walk_file(path, status, self._within)
        return None

    def _leads_out(self, real: str) -> bool:
        return bool(self._within) and not is_within(real, self._within)

    def _is_listed_anyway(self, real: str) -> bool:
        """Whether a listed folder contains this real path, without an excluded folder in between."""
        return any(is_within(real, folder) and not _has_excluded_folder(folder, real) for folder in self._folders)

    def _walk_file(self, path: str, status: os.stat_result, within: str = "") -> Iterator[FoundFile]:
        if status.st_nlink > 1:
            inode = status.st_dev, status.st_ino
            if inode in self._inodes:
                self.duplicate_names.add(path)
                return
            self._inodes.add(inode)
        yield FoundFile(path, status.st_size, status.st_mtime_ns, within=within)


def _resolve(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path


def _resolve_folder(path: str, real: str) -> str:
    """Return the real path of a folder, as `open_regular` determines it for the files in it; `real` as a fallback."""
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


def _is_excluded(folder: str, name: str) -> bool:
    """Whether `name` in `folder` is a folder that belongs to a tool and contains no records."""
    if name not in _EXCLUDED or not os.path.isdir(f"{folder}/{name}"):  # noqa: PTH112 - see above
        return False
    return name != _SPARK_TEMPORARY or _is_table(folder)


def _is_table(folder: str) -> bool:
    """Whether a folder contains files of a table that Spark wrote."""
    with contextlib.suppress(OSError), os.scandir(folder or "/") as entries:
        return any(
            entry.name in {_SPARK_SUCCESS, _DELTA_LOG}
            or entry.name.startswith("part-")
            or entry.name.endswith(".parquet")
            for entry in entries
        )
    return False


def _has_excluded_folder(folder: str, real: str) -> bool:
    """Whether a folder on the path from `folder` to `real` is excluded."""
    for name in real[len(folder) :].strip("/").split("/"):
        if _is_excluded(folder, name):
            return True
        folder = f"{folder.rstrip('/')}/{name}"
    return False


def sorted_names(folder: str) -> Iterator[str]:
    """Iterate over the names in `folder`, sorted by their bytes. Raises `OSError` immediately, not during iteration.

    The names are stored in sorted runs: a million take about 40 MB as bytes, and 100 MB as a list of str.
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
    return map(os.fsdecode, heapq.merge(*map(_split_run, runs)))


def _split_run(run: bytes) -> Iterator[bytes]:
    begin = 0
    while (end := run.find(b"/", begin)) >= 0:
        yield run[begin:end]
        begin = end + 1
