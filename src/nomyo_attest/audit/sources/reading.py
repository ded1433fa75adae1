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
    LINE_BLOCK_BYTES,
    TOO_LARGE_PHRASE,
    EndPart,
    FilePart,
    LineBlock,
    LineCutter,
    LinesPart,
    LongLine,
    Part,
    PartsChunk,
    UnreadablePart,
    unreadable_parts,
)
from nomyo_attest.audit.sources.source import (
    STANDARD_INPUT,
    Source,
    SourceDamageError,
    StoredBytes,
    changed_since,
    open_regular,
    os_problem,
)
from nomyo_attest.audit.sources.unpack import decompress, detect_packing
from nomyo_attest.evidence.content import EMPTY, can_classify_lines, lines_problem
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX

CHUNK_BYTES: Final = LINE_BLOCK_BYTES
"""Bytes of text at which a chunk is full. A single line, cell or file may be larger."""

CHUNK_PARTS: Final = 500
"""Number of parts at which a chunk is full, regardless of their size."""


def read_chunks(inventory: Inventory, *, skip: int = 0) -> Iterator[Chunk]:
    """Yield all records of all sources, in order, in chunks.

    The same inputs always result in the same chunks. A source that cannot be read raises no exception: it becomes an
    unreadable record, and its `SourceEnd` has a `problem`.

    Args:
        inventory: the sources.
        skip: number of chunks to omit at the beginning. Their sources are read nevertheless, since `SourceEnd` has the
            digest of all bytes of a source.
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
        yield from unreadable_parts(source, source.problem, before + (source.size or 0))
    elif source.kind == "json":
        yield FilePart(source, before + (source.size or 0))
    elif source.kind == "jsonl":
        yield from _jsonl_parts(source, before)
    else:
        yield from parquet.parts(source, before)


def _jsonl_parts(source: Source, before: int) -> Iterator[Part]:
    try:
        opened = _open_source(source)
    except SourceDamageError as damage:
        yield from unreadable_parts(source, str(damage), before + (source.size or 0))
        return
    except (OSError, ValueError) as error:
        yield from unreadable_parts(source, os_problem(error), before + (source.size or 0))
        return
    with opened as file:
        stored, cutter = StoredBytes(file, source.size), LineCutter()
        problem, is_whole_source, is_empty = "", False, True
        try:
            for text in _check_beginning(_text_pieces(source, stored)):
                for block in cutter.feed(text):
                    is_empty = False
                    yield _part_of_lines(source, block, before + stored.count)
        except SourceDamageError as damage:
            problem, is_whole_source = str(damage), isinstance(damage, _NotLinesError)
        for block in cutter.abandon() if problem else cutter.finish():
            is_empty = False
            yield _part_of_lines(source, block, before + stored.count)
        stored.drain()
        if not problem and source.size is not None:
            problem = changed_since(file, source.size, source.mtime, may_grow=True)
        if not problem and is_empty:
            problem, is_whole_source = EMPTY, True
        progress = before + (stored.count if source.size is None else source.size)
        if problem:
            yield UnreadablePart(source, 0 if is_whole_source else cutter.line, problem, progress)
        yield EndPart(source.ended(stored.sha256, problem, cutter.blank), progress)


class _NotLinesError(SourceDamageError):
    """The source is not JSON Lines."""


def _check_beginning(texts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same text, after checking that its beginning has one record per line. Raises `SourceDamageError`."""
    head, is_complete = bytearray(), False
    damage: SourceDamageError | None = None
    try:
        while not (is_complete or can_classify_lines(bytes(head))):
            text = next(texts, None)
            is_complete = text is None
            head += text or b""
    except SourceDamageError as error:
        damage = error
    if problem := lines_problem(bytes(head), complete=is_complete):
        raise _NotLinesError(problem)
    if head:
        yield bytes(head)
    if damage is not None:
        raise damage
    yield from texts


def _open_source(source: Source) -> AbstractContextManager[BinaryIO]:
    """Open the source. Raises `OSError`, `ValueError`, `SourceDamageError`."""
    if source.path != STANDARD_INPUT:
        return open_regular(source.path, source.within)
    if sys.stdin is None:
        raise SourceDamageError("standard input is closed; name a file")
    return contextlib.nullcontext(sys.stdin.buffer)


def _text_pieces(source: Source, stored: StoredBytes) -> Iterator[bytes]:
    """Yield the decompressed text of a source. Raises `SourceDamageError`."""
    if source.path != STANDARD_INPUT:
        return decompress(stored.blocks(), source.packing)
    first = stored.block()
    return decompress(itertools.chain([first] if first else [], stored.blocks()), detect_packing(first))


def _part_of_lines(source: Source, block: LineBlock | LongLine, progress: int) -> Part:
    if isinstance(block, LineBlock):
        return LinesPart(source, block, progress)
    return UnreadablePart(source, block.line, f"{block.length} {TOO_LARGE_PHRASE} {RECORD_BYTES_MAX}", progress)
