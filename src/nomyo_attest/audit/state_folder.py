"""Create and check the private folder of an audit's state, and open files in it.

An audit trusts its state (`--resume`) and writes to its files, so no other user may be able to prepare or change them.
The folder has mode 0700, belongs to the effective user and is not a symbolic link. It is opened once, and the files in
it are opened relative to its descriptor. The folders above it are not checked: other users may be able to write to them
(umask 0002, a container's workspace, a volume with fsGroup, /tmp). A user who can write to such a folder can replace
the state folder. For the file that SQLite opens by path, `check_open` detects this.

On Windows, owners and modes are not checked, and only symbolic links are refused.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Self

from nomyo_attest._files import HAS_DIR_FD, HAS_OWNERS, Access, Folder, as_file, open_flag, owner_problem, reason
from nomyo_attest.errors import NomyoAttestError

STATE_FOLDER_MODE: Final = 0o700

NO_SPACE_HINT: Final = "free some space there, or choose a folder with more space with --state (or TMPDIR)"
"""The hint for a full file system."""

_STATE_HINT: Final = "name another folder with --state (it is created if it does not exist)"
_WAS_REPLACED: Final = "another user or process replaced the folder"
_PRIVATE_PARENT_HINT: Final = "with --state, name a folder inside a folder that only you can write to"
_SPACE_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CREATE_ERRORS: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTSUP, errno.ENOSYS})
_FOLDER_FLAGS: Final = os.O_RDONLY | open_flag("O_DIRECTORY") | open_flag("O_NOFOLLOW") | open_flag("O_CLOEXEC")


class StateError(NomyoAttestError):
    """The state of an audit cannot be used.

    Attributes:
        folder: the path of the folder.
        problem: what is wrong, with a hint.
    """

    def __init__(self, folder: str, problem: str) -> None:
        self.folder = folder
        self.problem = problem
        super().__init__(folder, problem)

    def __str__(self) -> str:
        return f"{self.folder}: {self.problem}"


class NoPrivateFolderError(StateError):
    """No private folder can be created at this path, such as on a file system that ignores permissions."""


class StateFolder(Folder):
    """The open folder of an audit's state, as returned by `StateFolder.open`, `temporary` and `open_or_temporary`.

    Its methods raise `StateError`, except `link`.

    Attributes:
        new: whether this process created it.
    """

    def __init__(self, path: Path, descriptor: int | None, *, new: bool) -> None:
        super().__init__(path, descriptor)
        self.new = new

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the folder at `path`, which is created if it does not exist.

        Raises:
            NoPrivateFolderError: no folder can be created there, or the folder created is not private.
            StateError: it is not a folder, is a symbolic link, belongs to another user, or does not have mode 0700.
        """
        return cls._open_checked(path, new=_create_folder(path))

    @classmethod
    def _open_checked(cls, path: Path, *, new: bool) -> Self:
        with as_state_error(path):
            if path.is_symlink():
                raise StateError(str(path), f"is a symbolic link; {_STATE_HINT}")
            if not HAS_DIR_FD:
                if not path.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                return cls(path, None, new=new)
            if new:
                _check_owner_can_enter(path)
            descriptor = _open_folder(path)
        try:
            with as_state_error(path):
                _check_folder(path, descriptor, new=new)
            return cls(path, descriptor, new=new)
        except BaseException:
            os.close(descriptor)
            if new:
                with contextlib.suppress(OSError):
                    os.rmdir(path)  # noqa: PTH106 - beside the other calls of `os`
            raise

    @classmethod
    def temporary(cls) -> Self:
        """Create and open a folder in the temporary directory (TMPDIR). Raises `StateError`."""
        parent = _temporary_folder()
        with as_state_error(parent):
            path = Path(tempfile.mkdtemp(prefix="nomyo-attest-audit-", dir=parent))
        return cls._open_checked(path, new=True)

    def status(self, name: str) -> os.stat_result | None:
        with as_state_error(self.path):
            return super().status(name)

    def names(self) -> list[str]:
        with as_state_error(self.path):
            return super().names()

    def unlink(self, name: str) -> None:
        with as_state_error(self.path):
            super().unlink(name)

    def sync(self) -> None:
        with as_state_error(self.path):
            super().sync()

    def open_file(
        self, name: str, access: Access, *, mode: int = 0o600, allow_hard_links: bool = False, buffered: bool = False
    ) -> IO[bytes]:
        """Open the regular file `name` of the user, without following links.

        Args:
            name: its name.
            access: how to open it.
            mode: permission bits, if the file is created.
            allow_hard_links: allow further hard links to the file; only for reading.
            buffered: whether Python buffers reads and writes.

        Raises:
            StateError: it cannot be opened, is not a regular file, belongs to another user, or has another hard link.
        """
        where = self.path / name
        with as_state_error(where):
            if self.is_link(name):
                raise StateError(str(where), f"is a symbolic link; remove it, or {_STATE_HINT}")
            descriptor = self.open_descriptor(name, access, mode)
            try:
                _check_file(where, os.fstat(descriptor), allow_hard_links=allow_hard_links)
            except BaseException:
                os.close(descriptor)
                raise
            return as_file(descriptor, access, buffered=buffered)

    def check_file(self, name: str, *, allow_hard_links: bool = False) -> None:
        """Check a file as `open_file` does, without leaving it open."""
        self.open_file(name, Access.READ, allow_hard_links=allow_hard_links).close()

    def check_open(self, name: str) -> None:
        """Check that this process has the file `name` of this folder open.

        SQLite opens its files by path. If a different folder was at that path at that moment, the files that SQLite
        opened are not the files of this folder.
        """
        if self.descriptor is None:
            return
        status = self.status(name)
        if status is None or (status.st_dev, status.st_ino) not in _open_files():
            raise StateError(str(self.path), f"{_WAS_REPLACED} while {name} was opened; {_PRIVATE_PARENT_HINT}")

    def check_path(self) -> None:
        """Check that the path still refers to this folder."""
        if not self._is_at_path():
            raise StateError(str(self.path), f"{_WAS_REPLACED}; {_PRIVATE_PARENT_HINT}")

    def has_name(self, file: IO[bytes], name: str) -> bool:
        """Whether an open file still has the name `name` in this folder."""
        status = self.status(name)
        return status is not None and os.path.samestat(status, os.fstat(file.fileno()))

    def change_stamp(self, name: str) -> tuple[int, int] | None:
        """Return the time of the last change in nanoseconds and the size in bytes; None if there is no such file."""
        status = self.status(name)
        return None if status is None else (status.st_mtime_ns, status.st_size)

    def remove(self) -> None:
        """Remove the folder, which must be empty."""
        with as_state_error(self.path):
            if self._is_at_path():
                self.path.rmdir()

    def close(self) -> None:
        """Close the descriptor. Closing it again does nothing."""
        if self.descriptor is not None and self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1  # not None: then files would be opened by path

    def _is_at_path(self) -> bool:
        with as_state_error(self.path):
            return self.descriptor is None or os.path.samestat(
                self.path.stat(follow_symlinks=False), os.fstat(self.descriptor)
            )


