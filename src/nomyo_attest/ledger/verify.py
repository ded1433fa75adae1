"""Verify the chain of a ledger from its first line to its last, in one pass and bounded memory.

The chain shows that lines were changed, removed, inserted or moved, unless all later digests were recomputed. That, and
the loss of lines at the end, is detected only with a digest that was stored elsewhere.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from nomyo_attest.evidence.content import wrong_content
from nomyo_attest.ledger.files import numbered, size_when_unlocked
from nomyo_attest.ledger.line import LINE_MAX, NO_PREVIOUS, Line, digest_of, read_line

LISTED: Final = 100
"""How many problems and repairs are listed; the others are counted."""

LINE_ENDS: Final = "line_ends"
COMPRESSED: Final = (".gz", ".zst")
"""Extensions that a file may have got since it was written."""

WAYS: Final = ("form", "changed", "missing", "order", "beginning", "torn", "head", "records", LINE_ENDS)
"""The kinds of problems."""


class Problem(msgspec.Struct, frozen=True):
    """One problem of a ledger.

    Attributes:
        file: the file's name.
        line: its line there, from 1; 0 for the ledger as a whole.
        way: one of `WAYS`.
        expected, got: what was compared.
        message: a sentence.
    """

    file: str
    line: int
    way: str
    expected: str
    got: str
    message: str


class Repair(msgspec.Struct, frozen=True):
    """A line that a crash has torn: the place of the line that replaced it, and how many bytes were left of it."""

    file: str
    line: int
    bytes: int


class DamageError(Exception):
    """The rest of a compressed file cannot be read; the message says why."""


class Opened:
    """A file of a ledger, read by lines.

    Args:
        file: open for reading, at the beginning of the ledger's text.
        plain: whether it is the ledger's file itself, to which another process may be appending.
        in_folder: whether the files that it continues can be in the folder of its name.
    """

    def __init__(self, file: BinaryIO, *, plain: bool = True, in_folder: bool = True) -> None:
        self.in_folder = in_folder
        self._file = file
        self._plain = plain
        self._pushed = b""

    def first_line(self) -> bytes:
        """The first line, which `readline` returns again. Raises `OSError`, `DamageError`."""
        self._pushed = self._file.readline(LINE_MAX)
        return self._pushed

    def size(self) -> int:
        """Return how many bytes to read: none that are appended from now on. Raises `OSError`."""
        return size_when_unlocked(self._file.fileno()) if self._plain else sys.maxsize

    def readline(self, maximum: int) -> bytes:
        """Return the next line, or its next `maximum` bytes; empty at the end. Raises `OSError`, `DamageError`."""
        line, self._pushed = self._pushed[:maximum], self._pushed[maximum:]
        if len(line) < maximum and not line.endswith(b"\n"):
            line += self._file.readline(maximum - len(line))
        return line


Opener = Callable[[str, contextlib.ExitStack], Opened]
"""Opens a file by its name; the stack closes it. Raises `OSError`, `ValueError`."""


def open_plain(name: str, stack: contextlib.ExitStack) -> Opened:
    """Open a file as it is. Raises `OSError`, `ValueError`."""
    return Opened(stack.enter_context(open(name, "rb")))  # noqa: PTH123 - a name as typed


class Checked(msgspec.Struct, kw_only=True):
    """The result of verifying a ledger.

    Attributes:
        files: their names, in the order of the chain.
        lines: how many there are.
        repairs: how many of them replaced a torn line.
        number: the last line's number; 0 if there is none.
        head: the last line's digest; None if there is none.
        since_head: how many lines follow the one with the digest given; None if none was given, or it was not found.
        problems, noted: the first `LISTED` of each.
        problem_count: how many problems there are.
    """

    files: list[str] = []
    lines: int = 0
    repairs: int = 0
    number: int = 0
    head: str | None = None
    since_head: int | None = None
    problems: list[Problem] = []
    problem_count: int = 0
    noted: list[Repair] = []

    @property
    def whole(self) -> bool:
        """Whether there is no problem."""
        return not self.problem_count


def verify(
    names: Sequence[str],
    *,
    head: str | None = None,
    records: int | None = None,
    after: str | None = None,
    open_file: Opener = open_plain,
) -> Checked:
    """Verify the ledger in the files `names`, which are in the order of its chain.

    Args:
        names: the files. The files that the first one continues are found in its folder, unless `after` is given.
        head: a digest that was stored elsewhere: one of the lines must have it.
        records: how many lines there were at that time: the line with `head` must have this number; without `head` the
            last line must have this number or a higher one.
        after: the digest of the line that the first one must follow, if the files before it are stored elsewhere.
        open_file: opens a file, such as a compressed one.

    Raises:
        OSError: a file cannot be read.
    """
    chain = _Chain(head, after)
    with contextlib.ExitStack() as stack:
        # Opened first: it may be moved aside while the files that it continues are looked up, and stays the same file.
        first = _opened(names[0], open_file, stack)
        last = {names[0]: first} if first is not None else {}
        for name in [*([] if after else _before(names[0], first, open_file)), *names]:
            if name in last:
                chain.file(name, last.pop(name))
            elif name != names[0]:
                with contextlib.ExitStack() as opened:
                    chain.file(name, open_file(name, opened))
    chain.end(records)
    return chain.checked


def _opened(name: str, open_file: Opener, stack: contextlib.ExitStack) -> Opened | None:
    """Open a file; returns None if it is not there, but files that were moved aside from it are."""
    try:
        return open_file(name, stack)
    except FileNotFoundError:
        if not _aside(name):
            raise
        return None


def _aside(name: str) -> list[Path]:
    try:
        return numbered(Path(name))
    except OSError:
        return []


def _before(name: str, file: Opened | None, open_file: Opener) -> list[str]:
    """Return the names of the files that a file continues, as far as they are in its folder."""
    if file is not None and not file.in_folder:
        return []
    line = b"" if file is None else _first_line(file)
    found: list[str] = []
    if not line:
        aside = _aside(name)
        if not aside:
            return []
        found = [str(aside[-1])]
        line = _first_line_of(found[-1], open_file)
    while (continued := _continued(line)) and (path := _beside(name, continued)):
        if path in (name, *found):
            break
        found.append(path)
        line = _first_line_of(path, open_file)
    return found[::-1]


def _beside(name: str, continued: str) -> str | None:
    """Return the path of the file `continued`, perhaps compressed, in the folder of `name`; None if it is not there."""
    for ending in ("", *COMPRESSED):
        path = str(Path(name).with_name(continued + ending))
        if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name that is too long
            return path
    return None


def _first_line_of(name: str, open_file: Opener) -> bytes:
    with contextlib.ExitStack() as stack:
        return _first_line(open_file(name, stack))


def _first_line(file: Opened) -> bytes:
    try:
        return file.first_line()
    except DamageError:  # reported when the file is followed
        return b""


def _continued(line: bytes) -> str:
    """Return the name of the file that a first line continues; empty if it has none, or one that is a path."""
    read = read_line(line)
    name = read.continues if isinstance(read, Line) and read.continues else ""
    return name if name not in (".", "..") and "\0" not in name and Path(name).name == name else ""


class _Chain:
    """Follow the chain and collect its problems."""

    def __init__(self, head: str | None, after: str | None) -> None:
        self.checked = Checked()
        self._head = head
        self._after = after
        self._head_number: int | None = None
        self._previous: str | None = after or NO_PREVIOUS  # None: not known, since a line was too long to be read
        self._number: int | None = None if after else 0  # of the line before; None: not known
        self._place = ("", 0)  # of the line before
        self._carriage_returns = 0  # lines of the file that end in CRLF
        if head is not None and head == after:
            self.checked.since_head = self._head_number = 0

    def file(self, name: str, file: Opened) -> None:
        """Follow the chain through one file."""
        self.checked.files.append(name)
        self._carriage_returns = 0
        place, left = 0, file.size()  # what is appended from now on is not read
        try:
            while line := file.readline(min(left, LINE_MAX + 1)):
                place, left = place + 1, left - len(line)
                if place == 1:
                    if wrong := wrong_content(line[:64]):
                        self._problem(name, 0, "form", "JSON Lines in UTF-8", wrong.partition(";")[0], wrong)
                        self._previous = self._number = None
                        return
                    line = self._without_mark(name, line)
                if len(line) > LINE_MAX:
                    got = f"a line of more than {LINE_MAX} bytes"
                    self._problem(name, place, "form", "a line of a ledger", got, "is not a line of an evidence ledger")
                    while line and not line.endswith(b"\n"):
                        line = file.readline(min(left, LINE_MAX))
                        left -= len(line)
                    self._previous = self._number = None
                    continue
                self._line(name, place, line)
        except DamageError as damage:
            self._problem(name, place + 1, "torn", "the rest of the file", str(damage), "cannot be read from here on")
        if self._carriage_returns:
            got = f"a carriage return before it in {self._carriage_returns} of {place} lines"
            message = (
                "its line ends were changed to CRLF, as some editors, Git's autocrlf and transfers in text mode do;"
                r" to restore them: sed 's/\r$//' FILE > RESTORED"
            )
            self._problem(name, 0, LINE_ENDS, "a line feed at the end of each line", got, message)

    def _without_mark(self, name: str, line: bytes) -> bytes:
        """Return the first line without a byte order mark, which is reported as a problem of the file."""
        if not line.startswith(codecs.BOM_UTF8):
            return line
        message = (
            "a byte order mark was put in front of it, as some editors do; `tail -c +4 FILE > RESTORED` removes it"
        )
        self._problem(name, 0, "form", "a ledger as it was written", "a byte order mark in front of it", message)
        return line[len(codecs.BOM_UTF8) :]

    def _line(self, name: str, place: int, line: bytes) -> None:
        if line.endswith(b"}\r\n"):  # a line's own carriage returns are escaped
            self._carriage_returns += 1
            line = line[:-2] + b"\n"
        read = read_line(line)
        if not line.endswith(b"\n"):
            got = f"{len(line)} bytes without a line end"
            message = "is cut off: its writer was killed, or the file was cut; the next writer repairs it"
            self._problem(name, place, "torn", "a line end", got, message)
            return
        checked, digest = self.checked, digest_of(line)
        if isinstance(read, str):
            self._problem(name, place, "form", "a line of a ledger", read, "is not a line of an evidence ledger")
            self._previous, self._place = digest, (name, place)
            self._number = None if self._number is None else self._number + 1
            return
        self._link(name, place, read)
        checked.lines += 1
        checked.number, checked.head = read.number, digest
        if checked.since_head is not None:
            checked.since_head += 1
        if digest == self._head:
            checked.since_head, self._head_number = 0, read.number
        if read.repair is not None:
            checked.repairs += 1
            if len(checked.noted) < LISTED:
                checked.noted.append(Repair(name, place, read.repair.bytes))
        self._previous, self._number, self._place = digest, read.number, (name, place)

    def _link(self, name: str, place: int, read: Line) -> None:
        """Compare a line with the one before it."""
        if self._number == 0 and read.number != 1 and not self._place[1]:
            what = (
                f"{read.continues!r} goes before it: name that, too" if read.continues else "what was before it is gone"
            )
            message = f"is not the first line: {what}; or give --after, the digest of the line that it follows"
            self._problem(name, place, "beginning", "number 1", f"number {read.number}", message)
        elif self._number is not None and read.number != self._number + 1:
            self._wrong_number(name, place, read.number, self._number + 1)
        elif self._previous is not None and read.previous != self._previous:
            if not self._place[1]:
                what = "is the first line, and names another before it"
                if self._after:
                    what = "does not follow the line of --after"
                self._problem(name, place, "beginning", self._previous, read.previous, what)
                return
            file, before = self._place
            where = f"line {before}" if file == name else f"{file}, line {before},"
            message = f"does not follow: {where} was changed after it was written, or this line was"
            self._problem(name, place, "changed", self._previous, read.previous, message)

    def _wrong_number(self, name: str, place: int, number: int, expected: int) -> None:
        if number > expected:
            gone = f"number {expected} is" if number == expected + 1 else f"numbers {expected} to {number - 1} are"
            way, message = "missing", f"does not follow: {gone} missing before it"
        else:
            way, message = "order", "does not follow: it was there before, was moved, or put in"
        self._problem(name, place, way, f"number {expected}", f"number {number}", message)

    def end(self, records: int | None) -> None:
        """Compare with the digest and the number that were stored elsewhere."""
        checked = self.checked
        name = checked.files[-1] if checked.files else ""
        if self._head is not None and self._head_number is None:
            message = "no line has the digest that was given: the ledger was shortened, or changed up to its end"
            self._problem(name, 0, "head", self._head, checked.head or "no line", message)
        elif self._head is not None and records is not None:
            # 0: the digest is that of --after, whose number is not known.
            if self._head_number and self._head_number != records:
                message = "the line with the digest that was given has another number"
                self._problem(name, 0, "records", f"number {records}", f"number {self._head_number}", message)
        elif records is not None and checked.number < records:
            message = "the ledger was shortened"
            self._problem(name, 0, "records", f"{records} lines or more", f"{checked.number}", message)

    def _problem(self, file: str, line: int, way: str, expected: str, got: str, message: str) -> None:
        self.checked.problem_count += 1
        if len(self.checked.problems) < LISTED:
            self.checked.problems.append(Problem(file, line, way, expected, got, message))


def names_of(checked: Iterable[Problem]) -> list[str]:
    """The kinds of the problems, each once, in the order found."""
    return list(dict.fromkeys(problem.way for problem in checked))
