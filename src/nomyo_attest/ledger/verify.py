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
from nomyo_attest.ledger.files import find_full_files, size_when_unlocked
from nomyo_attest.ledger.line import LINE_MAX, NO_PREVIOUS, Line, digest_of, read_line

LISTED_MAX: Final = 100
"""The maximum number of problems, and of repairs, that are listed; the others are only counted."""

LINE_ENDINGS: Final = "line_ends"
COMPRESSED: Final = (".gz", ".zst")
"""Extensions of a compressed ledger file."""

PROBLEM_KINDS: Final = ("form", "changed", "missing", "order", "beginning", "torn", "head", "records", LINE_ENDINGS)
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
    """A line that a crash cut off: the place of its repair line, and the number of bytes that remained."""

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
        self._peeked = b""

    def first_line(self) -> bytes:
        """Return the first line without consuming it. Raises `OSError`, `DamageError`."""
        self._peeked = self._file.readline(LINE_MAX)
        return self._peeked

    def size(self) -> int:
        """Return the number of bytes to read, without bytes that are appended later. Raises `OSError`."""
        return size_when_unlocked(self._file.fileno()) if self._plain else sys.maxsize

    def readline(self, maximum: int) -> bytes:
        """Return at most `maximum` bytes of the next line; empty at the end. Raises `OSError`, `DamageError`."""
        line, self._peeked = self._peeked[:maximum], self._peeked[maximum:]
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
        since_head: number of lines after the line with the digest `head`; None without `head`, or if no line has it.
        problems, repairs: the first `LISTED_MAX` of each.
        problem_count, repair_count: the number of all problems and repairs.
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
        names: the files. Earlier files of the ledger are found in the folder of the first one, unless `after` is set.
        head: a digest that was stored elsewhere: one of the lines must have it.
        records: the number of the line with `head`; without `head`, the minimum number of the last line.
        after: the digest of the line before the first one, if the earlier files are stored elsewhere.
        open_file: opens a file, decompressing it if needed.

    Raises:
        OSError: a file cannot be read.
    """
    chain = _Chain(head, after)
    with contextlib.ExitStack() as stack:
        # Open this file first: a writer may rename it while the earlier files are looked up.
        first = _open_first(names[0], open_file, stack)
        last = {names[0]: first} if first is not None else {}
        for name in [*([] if after else _earlier_files(names[0], first, open_file)), *names]:
            if name in last:
                chain.file(name, last.pop(name))
            elif name != names[0]:
                with contextlib.ExitStack() as opened:
                    chain.file(name, open_file(name, opened))
    chain.end(records)
    return chain.verification


def _open_first(name: str, open_file: Opener, stack: contextlib.ExitStack) -> LedgerFile | None:
    """Open a file; returns None if only its renamed predecessors, such as ``evidence.0001.jsonl``, exist."""
    try:
        return open_file(name, stack)
    except FileNotFoundError:
        if not _full_files_of(name):
            raise
        return None


def _full_files_of(name: str) -> list[Path]:
    try:
        return find_full_files(Path(name))
    except OSError:
        return []


def _earlier_files(name: str, file: LedgerFile | None, open_file: Opener) -> list[str]:
    """Return the names of the earlier files of the ledger that are in the folder of `name`, oldest first."""
    if file is not None and not file.in_folder:
        return []
    line = b"" if file is None else _first_line(file)
    found: list[str] = []
    if not line:
        full_files = _full_files_of(name)
        if not full_files:
            return []
        found = [str(full_files[-1])]
        line = _first_line_of(found[-1], open_file)
    while (continued := _continued_name(line)) and (path := _find_beside(name, continued)):
        if path in (name, *found):
            break
        found.append(path)
        line = _first_line_of(path, open_file)
    return found[::-1]


def _find_beside(name: str, continued: str) -> str | None:
    """Return the path of `continued`, or of its compressed form, in the folder of `name`; None if neither exists."""
    for extension in ("", *COMPRESSED):
        path = str(Path(name).with_name(continued + extension))
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


def _continued_name(line: bytes) -> str:
    """Return the file name in `continues` of a first line; empty if there is none, or if it is a path."""
    parsed = read_line(line)
    name = parsed.continues if isinstance(parsed, Line) and parsed.continues else ""
    return name if name not in (".", "..") and "\0" not in name and Path(name).name == name else ""


def _to_noun_phrase(problem: str) -> str:
    """Return a noun phrase for a problem: ``UTF-16 text`` for ``is UTF-16 text; save it as UTF-8``."""
    return problem.partition(";")[0].removeprefix("is ")


_LEDGER_LINE: Final = "a line of a ledger"
_NOT_A_LINE: Final = "this is not a line of an evidence ledger"


class _Chain:
    """Follow the chain and collect its problems."""

    def __init__(self, head: str | None, after: str | None) -> None:
        self.verification = Verification()
        self._head = head
        self._after = after
        self._head_number: int | None = None
        self._previous: str | None = after or NO_PREVIOUS  # None: unknown, because a line was too long
        self._number: int | None = None if after else 0  # number of the line before; None: unknown
        self._last_place = ("", 0)  # file and line number of the line before
        self._carriage_returns = 0  # number of lines of the file that end in CRLF
        if head is not None and head == after:
            self.verification.since_head = self._head_number = 0

    def file(self, name: str, file: LedgerFile) -> None:
        """Verify the lines of one file."""
        self.verification.files.append(name)
        self._carriage_returns = 0
        line_number, left = 0, file.size()  # lines that are appended meanwhile are not read
        try:
            while line := file.readline(min(left, LINE_MAX + 1)):
                line_number, left = line_number + 1, left - len(line)
                if line_number == 1:
                    if problem := wrong_content(line[:64]):
                        self._problem(
                            name, 0, "form", "JSON Lines in UTF-8", _to_noun_phrase(problem), f"the file {problem}"
                        )
                        self._previous = self._number = None
                        return
                    line = self._without_mark(name, line)
                if len(line) > LINE_MAX:
                    got = f"a line of more than {LINE_MAX} bytes"
                    self._problem(name, line_number, "form", _LEDGER_LINE, got, _NOT_A_LINE)
                    while line and not line.endswith(b"\n"):
                        line = file.readline(min(left, LINE_MAX))
                        left -= len(line)
                    self._previous = self._number = None
                    continue
                self._line(name, line_number, line)
        except DamageError as damage:
            message = "the file cannot be read from this line on"
            self._problem(name, line_number + 1, "torn", "readable data", str(damage), message)
        if self._carriage_returns:
            got = f"CRLF (a carriage return and a line feed) in {self._carriage_returns} of {line_number} lines"
            message = (
                "the line endings were changed to CRLF, as some editors, Git's autocrlf and text-mode transfers do;"
                r" restore them: sed 's/\r$//' FILE > RESTORED"
            )
            self._problem(name, 0, LINE_ENDINGS, "LF (a line feed) at the end of each line", got, message)

    def _without_mark(self, name: str, line: bytes) -> bytes:
        """Remove a byte order mark from the first line and report it as a problem of the file."""
        if not line.startswith(codecs.BOM_UTF8):
            return line
        message = "a byte order mark was added to the file, as some editors do; remove it: tail -c +4 FILE > RESTORED"
        self._problem(name, 0, "form", "no byte order mark", "a byte order mark at the beginning", message)
        return line[len(codecs.BOM_UTF8) :]

    def _line(self, name: str, line_number: int, line: bytes) -> None:
        if line.endswith(b"}\r\n"):  # JSON escapes the carriage returns in texts
            self._carriage_returns += 1
            line = line[:-2] + b"\n"
        parsed = read_line(line)
        if not line.endswith(b"\n"):
            got = f"{len(line)} bytes without a newline"
            message = "the line is cut off: its writer was killed or the file was truncated; the next writer repairs it"
            self._problem(name, line_number, "torn", "a newline at the end", got, message)
            return
        verification, digest = self.verification, digest_of(line)
        if isinstance(parsed, str):
            self._problem(name, line_number, "form", _LEDGER_LINE, parsed, _NOT_A_LINE)
            self._previous, self._last_place = digest, (name, line_number)
            self._number = None if self._number is None else self._number + 1
            return
        self._link(name, line_number, parsed)
        verification.lines += 1
        verification.number, verification.head = parsed.number, digest
        if verification.since_head is not None:
            verification.since_head += 1
        if digest == self._head:
            verification.since_head, self._head_number = 0, parsed.number
        if parsed.repair is not None:
            verification.repair_count += 1
            if len(verification.repairs) < LISTED_MAX:
                verification.repairs.append(Repair(name, line_number, parsed.repair.bytes))
        self._previous, self._number, self._last_place = digest, parsed.number, (name, line_number)

    def _link(self, name: str, line_number: int, parsed: Line) -> None:
        """Compare a line with the one before it."""
        if self._number == 0 and parsed.number != 1 and not self._last_place[1]:
            continues, hint = "earlier lines are missing", "name the files that contain them"
            if parsed.continues:
                continues, hint = f"this file continues {parsed.continues!r}", "name that file too"
            message = (
                f"this is not the first line of the ledger: {continues}; {hint}, or pass --after with the digest of "
                "the line before this one"
            )
            self._problem(name, line_number, "beginning", "number 1", f"number {parsed.number}", message)
        elif self._number is not None and parsed.number != self._number + 1:
            self._wrong_number(name, line_number, parsed.number, self._number + 1)
        elif self._previous is not None and parsed.previous != self._previous:
            if not self._last_place[1]:
                message = "this is line number 1, but its `previous` is the digest of another line"
                if self._after:
                    message = "this line does not follow the line with the digest that --after names"
                self._problem(name, line_number, "beginning", self._previous, parsed.previous, message)
                return
            file, before = self._last_place
            where = f"line {before}" if file == name else f"line {before} of {file}"
            message = f"the chain is broken: this line or {where} was changed after it was written"
            self._problem(name, line_number, "changed", self._previous, parsed.previous, message)

    def _wrong_number(self, name: str, line_number: int, number: int, expected: int) -> None:
        if number > expected:
            missing = f"number {expected} is" if number == expected + 1 else f"numbers {expected} to {number - 1} are"
            kind, message = "missing", f"the chain is broken: {missing} missing before this line"
        else:
            kind, message = "order", "the chain is broken: this line is a duplicate, was moved or was inserted"
        self._problem(name, line_number, kind, f"number {expected}", f"number {number}", message)

    def end(self, records: int | None) -> None:
        """Compare the chain with the digest and the number that were stored elsewhere."""
        verification = self.verification
        name = verification.files[-1] if verification.files else ""
        if self._head is not None and self._head_number is None:
            message = (
                "no line has the digest of --head: the ledger was shortened, or all lines up to its end were changed"
            )
            self._problem(name, 0, "head", self._head, verification.head or "no line", message)
        elif self._head is not None and records is not None:
            # 0: the digest is that of --after, whose number is unknown.
            if self._head_number and self._head_number != records:
                message = "the line with the digest of --head has a different number"
                self._problem(name, 0, "records", f"number {records}", f"number {self._head_number}", message)
        elif records is not None and verification.number < records:
            message = "the ledger was shortened"
            self._problem(name, 0, "records", f"{records} lines or more", f"{verification.number} lines", message)

    def _problem(self, file: str, line: int, kind: str, expected: str, got: str, message: str) -> None:
        self.verification.problem_count += 1
        if len(self.verification.problems) < LISTED_MAX:
            self.verification.problems.append(Problem(file, line, kind, expected, got, message))


def kinds_of(problems: Iterable[Problem]) -> list[str]:
    """Return the distinct kinds of the problems, in the order in which they were found."""
    return list(dict.fromkeys(problem.kind for problem in problems))
