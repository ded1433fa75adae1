"""Buffers that are wiped after use, and not swapped out where the system allows it.

What this does: a `bytearray` is overwritten in place after use, and until then its pages are locked in memory
(mlock(2)), if the system lets this process lock them. Only POSIX systems can.

What it cannot do, and what Python cannot:

- `str` and `bytes` cannot be overwritten. A prompt, a completion or a password that is one stays in memory until that
  memory happens to be used again, and so does every copy that a function makes of it.
- Copies inside OpenSSL, the TLS layer and the HTTP client, and those left behind where a growing buffer had to move,
  are out of reach.
- A locked page is kept out of swap; not out of a hibernation image, a core dump, a debugger, or a child process that is
  forked while it is locked.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from types import TracebackType
from typing import Final, NoReturn, Self, TypedDict

from nomyo.pagelocks import PAGES, Hold, memlock_limit, pinned

_ZEROS: Final = memoryview(bytes(64 * 1024))


class MemoryProtectionInfo(TypedDict):
    """The return value of `get_memory_protection_info`."""

    enabled: bool
    platform: str
    protection_level: str
    has_memory_locking: bool
    has_secure_zeroing: bool
    supports_full_protection: bool
    page_size: int
    lock_failures: int
    locked_bytes: int
    memlock_limit: int | None


def wipe(buffer: bytearray) -> None:
    """Overwrite `buffer` with zeros in place; its length stays. 9 MiB take a millisecond.

    Raises:
        TypeError: not a bytearray. `bytes` and `str` cannot be overwritten.
    """
    if not isinstance(buffer, bytearray):
        raise TypeError(f"only a bytearray can be wiped, not {type(buffer).__name__}")
    # Through views: to assign to a slice of the bytearray itself would first make a copy of what is assigned.
    with memoryview(buffer) as view:
        for start in range(0, len(view), len(_ZEROS)):
            part = view[start : start + len(_ZEROS)]
            part[:] = _ZEROS[: len(part)]


class _Owned(bytearray):
    """The bytes of a `SecureBuffer`, wiped and then unlocked when the last reference to them is dropped."""

    __slots__ = ("hold",)
    hold: Hold | None

    def __repr__(self) -> str:
        return f"<{len(self)} bytes of a SecureBuffer>"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: object) -> tuple[type[bytearray], tuple[bytes]]:
        return bytearray, (bytes(self),)  # a copy is a plain bytearray, without the lock

    def __del__(self) -> None:
        wipe(self)


class SecureBuffer:
    """A copy of some bytes in a buffer that is wiped at the end, on pages locked in memory if the system allows it. ::

        with SecureBuffer(secret) as buffer:
            use(buffer.data)

    The bytes are wiped and the pages unlocked when the context ends, and at the latest when the last reference to the
    buffer and its `data` is gone. `locked` says whether the pages are locked.
    The limits of both are described at the top of this module.

    Args:
        data: bytes to copy. A `bytearray` is wiped once it is copied. `bytes` cannot be wiped: the original stays in
            memory until Python reuses it.
        lock: whether to try to lock the pages. They are locked before the copy is made.

    Raises:
        TypeError: `data` is neither bytes nor bytearray.
    """

    __slots__ = ("__weakref__", "_data", "_pin")

    def __init__(self, data: bytes | bytearray, lock: bool = True) -> None:
        if not isinstance(data, bytes | bytearray):
            raise TypeError(f"a SecureBuffer takes bytes or a bytearray, not {type(data).__name__}")
        self._data = _Owned(len(data))
        self._data.hold = None
        self._pin = pinned(self._data)
        if lock:
            self.lock()
        with memoryview(self._data) as view:
            view[:] = data
        if isinstance(data, bytearray):
            wipe(data)

    @property
    def data(self) -> bytearray:
        """The bytes themselves, not a copy; of fixed size."""
        return self._data

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self._data)

    @property
    def address(self) -> int:
        """Where the bytes begin in memory."""
        return ctypes.addressof(self._pin)

    @property
    def locked(self) -> bool:
        """Whether the pages are locked in this process; False in a child forked after they were."""
        hold = self._data.hold
        return hold is not None and hold.valid

    def lock(self) -> bool:
        """Lock the pages, if they are not yet. Returns whether they are locked."""
        if not self.locked:
            self._data.hold = PAGES.hold(self.address, self.size)
        return self.locked

    def unlock(self) -> bool:
        """Give the lock up; a page stays locked while another buffer claims it. Returns True."""
        self._data.hold = None
        return True

    def zero(self) -> None:
        """Wipe the bytes."""
        wipe(self._data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.zero()
        self.unlock()

    def __len__(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        """A copy that cannot be wiped."""
        return bytes(self._data)

    def __repr__(self) -> str:
        return f"<SecureBuffer of {len(self)} bytes, {'locked' if self.locked else 'not locked'}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a SecureBuffer can be neither copied nor pickled: the copy would not be wiped")


class _Default:
    """What `secure_bytearray` does; changed by `disable_secure_memory` and `enable_secure_memory`."""

    enabled = True


def secure_bytearray(data: bytes | bytearray, lock: bool = True) -> SecureBuffer:
    """A `SecureBuffer` of `data`, for a `with` statement.

    Args:
        data: a bytearray is wiped once it is copied; bytes cannot be.
        lock: whether to try to lock the pages. After `disable_secure_memory` they are not, whatever this argument is.
    """
    return SecureBuffer(data, lock=lock and _Default.enabled)


def secure_bytes(data: bytes | bytearray, lock: bool = True) -> SecureBuffer:
    """Deprecated: `secure_bytearray` under the name of what cannot be secured."""
    warnings.warn("secure_bytes() is deprecated; use secure_bytearray()", DeprecationWarning, stacklevel=2)
    return secure_bytearray(data, lock)


def disable_secure_memory() -> None:
    """Let `secure_bytearray` lock no pages from now on; it wipes all the same.

    A client keeps to its own `secure_memory`, and a `SecureBuffer` made directly to its `lock`.
    """
    _Default.enabled = False


def enable_secure_memory() -> None:
    """Let `secure_bytearray` lock pages again."""
    _Default.enabled = True


def get_memory_protection_info() -> MemoryProtectionInfo:
    """What `secure_bytearray` can do in this process, as far as it was tried.

    - ``enabled``: False after `disable_secure_memory`; nothing is promised then.
    - ``protection_level``: ``"full"`` if memory can be locked and no lock was ever refused; ``"zeroing_only"`` if
      buffers are wiped but cannot be relied on to be locked; ``"none"`` if disabled. ``supports_full_protection``:
      whether it is ``"full"``, which means these two things and no more.
    - ``has_memory_locking``: memory could be locked at least once. The first call tries, with one page.
    - ``has_secure_zeroing``: buffers are wiped.
    - ``lock_failures``: how many locks were refused; ``locked_bytes``: bytes on pages locked now; ``memlock_limit``:
      the soft RLIMIT_MEMLOCK in bytes, None without one. Linux does not apply it to a process with CAP_IPC_LOCK.
    - ``platform``: `sys.platform`; ``page_size``: in bytes.
    """
    enabled = _Default.enabled
    locking = enabled and PAGES.works()
    full = locking and not PAGES.failures
    return {
        "enabled": enabled,
        "platform": sys.platform,
        "protection_level": "full" if full else "zeroing_only" if enabled else "none",
        "has_memory_locking": locking,
        "has_secure_zeroing": enabled,
        "supports_full_protection": full,
        "page_size": PAGES.page_size,
        "lock_failures": PAGES.failures,
        "locked_bytes": PAGES.locked_bytes(),
        "memlock_limit": memlock_limit(),
    }
