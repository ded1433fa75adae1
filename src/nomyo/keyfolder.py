"""Read and write private keys in a folder that is opened once, checked, and then used through its descriptor.

A new file is complete, replaces nothing, and has its mode from the start. A private key must have the owner and mode
that PostgreSQL requires: it belongs to the user and has mode 0600 or stricter, or it belongs to root and has mode 0640
or stricter. A symbolic link is followed only in the layout of a Kubernetes volume (``NAME -> ..data/NAME``,
``..data -> ..TIMESTAMP``), and only if root owns the links and the folders. The checks are those of POSIX: access
control lists and the folders above are not checked. On Windows the only check is that symbolic links are refused.
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

_ROOT: Final = 0
_OWN_FORBIDDEN: Final = 0o077
"""Permission bits that a private key of the user must not have."""

_ROOTS_FORBIDDEN: Final = 0o037
"""Permission bits that a private key of root must not have: root may give a group the right to read it. The same masks
as PostgreSQL's libpq (src/interfaces/libpq/fe-secure-openssl.c).
"""


def _flag(name: str) -> int:
    """A flag for `os.open`; 0 on a system that does not have it."""
    value = getattr(os, name, 0)
    assert isinstance(value, int)
    return value


_LINKS_MAX: Final = 8
_FOLLOWED_MAX: Final = 3
"""How often a link is followed: the kubelet may replace a folder of secrets between two steps."""

_CLOEXEC: Final = _flag("O_CLOEXEC") | _flag("O_NOINHERIT")
_FOLDER: Final = _flag("O_DIRECTORY") | _CLOEXEC
_STEP: Final = _FOLDER | _flag("O_NOFOLLOW") | (_flag("O_PATH") or os.O_RDONLY)
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

    def __init__(self, path: Path, descriptor: int | None, objection: KeyStoreError | None = None) -> None:
        self.path = path
        self._descriptor = descriptor
        self._objection = objection  # why the folder is used for links of root only

    def holds(self, name: str) -> bool:
        """Whether there is anything of this name, if only a dangling symbolic link."""
        with _told(self.path / name, "looked at"):
            try:
                os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)
            except FileNotFoundError:
                return False
            return True

    def read(self, name: str, most: int, *, private: bool) -> bytes:
        """The content of the regular file `name`, of at most `most` bytes. Raises `KeyStoreError` as `opened` does."""
        path = self.path / name
        with self.opened(name, private=private) as descriptor, _told(path, "read"):
            content = _read(descriptor, most + 1)
        if len(content) > most:
            raise KeyStoreError(path, f"has more than {most} bytes, no key has as many", "name a key file")
        return content

    @contextlib.contextmanager
    def opened(self, name: str, *, private: bool, any_link: bool = False) -> Iterator[int]:
        """A descriptor of the regular file `name`, open for reading; closed when the context ends.

        Args:
            name: the file, or a symbolic link to it in the layout of a Kubernetes volume.
            private: whether the file must have the owner and mode of a private key.
            any_link: follow any symbolic link that belongs to root, as are those that ACME clients make.

        Raises:
            KeyFileNotFoundError: the file does not exist.
            KeyStoreError: the file is not regular or cannot be read; it is a symbolic link that is not followed; or,
                if `private`, it belongs to another user, or others have permissions on it.
        """
        path = self.path / name
        with _told(path, "read"):
            descriptor = self._open(name, any_link=any_link)
        try:
            with _told(path, "read"):
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise KeyStoreError(path, "is no regular file", "name a file")
                if private:
                    _check_private(path, status)
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, name: str, *, any_link: bool) -> int:
        path = self.path / name
        if self._objection is not None and not (self.holds(name) and self._is_link(name)):
            raise self._objection
        if not self._is_link(name):
            return os.open(self._at(name), _READ, dir_fd=self._descriptor)
        folder = self._descriptor
        if folder is None or not (any_link or os.readlink(name, dir_fd=folder) == f"..data/{name}"):
            raise KeyStoreError(path, "is a symbolic link", "name the file itself, or put a copy in its place")
        for _ in range(_FOLLOWED_MAX - 1):
            with contextlib.suppress(FileNotFoundError):
                return _follow(folder, name, path)
        return _follow(folder, name, path)

    def place(self, name: str, content: bytes, mode: int) -> bool:
        """Make the file `name`, whole or not at all. Returns False, and changes nothing, if the name is taken.

        What is left behind by a process that is killed meanwhile is at most a file ``.NAME.….tmp`` of the same mode.

        Raises:
            KeyStoreError: the file cannot be written.
        """
        if self._objection is not None:
            raise self._objection
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
        objection = None
        if trusted and descriptor is not None:
            status = os.fstat(descriptor)
            _check_owner(path, status)
            objection = _shared(path, status)
            if objection is not None and _is_read_only(descriptor, status):
                objection = None
            if objection is not None and not (status.st_uid == _ROOT and status.st_mode & stat.S_ISVTX):
                raise objection
        yield KeyFolder(path, descriptor, objection)
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


def _follow(folder: int, name: str, path: Path) -> int:
    """Open the file that `name`, a symbolic link in an open folder, leads to.

    Each step is made from a descriptor and follows no link by itself. Nobody but root can change where the steps lead:
    root owns each link, and each folder on the way, and others cannot replace its entries.

    Raises:
        KeyStoreError: a link or a folder on the way belongs to another user, or others may write to the folder.
        OSError: the file cannot be opened.
    """
    parts, links = [name], 0
    here = os.dup(folder)
    try:
        while True:
            part = parts.pop(0)
            status = os.stat(part, dir_fd=here, follow_symlinks=False)
            is_link = stat.S_ISLNK(status.st_mode)
            _check_step(path, here, status if is_link or parts else None)
            if not is_link and not parts:
                return os.open(part, _READ, dir_fd=here)
            if is_link:
                links += 1
                if links > _LINKS_MAX:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                target = os.readlink(part, dir_fd=here)
                parts[:0] = [step for step in target.split("/") if step]
                if not target.startswith("/"):
                    continue
                part = "/"
            following = os.open(part, _STEP, dir_fd=here)
            os.close(here)
            here = following
    finally:
        os.close(here)


def _check_step(path: Path, folder: int, entry: os.stat_result | None) -> None:
    """Refuse a folder on the way to a key unless only root can replace the entry, a link or a folder, that comes next.

    `entry` is None for the file at the end.
    """
    status = os.fstat(folder)
    hint = "name the file itself, or put a copy in its place"
    for one, kind in ((status, "a folder"), (entry, "a symbolic link or folder")):
        if one is not None and one.st_uid != _ROOT:
            raise KeyStoreError(path, f"is a symbolic link, and {kind} on its way belongs to user {one.st_uid}", hint)
    sticky = entry is not None and status.st_mode & stat.S_ISVTX
    if _shared(path, status) is not None and not sticky and not _is_read_only(folder, status):
        raise KeyStoreError(path, "is a symbolic link, and others may write to a folder on its way", hint)


def _is_read_only(folder: int, status: os.stat_result) -> bool:
    """Whether a folder belongs to root and is on a read-only mount, such as a secret's in a container."""
    return status.st_uid == _ROOT and bool(os.fstatvfs(folder).f_flag & os.ST_RDONLY)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if not _HAS_OWNERS:
        return
    user = os.geteuid()
    if status.st_uid not in {user, _ROOT}:
        problem = f"belongs to user {status.st_uid}, not to user {user} or root"
        raise KeyStoreError(path, problem, f"as root, chown it to user {user}, or {_copy_hint(user)}")


