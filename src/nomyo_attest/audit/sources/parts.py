"""What chunks are made of: stretches of one source each, which know how to become records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final

from nomyo_attest.audit.chunk import Chunk, RawRecord, SourceEnd
from nomyo_attest.audit.sources.kinds import Source
from nomyo_attest.audit.sources.lines import Blob, is_blank, lines_of

TOO_LARGE: Final = "bytes; a record has at most"


class Part(ABC):
    """A stretch of one source.

    Attributes:
        progress: bytes on disk read when it ends, counted from the beginning of all sources.
        weight: bytes of text in it, or on disk if it is read where it is appraised.
        end: the source's end, if it ends here; known when `records` has been gone through.
    """

    progress: int
    weight: int = 0
    end: SourceEnd | None = None

    @abstractmethod
    def records(self) -> Iterator[RawRecord]:
        """Each record, in order; never raises for what is wrong with it."""


class Lines(Part):
    """Whole lines of JSON Lines."""

    def __init__(self, source: Source, blob: Blob, progress: int) -> None:
        self.progress, self.weight = progress, len(blob.text)
        self._source, self._name, self._blob = source.number, source.name, blob

    def records(self) -> Iterator[RawRecord]:
        for line, text in enumerate(lines_of(self._blob.text), self._blob.first):
            if not is_blank(text):
                yield RawRecord(self._source, self._name, line, text)


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


class Unread(Part):
    """Something of a source that cannot be read: a record of its own, with the reason."""

    def __init__(self, source: Source, line: int, problem: str, progress: int) -> None:
        self.progress = progress
        self._record = RawRecord(source.number, source.name, line, None, problem)

    def records(self) -> Iterator[RawRecord]:
        yield self._record


class End(Part):
    """No record, but the source's end, where the process that reads knows it."""

    def __init__(self, end: SourceEnd, progress: int) -> None:
        self.progress, self.end = progress, end

    def records(self) -> Iterator[RawRecord]:
        return iter(())


class PartsChunk(Chunk):
    """Parts in a row."""

    def __init__(self, number: int, parts: Sequence[Part]) -> None:
        self.number, self.progress = number, parts[-1].progress
        self._parts = parts

    def records(self) -> Iterator[RawRecord]:
        for part in self._parts:
            yield from part.records()

    def ends(self) -> tuple[SourceEnd, ...]:
        return tuple(part.end for part in self._parts if part.end is not None)


def failed(source: Source, problem: str, progress: int) -> Iterator[Part]:
    """A source of which nothing can be read."""
    yield Unread(source, 0, problem, progress)
    yield End(source.ended(None, problem), progress)
