"""The end of a ledger's file: its last line, and what a crash may have left behind it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

import msgspec

from nomyo_attest.errors import LedgerError
from nomyo_attest.evidence.strict_json import check_containers
from nomyo_attest.ledger.line import BEGINNING, LINE_MAX, digest_of, is_line

_BLOCK: Final = 64 * 1024

TORN_KEPT: Final = LINE_MAX // 4
"""Bytes of a torn line that are kept in the note of its repair: all of any that a client writes."""


class Last(msgspec.Struct, frozen=True):
    """The last whole line: its number and its digest."""

    number: int
    digest: str


class Tail(msgspec.Struct, frozen=True):
    """The end of a file.

    Attributes:
        last: the last whole line; None if there is none.
        size: bytes up to its end.
        torn: what stands behind it.
    """

    last: Last | None
    size: int
    torn: bytes

    def note(self) -> dict[str, Any]:
        """What a line says in the place of what was torn."""
        kept = base64.b64encode(self.torn[:TORN_KEPT]).decode("ascii")
        return {"repair": {"bytes": len(self.torn), "sha256": hashlib.sha256(self.torn).hexdigest(), "torn": kept}}


def read_tail(descriptor: int, path: Path) -> Tail:
    """The end of the file that `descriptor` reads.

    Torn is what has no line end, as a write was cut short, or is no line of a ledger, as power was lost before all of
    its blocks were written. Raises `LedgerError` where it cannot be the end of a ledger, and `OSError`.
    """
    size = os.fstat(descriptor).st_size
    start, data = _last_lines(descriptor, size, path)
    behind = data.rfind(b"\n") + 1
    torn = data[behind:]
    before = data[:behind]
    line = _last_of(before)
    if line:
        number = number_of(line)
        if number is not None:
            return Tail(Last(number, digest_of(line)), start + behind, torn)
        torn = line + torn
        before = before[: len(before) - len(line)]
        above = _last_of(before)
        number = number_of(above)
        if number is not None:
            return Tail(Last(number, digest_of(above)), start + len(before), torn)
    if before or not _may_begin(torn):
        raise LedgerError(
            str(path), "is not a ledger: its last line is not a line of one", "name another file, or move it away"
        )
    return Tail(None, 0, torn)


def number_of(line: bytes) -> int | None:
    """The number of a ledger's line; None if it is none."""
    if not (line.startswith(BEGINNING) and line.endswith(b"}\n")):
        return None
    try:
        check_containers(line)
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    number = document.get("number") if is_line(document) else None
    return number if type(number) is int and number > 0 else None


def _last_lines(descriptor: int, size: int, path: Path) -> tuple[int, bytes]:
    """The last two lines, what is behind them, and where that begins."""
    start, blocks, ends = size, list[bytes](), 0
    while start > 0 and ends < 3:
        if size - start > 3 * LINE_MAX:
            raise LedgerError(str(path), "is not a ledger: its lines are too long", "name another file")
        length = min(_BLOCK, start)
        block = os.pread(descriptor, length, start - length)
        if len(block) < length:
            raise LedgerError(str(path), "changes while it is read", "see that nothing else writes to it")
        start -= length
        ends += block.count(b"\n")
        blocks.append(block)
    return start, b"".join(reversed(blocks))


def _last_of(text: bytes) -> bytes:
    """The last line of a text that ends with a line end, or is empty."""
    return text[text[:-1].rfind(b"\n") + 1 :] if text else b""


def _may_begin(torn: bytes) -> bool:
    """Whether it may be what is left of the first line of a ledger, and not somebody's file; or nothing at all."""
    return torn[: len(BEGINNING)] == BEGINNING[: len(torn)] or not torn.strip(b"\0")
