"""Measure the locked memory of this process."""

from __future__ import annotations

import ctypes
import mmap
import re
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")


def locked_pages() -> int:
    """Return the size of the locked memory of this process in kB (VmLck)."""
    found = re.search(r"^VmLck:\s+(\d+) kB$", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    assert found, f"{STATUS}: VmLck is missing"
    return int(found[1])


def needs_locking() -> None:
    """Skip the test if the system does not report locked memory, or does not lock memory for this process."""
    if not STATUS.exists():
        pytest.skip("no /proc/self/status: locked memory cannot be measured")
    libc = ctypes.CDLL(None, use_errno=True)
    with mmap.mmap(-1, 16 * mmap.PAGESIZE) as memory:
        buffer = (ctypes.c_char * len(memory)).from_buffer(memory)
        address, size = ctypes.c_void_p(ctypes.addressof(buffer)), ctypes.c_size_t(len(memory))
        locked = libc.mlock(address, size) == 0 and locked_pages() > 0
        libc.munlock(address, size)
        del buffer
    if not locked:
        pytest.skip("mlock(2) locks nothing for this process: is RLIMIT_MEMLOCK 0?")
