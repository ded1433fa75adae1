"""Work that is begun before it is needed, in a thread, and waited for from any event loop."""

from __future__ import annotations

import asyncio
import copy
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from nomyo.errors import NomyoError

T = TypeVar("T")


class Early(Generic[T]):
    """The value of `work`, worked out once in a thread, however many ask for it.

    A failure is told to all who wait for it, and the next who asks has it tried again.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._future: Future[T] | None = None
        self._lock = threading.Lock()
        self._process = os.getpid()

    def begin(self) -> Future[T]:
        """Begin, unless it has been begun; returns what to wait for."""
        if self._process != os.getpid():
            self._after_fork()
        with self._lock:
            known = self._future
            if known is not None and not (known.done() and known.exception() is not None):
                return known
            future = Future[T]()
            future.set_running_or_notify_cancel()  # one who stops waiting does not end it for the others
            # Not a daemon: a program that ends waits for it, rather than pulling the ground from under OpenSSL.
            threading.Thread(target=self._run, args=(future,), name="nomyo-early").start()
            self._future = future
            return future

    async def get(self) -> T:
        """The value. Raises what `work` raised; of errors of this package, each who waits gets one of its own."""
        try:
            return await asyncio.wrap_future(self.begin())
        except NomyoError as error:
            failure = copy.copy(error)
        raise failure

    def _after_fork(self) -> None:
        """In a child process: a thread that was at work is not there, and the lock may have been held by one."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        if self._future is not None and not self._future.done():
            self._future = None

    def _run(self, future: Future[T]) -> None:
        try:
            value = self._work()
        except BaseException as error:  # noqa: BLE001 - it is told to whoever waits
            error.__traceback__ = None
            future.set_exception(error)
        else:
            future.set_result(value)
