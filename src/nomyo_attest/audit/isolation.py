"""A chunk that kills the processes that work on it: its records one by one, and those that kill told as unreadable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from nomyo_attest.audit.chunk import Chunk, ChunkResult, RawRecord, SourceEnd
from nomyo_attest.audit.members import Member, MemberGoneError, WorkerFailedError
from nomyo_attest.audit.worker import Worker, WorkOrder

TRIES: Final = 2
"""Processes that a record may end before it is given up: one may have been ended by somebody else."""


class _Single(Chunk):
    """One record, to see whether it can be appraised."""

    def __init__(self, record: RawRecord) -> None:
        self.number = self.progress = 0
        self._record = record

    def records(self) -> Iterator[RawRecord]:
        yield self._record

    def ends(self) -> tuple[SourceEnd, ...]:
        return ()


class _Marked(Chunk):
    """A chunk, some of whose records cannot be had; `problems` are by place in it, from 0."""

    def __init__(self, chunk: Chunk, problems: Mapping[int, str]) -> None:
        self.number, self.progress = chunk.number, chunk.progress
        self._chunk, self._problems = chunk, problems

    def records(self) -> Iterator[RawRecord]:
        for place, record in enumerate(self._chunk.records()):
            problem = self._problems.get(place)
            yield record if problem is None else record._replace(text=None, problem=problem)

    def ends(self) -> tuple[SourceEnd, ...]:
        return self._chunk.ends()


def appraise_alone(chunk: Chunk, order: WorkOrder) -> tuple[ChunkResult, int]:
    """The result of a chunk that has ended several processes, and how many more it ended.

    Raises `WorkerFailedError`.
    """
    alone = _Alone(order)
    try:
        problems: dict[int, str] = {}
        count = 0
        for place, record in enumerate(chunk.records()):
            count += 1
            if record.text is not None:
                answer = alone.try_out(_Single(record))
                if isinstance(answer, str):
                    problems[place] = f"appraising it ended the process ({answer})"
        # Once more, now that it is known what to leave out: one result for all of the chunk.
        answer = alone.try_out(_Marked(chunk, problems))
        if isinstance(answer, str):  # each can be appraised, and all of them cannot
            told = f"appraising it, and what stands beside it, ended the process ({answer})"
            answer = Worker(order).work(_Marked(chunk, dict.fromkeys(range(count), told) | problems))
        return answer, alone.lost
    finally:
        alone.close()


class _Alone:
    """A process that is replaced when it is gone."""

    def __init__(self, order: WorkOrder) -> None:
        self.lost = 0
        self._order = order
        self._member: Member | None = None

    def try_out(self, chunk: Chunk) -> ChunkResult | str:
        """What comes of `chunk`, or how it ends a process."""
        how = ""
        for _ in range(TRIES):
            member = self._ready()
            member.give(chunk)
            try:
                result = member.take()
            except MemberGoneError as gone:
                self.lost += 1
                self._member, how = None, gone.how
                continue
            assert result is not None  # it has said before that it is ready
            return result
        return how

    def _ready(self) -> Member:
        if self._member is None:
            member = Member(self._order)
            try:
                member.take()
            except MemberGoneError as gone:
                raise WorkerFailedError(f"the processes that appraise end before they begin ({gone.how})") from None
            self._member = member
        return self._member

    def close(self) -> None:
        """End the process."""
        if self._member is not None:
            self._member.stop()
