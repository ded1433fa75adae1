"""A folder that holds private keys: opened once, checked, and then used through its descriptor alone.

A file that appears in it is whole, was not there before, and had its mode from the start. The checks are those of
POSIX: owner, permission bits, symbolic links. Access control lists are not looked at, nor the folders above. Windows
does not speak in these terms; there only symbolic links are refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nomyo.errors import KeyFileNotFoundError, KeyStoreError

PRIVATE_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
FOLDER_MODE: Final = 0o700

_BY_DESCRIPTOR: Final = {os.open, os.stat, os.link, os.rename, os.unlink} <= os.supports_dir_fd
_HAS_OWNERS: Final = hasattr(os, "geteuid")


def _flag(name: str) -> int:
    """A flag for `os.open`; 0 on a system that does not have it."""
    value = getattr(os, name, 0)
    assert isinstance(value, int)
    return value


_CLOEXEC: Final = _flag("O_CLOEXEC") | _flag("O_NOINHERIT")
_FOLDER: Final = _flag("O_DIRECTORY") | _CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _flag("O_NOFOLLOW") | _flag("O_BINARY") | _CLOEXEC
# Without O_NONBLOCK, opening a FIFO that somebody put there would wait for a writer.
_READ: Final = (
    os.O_RDONLY | _flag("O_NOFOLLOW") | _flag("O_NONBLOCK") | _flag("O_NOCTTY") | _flag("O_BINARY") | _CLOEXEC
)


class KeyFolder:
    """An open folder of key files; made by `open_folder`.

    Attributes:
        path: its path, for messages.
    """

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor

    def holds(self, name: str) -> bool:
        """Whether there is anything of this name, if only a dangling symbolic link."""
        with _told(self.path / name, "looked at"):
            try:
                os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)
            except FileNotFoundError:
                return False
            return True

    def read(self, name: str, most: int, *, private: bool) -> bytes:
        """The content of the regular file `name`, of at most `most` bytes.

        Raises:
            KeyFileNotFoundError: it is not there.
            KeyStoreError: it is a symbolic link, no regular file, larger, or cannot be read; or, if `private`, it
                belongs to somebody else, or others have permissions on it.
        """
        path = self.path / name
        with _told(path, "read"):
            if self._is_link(name):
                raise KeyStoreError(path, "is a symbolic link", "name the file itself, or put a copy in its place")
            descriptor = os.open(self._at(name), _READ, dir_fd=self._descriptor)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise KeyStoreError(path, "is no regular file", "name a file")
                if private:
                    _check_owner(path, status)
                    _check_mode(path, status, 0o077, "others may use it", "chmod 600")
                content = _read(descriptor, most + 1)
            finally:
                os.close(descriptor)
        if len(content) > most:
            raise KeyStoreError(path, f"has more than {most} bytes, no key has as many", "name a key file")
        return content

    def place(self, name: str, content: bytes, mode: int) -> bool:
        """Make the file `name`, whole or not at all. Returns False, and changes nothing, if the name is taken.

        What is left behind by a process that is killed meanwhile is at most a file ``.NAME.….tmp`` of the same mode.

        Raises:
            KeyStoreError: the file cannot be written.
        """
        path = self.path / name
        temporary = f".{name}.{secrets.token_hex(8)}.tmp"
        with _told(path, "written"):
            descriptor = os.open(self._at(temporary), _NEW, mode, dir_fd=self._descriptor)
            try:
                with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no path
                    if hasattr(os, "fchmod"):
                        os.fchmod(descriptor, mode)  # the umask may have taken more than was asked for
                    file.write(content)
                    file.flush()
                    os.fsync(descriptor)
                placed = self._name(temporary, name)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._at(temporary), dir_fd=self._descriptor)
            self._sync()
        return placed

    def _at(self, name: str) -> str:
        return name if self._descriptor is not None else str(self.path / name)

    def _status(self, name: str) -> os.stat_result:
        return os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)

    def _is_link(self, name: str) -> bool:
        return stat.S_ISLNK(self._status(name).st_mode)

    def _name(self, temporary: str, name: str) -> bool:
        """Give a file its name, which must be free at that very moment."""
        own = self._status(temporary)
        source, target = self._at(temporary), self._at(name)
        try:
            os.link(source, target, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except FileExistsError:
            # NFS may carry out a link, lose the answer, and refuse the repetition (link(2)).
            return os.path.samestat(own, self._status(name))
        except OSError:
            return self._rename(source, target, name)
        return True

    def _rename(self, source: str, target: str, name: str) -> bool:
        """The same where the file system has no hard links, such as FAT."""
        if os.name == "nt":
            try:
                os.rename(source, target)  # fails where the name is taken
            except FileExistsError:
                return False
            return True
        if self._descriptor is None:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        import fcntl

        # rename(2) overwrites; so look first, and let nobody else who comes this way do so meanwhile. The lock goes
        # with the process, however that ends. Where there are no locks either, this fails, and nothing is written.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            if self.holds(name):
                return False
            os.rename(source, target, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            return True
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _sync(self) -> None:
        """Make names last over a loss of power."""
        if self._descriptor is None:
            return
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # a file system that syncs no folders
                raise


@contextlib.contextmanager
def open_folder(path: Path, *, create: bool = False, trusted: bool = True) -> Iterator[KeyFolder]:
    """Open a folder of key files; closed when the context ends.

    Args:
        path: the folder; it may be a symbolic link to one.
        create: make it, and the folders above it that are missing, with mode 0700. Without this the folder is for
            reading only.
        trusted: whether only the user and root may be able to write to it.

    Raises:
        KeyFileNotFoundError: it is not there.
        KeyStoreError: it is no folder, cannot be opened or made, or is not trustworthy.
    """
    with _told(path, "opened"):
        if create:
            _make(path)
        if not _BY_DESCRIPTOR:
            if not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
            descriptor = None
        else:
            descriptor = os.open(path, _FOLDER | (os.O_RDONLY if create else getattr(os, "O_PATH", os.O_RDONLY)))
    try:
        if trusted and descriptor is not None:
            status = os.fstat(descriptor)
            _check_owner(path, status)
            _check_mode(path, status, 0o022, "others may write to it", "chmod go-w")
        yield KeyFolder(path, descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _read(descriptor: int, most: int) -> bytes:
    content = b""
    while len(content) < most and (part := os.read(descriptor, most - len(content))):
        content += part
    return content


def _make(path: Path) -> None:
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was faster
            folder.mkdir(FOLDER_MODE)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if not _HAS_OWNERS:
        return
    user = os.geteuid()
    if status.st_uid not in {user, 0}:
        raise KeyStoreError(
            path, f"belongs to user {status.st_uid}, not to user {user} or root", "chown it, or use keys of your own"
        )


def _check_mode(path: Path, status: os.stat_result, forbidden: int, problem: str, mend: str) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if _HAS_OWNERS and mode & forbidden:
        raise KeyStoreError(path, f"has mode {mode:04o}: {problem}", f"{mend} {shlex.quote(str(path))}")


@contextlib.contextmanager
def _told(path: Path, done: str) -> Iterator[None]:
    """Turn errors of the system into ours. They quote file names, never content."""
    try:
        yield
    except KeyStoreError:
        raise
    except FileNotFoundError:
        raise KeyFileNotFoundError(path) from None
    except NotADirectoryError:
        raise KeyStoreError(path, "is no folder, or a part of its path is none", "name a folder") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or "no file can have this name"
        raise KeyStoreError(path, f"cannot be {done}: {reason}", "check its name and permissions") from None
