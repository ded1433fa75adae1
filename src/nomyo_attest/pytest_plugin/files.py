"""The records in a file: how many there are, what their tests are called, and where each stands."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

LINE_FILES: Final = (".jsonl", ".ndjson")
"""Endings of names of files with a record a line."""

PACKINGS: Final = (".gz", ".zst", ".bz2", ".xz", ".zip")
"""Endings of names of packed files: their records are not read, and one test fails and says so."""

_BLOCK: Final = 256 * 1024
"""Bytes read at once to recognize a file's content."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""Payload ids that may name a test: no other can be typed, and read back, in every terminal and shell."""


class Found(NamedTuple):
    """A record in a file: its name as a test, its line from 1, where it begins and how long it is, in bytes; why there
    is none, if so.
    """

    name: str
    line: int
    offset: int
    size: int
    problem: str = ""


class UnreadableError(Exception):
    """A file has no records that can be tests. The text is the reason."""


def matches(path: Path, patterns: Sequence[str]) -> bool:
    """Whether the configuration names a file, in upper or lower case, packed or not.

    Args:
        path: the file.
        patterns: what the configuration names: with a ``/`` the end of the path, without one the name.
    """
    for pattern in patterns:
        text = (path.as_posix() if "/" in pattern else path.name).lower()
        wanted = (f"*/{pattern.removeprefix('./')}" if "/" in pattern else pattern).lower()
        packing = Path(text).suffix
        if fnmatchcase(text, wanted) or (packing in PACKINGS and fnmatchcase(text.removesuffix(packing), wanted)):
            return True
    return False


def count_matching(folder: Path, patterns: Sequence[str]) -> int:
    """How many files in a folder and below it the configuration names; links to folders are not followed."""
    endings = tuple({*PACKINGS, *(Path(pattern.lower()).suffix for pattern in patterns)})
    literal = all(ending and not {"*", "?", "[", "]"}.intersection(ending) for ending in endings)
    return sum(
        matches(Path(path, name), patterns)
        for path, _, names in os.walk(folder)
        for name in names
        if not literal or name.lower().endswith(endings)  # a virtual environment has tens of thousands of others
    )


def find_records(path: Path) -> list[Found]:
    """Every record of a file: its only one, or one a line.

    Raises:
        UnreadableError: if it cannot be read, is packed, has no record, or is not what its name says.
    """
    with _opened(path) as file:
        if problem := _content_problem(file, lines=has_lines(path)):
            raise UnreadableError(problem)
        file.seek(0)
        found = list(_named(_lines(file) if has_lines(path) else _whole(file)))
    if not found:
        raise UnreadableError("there is no record in this file")
    return found


def read_record(path: Path, record: Found) -> bytes:
    """The text of a record that was found. Raises `UnreadableError`."""
    with _opened(path) as file:
        file.seek(record.offset)
        return file.read(record.size)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file with records, open. Raises `UnreadableError`, also for a pipe, which is not waited for."""
    if path.suffix.lower() in PACKINGS:
        raise UnreadableError("is packed, and only unpacked files become tests; hint: unpack it, or run an audit")
    try:
        if is_virtual_environment(path):
            raise UnreadableError(
                "has recorded responses that pytest passes over: pyvenv.cfg or conda-meta makes the folder a virtual "
                "environment; hint: remove that file, or give --collect-in-virtualenv"
            )
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError("is not a regular file")
        with io.BufferedReader(io.FileIO(path, opener=_without_waiting)) as file:
            yield file
    except OSError as error:
        what = "is a symbolic link to nothing" if path.is_symlink() and not path.exists() else "cannot be read"
        raise UnreadableError(f"{what}: {error.strerror or type(error).__name__}") from None


def is_virtual_environment(path: Path) -> bool:
    """Whether pytest takes a folder for a virtual environment, and passes over it."""
    return os.path.isfile(path / "pyvenv.cfg") or os.path.isfile(path / "conda-meta/history")  # noqa: PTH113 - never raises


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; if it has become a pipe meanwhile, do not wait for its other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def has_lines(path: Path) -> bool:
    """Whether a file has a record a line."""
    return path.suffix.lower() in LINE_FILES


def _content_problem(file: BinaryIO, *, lines: bool) -> str:
    """Why no record can be read from a file, as an audit says it; empty if one may be."""
    from nomyo_attest.evidence.content import enough_of_lines, lines_problem, one_record_problem
    from nomyo_attest.evidence.strict_json import TEXT_MAX

    if not lines:
        return one_record_problem(file.read(TEXT_MAX + 1))
    head, ended = b"", False
    while not (ended or enough_of_lines(head)):
        block = file.read(_BLOCK)
        head, ended = head + block, not block
    return lines_problem(head, ended=ended, named=False)


def _whole(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """The one record of a file: line, offset, text."""
    from nomyo_attest.evidence.strict_json import TEXT_MAX

    yield 1, 0, file.read(TEXT_MAX + 1)


def _lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Each line that is not blank: its number, its offset, and its text as far as any response may be long."""
    from nomyo_attest.evidence.strict_json import TEXT_MAX

    line = offset = 0
    while text := file.readline(TEXT_MAX + 2):
        line, size = line + 1, len(text)
        if text.strip():
            yield line, offset, text.rstrip(b"\r\n")
        while not text.endswith(b"\n") and (text := file.readline(TEXT_MAX)):
            size += len(text)
        offset += size


def _named(records: Iterator[tuple[int, int, bytes]]) -> Iterator[Found]:
    """Each record with a name that no other one has: its payload id, if that can be a name, or its line, or both."""
    seen: set[str] = set()
    for line, offset, text in records:
        name = _payload_id(text) or f"line-{line}"
        while name in seen:  # a payload id may look like a name that was made here
            name = f"{name}-line-{line}"
        seen.add(name)
        yield Found(name, line, offset, len(text))


def _payload_id(text: bytes) -> str:
    """The payload id as far as it serves as a name; empty if it does not. It is judged when the test runs."""
    from nomyo_attest.audit.stored_evidence import RepairError, unwrap
    from nomyo_attest.errors import EvidenceError
    from nomyo_attest.evidence.strict_json import parse_record

    try:
        stored = unwrap(text)
        document = parse_record(text) if stored is None else stored.evidence
    except (EvidenceError, RepairError):
        return ""
    for holder in (document, document.get("_metadata") if isinstance(document, dict) else None):
        name = holder.get("payload_id") if isinstance(holder, dict) else None
        if isinstance(name, str) and _NAME.fullmatch(name):
            return name
    return ""
