"""Sources → chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nomyo_attest.audit.chunk import Chunk
from nomyo_attest.audit.sources.inventory import Inventory
from nomyo_attest.audit.sources.jsonl import jsonl_parts
from nomyo_attest.audit.sources.kinds import Source
from nomyo_attest.audit.sources.lines import BLOB
from nomyo_attest.audit.sources.parquet import ParquetReader
from nomyo_attest.audit.sources.parts import Part, PartsChunk, failed
from nomyo_attest.audit.sources.whole import Whole

CHUNK_BYTES: Final = BLOB
"""Weight at which a chunk is full. A single line, cell or file may weigh more."""

CHUNK_PARTS: Final = 500
"""Parts at which a chunk is full, whatever they weigh."""


def read_chunks(inventory: Inventory, *, skip: int = 0) -> Iterator[Chunk]:
    """All records of all sources, in order, in chunks.

    The chunks follow from the inputs alone. `skip` leaves the first ones out: what comes is what would have come after
    them, the ends of the sources with the digests of all their bytes included, so what was in them is read again.

    What is wrong with a source never raises: it becomes a record that is unreadable, and the source's `problem`.
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
    if source.problem:
        yield from failed(source, source.problem, before + (source.size or 0))
    elif source.kind == "json":
        yield Whole(source, before + (source.size or 0))
    elif source.kind == "jsonl":
        yield from jsonl_parts(source, before)
    else:
        yield from parquet.parts(source, before)
