"""Run coroutines from blocking code, in one event loop for each process.

The loop runs in a daemon thread, which is started at the first call. A forked child process has no such thread, so it
starts its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from typing import Any, Final, TypeVar

from nomyo.errors import EventLoopError

T = TypeVar("T")

CANCEL_SECONDS: Final = 5.0
"""Maximum number of seconds to wait for an interrupted call to end. Closing its connection takes milliseconds."""

_INSIDE: Final = (
    "a blocking call in the event loop that runs blocking calls would wait for itself. Use SecureChatCompletion there"
)


class Portal:
    """One event loop in a daemon thread. Call `portal()` to get the one of this process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nomyo-portal", daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, with the context variables of the caller, and wait for its result.

        Any exception in the waiting thread, such as `KeyboardInterrupt`, cancels the coroutine.

        Raises:
            EventLoopError: the caller runs in this loop. The coroutine was not started.
            BaseException: whatever the coroutine raises.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise EventLoopError(_INSIDE)
        outcome = Future[T]()
        task: asyncio.Task[None] | None = None

        async def run() -> None:
            try:
                outcome.set_result(await coroutine)
            except BaseException as error:  # noqa: BLE001 - the caller gets it; SystemExit would end the loop
                outcome.set_exception(error)

        def start() -> None:
            nonlocal task
            task = self._loop.create_task(run())
            task.add_done_callback(end)

        def end(_: asyncio.Task[None]) -> None:
            if not outcome.done():  # canceled before it started
                coroutine.close()
                outcome.set_exception(asyncio.CancelledError())

        def cancel() -> None:
            assert task is not None  # `start` ran before
            task.cancel()

        self._loop.call_soon_threadsafe(start)  # runs in a copy of this thread's context
        try:
            return outcome.result()
        except BaseException:
            if not outcome.done():
                self._loop.call_soon_threadsafe(cancel)
                wait([outcome], CANCEL_SECONDS)
            raise


_lock = threading.Lock()
_portals: dict[int, Portal] = {}


def portal() -> Portal:
    """Return the portal of this process; the first call starts it."""
    process = os.getpid()
    with _lock:
        known = _portals.get(process)
        if known is None:
            _portals.clear()  # a forked child cannot use its parent's
            known = _portals[process] = Portal()
        return known


def _new_lock() -> None:
    """Replace the lock, which another thread of the parent process may have held at the fork."""
    global _lock  # noqa: PLW0603 - the thread that holds the lock does not exist in the child
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)
