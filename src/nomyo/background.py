"""Run a function once in a background thread, and wait for its result on any event loop."""

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

_AT_WORK: WeakSet[threading.Thread] = WeakSet()


def _finish() -> None:
    for thread in list(_AT_WORK):
        thread.join()


if hasattr(os, "register_at_fork"):
    # A child has no such thread, but all the locks that it holds in OpenSSL: it would wait for them for ever.
    os.register_at_fork(before=_finish)


class BackgroundResult(Generic[T]):
    """The result of `function`, which runs once in a thread, however many callers wait for it.

    Everyone who waits gets a failure; the next call after that runs the function again.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._future: Future[T] | None = None
        self._lock = threading.Lock()

    def start(self) -> Future[T]:
        """Start the function unless it runs or has succeeded; returns its future."""
        with self._lock:
            known = self._future
            if known is not None and not (known.done() and known.exception() is not None):
                return known
            future = Future[T]()
            future.set_running_or_notify_cancel()  # a caller that stops waiting does not cancel it for the others
            # Not a daemon: a program that ends waits for it, since OpenSSL cleans up at exit.
            thread = threading.Thread(target=self._run, args=(future,), name="nomyo-background")
            thread.start()
            _AT_WORK.add(thread)
            self._future = future
            return future

    async def get(self) -> T:
        """The result. Raises what the function raised; each caller gets its own copy of an error of this package."""
        import asyncio  # commands that make no call start without it

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
