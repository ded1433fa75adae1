"""The records in a file: how many there are, what their tests are called, and where each stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

LINE_FILES: Final = (".jsonl", ".ndjson")
"""Endings of names of files with a record a line."""

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


def find_records(path: Path) -> list[Found]:
    """Every record of a file: its only one, or one a line. Raises `OSError`."""
    with path.open("rb") as file:
        return list(_named(_lines(file) if has_lines(path) else _whole(file)))


def has_lines(path: Path) -> bool:
    """Whether a file has a record a line."""
    return path.suffix.lower() in LINE_FILES


def _whole(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """The one record of a file: line, offset, text."""
    from nomyo_attest.evidence.text import TEXT_MAX

    yield 1, 0, file.read(TEXT_MAX + 1)


def _lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Each line that is not blank: its number, its offset, and its text as far as any response may be long."""
    from nomyo_attest.evidence.text import TEXT_MAX

    line = offset = 0
    while text := file.readline(TEXT_MAX + 2):
        line, size = line + 1, len(text)
        if text.strip():
            yield line, offset, text.rstrip(b"\r\n")
        while not text.endswith(b"\n") and (text := file.readline(TEXT_MAX)):
            size += len(text)
        offset += size


def _named(records: Iterator[tuple[int, int, bytes]]) -> Iterator[Found]:
    """Each record with its name: its payload id, if it has one that can be a name; told apart by lines else."""
    seen: set[str] = set()
    for line, offset, text in records:
        name = _payload_id(text)
        if not name or name in seen:
            name = f"{name}-line-{line}" if name else f"line-{line}"
        seen.add(name)
        yield Found(name, line, offset, len(text))


def _payload_id(text: bytes) -> str:
    """The payload id as far as it serves as a name; empty if it does not. It is judged when the test runs."""
    from nomyo_attest.audit.kept import RepairError, unwrap
    from nomyo_attest.errors import EvidenceError
    from nomyo_attest.evidence.text import parse_record

    try:
        kept = unwrap(text)
        document = parse_record(text) if kept is None else kept.evidence
    except (EvidenceError, RepairError):
        return ""
    for holder in (document, document.get("_metadata") if isinstance(document, dict) else None):
        name = holder.get("payload_id") if isinstance(holder, dict) else None
        if isinstance(name, str) and _NAME.fullmatch(name):
            return name
    return ""
