"""Create and check the private folder of an audit's state, and open files in it.

An audit trusts its state (`--resume`) and writes to its files, so no other user may be able to prepare or change them.
The folder has mode 0700, belongs to the effective user and is not a symbolic link; it is opened once, and the files in
it are opened relative to its descriptor. The folders above it are not checked: other users may be able to write to them
(umask 0002, a container's workspace, a volume with fsGroup, /tmp). A user who can write to such a folder can replace
the state folder; `check_open` detects that for the one file that is opened by path.

Windows has no such owners and modes; there only symbolic links are refused.
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

from nomyo_attest._files import BY_DESCRIPTOR, HAS_OWNERS, Access, Folder, as_file, flag, owner_problem, reason
from nomyo_attest.errors import NomyoAttestError

MODE: Final = 0o700

NO_SPACE_HINT: Final = "free some space there, or choose a folder with more space with --state (or TMPDIR)"
"""The hint for a full file system."""

_OTHER_FOLDER: Final = "name another folder with --state (it is created if it is not there)"
_REPLACED: Final = "another folder was put in its place"
_OWN_PARENT: Final = "name another with --state, in a folder that only you can write to"
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_HERE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTSUP, errno.ENOSYS})
_FOLDER: Final = os.O_RDONLY | flag("O_DIRECTORY") | flag("O_NOFOLLOW") | flag("O_CLOEXEC")


class StateError(NomyoAttestError):
    """The state of an audit cannot be used.

    Attributes:
        folder: its path.
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
    """The open folder of an audit's state, as returned by `StateFolder.open`, `temporary` and `open_beside`.

    Its methods raise `StateError`, except `link`.

    Attributes:
        new: whether opening it created it.
    """

    def __init__(self, path: Path, descriptor: int | None, *, new: bool) -> None:
        super().__init__(path, descriptor)
        self.new = new

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the folder at `path`, which is created if it does not exist.

        Raises:
            NoPrivateFolderError: no folder can be created there, or the folder created is not private.
            StateError: it is not a folder, is a symbolic link, belongs to another user, or has another mode than 0700.
        """
        return cls._opened(path, new=_create(path))

    @classmethod
    def _opened(cls, path: Path, *, new: bool) -> Self:
        with as_state_error(path):
            if path.is_symlink():
                raise StateError(str(path), f"is a symbolic link; {_OTHER_FOLDER}")
            if not BY_DESCRIPTOR:
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
        """Open a new folder in the temporary directory (TMPDIR). Raises `StateError`."""
        parent = _temporary_folder()
        with as_state_error(parent):
            path = Path(tempfile.mkdtemp(prefix="nomyo-attest-audit-", dir=parent))
        return cls._opened(path, new=True)

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
        self, name: str, access: Access, *, mode: int = 0o600, links: bool = False, buffered: bool = False
    ) -> IO[bytes]:
        """Open the regular file `name` of the user, without following links.

        Args:
            name: its name.
            access: how to open it.
            mode: permission bits, if the file is created.
            links: allow other names for the file (hard links); for reading only.
            buffered: whether Python buffers what is read and written.

        Raises:
            StateError: it cannot be opened, is not a regular file, belongs to another user, or has another hard link.
        """
        where = self.path / name
        with as_state_error(where):
            if self.is_link(name):
                raise StateError(str(where), f"is a symbolic link; remove it, or {_OTHER_FOLDER}")
            descriptor = self.open_descriptor(name, access, mode)
            try:
                _check_file(where, os.fstat(descriptor), links=links)
            except BaseException:
                os.close(descriptor)
                raise
            return as_file(descriptor, access, buffered=buffered)

    def check_file(self, name: str, *, links: bool = False) -> None:
        """Check a file as `open_file` does, and close it."""
        self.open_file(name, Access.READ, links=links).close()

    def check_open(self, name: str) -> None:
        """Check that this process has the file `name` of this folder open.

        SQLite opens its files by path. If the folder at that path was another one at that moment, the files that
        SQLite has open are not the files here.
        """
        if self.descriptor is None:
            return
        status = self.status(name)
        if status is None or (status.st_dev, status.st_ino) not in _open_files():
            raise StateError(str(self.path), f"{_REPLACED} while {name} was opened; {_OWN_PARENT}")

    def check_place(self) -> None:
        """Check that the path still refers to this folder."""
        if not self._is_in_place():
            raise StateError(str(self.path), f"{_REPLACED}; {_OWN_PARENT}")

    def has_name(self, file: IO[bytes], name: str) -> bool:
        """Whether an open file still has the name `name` in this folder."""
        status = self.status(name)
        return status is not None and os.path.samestat(status, os.fstat(file.fileno()))

    def changed(self, name: str) -> tuple[int, int] | None:
        """Return the time of the last change in nanoseconds and the size in bytes; None if there is no such file."""
        status = self.status(name)
        return None if status is None else (status.st_mtime_ns, status.st_size)

    def remove(self) -> None:
        """Remove the folder, which must be empty."""
        with as_state_error(self.path):
            if self._is_in_place():
                self.path.rmdir()

    def close(self) -> None:
        """Close it. Closing it again does nothing."""
        if self.descriptor is not None and self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1  # not None, with which files would be opened by path

    def _is_in_place(self) -> bool:
        with as_state_error(self.path):
            return self.descriptor is None or os.path.samestat(
                self.path.stat(follow_symlinks=False), os.fstat(self.descriptor)
            )


def open_beside(path: Path) -> StateFolder:
    """Open the state folder at `path`, or a private one in the temporary directory if `path` cannot be one.

    The name of the latter depends on `path` and the user only, so that an interrupted audit can be resumed.
    Raises `StateError`.
    """
    try:
        elsewhere = _elsewhere(path)
    except StateError:
        elsewhere = None
    if elsewhere is not None and not os.path.lexists(path) and _is_own_folder(elsewhere):
        return StateFolder.open(elsewhere)
    try:
        return StateFolder.open(path)
    except NoPrivateFolderError:
        if elsewhere is None:
            raise
        return StateFolder.open(elsewhere)


@contextlib.contextmanager
def as_state_error(where: Path | str) -> Iterator[None]:
    """Raise operating system errors as `StateError`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise StateError(str(where), f"the audit's state cannot be stored: {reason(error)}{_hint(error)}") from None