def _check_private(path: Path, status: os.stat_result) -> None:
    """Refuse a file that does not have the owner and mode of a private key."""
    _check_owner(path, status)
    mode = stat.S_IMODE(status.st_mode)
    if not _HAS_OWNERS or not mode & (_ROOTS_FORBIDDEN if status.st_uid == _ROOT else _OWN_FORBIDDEN):
        return
    user = os.geteuid()
    if user == status.st_uid:
        hint = f"chmod 600 {shlex.quote(str(path))}"
    else:
        hint = (
            "in a Kubernetes pod set fsGroup and the volume's defaultMode: 0400, which gives the file mode 0440; "
            f"or {_copy_hint(user)}"
        )
    raise KeyStoreError(path, f"has mode {mode:04o}: others may use it", hint)


def _copy_hint(user: int) -> str:
    return (
        f"use a copy that belongs to user {user} and has mode 0600 (in a container, an entrypoint or init container "
        "can make it)"
    )


def _shared(path: Path, status: os.stat_result) -> KeyStoreError | None:
    """The objection to a folder that others may write to; None if they may not."""
    mode = stat.S_IMODE(status.st_mode)
    if not _HAS_OWNERS or not mode & 0o022:
        return None
    user = os.geteuid()
    if mode & stat.S_ISVTX:  # a shared folder, as /tmp is
        hint = "use a folder that nobody else can write to"
    elif user in {status.st_uid, _ROOT}:
        hint = f"chmod go-w {shlex.quote(str(path))}"
    else:
        hint = f"mount it read-only, or use a folder that only user {user} can write to"
    return KeyStoreError(path, f"has mode {mode:04o}: others may write to it", hint)


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
    except PermissionError as error:
        raise KeyStoreError(path, f"cannot be {done}: {error.strerror}", _permission_hint()) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or "no file can have this name"
        raise KeyStoreError(path, f"cannot be {done}: {reason}", "check its name and permissions") from None


def _permission_hint() -> str:
    hint = "check its permissions and those of its folder"
    if not _HAS_OWNERS or os.geteuid() == _ROOT:
        return hint
    return f"{hint}: user {os.geteuid()} must be allowed to use it (in a Kubernetes pod, set fsGroup)"
