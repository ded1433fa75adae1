"""A source's bytes as they are stored: opened without waiting, read in blocks, counted and hashed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

BLOCK: Final = 256 * 1024
"""Bytes read at once."""

_HINTS: Final[dict[type, str]] = {
    FileNotFoundError: "; check the name",
    PermissionError: "; check its permissions",
    NotADirectoryError: "; check the name: a part of it is a file",
}


class DamageError(Exception):
    """From here on a source cannot be read. It never leaves this package: there it becomes an unreadable record."""


def os_problem(error: OSError | ValueError, what: str = "cannot be read") -> str:
    """What is said of a file that the system does not give out; `ValueError` is what a NUL byte in a name raises."""
    if not isinstance(error, OSError):
        return f"{what}: no file can have this name"
    hint = _HINTS.get(type(error), "")
    return f"{what}: {error.strerror or type(error).__name__}{hint}"


def special_problem(mode: int) -> str:
    """What is said of what is neither a file nor a folder; `mode` is its st_mode."""
    for test, word in ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder")):
        if test(mode):
            return f"is {word}, not a file; what comes out of a pipe is read as standard input (-)"
    return "is a device, not a file; what comes out of a device is read as standard input (-)"


def changed_problem(then: int, now: int) -> str:
    """What is said of a file that is not what it was when the audit began; both in bytes."""
    sizes = "rewritten at its old size" if then == now else f"{then} bytes when the audit began, {now} when it was read"
    return f"changed while it was audited: {sizes}; audit a copy of it"


def link_problem(target: str, folder: str) -> str:
    """What is reported of a symbolic link to `target`, which is not in the folder that was named."""
    return (
        f"is a symbolic link to {target}, which is outside the folder {folder}; name the target as a source,"
        " or give --follow-links to read what links lead to"
    )


def open_regular(path: str, within: str = "") -> BinaryIO:
    """Open a regular file, unbuffered.

    Args:
        path: its path.
        within: real path of a folder that the file must be in, however the links in `path` lead; empty for anywhere.
            What counts is the file that was opened: a folder or file may have been replaced by a link meanwhile.

    Raises:
        OSError, ValueError: it cannot be opened.
        DamageError: it is no regular file, or not in the folder.

    Opening a pipe would wait for its other end, for ever perhaps, and a file may have become one since the inventory:
    hence O_NONBLOCK, which means nothing for a regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    number = os.open(path, flags)
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            raise DamageError(special_problem(mode))
        if within and not is_within(real := real_path(number, path), within):
            raise DamageError(f"changed while it was audited: {link_problem(real, within)}")
        return os.fdopen(number, "rb", buffering=0)
    except BaseException:
        os.close(number)
        raise


def real_path(descriptor: int, path: str) -> str:
    """Path without links of the open file `descriptor`; empty if it is not the file at `path`, by which it was opened.

    Raises `OSError`.
    """
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    real = os.path.realpath(path)
    return real if os.path.samestat(os.stat(real), os.fstat(descriptor)) else ""  # noqa: PTH116 - as above


def is_within(real: str, folder: str) -> bool:
    """Whether a path without links is the folder, or leads into it."""
    return real == folder or real.startswith(folder.rstrip("/") + "/")


class Stored:
    """Reads a file, or a pipe, once from its beginning to its end.

    Args:
        file: open for reading.
        size: where it ends: what is appended to a file while the audit runs is no part of it. None: at its last byte.

    Attributes:
        count: bytes read so far.
    """

    def __init__(self, file: BinaryIO, size: int | None) -> None:
        self.count = 0
        self._file, self._size = file, size
        self._hash = hashlib.sha256()
        self._complete = False

    def block(self) -> bytes:
        """The next bytes; none at the end. Raises `DamageError`."""
        want = BLOCK if self._size is None else min(BLOCK, self._size - self.count)
        try:
            block = self._file.read(want)
        except (OSError, ValueError) as error:
            raise DamageError(os_problem(error, "cannot be read any further")) from None
        if block is None:
            raise DamageError("cannot be read any further: standard input does not wait for its bytes (O_NONBLOCK)")
        if not block:
            if self._size is not None and self.count < self._size:
                raise DamageError(changed_problem(self._size, self.count))
            self._complete = True
        self.count += len(block)
        self._hash.update(block)
        return block

    def blocks(self) -> Iterator[bytes]:
        """All bytes that are left, in blocks. Raises `DamageError`."""
        while block := self.block():
            yield block

    def drain(self) -> None:
        """Read what is left, for the digest's sake."""
        try:
            while self.block():
                pass
        except DamageError:
            pass

    @property
    def sha256(self) -> str | None:
        """SHA-256 over all bytes, in hex; None if not all of them were read."""
        return self._hash.hexdigest() if self._complete else None


def changed_since(file: BinaryIO, size: int, mtime: int | None, *, may_grow: bool) -> str:
    """What is to be said if a file is not what the inventory found; empty if it is.

    With `may_grow` bytes may have been appended: `Stored` left them unread.
    """
    now = os.fstat(file.fileno())
    if may_grow and now.st_size > size:
        return ""
    if (now.st_size, now.st_mtime_ns) != (size, mtime):
        return changed_problem(size, now.st_size)
    return ""
