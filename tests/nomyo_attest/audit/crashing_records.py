"""Chunks of given texts, and texts that kill the process that reads them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nomyo_attest.audit.chunk import Chunk, RawRecord, SourceEnd


class ListChunk(Chunk):
    """Records of one source, `name`."""

    def __init__(self, number: int, texts: list[bytes], first: int = 1, *, last: bool = False) -> None:
        self.number = number
        self.progress = first + len(texts)
        self._texts = texts
        self._first = first
        self._last = last

    def records(self) -> Iterator[RawRecord]:
        for line, text in enumerate(self._texts, self._first):
            yield RawRecord(0, "made.jsonl", line, text)

    def source_ends(self) -> tuple[SourceEnd, ...]:
        end = SourceEnd(source=0, name="made.jsonl", kind="jsonl", size=self.progress, sha256=None)
        return (end,) if self._last else ()


def chunks(texts: list[bytes], size: int) -> Iterator[ListChunk]:
    """Yield all texts in chunks of `size`."""
    for number, begin in enumerate(range(0, len(texts), size)):
        yield ListChunk(number, texts[begin : begin + size], begin + 1, last=begin + size >= len(texts))


class CrashingText(bytes):
    """A text that kills a process that searches it, except the process that created it, up to `times` times."""

    file: Path
    times: int
    how: signal.Signals
    home: int

    @classmethod
    def text(cls, text: bytes, count: Path, times: int, how: signal.Signals = signal.SIGKILL) -> CrashingText:
        """Create such a text. Each process that it kills, `times` at most, appends a byte to the file `count`."""
        created = cls(text)
        created.file, created.times, created.how, created.home = count, times, how, os.getpid()
        return created

    def __contains__(self, part: Any) -> bool:
        if os.getpid() != self.home:
            end_process(self.file, self.times, self.how)
        return bytes.__contains__(self, part)


class CrashingPickle(bytes):
    """A text that kills the process that unpickles it, and appends a byte to the file with this name."""

    def __reduce__(self) -> tuple[Any, ...]:
        return end_process, (Path(self.decode()), 1000, signal.SIGKILL)


def end_process(count: Path, times: int, how: signal.Signals) -> None:
    """Kill this process, unless `times` processes were killed already."""
    with count.open("ab") as file:
        if file.tell() < times:
            file.write(b"x")
            file.flush()
            os.kill(os.getpid(), how)


class FailingError(Exception):
    """Raised by `Failing`."""


class Failing(ListChunk):
    """A chunk that raises an exception, which chunks must not do."""

    def records(self) -> Iterator[RawRecord]:
        raise FailingError("what stands in a record")
