"""Many processes that appraise: chunks in, results out in the order of the chunks, whichever process is killed.

Each process has a pipe of its own and one chunk at a time, so it is known which chunk was worked on by a process that
is gone, and nothing that it leaves half-sent or locked is in anybody's way. (The standard library's
`ProcessPoolExecutor` shares two queues among its processes; one that is killed while it sends a result leaves the lock
taken, and all wait for ever.)
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterator
from multiprocessing.connection import wait
from typing import Final

from nomyo_attest.audit.chunk import Chunk, ChunkResult
from nomyo_attest.audit.isolation import appraise_alone
from nomyo_attest.audit.members import Member, MemberGoneError, WorkerFailedError
from nomyo_attest.audit.worker import WorkOrder

DEATHS_MAXIMUM: Final = 3
"""Processes that may end while they work on one chunk, before its records are appraised one by one."""

STARTS_MAXIMUM: Final = 3
"""Processes that may end, one after another, before they are ready."""


class Pool:
    """Works chunks off by one order on several processes.

    Attributes:
        lost: how many processes ended before their time.
    """

    def __init__(self, order: WorkOrder, processes: int) -> None:
        self.lost = 0
        self._order = order
        self._processes = processes
        # A chunk for each process, one that waits for each, and a little for those done before their turn.
        self._window = 2 * processes + 2
        self._members: list[Member] = []
        self._under_way: deque[int] = deque()  # numbers of all chunks taken, whose results are not handed on
        self._again: deque[Chunk] = deque()
        self._ahead: deque[Chunk] = deque()
        self._done: dict[int, ChunkResult] = {}
        self._deaths: Counter[int] = Counter()
        self._failed_starts = 0

    def results(self, chunks: Iterator[Chunk]) -> Generator[ChunkResult, None, None]:
        """The result of each chunk, in their order; close it to end all processes at once.

        Of `chunks` no more are taken than a few for each process. Raises `WorkerFailedError`.
        """
        over = False
        try:
            while self._under_way or not over:
                if self._under_way and self._under_way[0] in self._done:
                    yield self._done.pop(self._under_way.popleft())
                    self._collect(0)  # who has become idle meanwhile comes first
                elif not over and len(self._ahead) < self._processes and len(self._under_way) < self._window:
                    chunk = next(chunks, None)
                    if chunk is None:
                        over = True
                    else:
                        self._ahead.append(chunk)
                        self._under_way.append(chunk.number)
                    self._collect(0)
                else:
                    self._collect(None)
            for member in self._members:
                member.connection.close()  # all at once, so that they end side by side
            for member in self._members:
                member.dismiss()
            self._members.clear()
        finally:
            for member in self._members:
                member.stop()

    def _collect(self, seconds: float | None) -> None:
        """Take what the processes have sent and give them more. Waits as long as `seconds`, None for ever."""
        self._hand_out()
        by_connection: dict[object, Member] = {member.connection: member for member in self._members}
        for connection in wait([member.connection for member in self._members], seconds):
            member = by_connection[connection]
            try:
                result = member.take()
            except MemberGoneError as gone:
                self._members.remove(member)
                self._bury(member, gone)
            else:
                self._failed_starts = 0
                if result is not None:
                    self._done[result.number] = result
            self._hand_out()

    def _hand_out(self) -> None:
        """Give chunks to those who have none; start another process if there is more to do than they can."""
        for member in self._members:
            if member.ready and member.chunk is None and (waiting := self._again or self._ahead):
                member.give(waiting.popleft())
        starting = sum(not member.ready for member in self._members)
        if len(self._members) < self._processes and len(self._again) + len(self._ahead) > starting:
            self._members.append(Member(self._order))

    def _bury(self, member: Member, gone: MemberGoneError) -> None:
        """A process is gone: see that what it was working on is worked on by another."""
        chunk = member.chunk
        if not member.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS_MAXIMUM:
                raise WorkerFailedError(f"the processes that appraise end before they begin ({gone.how})")
            return
        self.lost += 1
        if chunk is None:
            return
        self._deaths[chunk.number] += 1
        if self._deaths[chunk.number] < DEATHS_MAXIMUM:
            self._again.append(chunk)
            return
        self._done[chunk.number], lost = appraise_alone(chunk, self._order)
        self.lost += lost
