"""Names as typed → the files behind them, each once, in an order that depends on the names alone."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from typing import Final, NamedTuple

from nomyo_attest.audit.sources.kinds import ENDINGS_TOLD, STANDARD_INPUT, display, kind_of
from nomyo_attest.audit.sources.listing import sorted_names
from nomyo_attest.audit.sources.stored import os_problem, special_problem

NAMED: Final = 100
"""Names kept of files that are not read; how many there are is counted."""


class Found(NamedTuple):
    """What is to be read: its path, size in bytes, time of last change in nanoseconds; or why it cannot be."""

    path: str
    size: int | None
    mtime: int | None
    problem: str = ""


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
    """Goes through names once, folders in depth, the names in each sorted.

    No file is read twice, or its records would be found to have been seen twice. A file that is named, or a folder, is
    read where it is named and left out of the folders around it. Links in folders are followed, but not to where a name
    or an earlier link leads. Of files that share their bytes (hard links) the first is read. Nothing of this looks at
    content: a copy is another file, and whether it may be there is what the audit finds out.

    Attributes:
        passed_over: what is in folders and has no name of a record: another ending, or a leading dot.
        repeated: what is read under another name.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.passed_over = Names()
        self.repeated = Names()
        self._names = names
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
            if name.startswith("."):
                self.passed_over.add(f"{path}/{name}")
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
        else:
            if linked:
                self._done.add(real)
            yield from self._file(path, status)
        return None

    def _reached(self, real: str) -> bool:
        """Whether a folder that is gone through has this real path in it, and no hidden folder between."""
        for folder in self._folders:
            inside = folder.rstrip("/") + "/"
            if real == folder:
                return True
            if real.startswith(inside) and "/." not in "/" + real[len(inside) :]:
                return True
        return False

    def _file(self, path: str, status: os.stat_result) -> Iterator[Found]:
        if status.st_nlink > 1:
            inode = status.st_dev, status.st_ino
            if inode in self._inodes:
                self.repeated.add(path)
                return
            self._inodes.add(inode)
        yield Found(path, status.st_size, status.st_mtime_ns)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path
