"""Work that is begun before it is needed, in a thread, and waited for from any event loop."""

from __future__ import annotations

import asyncio
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
    """The value of `work`, worked out once in a thread, however many ask for it.

    A failure is told to all who wait for it, and the next who asks has it tried again.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._future: Future[T] | None = None
        self._lock = threading.Lock()

    def begin(self) -> Future[T]:
        """Begin, unless it has been begun; returns what to wait for."""
        with self._lock:
            known = self._future
            if known is not None and not (known.done() and known.exception() is not None):
                return known
            future = Future[T]()
            future.set_running_or_notify_cancel()  # one who stops waiting does not end it for the others
            # Not a daemon: a program that ends waits for it, rather than pulling the ground from under OpenSSL.
            thread = threading.Thread(target=self._run, args=(future,), name="nomyo-background")
            thread.start()
            _AT_WORK.add(thread)
            self._future = future
            return future

    async def get(self) -> T:
        """The value. Raises what `work` raised; of errors of this package, each who waits gets one of its own."""
        try:
            return await asyncio.wrap_future(self.begin())
        except NomyoError as error:
            failure = copy.copy(error)
        raise failure

    def _run(self, future: Future[T]) -> None:
        try:
            value = self._work()
        except BaseException as error:  # noqa: BLE001 - it is told to whoever waits
            error.__traceback__ = None
            future.set_exception(error)
        else:
            future.set_result(value)
