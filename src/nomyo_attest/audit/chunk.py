"""The data exchanged between the process that reads records and the workers that appraise them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from nomyo_attest.audit.cause_counts import BootCount, BootKey, CauseSample
from nomyo_attest.audit.row import VERDICTS

COUNTED: Final = len(VERDICTS) + 2
"""The number of counters of each source; see `ChunkResult.counts`."""


LINES_LISTED: Final = 10
"""Maximum lines that a tally lists."""


class RawRecord(NamedTuple):
    """One record as read.

    Attributes:
        source: number of the source, from 0 in the order read.
        name: the source's name.
        line: line or row, from 1; for a source that cannot be read to its end, where reading failed, 0 if at the start.
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
    """Consecutive records, about a megabyte of them, to be sent to a worker.

    Attributes:
        number: from 0 without gaps. The same inputs give the same chunks, however many workers there are.
        progress: bytes on disk read when the chunk ends, counted from the beginning of all sources.
    """

    number: int
    progress: int

    @abstractmethod
    def records(self) -> Iterator[RawRecord]:
        """Yield each record, in order. Reads the files that it names; never raises for a damaged one."""

    @abstractmethod
    def ends(self) -> tuple[SourceEnd, ...]:
        """Return the sources that end in this chunk; call it after `records`, in the same process."""


class Tally(msgspec.Struct):
    """The records of one source in one chunk that have the same outcome of the same rule.

    Attributes:
        source: the source's number.
        rule, requirement: the rule, and what the policy says about it.
        outcome: one of `nomyo_attest.audit.summary.OUTCOMES`.
        records: how many records.
        lines: the first `LINES_LISTED` of them.
        message: the message of the first one.
    """

    source: int
    rule: str
    requirement: str
    outcome: str
    records: int
    lines: list[int]
    message: str


class Fact(NamedTuple):
    """Fields of one `Row`, for the cross-record rules; `source` is the number of the source.

    `quote` and `pcr_profile` are 32 bytes, `aik_name` is the Name's bytes.
    """

    source: int
    line: int
    payload_id: str | None
    verdict: int
    """Its index in `VERDICTS`."""
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
        number: the chunk's.
        rows: the rows selected, as JSON Lines.
        written: how many rows.
        facts: one for each record that was appraised or unreadable.
        profiles: PCR profile → its values, as JSON text.
        tallies: by source, rule and outcome.
        counts: source's number → `COUNTED` numbers: records by verdict, in the order of `VERDICTS`; then those outside
            the window of time by the client's clock, and those outside by the server's.
        failures: rows (JSON) whose verdict is contraindicated, none or unreadable; the first `FAILURES_LISTED`.
        not_established: what the results do not establish.
        released: (released, gate, verdict's index in `VERDICTS`) → records of ledgers that say whether they were
            released; the gate is empty where they do not say.
        ends: the sources that end here.
        progress: the chunk's.
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
    ends: tuple[SourceEnd, ...]
    progress: int
    causes: dict[bytes, CauseSample] = {}
    boots: dict[BootKey, BootCount] = {}
