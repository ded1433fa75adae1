"""Is a ledger whole? Its chain is followed from the first line to the last, in one pass and bounded memory.

A chain shows that lines were changed, taken out, put in or moved, as long as whoever did it did not make all later
digests anew. That, and the loss of lines at the end, only a digest kept elsewhere shows.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from nomyo_attest.ledger.files import numbered, settled_size
from nomyo_attest.ledger.line import LINE_MAX, NO_PREVIOUS, digest_of
from nomyo_attest.ledger.reading import Line, read_line

LISTED: Final = 100
"""Problems, and notes of repairs, that are listed; beyond that they are counted."""

WAYS: Final = ("form", "changed", "missing", "order", "beginning", "torn", "head", "records")
"""What can be wrong with a ledger."""


class Problem(msgspec.Struct, frozen=True):
    """Something that is wrong.

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
    """A line that was torn by a crash, as the line in its place notes it: how many bytes were left of it."""

    file: str
    line: int
    bytes: int


class Checked(msgspec.Struct, kw_only=True):
    """What was found.

    Attributes:
        files: their names, in the order of the chain.
        lines: how many there are.
        repairs: how many of them note a repair, and no answer.
        number: the last line's number; 0 if there is none.
        head: the last line's digest; None if there is none.
        since_head: how many lines were appended since the digest was kept; None if none was given, or it was not found.
        problems, noted: the first `LISTED` of each.
        problem_count: of problems.
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
        """Whether nothing is wrong."""
        return not self.problem_count


def verify(
    names: Sequence[str], *, head: str | None = None, records: int | None = None, after: str | None = None
) -> Checked:
    """Check the ledger in the files `names`, in the order of its chain; what the first one continues is looked for
    beside it, unless `after` is given.

    Args:
        head: a digest kept earlier: one of the lines must have it.
        records: how many lines there were then: the line with `head` must have this number, or the last one must have
            no lower number.
        after: the digest of the line that the first one must follow, where the files before it are kept elsewhere.

    Raises `OSError` for a file that cannot be read.
    """
    following = _Following(head, after)
    with contextlib.ExitStack() as stack:
        # Opened before it is asked what it continues: it may be moved aside meanwhile, and is the same file still.
        first = _opened(names[0], stack)
        last = {names[0]: first} if first is not None else {}
        for name in [*([] if after else _before(names[0], first)), *names]:
            if name in last:
                following.file(name, last.pop(name))
            elif name != names[0]:
                with open(name, "rb") as file:  # noqa: PTH123 - a name as typed
                    following.file(name, file)
    following.end(records)
    return following.checked


def _opened(name: str, stack: contextlib.ExitStack) -> BinaryIO | None:
    """The file, at its beginning; None if it is not there, but files that were moved aside from it are."""
    try:
        return stack.enter_context(open(name, "rb"))  # noqa: PTH123 - a name as typed
    except FileNotFoundError:
        if not _aside(name):
            raise
        return None


def _aside(name: str) -> list[Path]:
    try:
        return numbered(Path(name))
    except OSError:
        return []


def _before(name: str, file: BinaryIO | None) -> list[str]:
    """The names of the files that a file continues, as far as they are beside it."""
    line = b"" if file is None else file.readline(LINE_MAX)
    if file is not None:
        file.seek(0)
    found: list[str] = []
    if not line:
        aside = _aside(name)
        if not aside:
            return []
        found = [str(aside[-1])]
        with aside[-1].open("rb") as before:
            line = before.readline(LINE_MAX)
    while (continued := _continued(line)) and os.path.isfile(path := Path(name).with_name(continued)):  # noqa: PTH113 - Path.is_file raises for a name that is too long
        if str(path) in (name, *found):
            break
        found.append(str(path))
        with path.open("rb") as before:
            line = before.readline(LINE_MAX)
    return found[::-1]


def _continued(line: bytes) -> str:
    """The name of the file that a first line names; empty if it names none, or what is no plain name."""
    read = read_line(line)
    name = read.continues if isinstance(read, Line) and read.continues else ""
    return name if name not in (".", "..") and "\0" not in name and Path(name).name == name else ""


class _Following:
    """The chain, as far as it was followed."""

    def __init__(self, head: str | None, after: str | None) -> None:
        self.checked = Checked()
        self._kept = head
        self._after = after
        self._head_number: int | None = None
        self._previous: str | None = after or NO_PREVIOUS  # None: not known, since a line was too long to be read
        self._number: int | None = None if after else 0  # of the line before; None: not known
        self._place = ("", 0)  # of the line before
        self._continues: str | None = None
        if head is not None and head == after:
            self.checked.since_head = self._head_number = 0

    def file(self, name: str, file: BinaryIO) -> None:
        """Follow it through one file."""
        self.checked.files.append(name)
        place, left = 0, settled_size(file.fileno())  # what is appended from now on is not looked at
        while line := file.readline(min(left, LINE_MAX + 1)):
            place, left = place + 1, left - len(line)
            if len(line) > LINE_MAX:
                self._problem(name, place, "form", "a line of a ledger", "a line that is too long", "is no line of it")
                while line and not line.endswith(b"\n"):
                    line = file.readline(min(left, LINE_MAX))
                    left -= len(line)
                self._previous = self._number = None
                continue
            self._line(name, place, line)

    def _line(self, name: str, place: int, line: bytes) -> None:
        read = read_line(line)
        if not line.endswith(b"\n"):
            got = f"{len(line)} bytes without a line end"
            message = "is cut off: its writer was killed, or the file was cut. Whoever appends next notes it"
            self._problem(name, place, "torn", "a line end", got, message)
            return
        checked, digest = self.checked, digest_of(line)
        if isinstance(read, str):
            self._problem(name, place, "form", "a line of a ledger", read, "is no line of it")
            self._previous, self._place = digest, (name, place)
            self._number = None if self._number is None else self._number + 1
            return
        self._link(name, place, read)
        checked.lines += 1
        checked.number, checked.head = read.number, digest
        if checked.since_head is not None:
            checked.since_head += 1
        if digest == self._kept:
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
            self._unsteady(name, place, read.number, self._number + 1)
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

    def _unsteady(self, name: str, place: int, number: int, expected: int) -> None:
        if number > expected:
            gone = f"number {expected} is" if number == expected + 1 else f"numbers {expected} to {number - 1} are"
            way, message = "missing", f"does not follow: {gone} missing before it"
        else:
            way, message = "order", "does not follow: it was there before, was moved, or put in"
        self._problem(name, place, way, f"number {expected}", f"number {number}", message)

    def end(self, records: int | None) -> None:
        """Compare with what was kept."""
        checked = self.checked
        name = checked.files[-1] if checked.files else ""
        if self._kept is not None and self._head_number is None:
            message = "no line has the digest that was kept: the ledger was shortened, or changed up to its end"
            self._problem(name, 0, "head", self._kept, checked.head or "no line", message)
        elif self._kept is not None and records is not None:
            # 0: the digest is that of --after, whose number is not known.
            if self._head_number and self._head_number != records:
                message = "the line with the digest that was kept has another number"
                self._problem(name, 0, "records", f"number {records}", f"number {self._head_number}", message)
        elif records is not None and checked.number < records:
            message = "the ledger was shortened"
            self._problem(name, 0, "records", f"{records} lines or more", f"{checked.number}", message)

    def _problem(self, file: str, line: int, way: str, expected: str, got: str, message: str) -> None:
        self.checked.problem_count += 1
        if len(self.checked.problems) < LISTED:
            self.checked.problems.append(Problem(file, line, way, expected, got, message))


def names_of(checked: Iterable[Problem]) -> list[str]:
    """The ways in which a ledger is wrong, each once, in the order found."""
    return list(dict.fromkeys(problem.way for problem in checked))
