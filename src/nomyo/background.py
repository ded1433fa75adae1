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

_THREADS: WeakSet[threading.Thread] = WeakSet()


def _join_threads() -> None:
    for thread in list(_THREADS):
        thread.join()


if hasattr(os, "register_at_fork"):
    # Otherwise a forked child would inherit OpenSSL locks held by such a thread but not the thread, and wait forever.
    os.register_at_fork(before=_join_threads)


class BackgroundResult(Generic[T]):
    """The result of `function`, which runs once in a thread, however many callers wait for it.

    If the function fails, all waiting callers get the error, and the next call runs it again.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._future: Future[T] | None = None
        self._lock = threading.Lock()

    def start(self) -> Future[T]:
        """Start the function unless it is running or has succeeded, and return its future."""
        with self._lock:
            current = self._future
            if current is not None and not (current.done() and current.exception() is not None):
                return current
            future = Future[T]()
            future.set_running_or_notify_cancel()  # a caller that stops waiting does not cancel it for the others
            # Not a daemon: the interpreter must wait for it at exit, when OpenSSL cleans up.
            thread = threading.Thread(target=self._run, args=(future,), name="nomyo-background")
            thread.start()
            _THREADS.add(thread)
            self._future = future
            return future

    async def get(self) -> T:
        """Await the result. Raises the function's error, of which each caller gets a copy if it is a `NomyoError`."""
        import asyncio  # imported here so that commands that make no call start faster

        try:
            return await asyncio.wrap_future(self.start())
        except NomyoError as error:
            failure = copy.copy(error)
        raise failure

    def _run(self, future: Future[T]) -> None:
        try:
            value = self._function()
        except BaseException as error:  # noqa: BLE001 - raised for every waiting caller
            error.__traceback__ = None
            future.set_exception(error)
        else:
            future.set_result(value)
