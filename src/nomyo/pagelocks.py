"""Lock pages of this process in memory, and count the buffers on each.

mlock(2) does not count: one munlock undoes any number of mlocks, also those for other buffers on the same page. So this
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

PATIENCE: Final = 1.0
"""Seconds to wait for the mutex of the table of locked pages. It is held for milliseconds, unless the garbage collector
runs code that needs it in the thread that holds it. The pages then stay unlocked, which counts as a failure."""

LockCall = Callable[[int, int], int]
"""A function of an address and a size in bytes, such as mlock; 0 is success; errno describes a failure."""

_NO_BYTES: Final = ctypes.c_char * 0


class Hold:
    """A claim that pages stay locked, until the object is dropped. It is void in a forked child."""

    __slots__ = ("_locks", "_pages", "_process")

    def __init__(self, locks: PageLocks, pages: range, process: int) -> None:
        self._locks = locks
        self._pages = pages
        self._process = process

    @property
    def valid(self) -> bool:
        """Whether the pages are locked in this process."""
        return self._process == self._locks.process

    def __del__(self) -> None:
        if self.valid:
            self._locks.release(self._pages)


class PageLocks:
    """The locked pages of this process, each with the number of claims on it.

    Args:
        calls: mlock and munlock; None where the system has none.
        page_size: in bytes.

    Attributes:
        page_size: in bytes.
        process: number of forks that led to this process.
        failures: number of failed locks.
    """

    def __init__(self, calls: tuple[LockCall, LockCall] | None, page_size: int = mmap.PAGESIZE) -> None:
        self.page_size: Final = page_size
        self.process = 0
        self.failures = 0
        self._calls = calls
        self._works: bool | None = None if calls else False
        self._counts: dict[int, int] = {}
        self._released: deque[range] = deque()
        self._mutex = threading.Lock()

    def hold(self, address: int, size: int) -> Hold | None:
        """Lock the pages of `size` bytes at `address`. Returns None if any of them cannot be locked; then none is."""
        if self._calls is None:
            return None
        if not self._mutex.acquire(timeout=PATIENCE):
            self.failures += 1
            return None
        try:
            # First unlock released pages: one may have been unmapped since, and mapped again for this buffer.
            self._unlock_released()
            pages = range(address // self.page_size, -(-(address + size) // self.page_size)) if size else range(0)
            tried: list[range] = []
            for run in _runs(page for page in pages if page not in self._counts):
                tried.append(run)
                if not self._lock(run):
                    for each in tried:  # the last one too: mlock may have locked a part of it
                        self._unlock(each)
                    return None
            for page in pages:
                self._counts[page] = self._counts.get(page, 0) + 1
            return Hold(self, pages, self.process)
        finally:
            self._mutex.release()
            self._drain()

    def release(self, pages: range) -> None:
        """End a claim; for `Hold`. Never waits, since finalizers call it: the holder of the mutex unlocks the pages."""
        self._released.append(pages)
        self._drain()

    def locked_bytes(self) -> int:
        """Bytes on pages that are locked now."""
        self._drain()
        return len(self._counts) * self.page_size

    def works(self) -> bool:
        """Whether this process can lock memory. Tries it with one page if it has not locked any yet."""
        if self._works is None:
            self._works = False
            with mmap.mmap(-1, self.page_size) as memory:
                start = address_of(memory) // self.page_size
                if self._lock(range(start, start + 1)):
                    self._unlock(range(start, start + 1))
        return self._works

    def forget(self) -> None:
        """Reset the table in a forked child: nothing is locked, and the thread that held the mutex may not exist."""
        self.process += 1
        self._counts.clear()
        self._released.clear()
        self._mutex = threading.Lock()

    def _drain(self) -> None:
        # Checked again after each round, so that pages released while the mutex was held are unlocked, too.
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
            self._works = True
            return True
        if not self.failures:
            code = ctypes.get_errno()
            reason = f"{errno.errorcode.get(code, code)}, {os.strerror(code)}"
            _logger.info("memory could not be locked (%s); buffers are wiped, but may be swapped out", reason)
        self.failures += 1
        return False

    def _unlock(self, pages: range) -> None:
        assert self._calls is not None
        # A failure means that the pages are no longer mapped, and so not locked either.
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
    """Return the address of the content of `buffer`."""
    return ctypes.addressof(pinned(buffer))


def pinned(buffer: bytearray | mmap.mmap) -> ctypes.Array[ctypes.c_char]:
    """Return a view of the start of `buffer`. While it exists, the buffer can be neither resized nor moved."""
    return _NO_BYTES.from_buffer(buffer)


def system_calls() -> tuple[LockCall, LockCall] | None:
    """Return mlock and munlock of the C library of this process; None if it has none."""
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
    """The soft RLIMIT_MEMLOCK in bytes; None if there is no limit, or the system does not report one."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    except (ImportError, AttributeError, OSError, ValueError):  # not POSIX, or without this limit
        return None
    return None if soft == resource.RLIM_INFINITY else soft


PAGES: Final = PageLocks(system_calls())
"""The table of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PAGES.forget)
