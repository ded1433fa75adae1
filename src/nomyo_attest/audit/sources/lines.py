"""Text of JSON Lines, in pieces of any size → blobs of whole lines, always cut at the same places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from nomyo_attest.evidence.strict_json import TEXT_MAX

BLOB: Final = 1024 * 1024
"""Bytes of a blob, unless a single line is longer."""

_BOM: Final = b"\xef\xbb\xbf"


class Blob(NamedTuple):
    """Whole lines, with what ends them; `first` is the number of the first, from 1."""

    first: int
    text: bytes


class TooLong(NamedTuple):
    """A line too long to be a record, and how long it is, in bytes."""

    line: int
    length: int


def lines_of(text: bytes) -> list[bytes]:
    """The lines of a blob. They end with LF; a CR before it belongs to the end."""
    lines = text.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines] if b"\r" in text else lines


def is_blank(line: bytes) -> bool:
    """Whether a line has nothing but the white space of JSON (RFC 8259, 2)."""
    return not line.strip(b" \t\r")


def _count(text: bytes) -> tuple[int, int]:
    """How many lines a blob has, and how many of them are blank."""
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    # The usual case is told without splitting: every line begins an object.
    if text.count(b"\n{") + text.startswith(b"{") == lines:
        return lines, 0
    return lines, sum(map(is_blank, lines_of(text)))


class LineCutter:
    """Cuts text into blobs.

    A blob is as many whole lines as `blob` bytes have room for, or one line that is longer. Lines longer than `most`
    bytes, which is more than `blob`, are passed over in bounded memory.

    Attributes:
        line: number of the line that comes next, from 1.
        blank: blank lines so far.
    """

    def __init__(self, blob: int = BLOB, most: int = TEXT_MAX) -> None:
        self.line = 1
        self.blank = 0
        self._blob, self._most = blob, most
        self._buffer = bytearray()
        self._begun = False
        self._searched = 0  # where in the buffer no line end was found
        self._lost = 0  # bytes of a line too long, as far as they were seen, and the last of them
        self._lost_end = b""

    def feed(self, text: bytes) -> Iterator[Blob | TooLong]:
        """What is complete with `text`, which goes on where the last one ended."""
        if self._lost:
            end = text.find(b"\n")
            if end < 0:
                self._lose(text)
                return
            self._lose(text[:end])
            yield self._too_long()
            text = text[end + 1 :]
        buffer = self._buffer
        buffer += text
        if not self._begun:
            if len(buffer) < len(_BOM):
                return
            self._begin()
        while len(buffer) >= self._blob:
            end = buffer.rfind(b"\n", 0, self._blob)
            if end < 0:
                end = buffer.find(b"\n", max(self._blob, self._searched))
            if end < 0:
                self._searched = len(buffer)
                if len(buffer) > self._most + 1:  # one more for a CR
                    self._lose(bytes(buffer))
                    buffer.clear()
                return
            yield from self._cut(end + 1)

    def finish(self) -> Iterator[Blob | TooLong]:
        """What is left at the end. A last line needs no line end."""
        self._begin()
        if self._lost:
            yield self._too_long()
        elif self._buffer:
            yield from self._cut(len(self._buffer))

    def abandon(self) -> Iterator[Blob | TooLong]:
        """What is left where the text breaks off: whole lines only. The one in which it does is `line`."""
        self._begin()
        end = self._buffer.rfind(b"\n")
        if end >= 0:
            yield from self._cut(end + 1)

    def _begin(self) -> None:
        if not self._begun and self._buffer.startswith(_BOM):
            del self._buffer[: len(_BOM)]
        self._begun = True

    def _lose(self, text: bytes) -> None:
        self._lost += len(text)
        self._lost_end = text[-1:] or self._lost_end

    def _too_long(self) -> TooLong:
        long = TooLong(self.line, self._lost - (self._lost_end == b"\r"))
        self.line += 1
        self._lost = self._searched = 0
        return long

    def _cut(self, size: int) -> Iterator[Blob | TooLong]:
        text = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._searched = 0
        first = self.line
        lines, blank = _count(text)
        self.line += lines
        if lines == 1 and size > self._most and (length := len(lines_of(text)[0])) > self._most:
            yield TooLong(first, length)
            return
        self.blank += blank
        if lines > blank:
            yield Blob(first, text)