def open_or_temporary(path: Path) -> StateFolder:
    """Open the state folder at `path`, or a private folder in the temporary directory if `path` cannot be private.

    The name of the latter depends only on `path` and the user, so that an interrupted audit can be resumed.
    Raises `StateError`.
    """
    try:
        temporary = _temporary_path(path)
    except StateError:
        temporary = None
    if temporary is not None and not os.path.lexists(path) and _is_own_folder(temporary):
        return StateFolder.open(temporary)
    try:
        return StateFolder.open(path)
    except NoPrivateFolderError:
        if temporary is None:
            raise
        return StateFolder.open(temporary)


@contextlib.contextmanager
def as_state_error(where: Path | str) -> Iterator[None]:
    """Raise operating system errors as `StateError`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise StateError(
            str(where), f"the audit's state cannot be stored: {reason(error)}{_space_hint(error)}"
        ) from None


def _space_hint(error: Exception) -> str:
    return f"; {NO_SPACE_HINT}" if getattr(error, "errno", None) in _SPACE_ERRORS else ""


def _create_folder(path: Path) -> bool:
    """Create the folder if the name is free; returns whether it did."""
    with as_state_error(path):
        try:
            path.mkdir(mode=STATE_FOLDER_MODE)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _CREATE_ERRORS:
                raise
            problem = f"the folder cannot be created: {reason(error)}; name a folder elsewhere with --state"
            raise NoPrivateFolderError(str(path), problem) from None
        return True


def _check_owner_can_enter(path: Path) -> None:
    """Check that the owner of a new folder can create files in it; if not, remove it. Raises `NoPrivateFolderError`."""
    mode = _permissions(path.lstat())
    if mode & STATE_FOLDER_MODE != STATE_FOLDER_MODE:
        path.rmdir()
        problem = f"expected mode 0700, got {mode:04o}: set a umask that gives the owner all permissions"
        raise NoPrivateFolderError(str(path), problem)


def _open_folder(path: Path) -> int:
    """Open a folder without following a link. Raises `StateError`."""
    try:
        return os.open(path, _FOLDER_FLAGS)
    except OSError as error:
        raise StateError(str(path), f"cannot be opened as a folder: {reason(error)}; {_STATE_HINT}") from None


def _check_folder(path: Path, descriptor: int, *, new: bool) -> None:
    status = os.fstat(descriptor)
    if new and _permissions(status) != STATE_FOLDER_MODE:  # due to a umask or an inherited access control list
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, STATE_FOLDER_MODE)
        status = os.fstat(descriptor)
    user, mode = os.geteuid(), _permissions(status)
    if new and (status.st_uid != user or mode != STATE_FOLDER_MODE):
        problem = f"the new folder has mode {mode:04o} and belongs to user {status.st_uid}, so it is not private"
        raise NoPrivateFolderError(
            str(path), f"{problem}; name another folder with --state, on a file system that supports permissions"
        )
    if wrong_owner := owner_problem(status):
        raise StateError(str(path), f"{wrong_owner}, who could have changed it; {_STATE_HINT}")
    if mode != STATE_FOLDER_MODE:
        problem = f"expected mode 0700, got {mode:04o}: other users can or could change it"
        raise StateError(str(path), f"{problem}; remove it if nothing in it is needed, or {_STATE_HINT}")


def _check_file(where: Path, status: os.stat_result, *, allow_hard_links: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StateError(str(where), f"is not a regular file; {_STATE_HINT}")
    if not HAS_OWNERS:
        return
    if problem := owner_problem(status):
        raise StateError(str(where), f"{problem}; {_STATE_HINT}")
    if status.st_nlink != 1 and not allow_hard_links:
        raise StateError(str(where), f"is one of {status.st_nlink} hard links to a file; {_STATE_HINT}")


def _permissions(status: os.stat_result) -> int:
    """Return the permission bits without set-group-ID, which new folders inherit on some volumes."""
    return stat.S_IMODE(status.st_mode) & 0o777


def _open_files() -> set[tuple[int, int]]:
    """Return device and inode of every file that this process has open."""
    numbers = set(range(1024))  # a guess for systems, such as FreeBSD, where neither folder lists them
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError, ValueError):
            numbers |= {int(path.name) for path in Path(folder).iterdir()}
            break
    files = set()
    for number in numbers:
        with contextlib.suppress(OSError):
            status = os.fstat(number)
            files.add((status.st_dev, status.st_ino))
    return files


def _temporary_folder() -> str:
    """Return the temporary directory. Raises `StateError`."""
    try:
        return tempfile.gettempdir()
    except OSError as error:
        problem = f"{reason(error)}; name a folder with --state, or set TMPDIR to one that you can write to"
        raise StateError("temporary folder", problem) from None


def _temporary_path(path: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]
    user = os.geteuid() if HAS_OWNERS else 0
    return Path(_temporary_folder(), f"nomyo-attest-{user}-{digest}.audit-state")


def _is_own_folder(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (not HAS_OWNERS or status.st_uid == os.geteuid())
