"""Names as typed → the files behind them, each once, in an order that depends on the names alone."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from typing import Final, NamedTuple

from nomyo_attest.audit.sources.kinds import ENDINGS_TOLD, STANDARD_INPUT, display, kind_of
from nomyo_attest.audit.sources.listing import sorted_names
from nomyo_attest.audit.sources.stored import is_within, link_problem, os_problem, real_path, special_problem

NAMED: Final = 100
"""Names kept of files that are not read; how many there are is counted."""

_SUCCESS: Final = "_SUCCESS"
_TEMPORARY: Final = "_temporary"
_DELTA_LOG: Final = "_delta_log"
_NOT_ENTERED: Final = frozenset({".git", ".hg", ".svn", _TEMPORARY, _DELTA_LOG})

_DELTA: Final = (
    "is a Delta table, whose Parquet files may also contain rows that were deleted or replaced; export the version that"
    " is to be audited as Parquet or JSON Lines, or name the Parquet files themselves to audit all rows"
)


class Found(NamedTuple):
    """What is to be read: its path, size in bytes, time of last change in nanoseconds; or why it cannot be.

    `within` is the real path of the folder that it must be in when it is opened; empty for anywhere.
    """

    path: str
    size: int | None
    mtime: int | None
    problem: str = ""
    within: str = ""


class Names:
    """The first `NAMED` names of something, and how many there are."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self.total = 0

    def add(self, path: str) -> None:
        """Add one."""
        self.total += 1
        if len(self.first) < NAMED:
            self.first.append(display(path))


class Walk:
    """List what is to be read under the names given: folders in depth, the names in each sorted.

    No file is read twice, since its records would be found to be duplicates. A file that is named, or a folder, is read
    where it is named and left out of the folders around it. Links in folders are followed as far as they stay in the
    folder that was named, but not to where a name or an earlier link leads. Of files that share their bytes (hard
    links) the first is read. Content is not compared: a copy is another file.

    A name that begins with a dot or an underscore is a name like others. Not entered are the folders of version control
    (`.git`), and in folders that Spark writes `_temporary` and `_delta_log`.

    Args:
        names: as typed.
        follow_links: follow links also to what is outside the folder that was named.

    Attributes:
        passed_over: what is in folders and is not named as records are, and folders that are not entered.
        repeated: what is read under another name.
    """

    def __init__(self, names: Sequence[str], *, follow_links: bool = False) -> None:
        self.passed_over = Names()
        self.repeated = Names()
        self._names = names
        self._follow_links = follow_links
        self._within = ""  # real path of the folder that was named; empty if links may lead out of it
        self._real = {name: _real(name) for name in names if name != STANDARD_INPUT}
        self._claimed = set(self._real.values())  # real paths of everything named
        self._folders = sorted({real for real in self._claimed if os.path.isdir(real)})  # noqa: PTH112 - pathlib raises where this says no
        self._done: set[str] = set()  # real paths of what was named and read, or linked to and read
        self._inodes: set[tuple[int, int]] = set()  # of files with several names

    def found(self) -> Iterator[Found]:
        """Everything that is to be read, in order."""
        for name in self._names:
            if name == STANDARD_INPUT:
                yield Found(name, None, None)
            elif (real := self._real[name]) in self._done:
                self.repeated.add(name)
            else:
                self._done.add(real)
                yield from self._named(name, real)

    def _named(self, name: str, real: str) -> Iterator[Found]:
        try:
            status = os.stat(name)  # noqa: PTH116 - a name as typed, NUL bytes and all
        except (OSError, ValueError) as error:
            yield Found(name, None, None, os_problem(error))
            return
        if stat.S_ISDIR(status.st_mode):
            before = self.repeated.total
            empty = True
            for found in self._folder(name, real):
                empty = False
                yield found
            if empty and self.repeated.total == before:
                yield Found(name, None, None, f"no file in this folder is named as records are: {ENDINGS_TOLD}")
        elif not stat.S_ISREG(status.st_mode):
            yield Found(name, None, None, special_problem(status.st_mode))
        elif kind_of(name) is None:
            problem = (
                f"its name does not say what it is: records are in files named {ENDINGS_TOLD}, or come from a pipe (-)"
            )
            yield Found(name, status.st_size, status.st_mtime_ns, problem)
        else:
            yield from self._file(name, status)

    def _folder(self, top: str, top_real: str) -> Iterator[Found]:
        """Everything in a folder. A stack of our own: folders may be nested deeper than calls can be."""
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
                self.passed_over.add(f"{path}/{name}")
                if name == _DELTA_LOG:
                    yield Found(path or "/", None, None, _DELTA)
                continue
            entering = yield from self._entry(f"{path}/{name}", f"{real.rstrip('/')}/{name}")

    def _entry(self, path: str, real: str) -> Generator[Found, None, tuple[str, str] | None]:
        """One entry of a folder; returns the folder to enter, path and real path, if it is one."""
        try:
            status = os.lstat(path)
            linked = stat.S_ISLNK(status.st_mode)
            if linked:
                status, real = os.stat(path), _real(path)  # noqa: PTH116 - as above
        except OSError as error:
            # A link that leads nowhere is told by its name. Of all else nobody knows whether it is a folder.
            if kind_of(path) is None and error.errno in {errno.ENOENT, errno.ELOOP}:
                self.passed_over.add(path)
            else:
                yield Found(path, None, None, os_problem(error))
            return None
        if stat.S_ISDIR(status.st_mode):
            if real in self._claimed or (linked and self._reached(real)):
                self.repeated.add(path)
                return None
            if linked and self._leads_out(real):
                yield Found(path, None, None, link_problem(display(real), display(self._within)))
                return None
            if linked:
                self._claimed.add(real)
                self._folders.append(real)
            return path, real
        if kind_of(path) is None:
            self.passed_over.add(path)
        elif not stat.S_ISREG(status.st_mode):
            yield Found(path, None, None, special_problem(status.st_mode))
        elif real in self._claimed or real in self._done or (linked and kind_of(real) and self._reached(real)):
            self.repeated.add(path)
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
        """Whether a folder that is listed has this real path in it, and no folder between that is not entered."""
        return any(is_within(real, folder) and not _has_not_entered(folder, real) for folder in self._folders)

    def _file(self, path: str, status: os.stat_result, within: str = "") -> Iterator[Found]:
        if status.st_nlink > 1:
            inode = status.st_dev, status.st_ino
            if inode in self._inodes:
                self.repeated.add(path)
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
    """Whether a folder looks as if Spark had written it."""
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
