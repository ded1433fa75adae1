"""The parts of a source that a chunk consists of: whole lines, cells of a column, or a file of one record.

The process that reads creates a part, and the process that appraises turns it into records.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from nomyo_attest.audit.chunk import Chunk, RawRecord, SourceEnd
from nomyo_attest.audit.sources.source import (
    Source,
    SourceDamageError,
    StoredBytes,
    changed_since,
    open_regular,
    os_problem,
)
from nomyo_attest.audit.sources.unpack import decompress
from nomyo_attest.evidence.content import one_record_problem, wrong_content
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX

LINE_BLOCK_BYTES: Final = 1024 * 1024
"""Maximum bytes of a block of lines, unless a single line is longer."""

TOO_LARGE_PHRASE: Final = "bytes; a record has at most"
"""Between the size of a record and `RECORD_BYTES_MAX`, in the message on a record that is too large."""

_BOM: Final = b"\xef\xbb\xbf"


class Part(ABC):
    """A contiguous part of one source.

    Attributes:
        progress: stored bytes read up to the end of this part, counted from the beginning of all sources.
        weight: bytes of its text, or of the file if the worker reads it.
        end: the facts about the source if this is its last part; set when `records` is exhausted.
    """

    progress: int
    weight: int = 0
    end: SourceEnd | None = None

    @abstractmethod
    def records(self) -> Iterator[RawRecord]:
        """Yield each record, in order. Raises no exception for an unreadable record: it is yielded with its problem."""


class UnreadablePart(Part):
    """A part that cannot be read: one unreadable record with the reason."""

    def __init__(self, source: Source, line: int, problem: str, progress: int) -> None:
        self.progress = progress
        self._record = RawRecord(source.number, source.name, line, None, problem)

    def records(self) -> Iterator[RawRecord]:
        yield self._record


class EndPart(Part):
    """The end of a source, without a record."""

    def __init__(self, end: SourceEnd, progress: int) -> None:
        self.progress, self.end = progress, end

    def records(self) -> Iterator[RawRecord]:
        return iter(())


def unreadable_parts(source: Source, problem: str, progress: int) -> Iterator[Part]:
    """Yield the parts of a source that cannot be read at all."""
    yield UnreadablePart(source, 0, problem, progress)
    yield EndPart(source.ended(None, problem), progress)


class CellsPart(Part):
    """Consecutive cells of a column, beginning at row `first`; None is a null."""

    def __init__(self, source: Source, first: int, cells: Sequence[bytes | None], progress: int) -> None:
        self.progress, self.weight = progress, sum(len(cell) for cell in cells if cell)
        self._source, self._name, self._first, self._cells = source.number, source.name, first, cells

    def records(self) -> Iterator[RawRecord]:
        for row, cell in enumerate(self._cells, self._first):
            if cell is None:
                yield RawRecord(self._source, self._name, row, None, "the cell is null")
            else:
                yield RawRecord(self._source, self._name, row, cell)


class _FileContent(NamedTuple):
    text: bytes | None
    sha256: str | None
    problem: str = ""
    line: int = 1


class FilePart(Part):
    """A file of one record, read by the worker."""

    def __init__(self, source: Source, progress: int) -> None:
        self.progress, self.weight = progress, source.size or 0
        self._source = source

    def records(self) -> Iterator[RawRecord]:
        source = self._source
        content = _read_file(source)
        self.end = source.ended(content.sha256, content.problem)
        yield RawRecord(source.number, source.name, content.line, content.text, content.problem)


def _read_file(source: Source) -> _FileContent:
    assert source.size is not None
    try:
        file = open_regular(source.path, source.within)
    except SourceDamageError as damage:
        return _FileContent(None, None, str(damage), line=0)
    except (OSError, ValueError) as error:
        return _FileContent(None, None, os_problem(error), line=0)
    with file:
        if changed := changed_since(file, source.size, source.mtime, may_grow=False):
            return _FileContent(None, None, changed, line=0)
        stored = StoredBytes(file, source.size)
        problem, text, line = "", b"", 1
        try:
            text = _decompress_record(stored, source)
            line = 0 if (problem := one_record_problem(text, by_extension=True)) else 1
        except SourceDamageError as damage:
            problem = str(damage)
        stored.drain()
        problem = changed_since(file, source.size, source.mtime, may_grow=False) or problem
        return _FileContent(None if problem else text, stored.sha256, problem, line)


def _decompress_record(stored: StoredBytes, source: Source) -> bytes:
    """Return the decompressed text. Raises `SourceDamageError` if it is damaged or longer than a record may be."""
    text = bytearray()
    for piece in decompress(stored.blocks(), source.packing):
        text += piece
        if len(text) > RECORD_BYTES_MAX:
            size = f"more than {RECORD_BYTES_MAX} decompressed" if source.packing else f"{source.size}"
            raise SourceDamageError(
                wrong_content(bytes(text[:64]), by_extension=True) or f"{size} {TOO_LARGE_PHRASE} {RECORD_BYTES_MAX}"
            )
    return bytes(text)


class LineBlock(NamedTuple):
    """Whole lines, including their newlines; `first` is the number of the first line, from 1."""

    first: int
    text: bytes


class LongLine(NamedTuple):
    """The number and the length in bytes of a line that is too long to be a record."""

    line: int
    length: int


class LinesPart(Part):
    """Whole lines of JSON Lines."""

    def __init__(self, source: Source, block: LineBlock, progress: int) -> None:
        self.progress, self.weight = progress, len(block.text)
        self._source, self._name, self._block = source.number, source.name, block

    def records(self) -> Iterator[RawRecord]:
        for line, text in enumerate(split_lines(self._block.text), self._block.first):
            if not is_blank(text):
                yield RawRecord(self._source, self._name, line, text)


def split_lines(text: bytes) -> list[bytes]:
    """Split a block into lines without their terminators, LF or CRLF."""
    lines = text.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines] if b"\r" in text else lines


def is_blank(line: bytes) -> bool:
    """Whether a line contains only JSON whitespace (RFC 8259, section 2)."""
    return not line.strip(b" \t\r")


def _count_lines(text: bytes) -> tuple[int, int]:
    """Count the lines of a block, and the blank lines among them."""
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    # Avoid splitting in the usual case: every line begins with an object.
    if text.count(b"\n{") + text.startswith(b"{") == lines:
        return lines, 0
    return lines, sum(map(is_blank, split_lines(text)))


class LineCutter:
    """Divide text, which arrives in pieces of any size, into blocks of lines that do not depend on the pieces.

    A block is as many whole lines as fit into `block_bytes`, or one longer line. Lines longer than `maximum` bytes,
    which must be more than `block_bytes`, are skipped in bounded memory.

    Attributes:
        line: number of the next line, from 1.
        blank: number of blank lines so far.
    """

    def __init__(self, block_bytes: int = LINE_BLOCK_BYTES, maximum: int = RECORD_BYTES_MAX) -> None:
        self.line = 1
        self.blank = 0
        self._block_bytes, self._maximum = block_bytes, maximum
        self._buffer = bytearray()
        self._begun = False
        self._searched = 0  # the buffer has no newline before this position
        self._skipped = 0  # bytes skipped of a line that is too long
        self._skipped_end = b""  # the last of these bytes

    def feed(self, text: bytes) -> Iterator[LineBlock | LongLine]:
        """Yield the blocks that `text`, the next piece, completes."""
        if self._skipped:
            end = text.find(b"\n")
            if end < 0:
                self._skip(text)
                return
            self._skip(text[:end])
            yield self._end_skipped_line()
            text = text[end + 1 :]
        buffer = self._buffer
        buffer += text
        if not self._begun:
            if len(buffer) < len(_BOM):
                return
            self._begin()
        while len(buffer) >= self._block_bytes:
            end = buffer.rfind(b"\n", 0, self._block_bytes)
            if end < 0:
                end = buffer.find(b"\n", max(self._block_bytes, self._searched))
            if end < 0:
                self._searched = len(buffer)
                if len(buffer) > self._maximum + 1:  # one more for a CR
                    self._skip(bytes(buffer))
                    buffer.clear()
                return
            yield from self._cut(end + 1)

    def finish(self) -> Iterator[LineBlock | LongLine]:
        """Yield the rest at the end of the text. The last line may lack a newline."""
        self._begin()
        if self._skipped:
            yield self._end_skipped_line()
        elif self._buffer:
            yield from self._cut(len(self._buffer))

    def abandon(self) -> Iterator[LineBlock | LongLine]:
        """Yield the remaining whole lines of truncated text. Then `line` is the number of the truncated line."""
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

    def _end_skipped_line(self) -> LongLine:
        skipped = LongLine(self.line, self._skipped - (self._skipped_end == b"\r"))
        self.line += 1
        self._skipped = self._searched = 0
        return skipped

    def _cut(self, size: int) -> Iterator[LineBlock | LongLine]:
        text = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._searched = 0
        first = self.line
        lines, blank = _count_lines(text)
        self.line += lines
        if lines == 1 and size > self._maximum and (length := len(split_lines(text)[0])) > self._maximum:
            yield LongLine(first, length)
            return
        self.blank += blank
        if lines > blank:
            yield LineBlock(first, text)


class PartsChunk(Chunk):
    """A chunk of consecutive parts."""

    def __init__(self, number: int, parts: Sequence[Part]) -> None:
        self.number, self.progress = number, parts[-1].progress
        self._parts = parts

    def records(self) -> Iterator[RawRecord]:
        for part in self._parts:
            yield from part.records()

    def source_ends(self) -> tuple[SourceEnd, ...]:
        return tuple(part.end for part in self._parts if part.end is not None)
