"""Appraise chunks in worker processes, with results in the order of the chunks even if a process is killed.

Each worker has its own pipe and one chunk at a time. If a worker dies, its chunk is therefore known, and an incomplete
message or a lock that it held does not affect other workers. (The workers of `concurrent.futures.ProcessPoolExecutor`
and `pebble.ProcessPool` share one queue or pipe and its lock, and `multiprocessing`, which starts them, imports the
caller's main module; see `nomyo_attest.audit.child`.)

A chunk that several workers die on is appraised record by record, and the records that kill a worker are reported as
unreadable.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import fields
from multiprocessing.connection import Connection, wait
from typing import Any, Final

import msgspec

from nomyo_attest.audit.child import READY, Child, ChildStartError
from nomyo_attest.audit.chunk import Chunk, ChunkResult, RawRecord, SourceEnd
from nomyo_attest.audit.record import describe_location
from nomyo_attest.audit.worker import Worker, WorkOrder
from nomyo_attest.errors import NomyoAttestError
from nomyo_attest.policy.model import AppraisalPolicy

CHUNK_DEATHS_MAXIMUM: Final = 3
"""Number of workers that may die on a chunk before its records are appraised one by one."""

RECORD_DEATHS_MAXIMUM: Final = 2
"""Number of workers that may die on a single record before it counts as unreadable. One could die by coincidence."""

STARTS_MAXIMUM: Final = 3
"""Number of consecutive workers that may die before they are ready."""


class WorkerFailedError(NomyoAttestError):
    """A worker process cannot be started, or raised an unexpected exception."""


class _WorkerExitedError(Exception):
    """A worker process died. The text is its exit status, such as ``"signal 9"`` or ``"status 1"``."""


class _Failure(msgspec.Struct, frozen=True):
    """A message instead of a result: type and location of an exception, without its text, which may quote a record."""

    location: str


class Pool:
    """Appraise chunks by one work order, in several processes.

    Args:
        order: how to appraise.
        processes: number of workers. With 1, or for a single chunk, this process appraises.

    Attributes:
        workers_lost: number of workers that died after they were ready.
    """

    def __init__(self, order: WorkOrder, processes: int) -> None:
        self.workers_lost = 0
        self._order = order
        self._processes = processes
        # For each worker, one chunk in work and one that waits, and two whose results wait for an earlier result.
        self._window = 2 * processes + 2
        self._workers: list[WorkerProcess] = []
        self._numbers: deque[int] = deque()  # numbers of the chunks read whose results were not yielded yet
        self._waiting: deque[Chunk] = deque()
        self._repeated: deque[Chunk] = deque()  # chunks whose workers died
        self._results_by_number: dict[int, ChunkResult] = {}
        self._deaths: Counter[int] = Counter()  # by number of the chunk
        self._failed_starts = 0

    def results(self, chunks: Iterator[Chunk]) -> Generator[ChunkResult, None, None]:
        """Yield the result of each chunk, in order. To stop all workers immediately, close the generator.

        Only a few chunks per worker are read ahead.

        Raises:
            WorkerFailedError: workers cannot be started, or one raised an exception.
        """
        first = list(itertools.islice(chunks, 2))
        if self._processes == 1 or len(first) < 2:
            yield from map(Worker(self._order).appraise, _chain(first, chunks))
            return
        try:
            yield from self._results(_chain(first, chunks))
            for worker in self._workers:
                worker.connection.close()  # close all first, so that they end concurrently
            for worker in self._workers:
                worker.wait()
            self._workers.clear()
        finally:
            for worker in self._workers:
                worker.stop()

    def _results(self, chunks: Iterator[Chunk]) -> Iterator[ChunkResult]:
        exhausted = False
        while self._numbers or not exhausted:
            if self._numbers and self._numbers[0] in self._results_by_number:
                yield self._results_by_number.pop(self._numbers.popleft())
                self._receive(0)  # give idle workers a chunk before the next result
            elif not exhausted and len(self._waiting) < self._processes and len(self._numbers) < self._window:
                chunk = next(chunks, None)
                if chunk is None:
                    exhausted = True
                else:
                    self._waiting.append(chunk)
                    self._numbers.append(chunk.number)
                self._receive(0)
            else:
                self._receive(None)

    def _receive(self, seconds: float | None) -> None:
        """Receive messages of workers, and send them chunks. Waits at most `seconds`; None waits without a limit."""
        self._assign()
        by_connection: dict[object, WorkerProcess] = {worker.connection: worker for worker in self._workers}
        for connection in wait([worker.connection for worker in self._workers], seconds):
            worker = by_connection[connection]
            try:
                result = worker.receive()
            except _WorkerExitedError as error:
                self._workers.remove(worker)
                self._replace(worker, str(error))
            else:
                self._failed_starts = 0
                if result is not None:
                    self._results_by_number[result.number] = result
            self._assign()

    def _assign(self) -> None:
        """Send chunks to idle workers. Start a worker if more chunks are waiting than workers are starting."""
        for worker in self._workers:
            if worker.ready and worker.chunk is None and (waiting := self._repeated or self._waiting):
                worker.send(waiting.popleft())
        starting = sum(not worker.ready for worker in self._workers)
        if len(self._workers) < self._processes and len(self._repeated) + len(self._waiting) > starting:
            self._workers.append(WorkerProcess(self._order))

    def _replace(self, worker: WorkerProcess, reason: str) -> None:
        """Repeat the chunk of a worker that died, or isolate its records if too many workers died on it."""
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS_MAXIMUM:
                raise _ended_before_ready(reason)
            return
        self.workers_lost += 1
        chunk = worker.chunk
        if chunk is None:
            return
        self._deaths[chunk.number] += 1
        if self._deaths[chunk.number] < CHUNK_DEATHS_MAXIMUM:
            self._repeated.append(chunk)
            return
        self._results_by_number[chunk.number], workers_lost = appraise_isolated(chunk, self._order)
        self.workers_lost += workers_lost


def _chain(first: list[Chunk], rest: Iterator[Chunk]) -> Iterator[Chunk]:
    """Yield all chunks, without keeping references to the first ones."""
    while first:
        yield first.pop(0)
    yield from rest


class WorkerProcess:
    """A worker process and this process's end of the connection to it.

    Attributes:
        connection: becomes readable when a result arrives, and when the process ends.
        chunk: the chunk that it is appraising; None if it is idle.
        ready: whether it has reported that it is ready.

    Raises:
        WorkerFailedError: the process cannot be started.
    """

    def __init__(self, order: WorkOrder) -> None:
        self.chunk: Chunk | None = None
        self.ready = False
        try:
            self._child = Child(__name__)
        except ChildStartError as error:
            raise _cannot_start(error) from None
        self.connection = self._child.connection
        with contextlib.suppress(OSError):  # if the process has ended, `receive` reports it
            self.connection.send(_picklable(order))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    def send(self, chunk: Chunk) -> None:
        """Send `chunk` to the worker, which must be idle. If the process has ended, `receive` reports it."""
        self.chunk = chunk
        with contextlib.suppress(OSError):
            self.connection.send(chunk)

    def receive(self) -> ChunkResult | None:
        """Wait for its next message, and return the result; None if the message is that it is ready.

        Raises:
            _WorkerExitedError: the process has ended; it cannot be used afterwards.
            WorkerFailedError: it could not start, or raised an exception.
        """
        try:
            if not self.ready:
                self._child.check_ready()
                self.ready = True
                return None
            message = self.connection.recv()
        except ChildStartError as error:
            self._child.stop()
            raise _cannot_start(error) from None
        except (EOFError, OSError):
            code = self._child.wait()
            raise _WorkerExitedError(f"signal {-code}" if code < 0 else f"status {code}") from None
        if isinstance(message, _Failure):
            raise WorkerFailedError(f"a worker process failed: {message.location}")
        self.chunk = None
        assert isinstance(message, ChunkResult)
        return message

    def wait(self) -> None:
        """Wait for the process to end after its connection was closed."""
        self._child.wait()

    def stop(self) -> None:
        """Kill the process."""
        self._child.stop()


def _cannot_start(error: ChildStartError) -> WorkerFailedError:
    return WorkerFailedError(
        f"a worker process cannot start: {error}; hint: worker processes do not import from the working directory; "
        "install nomyo-attest and its dependencies into the environment, or appraise without workers (--processes 1)"
    )


def _ended_before_ready(reason: str) -> WorkerFailedError:
    return WorkerFailedError(f"worker processes end before they are ready ({reason})")


class _SingleRecordChunk(Chunk):
    """A chunk of one record, to find out whether a worker dies on it."""

    def __init__(self, record: RawRecord) -> None:
        self.number = self.progress = 0
        self._record = record

    def records(self) -> Iterator[RawRecord]:
        yield self._record

    def source_ends(self) -> tuple[SourceEnd, ...]:
        return ()


class _MarkedChunk(Chunk):
    """A chunk in which some records are marked as unreadable: `problems` is index, from 0 → problem."""

    def __init__(self, chunk: Chunk, problems: Mapping[int, str]) -> None:
        self.number, self.progress = chunk.number, chunk.progress
        self._chunk, self._problems = chunk, problems

    def records(self) -> Iterator[RawRecord]:
        for index, record in enumerate(self._chunk.records()):
            problem = self._problems.get(index)
            yield record if problem is None else record._replace(text=None, problem=problem)

    def source_ends(self) -> tuple[SourceEnd, ...]:
        return self._chunk.source_ends()


def appraise_isolated(chunk: Chunk, order: WorkOrder) -> tuple[ChunkResult, int]:
    """Appraise each record of a chunk separately, then the chunk without the records that workers died on.

    Returns:
        The result of the chunk, in which the records that workers died on are unreadable, and the number of workers
        that died.

    Raises:
        WorkerFailedError: workers cannot be started, or one raised an exception.
    """
    isolated = _IsolatedWorker(order)
    try:
        problems: dict[int, str] = {}
        count = 0
        for index, record in enumerate(chunk.records()):
            count += 1
            if record.text is not None:
                result = isolated.appraise(_SingleRecordChunk(record))
                if isinstance(result, str):
                    problems[index] = f"appraising it ended the process ({result})"
        result = isolated.appraise(_MarkedChunk(chunk, problems))
        if isinstance(result, str):  # every record could be appraised separately, but not all of them together
            problem = f"appraising it together with its neighbors ended the process ({result})"
            result = Worker(order).appraise(_MarkedChunk(chunk, dict.fromkeys(range(count), problem) | problems))
        return result, isolated.workers_lost
    finally:
        isolated.close()


class _IsolatedWorker:
    """One worker, which is replaced when it dies; `workers_lost` is the number of workers that died."""

    def __init__(self, order: WorkOrder) -> None:
        self.workers_lost = 0
        self._order = order
        self._worker: WorkerProcess | None = None

    def appraise(self, chunk: Chunk) -> ChunkResult | str:
        """Return the result of `chunk`, or the exit status of the last worker, such as ``"signal 9"``."""
        reason = ""
        for _ in range(RECORD_DEATHS_MAXIMUM):
            worker = self._ready_worker()
            worker.send(chunk)
            try:
                result = worker.receive()
            except _WorkerExitedError as error:
                self.workers_lost += 1
                self._worker, reason = None, str(error)
                continue
            assert result is not None  # `_ready_worker` received the message that it is ready
            return result
        return reason

    def _ready_worker(self) -> WorkerProcess:
        if self._worker is None:
            worker = WorkerProcess(self._order)
            try:
                worker.receive()
            except _WorkerExitedError as error:
                raise _ended_before_ready(str(error)) from None
            self._worker = worker
        return self._worker

    def close(self) -> None:
        """Kill the worker."""
        if self._worker is not None:
            self._worker.stop()


def _picklable(order: WorkOrder) -> dict[str, Any]:
    """Convert the order to plain values.

    Pickled as it is, a policy would be validated against its schema again, and the validator needs more memory than the
    rest of a worker.
    """
    policy = {field.name: getattr(order.policy, field.name) for field in fields(order.policy) if field.init}
    plain = {name: dict(value) for name, value in policy.items() if isinstance(value, Mapping)}
    return msgspec.structs.asdict(order) | {"policy": policy | plain}


def serve(connection: Connection) -> None:
    """Run in the worker process: receive the order, then chunks; send results until the connection is closed."""
    order: dict[str, Any] = connection.recv()
    try:
        worker = Worker(WorkOrder(**order | {"policy": AppraisalPolicy(**order["policy"])}))
    except Exception as error:  # noqa: BLE001 - the parent process reports it
        connection.send_bytes(describe_location(error).encode("utf-8", "replace"))
        return
    connection.send_bytes(READY)
    try:
        while True:
            connection.send(worker.appraise(connection.recv()))
    except (EOFError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - as above
        connection.send(_Failure(describe_location(error)))
