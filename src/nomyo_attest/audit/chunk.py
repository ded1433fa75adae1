"""The data exchanged between the process that reads records and the workers that appraise them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from nomyo_attest.audit.cause_counts import BootCount, BootKey, CauseSample
from nomyo_attest.audit.row import VERDICTS

COUNTERS_PER_SOURCE: Final = len(VERDICTS) + 2
"""Number of counters for each source; see `ChunkResult.counts`."""

LINES_LISTED: Final = 10
"""Maximum number of lines that a tally lists."""


class RawRecord(NamedTuple):
    """One record as read.

    Attributes:
        source: number of its source, from 0, in the order read.
        name: name of its source.
        line: its line or row, from 1. For a source that cannot be read to its end, the line where reading failed; 0 if
            nothing was read.
        text: its JSON text; None if it could not be read.
        problem: why it could not be read; empty if it could.
    """

    source: int
    name: str
    line: int
    text: bytes | None
    problem: str = ""


class SourceEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a source after it was read as far as possible; see `SourceSummary`."""

    source: int
    name: str
    kind: str
    size: int | None
    sha256: str | None
    blank: int = 0
    problem: str = ""


class Chunk(ABC):
    """Consecutive records, about a megabyte in total, that are sent to a worker together.

    Attributes:
        number: number of the chunk, from 0 without gaps. The same inputs result in the same chunks, regardless of the
            number of workers.
        progress: stored bytes read up to the end of this chunk, counted from the beginning of all sources.
    """

    number: int
    progress: int

    @abstractmethod
    def records(self) -> Iterator[RawRecord]:
        """Yield each record, in order. May read files; never raises for a damaged file."""

    @abstractmethod
    def source_ends(self) -> tuple[SourceEnd, ...]:
        """Return the sources that end in this chunk. Call it after `records`, in the same process."""


class Tally(msgspec.Struct):
    """The records of one source in one chunk that have the same outcome of the same rule.

    Attributes:
        source: number of the source.
        rule, requirement: the rule, and the policy's requirement for it.
        outcome: one of `nomyo_attest.audit.summary.OUTCOMES`.
        records: number of records.
        lines: lines of the first `LINES_LISTED` records.
        message: the message of the first record.
    """

    source: int
    rule: str
    requirement: str
    outcome: str
    records: int
    lines: list[int]
    message: str


class Fact(NamedTuple):
    """The fields of a `Row` that the cross-record rules and the summary need.

    `source` is the number of the source. `quote` and `pcr_profile` are digests of 32 bytes, `aik_name` is the Name.
    """

    source: int
    line: int
    payload_id: str | None
    verdict: int
    """Index in `VERDICTS`."""
    processed_at: int | None
    recorded_at: int | None
    security_tier: str | None
    available: bool | None
    signature_valid: bool | None
    aik_name: bytes | None
    aik_pinned: bool | None
    quote: bytes | None
    clock: int | None
    reset_count: int | None
    restart_count: int | None
    pcr_profile: bytes | None


class ChunkResult(msgspec.Struct, kw_only=True):
    """The result of one chunk.

    Attributes:
        number: number of the chunk.
        rows: the rows with a selected verdict, as JSON Lines.
        written: number of these rows.
        facts: a fact for each record that was appraised or is unreadable.
        profiles: PCR profile → its PCR values, as JSON text.
        tallies: a tally for each source, rule and outcome.
        counts: source number → `COUNTERS_PER_SOURCE` numbers: records by verdict, in the order of `VERDICTS`; then
            records outside the window by the client's clock, and records outside the window by the server's clock.
        failures: rows (JSON) whose verdict is contraindicated, none or unreadable; the first `FAILURES_LISTED`.
        not_established: sentences that state what the results do not establish.
        released: (released, gate, index in `VERDICTS`) → number of records of ledgers that state whether the completion
            was released; the gate is empty if the ledger does not state it.
        source_ends: the sources that end in this chunk.
        progress: see `Chunk`.
        causes, boots: failing records by cause and boot; see `CauseCounts`.
    """

    number: int
    rows: bytes
    written: int
    facts: list[Fact]
    profiles: dict[bytes, str]
    tallies: list[Tally]
    counts: dict[int, list[int]]
    failures: list[bytes]
    not_established: set[str]
    released: dict[tuple[bool, str, int], int]
    source_ends: tuple[SourceEnd, ...]
    progress: int
    causes: dict[bytes, CauseSample] = {}
    boots: dict[BootKey, BootCount] = {}
