"""Read the sources of an inventory and divide their records into chunks."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Final

from nomyo_attest.audit.chunk import Chunk
from nomyo_attest.audit.sources.inventory import Inventory
from nomyo_attest.audit.sources.parquet import ParquetReader
from nomyo_attest.audit.sources.parts import (
    BLOB_BYTES,
    TOO_LARGE,
    Blob,
    End,
    LineCutter,
    Lines,
    Part,
    PartsChunk,
    TooLong,
    Unread,
    Whole,
    failed,
)
from nomyo_attest.audit.sources.source import (
    STANDARD_INPUT,
    DamageError,
    Source,
    StoredBytes,
    changed_since,
    open_regular,
    os_problem,
)
from nomyo_attest.audit.sources.unpack import packing_of, unpacked
from nomyo_attest.evidence.content import EMPTY, can_classify_lines, lines_problem
from nomyo_attest.evidence.strict_json import TEXT_MAX

CHUNK_BYTES: Final = BLOB_BYTES
"""Weight, in bytes, at which a chunk is full. A single line, cell or file may weigh more."""

CHUNK_PARTS: Final = 500
"""Number of parts at which a chunk is full, whatever their weight."""


def read_chunks(inventory: Inventory, *, skip: int = 0) -> Iterator[Chunk]:
    """Yield all records of all sources, in order, in chunks.

    The same inputs always result in the same chunks. A source that cannot be read raises nothing: it becomes an
    unreadable record, and the source has a `problem`.

    Args:
        inventory: the sources.
        skip: number of chunks to omit at the beginning. Their sources are still read, since the end of a source
            includes the digest of all its bytes.
    """
    number = weight = 0
    parts: list[Part] = []
    for part in _parts(inventory):
        if parts and weight + part.weight > CHUNK_BYTES:
            if number >= skip:
                yield PartsChunk(number, parts)
            number, weight, parts = number + 1, 0, []
        parts.append(part)
        weight += part.weight
        if weight >= CHUNK_BYTES or len(parts) >= CHUNK_PARTS:
            if number >= skip:
                yield PartsChunk(number, parts)
            number, weight, parts = number + 1, 0, []
    if parts and number >= skip:
        yield PartsChunk(number, parts)


def _parts(inventory: Inventory) -> Iterator[Part]:
    before = 0
    with ParquetReader(inventory.column) as parquet:
        for source in inventory.sources:
            part = None
            for part in _parts_of(source, before, parquet):
                yield part
            if part is not None:
                before = part.progress


def _parts_of(source: Source, before: int, parquet: ParquetReader) -> Iterator[Part]:
    """Yield the parts of a source; `before` is the number of stored bytes of the sources before it."""
    if source.problem:
        yield from failed(source, source.problem, before + (source.size or 0))
    elif source.kind == "json":
        yield Whole(source, before + (source.size or 0))
    elif source.kind == "jsonl":
        yield from _jsonl_parts(source, before)
    else:
        yield from parquet.parts(source, before)


def _jsonl_parts(source: Source, before: int) -> Iterator[Part]:
    try:
        opened = _open(source)
    except DamageError as damage:
        yield from failed(source, str(damage), before + (source.size or 0))
        return
    except (OSError, ValueError) as error:
        yield from failed(source, os_problem(error), before + (source.size or 0))
        return
    with opened as file:
        stored, lines = StoredBytes(file, source.size), LineCutter()
        problem, whole, empty = "", False, True
        try:
            for text in _checked(_texts(source, stored)):
                for piece in lines.feed(text):
                    empty = False
                    yield _part(source, piece, before + stored.count)
        except DamageError as damage:
            problem, whole = str(damage), isinstance(damage, _NotLinesError)
        for piece in lines.abandon() if problem else lines.finish():
            empty = False
            yield _part(source, piece, before + stored.count)
        stored.drain()
        if not problem and source.size is not None:
            problem = changed_since(file, source.size, source.mtime, may_grow=True)
        if not problem and empty:
            problem, whole = EMPTY, True
        progress = before + (stored.count if source.size is None else source.size)
        if problem:
            yield Unread(source, 0 if whole else lines.line, problem, progress)
        yield End(source.ended(stored.sha256, problem, lines.blank), progress)


class _NotLinesError(DamageError):
    """The source is not JSON Lines."""


def _checked(texts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same text, after checking that its start has a record on each line. Raises `DamageError`."""
    head, ended = bytearray(), False
    damage: DamageError | None = None
    try:
        while not (ended or can_classify_lines(bytes(head))):
            text = next(texts, None)
            ended = text is None
            head += text or b""
    except DamageError as error:
        damage = error
    if problem := lines_problem(bytes(head), complete=ended):
        raise _NotLinesError(problem)
    if head:
        yield bytes(head)
    if damage is not None:
        raise damage
    yield from texts


def _open(source: Source) -> AbstractContextManager[BinaryIO]:
    """Open the source. Raises `OSError`, `ValueError`, `DamageError`."""
    if source.path != STANDARD_INPUT:
        return open_regular(source.path, source.within)
    if sys.stdin is None:
        raise DamageError("standard input is closed; name a file")
    return contextlib.nullcontext(sys.stdin.buffer)


def _texts(source: Source, stored: StoredBytes) -> Iterator[bytes]:
    """Yield the decompressed text of a source. Raises `DamageError`."""
    if source.path != STANDARD_INPUT:
        return unpacked(stored.blocks(), source.packing)
    first = stored.block()
    return unpacked(itertools.chain([first] if first else [], stored.blocks()), packing_of(first))


def _part(source: Source, piece: Blob | TooLong, progress: int) -> Part:
    if isinstance(piece, Blob):
        return Lines(source, piece, progress)
    return Unread(source, piece.line, f"{piece.length} {TOO_LARGE} {TEXT_MAX}", progress)
