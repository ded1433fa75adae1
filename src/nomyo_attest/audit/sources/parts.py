"""Parts of a source, the content of chunks: whole lines, cells of a column, or a file of one record.

A part is created by the process that reads and turned into records by a process that appraises.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from nomyo_attest.audit.chunk import Chunk, RawRecord, SourceEnd
from nomyo_attest.audit.sources.source import (
    DamageError,
    Source,
    StoredBytes,
    changed_since,
    open_regular,
    os_problem,
)
from nomyo_attest.audit.sources.unpack import unpacked
from nomyo_attest.evidence.content import one_record_problem, wrong_content
from nomyo_attest.evidence.strict_json import TEXT_MAX

BLOB_BYTES: Final = 1024 * 1024
"""Maximum bytes of a blob, unless a single line is longer."""

TOO_LARGE: Final = "bytes; a record has at most"

_BOM: Final = b"\xef\xbb\xbf"


class Part(ABC):
    """A contiguous part of one source.

    Attributes:
        progress: stored bytes read when it ends, counted from the beginning of all sources.
        weight: bytes of text in it, or of the file if the worker reads it.
        end: the source's end, if it ends here; known when `records` is exhausted.
    """

    progress: int
    weight: int = 0
    end: SourceEnd | None = None

    @abstractmethod
    def records(self) -> Iterator[RawRecord]:
        """Yield each record, in order. An unreadable record has a problem; it raises nothing."""


class Unread(Part):
    """A part that cannot be read: one record with the reason."""

    def __init__(self, source: Source, line: int, problem: str, progress: int) -> None:
        self.progress = progress
        self._record = RawRecord(source.number, source.name, line, None, problem)

    def records(self) -> Iterator[RawRecord]:
        yield self._record


class End(Part):
    """The end of a source, without a record."""

    def __init__(self, end: SourceEnd, progress: int) -> None:
        self.progress, self.end = progress, end

    def records(self) -> Iterator[RawRecord]:
        return iter(())


def failed(source: Source, problem: str, progress: int) -> Iterator[Part]:
    """Yield the parts of a source of which nothing can be read."""
    yield Unread(source, 0, problem, progress)
    yield End(source.ended(None, problem), progress)


class Cells(Part):
    """Cells of a column, from row `first` on; None is a null."""

    def __init__(self, source: Source, first: int, cells: Sequence[bytes | None], progress: int) -> None:
        self.progress, self.weight = progress, sum(len(cell) for cell in cells if cell)
        self._source, self._name, self._first, self._cells = source.number, source.name, first, cells

    def records(self) -> Iterator[RawRecord]:
        for row, cell in enumerate(self._cells, self._first):
            if cell is None:
                yield RawRecord(self._source, self._name, row, None, "the cell is null")
            else:
                yield RawRecord(self._source, self._name, row, cell)


class _Content(NamedTuple):
    text: bytes | None
    sha256: str | None
    problem: str = ""
    line: int = 1


class Whole(Part):
    """A file of one record, read by the worker."""

    def __init__(self, source: Source, progress: int) -> None:
        self.progress, self.weight = progress, source.size or 0
        self._source = source

    def records(self) -> Iterator[RawRecord]:
        source = self._source
        content = _content(source)
        self.end = source.ended(content.sha256, content.problem)
        yield RawRecord(source.number, source.name, content.line, content.text, content.problem)


def _content(source: Source) -> _Content:
    assert source.size is not None
    try:
        file = open_regular(source.path, source.within)
    except DamageError as damage:
        return _Content(None, None, str(damage), line=0)
    except (OSError, ValueError) as error:
        return _Content(None, None, os_problem(error), line=0)
    with file:
        if changed := changed_since(file, source.size, source.mtime, may_grow=False):
            return _Content(None, None, changed, line=0)
        stored = StoredBytes(file, source.size)
        problem, text, line = "", b"", 1
        try:
            text = _text(stored, source)
            line = 0 if (problem := one_record_problem(text, by_extension=True)) else 1
        except DamageError as damage:
            problem = str(damage)
        stored.drain()
        problem = changed_since(file, source.size, source.mtime, may_grow=False) or problem
        return _Content(None if problem else text, stored.sha256, problem, line)


def _text(stored: StoredBytes, source: Source) -> bytes:
    """Return the decompressed text. Raises `DamageError`, also if it is longer than a record may be."""
    text = bytearray()
    for piece in unpacked(stored.blocks(), source.packing):
        text += piece
        if len(text) > TEXT_MAX:
            size = f"{source.size}" if not source.packing else f"more than {TEXT_MAX} decompressed"
            raise DamageError(wrong_content(bytes(text[:64]), by_extension=True) or f"{size} {TOO_LARGE} {TEXT_MAX}")
    return bytes(text)


class Blob(NamedTuple):
    """Whole lines with their line ends; `first` is the number of the first, from 1."""

    first: int
    text: bytes


class TooLong(NamedTuple):
    """A line too long to be a record; its length in bytes."""

    line: int
    length: int


class Lines(Part):
    """Whole lines of JSON Lines."""

    def __init__(self, source: Source, blob: Blob, progress: int) -> None:
        self.progress, self.weight = progress, len(blob.text)
        self._source, self._name, self._blob = source.number, source.name, blob

    def records(self) -> Iterator[RawRecord]:
        for line, text in enumerate(lines_of(self._blob.text), self._blob.first):
            if not is_blank(text):
                yield RawRecord(self._source, self._name, line, text)


def lines_of(text: bytes) -> list[bytes]:
    """Split a blob into lines. They end with LF; a CR before it belongs to the line end."""
    lines = text.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines] if b"\r" in text else lines


def is_blank(line: bytes) -> bool:
    """Whether a line contains only the white space of JSON (RFC 8259, section 2)."""
    return not line.strip(b" \t\r")


def _count(text: bytes) -> tuple[int, int]:
    """Count the lines of a blob, and the blank ones among them."""
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    # The usual case is recognized without splitting: every line begins an object.
    if text.count(b"\n{") + text.startswith(b"{") == lines:
        return lines, 0
    return lines, sum(map(is_blank, lines_of(text)))


class LineCutter:
    """Cut text that arrives in pieces of any size into blobs, at places that do not depend on the pieces.

    A blob is as many whole lines as fit into `blob` bytes, or one longer line. Lines longer than `maximum` bytes, which
    is more than `blob`, are skipped in bounded memory.

    Attributes:
        line: number of the next line, from 1.
        blank: blank lines so far.
    """

    def __init__(self, blob: int = BLOB_BYTES, maximum: int = TEXT_MAX) -> None:
        self.line = 1
        self.blank = 0
        self._blob, self._maximum = blob, maximum
        self._buffer = bytearray()
        self._begun = False
        self._searched = 0  # the buffer has no line end before this place
        self._skipped = 0  # bytes seen of a line that is too long, and the last of them
        self._skipped_end = b""

    def feed(self, text: bytes) -> Iterator[Blob | TooLong]:
        """Yield the blobs that `text`, the next piece, completes."""
        if self._skipped:
            end = text.find(b"\n")
            if end < 0:
                self._skip(text)
                return
            self._skip(text[:end])
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
                if len(buffer) > self._maximum + 1:  # one more for a CR
                    self._skip(bytes(buffer))
                    buffer.clear()
                return
            yield from self._cut(end + 1)

    def finish(self) -> Iterator[Blob | TooLong]:
        """Yield the rest at the end of the text. The last line needs no line end."""
        self._begin()
        if self._skipped:
            yield self._too_long()
        elif self._buffer:
            yield from self._cut(len(self._buffer))

    def abandon(self) -> Iterator[Blob | TooLong]:
        """Yield the rest of truncated text: whole lines only. `line` is the number of the truncated line."""
        self._begin()
        end = self._buffer.rfind(b"\n")
        if end >= 0:
            yield from self._cut(end + 1)

    def _begin(self) -> None:
        if not self._begun and self._buffer.startswith(_BOM):
            del self._buffer[: len(_BOM)]
        self._begun = True

    def _skip(self, text: bytes) -> None:
        self._skipped += len(text)
        self._skipped_end = text[-1:] or self._skipped_end

    def _too_long(self) -> TooLong:
        long = TooLong(self.line, self._skipped - (self._skipped_end == b"\r"))
        self.line += 1
        self._skipped = self._searched = 0
        return long

    def _cut(self, size: int) -> Iterator[Blob | TooLong]:
        text = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._searched = 0
        first = self.line
        lines, blank = _count(text)
        self.line += lines
        if lines == 1 and size > self._maximum and (length := len(lines_of(text)[0])) > self._maximum:
            yield TooLong(first, length)
            return
        self.blank += blank
        if lines > blank:
            yield Blob(first, text)


class PartsChunk(Chunk):
    """A chunk of consecutive parts."""

    def __init__(self, number: int, parts: Sequence[Part]) -> None:
        self.number, self.progress = number, parts[-1].progress
        self._parts = parts

    def records(self) -> Iterator[RawRecord]:
        for part in self._parts:
            yield from part.records()

    def ends(self) -> tuple[SourceEnd, ...]:
        return tuple(part.end for part in self._parts if part.end is not None)
