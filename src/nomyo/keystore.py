"""Read and write private keys in a folder that is opened once, checked, and then used through its descriptor.

A new file is created atomically, never replaces another file, and has its mode from the start (`nomyo_attest._files`).
A private key must have the owner and mode that PostgreSQL requires: it belongs to the user with mode 0600 or stricter,
or to root with mode 0640 or stricter. A symbolic link is followed only in the layout of a Kubernetes volume
(``NAME -> ..data/NAME``, ``..data -> ..TIMESTAMP``), and only if root owns the links and the folders. The checks
cover POSIX owners and modes, but not access control lists or parent folders. On Windows, only symbolic links
are refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nomyo.errors import KeyFileNotFoundError, KeyStoreError
from nomyo_attest import _files
from nomyo_attest._files import GROUP_AND_OTHERS_WRITE, Access, mode_problem, open_flag, owner_problem

PRIVATE_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
FOLDER_MODE: Final = 0o700

_ROOT: Final = 0
_FORBIDDEN_TO_USER_KEY: Final = 0o077
"""Permission bits that a private key owned by the user must not have."""

_FORBIDDEN_TO_ROOT_KEY: Final = 0o037
"""Permission bits that a private key owned by root must not have: root may let a group read it. Both masks are those of
PostgreSQL's libpq (src/interfaces/libpq/fe-secure-openssl.c).
"""

_LINKS_MAX: Final = 8
_ATTEMPTS: Final = 3
"""Attempts to follow a link: the kubelet may replace a folder with secrets between two steps."""

_FOLDER_FLAGS: Final = open_flag("O_DIRECTORY") | open_flag("O_CLOEXEC") | open_flag("O_NOINHERIT")
_PATH_FLAGS: Final = open_flag("O_PATH") or os.O_RDONLY
_STEP_FLAGS: Final = _FOLDER_FLAGS | open_flag("O_NOFOLLOW") | _PATH_FLAGS

_USE_A_COPY: Final = "name the file itself, or replace the link with a copy"


class KeyFolder(_files.Folder):
    """An open folder with key files; created by `open_folder`."""

    def __init__(self, path: Path, descriptor: int | None, folder_error: KeyStoreError | None = None) -> None:
        super().__init__(path, descriptor)
        self._folder_error = folder_error  # raised for everything except links that belong to root

    def holds(self, name: str) -> bool:
        with _key_store_errors(self.path / name, "accessed"):
            return super().holds(name)

    def read(self, name: str, maximum: int, *, private: bool) -> bytes:
        """Return the content of the regular file `name`, at most `maximum` bytes. Raises the errors of `opened`."""
        path = self.path / name
        with self.opened(name, private=private) as descriptor, _key_store_errors(path, "read"):
            content = _files.read_descriptor(descriptor, maximum + 1)
        if len(content) > maximum:
            raise KeyStoreError(
                path, f"is larger than {maximum} bytes, which is too large for a key", "name a key file"
            )
        return content

    @contextlib.contextmanager
    def opened(self, name: str, *, private: bool, any_link: bool = False) -> Iterator[int]:
        """Open the regular file `name` for reading, and return its descriptor, which is closed when the context ends.

        Args:
            name: the file, or a symbolic link to it in the layout of a Kubernetes volume.
            private: whether the file must have the owner and mode of a private key.
            any_link: follow any symbolic link that belongs to root, such as those that ACME clients create.

        Raises:
            KeyFileNotFoundError: the file does not exist.
            KeyStoreError: the file is not regular or cannot be read; it is a symbolic link that is not followed; or,
                if `private`, it belongs to another user or others have permissions on it.
        """
        path = self.path / name
        with _key_store_errors(path, "read"):
            descriptor = self._open(name, any_link=any_link)
        try:
            with _key_store_errors(path, "read"):
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise KeyStoreError(path, "is not a regular file", "name a file")
                if private:
                    _check_private(path, status)
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, name: str, *, any_link: bool) -> int:
        is_link = self.is_link(name)
        if self._folder_error is not None and not is_link:
            raise self._folder_error
        if not is_link:
            return self.open_descriptor(name, Access.READ)
        path, folder = self.path / name, self.descriptor
        if folder is None or not (any_link or os.readlink(name, dir_fd=folder) == f"..data/{name}"):
            raise KeyStoreError(path, "is a symbolic link", _USE_A_COPY)
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(FileNotFoundError):
                return _open_through_links(folder, name, path)
        return _open_through_links(folder, name, path)

    def create(self, name: str, content: bytes, mode: int) -> bool:
        """Create the file `name` atomically. Returns False, and changes nothing, if the name is taken.

        Raises:
            KeyStoreError: the file cannot be written.
        """
        if self._folder_error is not None:
            raise self._folder_error
        with _key_store_errors(self.path / name, "written"):
            try:
                with self.new_file(name, mode=mode) as file:
                    file.write(content)
            except FileExistsError:
                return False
        return True


@contextlib.contextmanager
def open_folder(path: Path, *, create: bool = False, trusted: bool = True) -> Iterator[KeyFolder]:
    """Open a folder with key files, which is closed when the context ends.

    Args:
        path: the folder, or a symbolic link to it.
        create: create the folder and its missing parents with mode 0700. If False, the folder is opened read-only.
        trusted: refuse a folder that anyone except the user and root can write to.

    Raises:
        KeyFileNotFoundError: it does not exist.
        KeyStoreError: it is not a folder, cannot be opened or created, or is not trustworthy.
    """
    descriptor = None
    with _key_store_errors(path, "opened"):
        if create:
            _make_folders(path)
        if _files.HAS_DIR_FD:
            descriptor = os.open(path, _FOLDER_FLAGS | (os.O_RDONLY if create else _PATH_FLAGS))
        elif not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    try:
        folder_error = None
        if trusted and descriptor is not None:
            status = os.fstat(descriptor)
            _check_owner(path, status)
            folder_error = _shared_folder_error(path, status)
            if folder_error is not None and _is_read_only(descriptor, status):
                folder_error = None
            if folder_error is not None and not (status.st_uid == _ROOT and status.st_mode & stat.S_ISVTX):
                raise folder_error
        yield KeyFolder(path, descriptor, folder_error)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _make_folders(path: Path) -> None:
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process created it first
            folder.mkdir(FOLDER_MODE)


def _open_through_links(folder: int, name: str, path: Path) -> int:
    """Open the target of `name`, a symbolic link in an open folder.

    Each step starts at an open folder, and the system does not follow links. Only root can change the path: root owns
    each link and each folder on the way, and others cannot replace their entries.

    Raises:
        KeyStoreError: a link or a folder on the way belongs to another user, or others may write to the folder.
        OSError: the file cannot be opened.
    """
    parts, links = [name], 0
    current = os.dup(folder)
    try:
        while True:
            part = parts.pop(0)
            status = os.stat(part, dir_fd=current, follow_symlinks=False)
            is_link = stat.S_ISLNK(status.st_mode)
            _check_step(path, current, status if is_link or parts else None)
            if not is_link and not parts:
                return Access.READ.open(part, folder=current)
            if is_link:
                links += 1
                if links > _LINKS_MAX:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                target = os.readlink(part, dir_fd=current)
                parts[:0] = [step for step in target.split("/") if step]
                if not target.startswith("/"):
                    continue
                part = "/"
            next_folder = os.open(part, _STEP_FLAGS, dir_fd=current)
            os.close(current)
            current = next_folder
    finally:
        os.close(current)


def _check_step(path: Path, folder: int, entry: os.stat_result | None) -> None:
    """Refuse a folder on the way to a key unless only root can replace the next entry, which is a link or a folder.

    `entry` is None for the file at the end of the path.
    """
    status = os.fstat(folder)
    for step, kind in ((status, "a folder"), (entry, "a symbolic link or folder")):
        if step is not None and step.st_uid != _ROOT:
            problem = f"is a symbolic link, and {kind} on the way to its target belongs to user {step.st_uid}"
            raise KeyStoreError(path, problem, _USE_A_COPY)
    sticky = entry is not None and status.st_mode & stat.S_ISVTX
    if _shared_folder_error(path, status) is not None and not sticky and not _is_read_only(folder, status):
        raise KeyStoreError(
            path, "is a symbolic link, and others can write to a folder on the way to its target", _USE_A_COPY
        )


def _is_read_only(folder: int, status: os.stat_result) -> bool:
    """Whether a folder belongs to root and is on a read-only mount, such as that of a secret in a container."""
    return status.st_uid == _ROOT and bool(os.fstatvfs(folder).f_flag & os.ST_RDONLY)


def _check_owner(path: Path, status: os.stat_result) -> None:
    problem = owner_problem(status, root=True)
    if problem is not None:
        user = os.geteuid()
        raise KeyStoreError(path, problem, f"as root, chown it to user {user}, or {_copy_hint(user)}")


def _check_private(path: Path, status: os.stat_result) -> None:
    """Refuse a file that does not have the owner and mode of a private key."""
    _check_owner(path, status)
    forbidden = _FORBIDDEN_TO_ROOT_KEY if status.st_uid == _ROOT else _FORBIDDEN_TO_USER_KEY
    problem = mode_problem(status, forbidden, "others may use it")
    if problem is None:
        return
    user = os.geteuid()
    if user == status.st_uid:
        hint = f"chmod 600 {shlex.quote(str(path))}"
    else:
        hint = (
            "in a Kubernetes pod, set fsGroup and the volume's defaultMode: 0400, which gives the file mode 0440; "
            f"or {_copy_hint(user)}"
        )
    raise KeyStoreError(path, problem, hint)


def _copy_hint(user: int) -> str:
    return (
        f"use a copy that belongs to user {user} and has mode 0600 (in a container, an entrypoint or init container "
        "can create it)"
    )


def _shared_folder_error(path: Path, status: os.stat_result) -> KeyStoreError | None:
    """Return the error for a folder that others can write to; None if they cannot."""
    problem = mode_problem(status, GROUP_AND_OTHERS_WRITE, "others may write to it")
    if problem is None:
        return None
    user = os.geteuid()
    if status.st_mode & stat.S_ISVTX:  # a shared folder such as /tmp
        hint = "use a folder that only you can write to"
    elif user in {status.st_uid, _ROOT}:
        hint = f"chmod go-w {shlex.quote(str(path))}"
    else:
        hint = f"mount it read-only, or use a folder that only user {user} can write to"
    return KeyStoreError(path, problem, hint)


@contextlib.contextmanager
def _key_store_errors(path: Path, action: str) -> Iterator[None]:
    """Convert system errors, which quote file names but never content, to `KeyStoreError`."""
    try:
        yield
    except KeyStoreError:
        raise
    except FileNotFoundError:
        raise KeyFileNotFoundError(path) from None
    except NotADirectoryError:
        raise KeyStoreError(path, "is not a folder, or part of its path is not", "name a folder") from None
    except PermissionError as error:
        raise KeyStoreError(path, f"cannot be {action}: {error.strerror}", _permission_hint()) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        problem = f"cannot be {action}: {_files.reason(error)}"
        raise KeyStoreError(path, problem, "check its path and permissions") from None


def _permission_hint() -> str:
    hint = "check its permissions and those of its folder"
    if not _files.HAS_OWNERS or os.geteuid() == _ROOT:
        return hint
    return f"{hint}: user {os.geteuid()} must be allowed to use it (in a Kubernetes pod, set fsGroup)"
