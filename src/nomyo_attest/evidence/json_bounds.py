"""How many objects, arrays and strings a JSON text holds, and how deep it is nested, before any object is made of it.

What reading a hostile text costs depends on its containers: 16 MiB of ``[],`` are five million lists and 500 MB.
Scalars are cheap, and so is text inside strings. Neither is counted: a pasted table with a million commas and a
response with the log probabilities of 20 alternatives for each token are within the bound.

The scan works on bytes and is exact for valid JSON, escapes included. In an invalid text it is exact up to the first
error, where a parser stops, too.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final

CONTAINERS_BASE: Final = 10_000
"""Objects and arrays that a text of any length may hold."""

BYTES_PER_CONTAINER: Final = 24
"""Bytes of text for each further one. Log probabilities have about 45 bytes for each, tool calls far more."""

_PIECE: Final = 1024 * 1024
_ALL: Final = bytes(range(256))


class TooManyContainersError(ValueError):
    """A JSON text holds more objects and arrays than its length allows.

    Attributes:
        found: how many it holds.
        limit: how many it may hold.
    """

    def __init__(self, found: int, limit: int) -> None:
        self.found = found
        self.limit = limit
        super().__init__(found, limit)

    def __str__(self) -> str:
        return f"{self.found} objects and arrays, more than the {self.limit} that a text of this length may hold"


def containers_max(length: int) -> int:
    """How many objects and arrays a text of `length` bytes may hold."""
    return CONTAINERS_BASE + length // BYTES_PER_CONTAINER


def check_containers(text: bytes | bytearray) -> None:
    """Raise `TooManyContainersError` if a JSON text holds more objects and arrays than its length allows."""
    limit = containers_max(len(text))
    if text.count(b"[") + text.count(b"{") <= limit:  # those inside strings included, which is quick to know
        return
    found = len(outside_strings(text, b"[{"))
    if found > limit:
        raise TooManyContainersError(found, limit)


def is_deeper(text: bytes | bytearray, levels: int) -> bool:
    """Whether objects and arrays are nested more than `levels` deep."""
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    steps = outside_strings(text, b"[]{}").translate(bytes.maketrans(b"[{]}", b"\1\1\0\0"))
    return max(accumulate(map((-1, 1).__getitem__, steps)), default=0) > levels


def count_strings(text: bytes | bytearray) -> int:
    """How many strings a JSON text holds, keys included."""
    return _without_escapes(text).count(b'"') // 2


def outside_strings(text: bytes | bytearray, kept: bytes) -> bytes:
    """The characters of `kept` that are outside the strings of a JSON text, in order.

    Args:
        kept: ASCII characters except ``"`` and ``\\``.
    """
    marks = bytes(_without_escapes(text).translate(None, bytes({*_ALL} - {*kept, 0x22})))
    # Two quotation marks in a row: a string without any of these characters, or the end of one and the beginning of the
    # next. Without the pair every other character is still inside or outside a string as before.
    marks = marks.replace(b'""', b"")
    if b'"' not in marks:
        return marks
    outside, inside = [], 0
    for start in range(0, len(marks), _PIECE):
        parts = marks[start : start + _PIECE].split(b'"')
        outside.append(b"".join(parts[inside::2]))
        inside ^= (len(parts) - 1) & 1
    return b"".join(outside)


def _without_escapes(text: bytes | bytearray) -> bytes | bytearray:
    """`text` without escaped backslashes and quotation marks: every mark that is left begins or ends a string."""
    if b"\\" not in text:
        return text
    return text.replace(b"\\\\", b"").replace(b'\\"', b"")
