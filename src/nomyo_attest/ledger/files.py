"""Open and lock the files of a ledger, and rename those that are full.

Another process may rename a file between its opening and its locking, so its name is checked again under the lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from nomyo_attest._files import (
    GROUP_AND_OTHERS_WRITE,
    Access,
    Folder,
    has_name,
    mode_problem,
    open_or_create,
    owner_problem,
    reason,
    try_lock,
    unlock,
)
from nomyo_attest.errors import LedgerError

MODE: Final = 0o600

_WAIT_FIRST: Final = 0.0005
_WAIT_MAXIMUM: Final = 0.02
"""Seconds between two attempts to lock a file. A write and a sync keep the lock for a few milliseconds."""

_UNLOCK_WAIT: Final = 1.0
"""Seconds to wait for writers before reading a file's size without a lock."""


@contextlib.contextmanager
def convert_os_errors(path: Path, action: str) -> Iterator[None]:
    """Convert errors of the operating system to `LedgerError`; `action` is what failed, such as ``"written"``."""
    try:
        yield
    except LedgerError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _ledger_error(path, action, error) from None


def _ledger_error(path: Path, action: str, error: Exception) -> LedgerError:
    code = getattr(error, "errno", None)
    if code == errno.ELOOP:
        return LedgerError(str(path), "is a symbolic link", "name the file that it points to")
    if code == errno.EISDIR:
        return LedgerError(str(path), "is a folder", "name a file")
    if code == errno.ENOENT:
        hint = f"create it: mkdir -p {shlex.quote(str(path.parent))}"
        return LedgerError(str(path), "its folder does not exist", hint)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return LedgerError(str(path), f"cannot be {action}: {os.strerror(code)}", "free some space")
    return LedgerError(str(path), f"cannot be {action}: {reason(error)}", "check its name and permissions")


def open_ledger(path: Path) -> int:
    """Open the ledger at `path` for reading and appending, created with mode 0600 if it does not exist.

    Returns:
        A file descriptor.

    Raises:
        LedgerError: it is not a regular file, belongs to another user, or others may write to it.
        OSError: it cannot be opened.
    """
    return _refuse_unsafe(path, open_or_create(path, MODE))


def open_full_file(path: Path) -> int:
    """Open an earlier file of a ledger for reading. Returns and raises as `open_ledger` does."""
    return _refuse_unsafe(path, Access.READ.open(path))


def _refuse_unsafe(path: Path, descriptor: int) -> int:
    """Return the descriptor if the file is acceptable; otherwise close it and raise `LedgerError`."""
    try:
        _check(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise LedgerError(str(path), "is not a regular file", "name a file")
    if problem := owner_problem(status):
        raise LedgerError(str(path), problem, "name a file that you own")
    if problem := mode_problem(status, GROUP_AND_OTHERS_WRITE, "others may write to it"):
        raise LedgerError(str(path), problem, f"chmod go-w {shlex.quote(str(path))}")


@contextlib.contextmanager
def open_locked(path: Path, deadline: float) -> Iterator[int]:
    """Open and lock the ledger at `path`; unlocked and closed when the context ends.

    Args:
        path: the ledger.
        deadline: the value of `time.monotonic()` at which to stop waiting for the lock.

    Yields:
        A file descriptor for reading and appending.

    Raises:
        LedgerError: as for `open_ledger`; or another process holds the lock; or the system has no file locks.
        OSError: it cannot be opened or locked.
    """
    if find_spec("fcntl") is None:  # checked before a file is created
        hint = "store the ledger on a POSIX system"
        raise LedgerError(str(path), "cannot be locked: this system has no fcntl", hint)
    wait = _WAIT_FIRST
    while True:
        descriptor = open_ledger(path)
        try:
            if try_lock(descriptor):
                try:
                    if has_name(descriptor, path):
                        yield descriptor
                        return
                finally:
                    # Unlock explicitly: a child forked meanwhile shares the descriptor, so close() would keep the lock.
                    unlock(descriptor)
                continue
            if time.monotonic() > deadline:
                hint = "find the process that holds the lock"
                raise LedgerError(str(path), "is locked by another process", hint)
        finally:
            os.close(descriptor)
        time.sleep(wait)
        wait = min(2 * wait, _WAIT_MAXIMUM)


def size_when_unlocked(descriptor: int) -> int:
    """Return the size of a file in bytes, as soon as no process holds its write lock, or after one second.

    Raises `OSError`.
    """
    until = time.monotonic() + _UNLOCK_WAIT
    with contextlib.suppress(OSError):  # a file system without locks: the last line may be incomplete
        while time.monotonic() <= until:
            if try_lock(descriptor, shared=True):
                try:
                    return os.fstat(descriptor).st_size
                finally:
                    unlock(descriptor)
            time.sleep(_WAIT_MAXIMUM)
    return os.fstat(descriptor).st_size


def find_full_files(path: Path) -> list[Path]:
    """Return the full files that were renamed from `path`, such as ``evidence.0001.jsonl``, sorted by number."""
    pattern = re.compile(re.escape(path.stem) + r"\.([0-9]{4,})" + re.escape(path.suffix))
    found = []
    with os.scandir(path.parent) as entries:
        for entry in entries:
            match = pattern.fullmatch(entry.name)
            if match is not None:
                found.append((int(match[1]), entry.name))
    return [path.with_name(name) for _, name in sorted(found)]


def move_full_file(path: Path) -> None:
    """Rename the file at `path`, which the caller has locked, to the next number; never overwrites a file."""
    folder = Folder(path.parent)
    while True:
        before = find_full_files(path)
        if before and before[-1].samefile(path):  # a process was killed between linking and unlinking
            break
        last = int(before[-1].name[len(path.stem) + 1 : len(before[-1].name) - len(path.suffix)]) if before else 0
        target = f"{path.stem}.{last + 1:04d}{path.suffix}"
        try:
            folder.move(path.name, target)
        except FileExistsError:
            continue
        folder.sync()
        return
    folder.unlink(path.name)
    folder.sync()
