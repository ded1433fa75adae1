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
"""Extensions of a ledger's file that was compressed after it was full."""

PROBLEM_KINDS: Final = ("form", "changed", "missing", "order", "beginning", "torn", "head", "records", LINE_ENDS)
"""The kinds of problems."""


class Problem(msgspec.Struct, frozen=True):
    """One problem of a ledger.

    Attributes:
        file: the file's name.
        line: its line in that file, from 1; 0 if the problem concerns the whole file or ledger.
        kind: one of `PROBLEM_KINDS`.
        expected, got: the values that were compared.
        message: the problem as a sentence.
    """

    file: str
    line: int
    kind: str
    expected: str
    got: str
    message: str


class Repair(msgspec.Struct, frozen=True):
    """A line that a crash cut off: the place of the repair line that replaced it, and how many bytes were left."""

    file: str
    line: int
    bytes: int


class DamageError(Exception):
    """The rest of a compressed file cannot be read; the message says why."""


class LedgerFile:
    """A file of a ledger, read line by line.

    Args:
        file: open for reading, at the beginning of the ledger's text.
        plain: whether `file` is the uncompressed file on disk, to which another process may be appending.
        in_folder: whether the earlier files of the ledger can be looked up in its folder; false for a pipe.
    """

    def __init__(self, file: BinaryIO, *, plain: bool = True, in_folder: bool = True) -> None:
        self.in_folder = in_folder
        self._file = file
        self._plain = plain
        self._pushed = b""

    def first_line(self) -> bytes:
        """Return the first line without consuming it. Raises `OSError`, `DamageError`."""
        self._pushed = self._file.readline(LINE_MAX)
        return self._pushed

    def size(self) -> int:
        """Return how many bytes to read: later appended bytes are not counted. Raises `OSError`."""
        return size_when_unlocked(self._file.fileno()) if self._plain else sys.maxsize

    def readline(self, maximum: int) -> bytes:
        """Return at most `maximum` bytes of the next line; empty at the end. Raises `OSError`, `DamageError`."""
        line, self._pushed = self._pushed[:maximum], self._pushed[maximum:]
        if len(line) < maximum and not line.endswith(b"\n"):
            line += self._file.readline(maximum - len(line))
        return line


Opener = Callable[[str, contextlib.ExitStack], LedgerFile]
"""Opens a file by name; the stack closes it. Raises `OSError`, `ValueError`."""


def open_plain(name: str, stack: contextlib.ExitStack) -> LedgerFile:
    """Open an uncompressed file. Raises `OSError`, `ValueError`."""
    return LedgerFile(stack.enter_context(open(name, "rb")))  # noqa: PTH123 - a name as typed


class Verification(msgspec.Struct, kw_only=True):
    """The result of verifying a ledger.

    Attributes:
        files: names of the files, in the order of the chain.
        lines: number of lines.
        number: number of the last line; 0 if there is none.
        head: digest of the last line; None if there is none.
        since_head: number of lines after the one with the given digest; None if no digest was given or found.
        problems, repairs: the first `LISTED` of each.
        problem_count, repair_count: how many there are of each.
    """

    files: list[str] = []
    lines: int = 0
    number: int = 0
    head: str | None = None
    since_head: int | None = None
    problems: list[Problem] = []
    problem_count: int = 0
    repairs: list[Repair] = []
    repair_count: int = 0

    @property
    def intact(self) -> bool:
        """Whether no problem was found."""
        return not self.problem_count


def verify(
    names: Sequence[str],
    *,
    head: str | None = None,
    records: int | None = None,
    after: str | None = None,
    open_file: Opener = open_plain,
) -> Verification:
    """Verify the ledger in the files `names`, which are in the order of its chain.

    Args:
        names: the files. Earlier files of the ledger are found in the folder of the first one, unless `after` is given.
        head: a digest that was stored elsewhere: one of the lines must have it.
        records: the number of lines at that time: the line with `head` must have this number; without `head`, the last
            line must have this number or a higher one.
        after: the digest of the line before the first one, if the earlier files are stored elsewhere.
        open_file: opens a file, decompressing it if needed.

    Raises:
        OSError: a file cannot be read.
    """
    chain = _Chain(head, after)
    with contextlib.ExitStack() as stack:
        # Open this file first: a writer may rename it while the earlier files are looked up.
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


