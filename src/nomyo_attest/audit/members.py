"""One worker process: start it, give it chunks, receive their results, and learn how it ended."""

from __future__ import annotations

import contextlib
import os
from dataclasses import fields
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from nomyo_attest.audit.child import READY, Child, ChildStartError
from nomyo_attest.audit.chunk import Chunk, ChunkResult
from nomyo_attest.audit.worker import Worker, WorkOrder
from nomyo_attest.errors import NomyoAttestError
from nomyo_attest.policy.model import AppraisalPolicy


class WorkerFailedError(NomyoAttestError):
    """A worker process cannot be started, or raised where nothing may."""


class MemberGoneError(Exception):
    """A process ended in the middle of its work.

    Attributes:
        how: ``"signal 9"``, ``"status 1"``.
    """

    def __init__(self, how: str) -> None:
        self.how = how
        super().__init__(how)


class _Failure(msgspec.Struct, frozen=True):
    """Sent instead of a result: the kind and the place of an error. The error's text may quote a record."""

    what: str


class Member:
    """A worker process and this process's end of the connection to it.

    Attributes:
        connection: readable when there is a result, or when the process has ended.
        chunk: what it is working on.
        ready: whether it has reported that it can work.

    Raises:
        WorkerFailedError: if no process can be started.
    """

    def __init__(self, order: WorkOrder) -> None:
        self.chunk: Chunk | None = None
        self.ready = False
        try:
            self._child = Child(__name__)
        except ChildStartError as error:
            raise _cannot_start(error) from None
        self.connection = self._child.connection
        with contextlib.suppress(OSError):  # `take` reports that it is gone
            self.connection.send(_packed(order))

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._child.pid

    def give(self, chunk: Chunk) -> None:
        """Send it `chunk`; it must have nothing else to do. If the process is gone, `take` reports it."""
        self.chunk = chunk
        with contextlib.suppress(OSError):
            self.connection.send(chunk)

    def take(self) -> ChunkResult | None:
        """Wait for what it sends: a result, or None for the message that it is ready.

        Raises:
            MemberGoneError: if the process has ended; it cannot be used afterwards.
            WorkerFailedError: if it could not start, or raised where nothing may.
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
            raise MemberGoneError(f"signal {-code}" if code < 0 else f"status {code}") from None
        if isinstance(message, _Failure):
            raise WorkerFailedError(f"a worker process failed: {message.what}")
        self.chunk = None
        assert isinstance(message, ChunkResult)
        return message

    def dismiss(self) -> None:
        """Let it end, as it does when the connection is closed."""
        self._child.wait()

    def stop(self) -> None:
        """Kill it. It has nothing that could get lost."""
        self._child.stop()


def _cannot_start(error: ChildStartError) -> WorkerFailedError:
    return WorkerFailedError(
        f"a worker process cannot start: {error}; hint: worker processes do not import from the working directory; "
        "install nomyo-attest and its dependencies into the environment, or appraise without workers (--processes 1)"
    )


def _packed(order: WorkOrder) -> dict[str, Any]:
    """An order to be pickled. A policy would pickle as a document to be checked again by its schema, and what does that
    is larger than all the rest of a worker.
    """
    policy = {one.name: getattr(order.policy, one.name) for one in fields(order.policy) if one.init}
    plain = {name: dict(policy[name]) for name in ("claims", "rules")}
    return msgspec.structs.asdict(order) | {"policy": policy | plain}


def serve(connection: Connection) -> None:
    """Run in the worker process: receive the order, then chunks; send results until the connection is closed."""
    order: dict[str, Any] = connection.recv()
    try:
        worker = Worker(WorkOrder(**order | {"policy": AppraisalPolicy(**order["policy"])}))
    except Exception as error:  # noqa: BLE001 - sent to the process that can report it
        connection.send_bytes(_place_of(error).encode("utf-8", "replace"))
        return
    connection.send_bytes(READY)
    try:
        while True:
            connection.send(worker.work(connection.recv()))
    except (EOFError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - as above
        connection.send(_Failure(_place_of(error)))


def _place_of(error: BaseException) -> str:
    """The kind of an error and where it was raised."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    file = os.path.basename(traceback.tb_frame.f_code.co_filename) if traceback else "?"  # noqa: PTH119 - a name, not a path to be opened
    return f"{type(error).__name__} at {file}, line {traceback.tb_lineno if traceback else 0}"
