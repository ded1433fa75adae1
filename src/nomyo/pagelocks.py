"""Lock pages of this process in memory, and count the buffers on each page.

mlock(2) does not nest: one munlock undoes all mlocks of a page, including those for other buffers on it. Therefore this
module counts them for the whole process.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

_logger = logging.getLogger(__name__)

MUTEX_TIMEOUT: Final = 1.0
"""Seconds to wait for the mutex of the table of locked pages. It is held for milliseconds, unless the garbage collector
runs code that needs it in the thread that holds it. After the timeout, the pages stay unlocked, which counts as a
failure.
"""

LockCall = Callable[[int, int], int]
"""A function such as mlock, which takes an address and a size in bytes, and returns 0 or sets errno."""

_EMPTY_ARRAY: Final = ctypes.c_char * 0


class PageClaim:
    """Keeps pages locked until it is garbage-collected. It has no effect in a forked child."""

    __slots__ = ("_generation", "_locks", "_pages")

    def __init__(self, locks: PageLocks, pages: range, generation: int) -> None:
        self._locks = locks
        self._pages = pages
        self._generation = generation

    @property
    def valid(self) -> bool:
        """Whether the pages are locked in this process."""
        return self._generation == self._locks.generation

    def __del__(self) -> None:
        if self.valid:
            self._locks.release(self._pages)


class PageLocks:
    """The locked pages of this process, each with the number of claims on it.

    Args:
        calls: mlock and munlock; None where they are unavailable.
        page_size: size of a page in bytes.

    Attributes:
        page_size: size of a page in bytes.
        generation: number of forks between the first process and this one.
        failures: number of failed locks.
    """

    def __init__(self, calls: tuple[LockCall, LockCall] | None, page_size: int = mmap.PAGESIZE) -> None:
        self.page_size: Final = page_size
        self.generation = 0
        self.failures = 0
        self._calls = calls
        self._can_lock: bool | None = None if calls else False
        self._counts: dict[int, int] = {}
        self._released: deque[range] = deque()
        self._mutex = threading.Lock()

    def claim(self, address: int, size: int) -> PageClaim | None:
        """Lock all pages of `size` bytes at `address`. Returns None, with none of them locked, if that fails."""
        if self._calls is None:
            return None
        if not self._mutex.acquire(timeout=MUTEX_TIMEOUT):
            self.failures += 1
            return None
        try:
            # Released pages first: one may have been unmapped since, and mapped again for this buffer.
            self._unlock_released()
            pages = range(address // self.page_size, -(-(address + size) // self.page_size)) if size else range(0)
            attempted: list[range] = []
            for run in _runs(page for page in pages if page not in self._counts):
                attempted.append(run)
                if not self._lock(run):
                    for attempted_run in attempted:  # including the last: mlock may have locked a part of it
                        self._unlock(attempted_run)
                    return None
            for page in pages:
                self._counts[page] = self._counts.get(page, 0) + 1
            return PageClaim(self, pages, self.generation)
        finally:
            self._mutex.release()
            self._unlock_unless_busy()

    def release(self, pages: range) -> None:
        """End a claim. Never blocks, since `PageClaim.__del__` calls it: the holder of the mutex unlocks the pages."""
        self._released.append(pages)
        self._unlock_unless_busy()

    def locked_bytes(self) -> int:
        """Return the number of bytes on locked pages."""
        self._unlock_unless_busy()
        return len(self._counts) * self.page_size

    def can_lock(self) -> bool:
        """Whether this process can lock memory. If it has not locked any yet, this tries to lock one page."""
        if self._can_lock is None:
            self._can_lock = False
            with mmap.mmap(-1, self.page_size) as memory:
                start = address_of(memory) // self.page_size
                if self._lock(range(start, start + 1)):
                    self._unlock(range(start, start + 1))
        return self._can_lock

    def reset_after_fork(self) -> None:
        """Reset the table in a forked child: nothing is locked, and the thread that held the mutex may not exist."""
        self.generation += 1
        self._counts.clear()
        self._released.clear()
        self._mutex = threading.Lock()

    def _unlock_unless_busy(self) -> None:
        # Checked again after each round, so that pages released while the mutex was held are also unlocked.
        while self._released and self._mutex.acquire(blocking=False):
            try:
                self._unlock_released()
            finally:
                self._mutex.release()

    def _unlock_released(self) -> None:
        """Unlock the released pages without another claim. The caller must hold the mutex."""
        while self._released:
            unclaimed = []
            for page in self._released.popleft():
                self._counts[page] -= 1
                if not self._counts[page]:
                    del self._counts[page]
                    unclaimed.append(page)
            for run in _runs(unclaimed):
                self._unlock(run)

    def _lock(self, pages: range) -> bool:
        assert self._calls is not None
        if self._calls[0](pages.start * self.page_size, len(pages) * self.page_size) == 0:
            self._can_lock = True
            return True
        if not self.failures:
            code = ctypes.get_errno()
            reason = f"{errno.errorcode.get(code, code)}, {os.strerror(code)}"
            _logger.info("memory could not be locked (%s); buffers are wiped, but may be swapped out", reason)
        self.failures += 1
        return False

    def _unlock(self, pages: range) -> None:
        assert self._calls is not None
        # A failure means that the pages are no longer mapped, and therefore not locked.
        self._calls[1](pages.start * self.page_size, len(pages) * self.page_size)


def _runs(pages: Iterable[int]) -> Iterator[range]:
    """Group ascending page numbers into ranges without gaps, for one system call each."""
    start = end = 0
    for page in pages:
        if page != end:
            if start != end:
                yield range(start, end)
            start = page
        end = page + 1
    if start != end:
        yield range(start, end)


def address_of(buffer: bytearray | mmap.mmap) -> int:
    """Return the address of the first byte of `buffer`."""
    return ctypes.addressof(pin(buffer))


def pin(buffer: bytearray | mmap.mmap) -> ctypes.Array[ctypes.c_char]:
    """Return an empty view of `buffer`. While the view exists, the buffer can be neither resized nor moved."""
    return _EMPTY_ARRAY.from_buffer(buffer)


def system_calls() -> tuple[LockCall, LockCall] | None:
    """Return mlock and munlock from the C library; None if they are unavailable."""
    if os.name != "posix":
        return None
    try:
        library = ctypes.CDLL(None, use_errno=True)
        calls = library.mlock, library.munlock
    except (OSError, AttributeError):
        return None
    for call in calls:
        call.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        call.restype = ctypes.c_int
    return calls


def memlock_limit() -> int | None:
    """Return the soft RLIMIT_MEMLOCK in bytes; None if there is no limit, or the system does not report one."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    except (ImportError, AttributeError, OSError, ValueError):  # not POSIX, or without this limit
        return None
    return None if soft == resource.RLIM_INFINITY else soft


PAGES: Final = PageLocks(system_calls())
"""The table of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PAGES.reset_after_fork)