def _opened(name: str, open_file: Opener, stack: contextlib.ExitStack) -> LedgerFile | None:
    """Open a file; returns None if only its renamed predecessors, such as ``evidence.0001.jsonl``, exist."""
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


def _before(name: str, file: LedgerFile | None, open_file: Opener) -> list[str]:
    """Return the names of the earlier files of the ledger that are in the folder of `name`, oldest first."""
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
    """Return the path of `continued`, or of its compressed form, in the folder of `name`; None if neither exists."""
    for ending in ("", *COMPRESSED):
        path = str(Path(name).with_name(continued + ending))
        if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name that is too long
            return path
    return None


def _first_line_of(name: str, open_file: Opener) -> bytes:
    with contextlib.ExitStack() as stack:
        return _first_line(open_file(name, stack))


def _first_line(file: LedgerFile) -> bytes:
    try:
        return file.first_line()
    except DamageError:  # reported when this file is verified
        return b""


def _continued(line: bytes) -> str:
    """Return the file name in `continues` of a first line; empty if it has none, or a path instead of a name."""
    read = read_line(line)
    name = read.continues if isinstance(read, Line) and read.continues else ""
    return name if name not in (".", "..") and "\0" not in name and Path(name).name == name else ""


def _without_verb(problem: str) -> str:
    """Return what a file is, from a problem such as ``is UTF-16 text; save it as UTF-8``."""
    return problem.partition(";")[0].removeprefix("is ")


_A_LINE: Final = "a line of a ledger"
_NOT_A_LINE: Final = "this is not a line of an evidence ledger"