def _hint(error: Exception) -> str:
    return f"; {NO_SPACE_HINT}" if getattr(error, "errno", None) in _NO_SPACE else ""


def _create(path: Path) -> bool:
    """Create the folder unless the name is taken; returns whether it is new."""
    with as_state_error(path):
        try:
            path.mkdir(mode=MODE)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            problem = f"no folder can be created there: {reason(error)}; name a folder elsewhere with --state"
            raise NoPrivateFolderError(str(path), problem) from None
        return True


def _check_owner_can_enter(path: Path) -> None:
    """Remove a new folder in which its owner cannot create files. Raises `NoPrivateFolderError`."""
    mode = _mode(path.lstat())
    if mode & MODE != MODE:
        path.rmdir()
        problem = f"expected mode 0700, got {mode:04o}: set a umask that leaves the owner all rights"
        raise NoPrivateFolderError(str(path), problem)


def _open_folder(path: Path) -> int:
    """Open a folder without following a link. Raises `StateError`."""
    try:
        return os.open(path, _FOLDER)
    except OSError as error:
        raise StateError(str(path), f"cannot be opened as a folder: {reason(error)}; {_OTHER_FOLDER}") from None


def _check_folder(path: Path, descriptor: int, *, new: bool) -> None:
    status = os.fstat(descriptor)
    if new and _mode(status) != MODE:  # by an unusual umask, or an inherited access control list
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, MODE)
        status = os.fstat(descriptor)
    user, mode = os.geteuid(), _mode(status)
    if new and (status.st_uid != user or mode != MODE):
        problem = (
            f"a folder created there has mode {mode:04o} and belongs to user {status.st_uid}, so it is not private"
        )
        raise NoPrivateFolderError(
            str(path), f"{problem}; name another folder with --state, on a file system that supports permissions"
        )
    if foreign := owner_problem(status):
        raise StateError(str(path), f"{foreign}, who could have changed it; {_OTHER_FOLDER}")
    if mode != MODE:
        problem = f"expected mode 0700, got {mode:04o}: others can or could change it"
        raise StateError(str(path), f"{problem}; remove it if nothing in it is needed, or {_OTHER_FOLDER}")


def _check_file(where: Path, status: os.stat_result, *, links: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StateError(str(where), f"is not a regular file; {_OTHER_FOLDER}")
    if not HAS_OWNERS:
        return
    if problem := owner_problem(status):
        raise StateError(str(where), f"{problem}; {_OTHER_FOLDER}")
    if status.st_nlink != 1 and not links:
        raise StateError(str(where), f"is one of {status.st_nlink} names of a file (hard links); {_OTHER_FOLDER}")


def _mode(status: os.stat_result) -> int:
    """Permission bits, without set-group-ID, which new folders inherit on some volumes."""
    return stat.S_IMODE(status.st_mode) & 0o777


def _open_files() -> set[tuple[int, int]]:
    """Return device and inode of every file that this process has open."""
    numbers = set(range(1024))  # if neither folder lists them, such as on FreeBSD
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError, ValueError):
            numbers |= {int(path.name) for path in Path(folder).iterdir()}
            break
    found = set()
    for number in numbers:
        with contextlib.suppress(OSError):
            status = os.fstat(number)
            found.add((status.st_dev, status.st_ino))
    return found


def _temporary_folder() -> str:
    """Return the temporary directory. Raises `StateError`."""
    try:
        return tempfile.gettempdir()
    except OSError as error:
        problem = f"{reason(error)}; name a folder with --state, or set TMPDIR to one that you can write to"
        raise StateError("temporary folder", problem) from None


def _elsewhere(path: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]
    user = os.geteuid() if HAS_OWNERS else 0
    return Path(_temporary_folder(), f"nomyo-attest-{user}-{digest}.audit-state")


def _is_own_folder(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (not HAS_OWNERS or status.st_uid == os.geteuid())
