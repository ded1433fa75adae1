"""Chunks → results, in this process or in several; what comes out does not depend on how many."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

from nomyo_attest.audit.chunk import Chunk, ChunkResult
from nomyo_attest.audit.worker import Worker, WorkOrder


class Engine:
    """Works chunks off by an order.

    Args:
        order: what is asked of every chunk.
        processes: how many processes appraise. 1 is this one; so is it for a single chunk.
    """

    def __init__(self, order: WorkOrder, processes: int) -> None:
        self._order = order
        self._processes = processes
        self.lost = 0
        """Processes that ended in the middle of their work."""

    def results(self, chunks: Iterator[Chunk]) -> Generator[ChunkResult, None, None]:
        """The result of each chunk, in their order, taken as they come. Raises `WorkerFailedError`."""
        first = list(itertools.islice(chunks, 2))
        if self._processes == 1 or len(first) < 2:
            worker = Worker(self._order)
            yield from map(worker.work, _chain(first, chunks))
            return
        from nomyo_attest.audit.pool import Pool  # only where there are several processes

        pool = Pool(self._order, self._processes)
        with closing(pool.results(_chain(first, chunks))) as results:
            for result in results:
                self.lost = pool.lost
                yield result


def _chain(first: list[Chunk], then: Iterator[Chunk]) -> Iterator[Chunk]:
    """All of them, without keeping the first ones."""
    while first:
        yield first.pop(0)
    yield from then


def allowed_processes() -> int:
    """Cores that this process may use: as the system allows, and as the quota of its container does."""
    count = getattr(os, "process_cpu_count", None)
    if count is not None:
        cores = count() or 1
    elif hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _quota()
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def _quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores' worth of time that Linux gives this container (cgroup v2, then v1); None for all there is."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            text = " ".join((root / name).read_text(encoding="ascii") for name in names)
            quota, period = map(int, text.split())  # "max 100000" is no limit, and so is "-1 100000"
        except (OSError, ValueError):
            continue
        return quota / period if quota > 0 and period > 0 else None
    return None
