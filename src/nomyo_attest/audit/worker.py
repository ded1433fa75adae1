"""Appraise the records of a chunk, and collect their rows, facts and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from nomyo_attest.audit.cause_counts import CauseCounts
from nomyo_attest.audit.chunk import COUNTERS_PER_SOURCE, LINES_LISTED, Chunk, ChunkResult, Fact, RawRecord, Tally
from nomyo_attest.audit.record import OutsideWindow, RecordAppraiser, consequences_of, unreadable_row
from nomyo_attest.audit.row import UNREADABLE, VERDICTS, Row, encode_row
from nomyo_attest.audit.summary import CONSEQUENCE, FAILURES_LISTED
from nomyo_attest.policy.model import AppraisalPolicy

_VERDICT_INDEXES: Final = {verdict: index for index, verdict in enumerate(VERDICTS)}
_OUTSIDE_COUNTERS: Final = {OutsideWindow.BY_CLIENT: len(VERDICTS), OutsideWindow.BY_SERVER: len(VERDICTS) + 1}
_FAILING_VERDICTS: Final = frozenset({"contraindicated", "none", UNREADABLE})


class WorkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """How to appraise all chunks; see `RecordAppraiser`. Rows with a verdict in `select` are written."""

    policy: AppraisalPolicy
    at: datetime | None = None
    since: int | None = None
    until: int | None = None
    select: frozenset[str] = frozenset(VERDICTS)
    keep_evidence: bool = False


class Worker:
    """Appraise chunks according to one work order."""

    def __init__(self, order: WorkOrder) -> None:
        self._select = order.select
        self._appraiser = RecordAppraiser(
            order.policy, at=order.at, since=order.since, until=order.until, keep_evidence=order.keep_evidence
        )

    def appraise(self, chunk: Chunk) -> ChunkResult:
        """Appraise the records of a chunk."""
        builder = _ResultBuilder(self._select)
        for record in chunk.records():
            if record.text is None:
                builder.add(record, unreadable_row(record.name, record.line, record.problem), ())
                continue
            appraised = self._appraiser.appraise(record.name, record.line, record.text)
            if isinstance(appraised, OutsideWindow):
                builder.count(record.source, _OUTSIDE_COUNTERS[appraised])
            else:
                builder.add(record, *appraised)
        return builder.result(chunk)


class _ResultBuilder:
    """Collect the rows of a chunk, and the facts and counts derived from them."""

    def __init__(self, select: frozenset[str]) -> None:
        self._select = select
        self._rows: list[bytes] = []
        self._facts: list[Fact] = []
        self._profiles: dict[bytes, str] = {}
        self._tallies: dict[tuple[int, str, str], Tally] = {}
        self._causes = CauseCounts()
        self._counts: dict[int, list[int]] = {}
        self._failures: list[bytes] = []
        self._not_established: set[tuple[str, ...]] = set()
        self._released: Counter[tuple[bool, str, int]] = Counter()

    def count(self, source: int, index: int) -> None:
        """Count one record of a source; `index` is that of a counter in `ChunkResult.counts`."""
        counts = self._counts.get(source)
        if counts is None:
            counts = self._counts[source] = [0] * COUNTERS_PER_SOURCE
        counts[index] += 1

    def add(self, record: RawRecord, row: Row, not_established: tuple[str, ...]) -> None:
        """Add one record's row."""
        self.count(record.source, _VERDICT_INDEXES[row.verdict])
        fact = _fact(record.source, row)
        self._facts.append(fact)
        self._not_established.add(not_established)
        if row.released is not None:
            self._released[row.released, row.gate or "", _VERDICT_INDEXES[row.verdict]] += 1
        if fact.pcr_profile is not None and row.pcrs is not None and fact.pcr_profile not in self._profiles:
            self._profiles[fact.pcr_profile] = bytes(row.pcrs).decode("ascii")
        if row.findings:
            consequences = consequences_of(row.findings)
            self._causes.add(row, consequences)
            for tally in _tallies(record.source, row, consequences):
                total = self._tallies.setdefault((tally.source, tally.rule, tally.outcome), tally)
                if total is not tally:
                    total.records += 1
                    total.lines += tally.lines[: LINES_LISTED - len(total.lines)]
        encoded = encode_row(row)
        if row.verdict in self._select:
            self._rows.append(encoded)
        if row.verdict in _FAILING_VERDICTS and len(self._failures) < FAILURES_LISTED:
            self._failures.append(encoded)

    def result(self, chunk: Chunk) -> ChunkResult:
        """Return the result of the chunk."""
        return ChunkResult(
            number=chunk.number,
            rows=b"".join(self._rows),
            written=len(self._rows),
            facts=self._facts,
            profiles=self._profiles,
            tallies=list(self._tallies.values()),
            causes=self._causes.samples,
            boots=self._causes.boots,
            counts=self._counts,
            failures=self._failures,
            not_established=set().union(*self._not_established),
            released=self._released,
            source_ends=chunk.source_ends(),
            progress=chunk.progress,
        )


def _tallies(source: int, row: Row, consequences: frozenset[str]) -> Iterator[Tally]:
    for finding in row.findings:
        outcome = CONSEQUENCE if finding.rule in consequences else finding.outcome
        yield Tally(source, finding.rule, finding.requirement, outcome, 1, [row.line], finding.message)


def _fact(source: int, row: Row) -> Fact:
    return Fact(
        source=source,
        line=row.line,
        payload_id=row.payload_id,
        verdict=_VERDICT_INDEXES[row.verdict],
        processed_at=row.processed_at,
        recorded_at=row.recorded_at,
        security_tier=row.security_tier,
        available=row.available,
        signature_valid=row.signature_valid,
        aik_name=None if row.aik_name is None else bytes.fromhex(row.aik_name),
        aik_pinned=row.aik_pinned,
        quote=None if row.quote is None else bytes.fromhex(row.quote),
        clock=row.clock,
        reset_count=row.reset_count,
        restart_count=row.restart_count,
        pcr_profile=None if row.pcr_profile is None else bytes.fromhex(row.pcr_profile),
    )
