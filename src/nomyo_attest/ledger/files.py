"""A ledger's files: opened with care, locked against others, numbered when they are full.

The checks are those of POSIX: owner, permission bits, symbolic links. A file that is open here need not be the one that
has its name any more: another process may have moved it aside meanwhile, so names are looked at again under the lock.
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
from pathlib import Path
from typing import Final

from nomyo_attest.errors import LedgerError

MODE: Final = 0o600

_WAIT_FIRST: Final = 0.0005
_WAIT_MAXIMUM: Final = 0.02
_SETTLED: Final = 1.0
"""Seconds between two tries to lock a file: locks are held for a write and a sync, some milliseconds."""


def _flag(name: str) -> int:
    """A flag for `os.open`; 0 on a system that does not have it."""
    value = getattr(os, name, 0)
    assert isinstance(value, int)
    return value


# Without O_NONBLOCK, opening a FIFO that somebody put there would wait.
_CAREFUL: Final = _flag("O_CLOEXEC") | _flag("O_NOFOLLOW") | _flag("O_NONBLOCK") | _flag("O_NOCTTY")
_APPEND: Final = os.O_RDWR | os.O_APPEND | _CAREFUL


@contextlib.contextmanager
def told(path: Path, done: str) -> Iterator[None]:
    """Turn errors of the system into ours. They quote file names, never content."""
    try:
        yield
    except LedgerError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _complaint(path, done, error) from None


def _complaint(path: Path, done: str, error: Exception) -> LedgerError:
    code = getattr(error, "errno", None)
    if code == errno.ELOOP:
        return LedgerError(str(path), "is a symbolic link", "name the file itself")
    if code == errno.EISDIR:
        return LedgerError(str(path), "is a folder", "name a file")
    if code == errno.ENOENT:
        return LedgerError(str(path), "its folder is not there", f"mkdir -p {shlex.quote(str(path.parent))}")
    if code in (errno.ENOSPC, errno.EDQUOT):
        return LedgerError(str(path), f"cannot be {done}: {os.strerror(code)}", "make room")
    reason = getattr(error, "strerror", None) or "no file can have this name"
    return LedgerError(str(path), f"cannot be {done}: {reason}", "check its name and permissions")


def open_ledger(path: Path) -> int:
    """A descriptor of the ledger at `path`, for reading and appending; made with mode 0600 if it is not there.

    Raises `LedgerError`, and `OSError` in the words of the system.
    """
    while True:
        try:
            descriptor = os.open(path, _APPEND)
        except FileNotFoundError:
            try:
                descriptor = os.open(path, _APPEND | os.O_CREAT | os.O_EXCL, MODE)
            except FileExistsError:
                continue  # another process was faster
            os.fchmod(descriptor, MODE)  # the umask may have taken more than was asked for
        try:
            _check(path, os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def open_reading(path: Path) -> int:
    """A descriptor of a file that a ledger continues, for reading. Raises as `open_ledger` does."""
    descriptor = os.open(path, os.O_RDONLY | _CAREFUL)
    try:
        _check(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise LedgerError(str(path), "is no regular file", "name a file")
    user = os.geteuid()
    if status.st_uid != user:
        raise LedgerError(str(path), f"belongs to user {status.st_uid}, not to user {user}", "name a file of your own")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o022:
        hint = f"chmod go-w {shlex.quote(str(path))}"
        raise LedgerError(str(path), f"has mode {mode:04o}: others may write to it", hint)


@contextlib.contextmanager
def locked(path: Path, deadline: float) -> Iterator[int]:
    """A descriptor of the ledger at `path` that nobody else has locked; unlocked and closed when the context ends.

    Args:
        deadline: time of `time.monotonic` until which to wait for others.

    Raises as `open_ledger` does.
    """
    try:
        import fcntl
    except ImportError:
        hint = "keep the ledger on a POSIX system"
        raise LedgerError(str(path), "cannot be locked: this system has no fcntl", hint) from None
    wait = _WAIT_FIRST
    while True:
        descriptor = open_ledger(path)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    hint = "look for a process that has stopped with it"
                    raise LedgerError(str(path), "is locked by another process", hint) from None
            else:
                try:
                    if _has_name(descriptor, path):
                        yield descriptor
                        return
                finally:
                    # Not left to the closing: a child forked meanwhile has the same descriptor, and with it the lock.
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                continue
        finally:
            os.close(descriptor)
        time.sleep(wait)
        wait = min(2 * wait, _WAIT_MAXIMUM)


def settled_size(descriptor: int) -> int:
    """Bytes of a file when nobody is in the middle of writing to it, if that can be waited for: a second is enough.

    Raises `OSError`.
    """
    with contextlib.suppress(ImportError, OSError):  # a file system without locks: what is written may be half there
        import fcntl

        until = time.monotonic() + _SETTLED
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    break
                time.sleep(_WAIT_MAXIMUM)
                continue
            try:
                return os.fstat(descriptor).st_size
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    return os.fstat(descriptor).st_size


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def sync_folder(path: Path) -> None:
    """Make the names in the folder of `path` last over a loss of power."""
    descriptor = os.open(path.parent, os.O_RDONLY | _flag("O_DIRECTORY") | _flag("O_CLOEXEC"))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # a file system that syncs no folders
            raise
    finally:
        os.close(descriptor)


def numbered(path: Path) -> list[Path]:
    """The files that were moved aside from `path`, such as ``evidence.0001.jsonl``, in their order."""
    form = re.compile(re.escape(path.stem) + r"\.([0-9]{4,})" + re.escape(path.suffix))
    found = []
    with os.scandir(path.parent) as entries:
        for entry in entries:
            match = form.fullmatch(entry.name)
            if match is not None:
                found.append((int(match[1]), entry.name))
    return [path.with_name(name) for _, name in sorted(found)]


def move_aside(path: Path) -> None:
    """Give the file at `path`, which the caller has locked, the next number; no file is ever overwritten.

    Raises `OSError`.
    """
    while True:
        before = numbered(path)
        if before and before[-1].samefile(path):  # somebody was killed between the two steps below
            break
        last = int(before[-1].name[len(path.stem) + 1 : len(before[-1].name) - len(path.suffix)]) if before else 0
        target = path.with_name(f"{path.stem}.{last + 1:04d}{path.suffix}")
        try:
            os.link(path, target, follow_symlinks=False)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}:
                raise
            # A file system without links, where whoever numbers files holds the lock that the caller has.
            if os.path.lexists(target):
                continue
            os.rename(path, target)
            sync_folder(path)
            return
        break
    os.unlink(path)  # noqa: PTH108 - beside os.link, which pathlib has in two forms
    sync_folder(path)
