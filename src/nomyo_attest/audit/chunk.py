"""What travels between the process that reads and the processes that appraise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from nomyo_attest.audit.row import VERDICTS

COUNTED: Final = len(VERDICTS) + 2
"""Numbers that are counted of each source; see `ChunkResult`."""


class RawRecord(NamedTuple):
    """One record before anything was made of it.

    Attributes:
        source: number of the source, from 0 in the order read.
        name: the source's name.
        line: line or row, from 1; of a source that fails as a whole where it failed, 0 where nothing was read.
        text: its JSON text; None where it could not be had.
        problem: why not; empty if it could.
    """

    source: int
    name: str
    line: int
    text: bytes | None
    problem: str = ""


class SourceEnd(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a source when all of it has been read, as far as that was possible; see `SourceSummary`."""

    source: int
    name: str
    kind: str
    size: int | None
    sha256: str | None
    blank: int = 0
    problem: str = ""


class Chunk(ABC):
    """Some records in a row, small enough to be sent to another process: about a megabyte.

    Attributes:
        number: from 0 without gaps. The same inputs give the same chunks, whoever reads them.
        progress: bytes on disk read when the chunk ends, counted from the beginning of all sources.
    """

    number: int
    progress: int

    @abstractmethod
    def records(self) -> Iterator[RawRecord]:
        """Each record, in order. Reads files where the chunk names them; never raises for what is wrong with them."""

    @abstractmethod
    def ends(self) -> tuple[SourceEnd, ...]:
        """The sources that end in this chunk; to be asked after `records`, in the process that went through them."""


class Tally(msgspec.Struct):
    """The records of one source in one chunk that have the same outcome of the same rule.

    Attributes:
        source: the source's number.
        rule, requirement: the rule, and what the policy makes of it.
        outcome: one of `nomyo_attest.audit.summary.OUTCOMES`.
        records: how many records.
        lines: the first ten of them.
        message: the sentence of the first one.
    """

    source: int
    rule: str
    requirement: str
    outcome: str
    records: int
    lines: list[int]
    message: str


class Fact(NamedTuple):
    """One record as the series rules see it; names and meaning are those of `Row`, `source` is the source's number.

    `quote` and `pcr_profile` are 32 bytes, `aik_name` is the Name's bytes.
    """

    source: int
    line: int
    payload_id: str | None
    verdict: int
    """Its place in `VERDICTS`."""
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
    """What came of one chunk.

    Attributes:
        number: the chunk's.
        rows: the rows selected, as JSON Lines.
        written: how many.
        facts: one for each record that was appraised or unreadable.
        profiles: PCR profile → its values, as JSON text.
        tallies: by source, rule and outcome.
        counts: source's number → `COUNTED` numbers: records by verdict, in the order of `VERDICTS`; then those outside
            the window of time by the client's clock, and those outside by the server's.
        failures: rows (JSON) of what is contraindicated, none or unreadable; the first `FAILURES_LISTED`.
        not_established: what the results do not establish.
        released: (released, gate, verdict's place in `VERDICTS`) → records of ledgers that say whether they were
            released; the gate is empty where they do not say.
        ends: the sources that end here.
        progress: the chunk's.
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