class _Chain:
    """Follow the chain and collect its problems."""

    def __init__(self, head: str | None, after: str | None) -> None:
        self.checked = Verification()
        self._head = head
        self._after = after
        self._head_number: int | None = None
        self._previous: str | None = after or NO_PREVIOUS  # None: unknown, because a line was too long
        self._number: int | None = None if after else 0  # of the line before; None: unknown
        self._place = ("", 0)  # of the line before
        self._carriage_returns = 0  # lines of the file that end in CRLF
        if head is not None and head == after:
            self.checked.since_head = self._head_number = 0

    def file(self, name: str, file: LedgerFile) -> None:
        """Verify the lines of one file."""
        self.checked.files.append(name)
        self._carriage_returns = 0
        place, left = 0, file.size()  # lines that are appended meanwhile are not read
        try:
            while line := file.readline(min(left, LINE_MAX + 1)):
                place, left = place + 1, left - len(line)
                if place == 1:
                    if wrong := wrong_content(line[:64]):
                        self._problem(name, 0, "form", "JSON Lines in UTF-8", _without_verb(wrong), f"the file {wrong}")
                        self._previous = self._number = None
                        return
                    line = self._without_mark(name, line)
                if len(line) > LINE_MAX:
                    got = f"a line of more than {LINE_MAX} bytes"
                    self._problem(name, place, "form", _A_LINE, got, _NOT_A_LINE)
                    while line and not line.endswith(b"\n"):
                        line = file.readline(min(left, LINE_MAX))
                        left -= len(line)
                    self._previous = self._number = None
                    continue
                self._line(name, place, line)
        except DamageError as damage:
            message = "the file cannot be read from this line on"
            self._problem(name, place + 1, "torn", "readable data", str(damage), message)
        if self._carriage_returns:
            got = f"CRLF (a carriage return and a line feed) in {self._carriage_returns} of {place} lines"
            message = (
                "the line ends were changed to CRLF, as some editors, Git's autocrlf and text-mode transfers do;"
                r" restore them with: sed 's/\r$//' FILE > RESTORED"
            )
            self._problem(name, 0, LINE_ENDS, "LF (a line feed) at the end of each line", got, message)

    def _without_mark(self, name: str, line: bytes) -> bytes:
        """Remove a byte order mark from the first line and report it as a problem of the file."""
        if not line.startswith(codecs.BOM_UTF8):
            return line
        message = (
            "a byte order mark was added to the file, as some editors do; remove it with `tail -c +4 FILE > RESTORED`"
        )
        self._problem(name, 0, "form", "no byte order mark", "a byte order mark at the beginning", message)
        return line[len(codecs.BOM_UTF8) :]

    def _line(self, name: str, place: int, line: bytes) -> None:
        if line.endswith(b"}\r\n"):  # JSON escapes the carriage returns of texts
            self._carriage_returns += 1
            line = line[:-2] + b"\n"
        read = read_line(line)
        if not line.endswith(b"\n"):
            got = f"{len(line)} bytes without a line end"
            message = "the line is cut off: its writer was killed or the file was truncated; the next writer repairs it"
            self._problem(name, place, "torn", "a line end", got, message)
            return
        checked, digest = self.checked, digest_of(line)
        if isinstance(read, str):
            self._problem(name, place, "form", _A_LINE, read, _NOT_A_LINE)
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
            checked.repair_count += 1
            if len(checked.repairs) < LISTED:
                checked.repairs.append(Repair(name, place, read.repair.bytes))
        self._previous, self._number, self._place = digest, read.number, (name, place)

    def _link(self, name: str, place: int, read: Line) -> None:
        """Compare a line with the one before it."""
        if self._number == 0 and read.number != 1 and not self._place[1]:
            continues, advice = "earlier lines are missing", "name the files that contain them"
            if read.continues:
                continues, advice = f"this file continues {read.continues!r}", "name that file too"
            message = (
                f"this is not the first line of the ledger: {continues}; {advice}, or give --after with the digest of "
                "the line before this one"
            )
            self._problem(name, place, "beginning", "number 1", f"number {read.number}", message)
        elif self._number is not None and read.number != self._number + 1:
            self._wrong_number(name, place, read.number, self._number + 1)
        elif self._previous is not None and read.previous != self._previous:
            if not self._place[1]:
                message = "this is line number 1, but its `previous` is the digest of another line"
                if self._after:
                    message = "this line does not follow the line whose digest --after gives"
                self._problem(name, place, "beginning", self._previous, read.previous, message)
                return
            file, before = self._place
            where = f"line {before}" if file == name else f"line {before} of {file}"
            message = f"the chain is broken: this line or {where} was changed after it was written"
            self._problem(name, place, "changed", self._previous, read.previous, message)

    def _wrong_number(self, name: str, place: int, number: int, expected: int) -> None:
        if number > expected:
            gone = f"number {expected} is" if number == expected + 1 else f"numbers {expected} to {number - 1} are"
            kind, message = "missing", f"the chain is broken: {gone} missing before this line"
        else:
            kind, message = "order", "the chain is broken: this line is a duplicate, was moved or was inserted"
        self._problem(name, place, kind, f"number {expected}", f"number {number}", message)

    def end(self, records: int | None) -> None:
        """Compare with the digest and the number that were stored elsewhere."""
        checked = self.checked
        name = checked.files[-1] if checked.files else ""
        if self._head is not None and self._head_number is None:
            message = "no line has the given digest: the ledger was shortened, or all lines up to its end were changed"
            self._problem(name, 0, "head", self._head, checked.head or "no line", message)
        elif self._head is not None and records is not None:
            # 0: the digest is that of --after, whose number is unknown.
            if self._head_number and self._head_number != records:
                message = "the line with the given digest has another number"
                self._problem(name, 0, "records", f"number {records}", f"number {self._head_number}", message)
        elif records is not None and checked.number < records:
            message = "the ledger was shortened"
            self._problem(name, 0, "records", f"{records} lines or more", f"{checked.number} lines", message)

    def _problem(self, file: str, line: int, kind: str, expected: str, got: str, message: str) -> None:
        self.checked.problem_count += 1
        if len(self.checked.problems) < LISTED:
            self.checked.problems.append(Problem(file, line, kind, expected, got, message))


def kinds_of(problems: Iterable[Problem]) -> list[str]:
    """Return the kinds of the problems, each once, in the order found."""
    return list(dict.fromkeys(problem.kind for problem in problems))
