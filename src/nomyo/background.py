"""Run a function once in a background thread, and await its result on any event loop."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar
from weakref import WeakSet

from nomyo.errors import NomyoError

T = TypeVar("T")

_RUNNING: WeakSet[threading.Thread] = WeakSet()


def _join_threads() -> None:
    for thread in list(_RUNNING):
        thread.join()


if hasattr(os, "register_at_fork"):
    # A forked child would inherit the OpenSSL locks that such a thread holds, but not the thread, and so wait forever.
    os.register_at_fork(before=_join_threads)


class BackgroundResult(Generic[T]):
    """The result of `function`, which runs once in a thread, however many callers wait for it.

    If it fails, all waiting callers get the error, and the next call runs the function again.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._future: Future[T] | None = None
        self._lock = threading.Lock()

    def start(self) -> Future[T]:
        """Start the function unless it is running or has succeeded, and return its future."""
        with self._lock:
            known = self._future
            if known is not None and not (known.done() and known.exception() is not None):
                return known
            future = Future[T]()
            future.set_running_or_notify_cancel()  # a caller that stops waiting does not cancel it for the others
            # Not a daemon: the interpreter must wait for it at exit, since OpenSSL cleans up then.
            thread = threading.Thread(target=self._run, args=(future,), name="nomyo-background")
            thread.start()
            _RUNNING.add(thread)
            self._future = future
            return future

    async def get(self) -> T:
        """Await the result. Raises the function's error; each caller gets its own copy of an error of this package."""
        import asyncio  # imported here, so that commands without a call start faster

        try:
            return await asyncio.wrap_future(self.start())
        except NomyoError as error:
            failure = copy.copy(error)
        raise failure

    def _run(self, future: Future[T]) -> None:
        try:
            value = self._function()
        except BaseException as error:  # noqa: BLE001 - raised for every caller that waits
            error.__traceback__ = None
            future.set_exception(error)
        else:
            future.set_result(value)
