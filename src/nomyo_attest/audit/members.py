"""One process that appraises: how it is started, spoken to, and known to be gone."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import fields
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from typing import Any, Final

import msgspec

from nomyo_attest.audit.chunk import Chunk, ChunkResult
from nomyo_attest.audit.worker import Worker, WorkOrder
from nomyo_attest.errors import NomyoAttestError
from nomyo_attest.policy.model import AppraisalPolicy

_CONTEXT: Final = SpawnContext()
_READY: Final = b""
_GRACE: Final = 5.0
"""Seconds that a process has to end by itself when there is nothing left for it."""


class WorkerFailedError(NomyoAttestError):
    """A process that appraises raised where nothing may, or none can be started."""


class MemberGoneError(Exception):
    """A process ended in the middle of its work.

    Attributes:
        how: ``"signal 9"``, ``"status 1"``.
    """

    def __init__(self, how: str) -> None:
        self.how = how
        super().__init__(how)


class _Failure(msgspec.Struct, frozen=True):
    """What a worker says instead of a result: the kind of an error and where. Its text may quote a record."""

    what: str


class Member:
    """A process, and this process's end of the pipe to it. Nobody else has one: when the process is gone, however it
    went and whatever it was in the midst of sending, the pipe says so.

    Attributes:
        connection: to be waited for; readable when there is an answer, or none to come.
        chunk: what it is working on.
        ready: whether it has said that it can work.
    """

    def __init__(self, order: WorkOrder) -> None:
        self.connection, theirs = _CONTEXT.Pipe()
        self.chunk: Chunk | None = None
        self.ready = False
        self._process = _CONTEXT.Process(
            target=_serve, args=(theirs, _packed(order)), name="nomyo-attest audit", daemon=True
        )
        with theirs, _without_interrupts():
            self._process.start()

    def give(self, chunk: Chunk) -> None:
        """Let it work on `chunk`; it must have nothing else to do. If it is gone, `take` will tell."""
        self.chunk = chunk
        with contextlib.suppress(OSError):
            self.connection.send(chunk)

    def take(self) -> ChunkResult | None:
        """What it sent, waiting for it: None is the word that it is ready.

        Raises `MemberGoneError`, after which it is of no more use, and `WorkerFailedError`.
        """
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            raise MemberGoneError(self._end()) from None
        if isinstance(answer, _Failure):
            raise WorkerFailedError(f"a process that appraises failed: {answer.what}")
        self.ready = True
        if answer == _READY:
            return None
        self.chunk = None
        assert isinstance(answer, ChunkResult)
        return answer

    def dismiss(self) -> None:
        """Let it end, as it does when the pipe is closed."""
        self.connection.close()
        self._process.join(_GRACE)
        self.stop()

    def stop(self) -> None:
        """End it at once. It has nothing that could get lost."""
        self.connection.close()
        self._process.kill()
        self._process.join()

    def _end(self) -> str:
        self.connection.close()
        self._process.join(_GRACE)  # it closed the pipe, so it is ending
        self._process.kill()
        self._process.join()
        code = self._process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"status {code}"


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal, and SIGTERM may reach every process of a job. One that is started
    with them blocked never hears of them, from its first moment on; the one that started it does, and ends it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # A helper of multiprocessing's, which starting it with the first process would let Ctrl-C through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _packed(order: WorkOrder) -> dict[str, Any]:
    """An order to be pickled. A policy would pickle as a document to be checked again by its schema, and what does that
    is larger than all the rest of a worker.
    """
    policy = {one.name: getattr(order.policy, one.name) for one in fields(order.policy) if one.init}
    plain = {name: dict(policy[name]) for name in ("claims", "rules")}
    return msgspec.structs.asdict(order) | {"policy": policy | plain}


def _serve(connection: Connection, order: dict[str, Any]) -> None:
    """What runs in the process: chunks in, results out, until the other end of the pipe is closed."""
    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):  # whoever wants the results is gone
        try:
            worker = Worker(WorkOrder(**order | {"policy": AppraisalPolicy(**order["policy"])}))
            connection.send(_READY)
            while True:
                connection.send(worker.work(connection.recv()))
        except (EOFError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - told to the process that can tell a user
            connection.send(_Failure(_place_of(error)))


def _place_of(error: BaseException) -> str:
    """The kind of an error and where it was raised."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    file = os.path.basename(traceback.tb_frame.f_code.co_filename) if traceback else "?"  # noqa: PTH119 - a name, not a path to be opened
    return f"{type(error).__name__} at {file}, line {traceback.tb_lineno if traceback else 0}"
