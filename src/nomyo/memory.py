"""Buffers that are wiped after use, and kept out of swap where the system allows it.

A `bytearray` is overwritten in place after use. Until then, its pages are locked in memory (mlock(2)) if the system
allows this process to lock them. Only POSIX systems support that.

Limits:

- `str` and `bytes` cannot be overwritten. A prompt, a completion or a password of these types, and every copy of it,
  stays in memory until that memory is reused.
- Copies in OpenSSL, the TLS layer and the HTTP client, and those that a growing buffer leaves behind, are not wiped.
- A locked page is not swapped out, but it is visible in a hibernation image, a core dump, a debugger, and a child
  process that is forked while it is locked.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from types import TracebackType
from typing import Final, NoReturn, Self, TypedDict

from nomyo.pagelocks import PAGES, PageClaim, memlock_limit, pin

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
    """Overwrite `buffer` with zeros in place, without changing its length. This takes a millisecond for 9 MiB.

    Raises:
        TypeError: `buffer` is not a bytearray. `bytes` and `str` cannot be overwritten.
    """
    if not isinstance(buffer, bytearray):
        raise TypeError(f"only a bytearray can be wiped, not {type(buffer).__name__}")
    # Through views: assignment to a slice of the bytearray itself would first copy the assigned bytes.
    with memoryview(buffer) as view:
        for start in range(0, len(view), len(_ZEROS)):
            part = view[start : start + len(_ZEROS)]
            part[:] = _ZEROS[: len(part)]


class _WipedBytes(bytearray):
    """The bytes of a `SecureBuffer`, wiped and then unlocked when the last reference to them is dropped."""

    __slots__ = ("claim",)
    claim: PageClaim | None

    def __repr__(self) -> str:
        return f"<{len(self)} bytes of a SecureBuffer>"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: object) -> tuple[type[bytearray], tuple[bytes]]:
        return bytearray, (bytes(self),)  # a copy is a plain bytearray, without the lock

    def __del__(self) -> None:
        wipe(self)


class SecureBuffer:
    """A copy of bytes in a buffer that is wiped after use, on pages locked in memory if the system allows it. ::

        with SecureBuffer(secret) as buffer:
            use(buffer.data)

    The bytes are wiped and the pages are unlocked when the context ends, or at the latest when the last reference to
    the buffer and its `data` is dropped. The documentation of this module lists the limits.

    Args:
        data: bytes to copy. A `bytearray` is wiped after it is copied. `bytes` cannot be wiped: the original stays in
            memory until Python reuses that memory.
        lock: whether to try to lock the pages, before the bytes are copied to them.

    Raises:
        TypeError: `data` is neither bytes nor bytearray.
    """

    __slots__ = ("__weakref__", "_data", "_pin")

    def __init__(self, data: bytes | bytearray, lock: bool = True) -> None:
        if not isinstance(data, bytes | bytearray):
            raise TypeError(f"a SecureBuffer requires bytes or a bytearray, not {type(data).__name__}")
        self._data = _WipedBytes(len(data))
        self._data.claim = None
        self._pin = pin(self._data)
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
        """Address of the first byte."""
        return ctypes.addressof(self._pin)

    @property
    def locked(self) -> bool:
        """Whether the pages are locked in this process; False in a child that was forked after they were locked."""
        claim = self._data.claim
        return claim is not None and claim.valid

    def lock(self) -> bool:
        """Lock the pages unless they already are. Returns whether they are locked."""
        if not self.locked:
            self._data.claim = PAGES.claim(self.address, self.size)
        return self.locked

    def unlock(self) -> bool:
        """Unlock the pages; a page stays locked while another buffer uses it. Returns True."""
        self._data.claim = None
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
        """Return a copy, which cannot be wiped."""
        return bytes(self._data)

    def __repr__(self) -> str:
        return f"<SecureBuffer of {len(self)} bytes, {'locked' if self.locked else 'not locked'}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a SecureBuffer can be neither copied nor pickled: the copy would not be wiped")


class _PageLocking:
    """Whether `secure_bytearray` locks pages; changed by `disable_secure_memory` and `enable_secure_memory`."""

    enabled = True


def secure_bytearray(data: bytes | bytearray, lock: bool = True) -> SecureBuffer:
    """Create a `SecureBuffer` of `data`, for a `with` statement.

    Args:
        data: bytes to copy. A bytearray is wiped after it is copied; bytes cannot be wiped.
        lock: whether to try to lock the pages. They are never locked after `disable_secure_memory`.
    """
    return SecureBuffer(data, lock=lock and _PageLocking.enabled)


def secure_bytes(data: bytes | bytearray, lock: bool = True) -> SecureBuffer:
    """Deprecated name of `secure_bytearray`: `bytes` cannot be secured."""
    warnings.warn("secure_bytes() is deprecated; use secure_bytearray()", DeprecationWarning, stacklevel=2)
    return secure_bytearray(data, lock)


def disable_secure_memory() -> None:
    """Stop `secure_bytearray` from locking pages; it still wipes.

    This affects neither clients, which have the option `secure_memory`, nor a `SecureBuffer` that is created directly.
    """
    _PageLocking.enabled = False


def enable_secure_memory() -> None:
    """Undo `disable_secure_memory`."""
    _PageLocking.enabled = True


def get_memory_protection_info() -> MemoryProtectionInfo:
    """Return the protection that `secure_bytearray` provides in this process, as far as it is known.

    - ``enabled``: False after `disable_secure_memory`.
    - ``protection_level``: ``"full"`` if memory can be locked and no lock has failed; ``"zeroing_only"`` if buffers are
      wiped but may not be locked; ``"none"`` if disabled. ``supports_full_protection``: whether it is ``"full"``.
    - ``has_memory_locking``: whether memory could be locked at least once. The first call tries to lock one page.
    - ``has_secure_zeroing``: whether buffers are wiped.
    - ``lock_failures``: number of failed locks; ``locked_bytes``: bytes on locked pages; ``memlock_limit``: the
      soft RLIMIT_MEMLOCK in bytes, None if there is none. Linux does not apply it to a process with CAP_IPC_LOCK.
    - ``platform``: `sys.platform`; ``page_size``: size of a page in bytes.
    """
    enabled = _PageLocking.enabled
    locking = enabled and PAGES.can_lock()
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
