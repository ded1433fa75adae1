"""Bounded reads, atomic writes, locks, fsync, and checks of owner, mode and links.

No other module of `nomyo_attest` or `nomyo` opens a file for writing, renames a file or locks one; a test searches
their source for that. Functions raise `OSError`, and `ValueError` for an invalid path, such as one with a NUL; callers
convert both to their own errors, with `reason` for the message.

A new file is complete or absent: it is written under a temporary name in the same folder, synced, and then renamed.
A symbolic link as the last part of a path is not followed, except where a docstring says so. The checks of
owner and mode are those of POSIX, without access control lists and parent folders; Windows has no equivalent.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

HAS_OWNERS: Final = hasattr(os, "geteuid")
"""Whether files have owners and modes."""

HAS_DIR_FD: Final = {
    os.open,
    os.stat,
    os.link,
    os.rename,
    os.unlink,
} <= os.supports_dir_fd and os.listdir in os.supports_fd
"""Whether files can be opened relative to an open folder, so that replacing the folder at its path has no effect."""

GROUP_AND_OTHERS_WRITE: Final = 0o022
"""The permission bits that allow other users to write to a file or folder."""

_NO_FOLLOW: Final[dict[str, Any]] = {"follow_symlinks": False} if os.link in os.supports_follow_symlinks else {}
_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
"""The errors of a file system that cannot sync folders."""


def open_flag(name: str) -> int:
    """Return the flag `name` of `os.open`; 0 if the system does not have it."""
    value = getattr(os, name, 0)
    assert isinstance(value, int)
    return value


# Without O_NONBLOCK, opening a FIFO would wait for a writer.
_FLAGS: Final = (open_flag("O_NOFOLLOW") | open_flag("O_NONBLOCK") | open_flag("O_NOCTTY")) | (
    open_flag("O_CLOEXEC") | open_flag("O_NOINHERIT") | open_flag("O_BINARY")
)


class Access(enum.Enum):
    """A way to open a file: the flags of `os.open`, and the mode of the Python file."""

    READ = (os.O_RDONLY, "rb")
    UPDATE = (os.O_RDWR, "r+b")
    """Read and write a file that exists."""
    APPEND = (os.O_RDWR | os.O_APPEND, "a+b")
    """Read a file that exists and write to its end only."""
    APPEND_OR_CREATE = (os.O_RDWR | os.O_APPEND | os.O_CREAT, "a+b")
    NEW = (os.O_RDWR | os.O_CREAT | os.O_EXCL, "w+b")
    """Create a file; fails with `FileExistsError` if anything has its name."""

    def open(self, name: str | Path, mode: int = 0o600, *, folder: int | None = None) -> int:
        """Open the path `name`, or a name in an open `folder`, without following a link, and return the descriptor.

        `mode` is the mode of a new file, minus the umask. Raises `OSError`.
        """
        return os.open(name, self.value[0] | _FLAGS, mode, dir_fd=folder)


class Folder:
    """A folder whose files are opened relative to its descriptor, or by path if there is none.

    Attributes:
        path: its path.
        descriptor: the descriptor of the open folder, which the caller closes; None to use `path`.
    """

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        self.path = path
        self.descriptor = descriptor

    def at(self, name: str) -> str:
        """Return the path for functions of `os` that are called with ``dir_fd=self.descriptor``."""
        return name if self.descriptor is not None else str(self.path / name)

    def status(self, name: str) -> os.stat_result | None:
        """Return the status of `name` itself, not of a link's target; None if nothing has the name."""
        try:
            return os.stat(self.at(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def holds(self, name: str) -> bool:
        """Whether anything has this name, including a dangling symbolic link."""
        return self.status(name) is not None

    def is_link(self, name: str) -> bool:
        """Whether `name` is a symbolic link."""
        status = self.status(name)
        return status is not None and stat.S_ISLNK(status.st_mode)

    def names(self) -> list[str]:
        """Return the names of all entries, sorted."""
        return sorted(os.listdir(self.path if self.descriptor is None else self.descriptor))  # noqa: PTH208 - of a descriptor

    def open_descriptor(self, name: str, access: Access, mode: int = 0o600) -> int:
        """Open a file as `Access.open` does, and return the descriptor."""
        return access.open(self.at(name), mode, folder=self.descriptor)

    def unlink(self, name: str) -> None:
        """Remove a name."""
        os.unlink(self.at(name), dir_fd=self.descriptor)

    def link(self, name: str, target: Path) -> None:
        """Create a hard link to the file `name` at the path `target`, which must not exist."""
        os.link(self.at(name), target, src_dir_fd=self.descriptor, **_NO_FOLLOW)

    def sync(self) -> None:
        """Sync the folder, so that its names survive a power loss, if the file system and permissions allow it."""
        try:
            with self._own_descriptor() as descriptor:
                os.fsync(descriptor)
        except PermissionError:  # always on Windows
            return
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise

    @contextlib.contextmanager
    def new_file(
        self, name: str, *, replace: bool = False, mode: int | None = None, temporary: str | None = None
    ) -> Iterator[IO[bytes]]:
        """Open a new file for writing; it gets its name, complete and synced, when the context ends without error.

        A process that is killed meanwhile leaves at most the temporary file, with the same mode.

        Args:
            name: the name of the file.
            replace: replace an existing file. Otherwise the name must not exist, which is checked atomically.
            mode: the exact mode, from creation on; None for 0666 minus the umask.
            temporary: the temporary name; an existing file of this name is removed. None for a random name.

        Raises:
            FileExistsError: the name exists.
            OSError: the file cannot be written; the temporary file is removed.
        """
        with self._temporary_name(name, temporary) as temporary_name:
            descriptor = self.open_descriptor(temporary_name, Access.NEW, 0o666 if mode is None else mode)
            with as_file(descriptor, Access.NEW, buffered=True) as file:
                if mode is not None and hasattr(os, "fchmod"):
                    os.fchmod(descriptor, mode)  # the umask may have removed permission bits
                yield file
                file.flush()
                os.fsync(descriptor)
            self.move(temporary_name, name, replace=replace)
        self.sync()

    def move(self, old: str, new: str, *, replace: bool = False) -> None:
        """Rename a file. If the process is killed meanwhile, the file may have both names.

        Raises:
            FileExistsError: the name `new` exists, and `replace` is false.
        """
        dir_fds: dict[str, Any] = {"src_dir_fd": self.descriptor, "dst_dir_fd": self.descriptor}
        status = self.status(old)
        if replace:
            # Renaming one hard link over another does nothing, so the old name is removed below.
            if not self._is_same_file(new, status):
                os.replace(self.at(old), self.at(new), **dir_fds)
                return
        else:
            try:
                # Unlike a rename, this fails if the name exists.
                os.link(self.at(old), self.at(new), **dir_fds, **_NO_FOLLOW)
            except FileExistsError:
                # NFS may create the link, lose the reply, and then fail the retry (link(2)).
                if not self._is_same_file(new, status):
                    raise
            except OSError:
                self._rename_without_links(old, new)
                return
        self.unlink(old)

    def _is_same_file(self, name: str, status: os.stat_result | None) -> bool:
        status_of_name = self.status(name)
        return status_of_name is not None and status is not None and os.path.samestat(status_of_name, status)

    def _rename_without_links(self, old: str, new: str) -> None:
        """Rename to a name that does not exist, on a file system without hard links, such as FAT."""
        if os.name == "nt":
            os.rename(self.at(old), self.at(new))  # fails if the name exists
            return
        # rename(2) overwrites. So lock the folder and check the name first: no other process that uses this function
        # can create the name in between. If the folder cannot be locked, this fails and changes nothing.
        with self._own_descriptor() as folder, locked(folder):
            if self.holds(new):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.path / new))
            os.replace(self.at(old), self.at(new), src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    @contextlib.contextmanager
    def _own_descriptor(self) -> Iterator[int]:
        """Yield the descriptor; if there is none, open the path until the context ends."""
        if self.descriptor is not None:
            yield self.descriptor
            return
        descriptor = os.open(self.path, os.O_RDONLY | open_flag("O_DIRECTORY") | open_flag("O_CLOEXEC"))
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _temporary_name(self, name: str, temporary: str | None) -> Iterator[str]:
        """Yield a temporary name that does not exist, and remove it afterwards."""
        temporary_name = f".{name[:100]}.{secrets.token_hex(8)}.tmp"
        if temporary is not None:
            with contextlib.suppress(OSError):  # it cannot be removed, because it is a folder, for example
                if self.holds(temporary):
                    self.unlink(temporary)
                temporary_name = temporary
        try:
            yield temporary_name
        finally:
            with contextlib.suppress(FileNotFoundError):
                self.unlink(temporary_name)


def atomic_file(
    path: Path, *, replace: bool, mode: int | None = None, temporary: str | None = None
) -> contextlib.AbstractContextManager[IO[bytes]]:
    """Open the file `path` for writing, as `Folder.new_file` does."""
    return Folder(path.parent).new_file(path.name, replace=replace, mode=mode, temporary=temporary)


def atomic_link(make_link: Callable[[Path], None], path: Path, *, replace: bool, temporary: str | None = None) -> bool:
    """Create a hard link to a file at `path`; returns False if the file system does not support that.

    Args:
        make_link: creates the link at the given path; raises `OSError`.
        path, replace, temporary: see `Folder.new_file`.

    Raises:
        FileExistsError: the name exists, and `replace` is false.
        OSError: the link cannot be renamed.
    """
    folder = Folder(path.parent)
    with folder._temporary_name(path.name, temporary) as temporary_name:
        try:
            make_link(path.with_name(temporary_name))
        except OSError:  # another file system, or one without links
            return False
        folder.move(temporary_name, path.name, replace=replace)
    folder.sync()
    return True


def write_new(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a new file without syncing it, for a folder that is removed if anything fails.

    Raises `FileExistsError` if the name exists.
    """
    with as_file(Access.NEW.open(path, mode), Access.NEW) as file:
        file.write(content)


def create_empty(path: Path, mode: int = 0o600) -> bool:
    """Create an empty file; returns False and changes nothing if the name exists."""
    try:
        os.close(Access.NEW.open(path, mode))
    except FileExistsError:
        return False
    return True


def open_or_create(path: Path, mode: int) -> int:
    """Open the file `path` for reading and appending; create it with exactly this mode if it does not exist."""
    while True:
        try:
            return Access.APPEND.open(path)
        except FileNotFoundError:
            try:
                descriptor = Access.NEW.open(path, mode)
            except FileExistsError:
                continue  # another process created it
            try:
                os.fchmod(descriptor, mode)  # the umask may have removed permission bits
            finally:
                os.close(descriptor)


def check_writable(folder: Path) -> None:
    """Check that files can be created in a folder, by creating one and removing it.

    If the system supports it, the file has no name, so that a killed process leaves nothing behind. Raises `OSError`.
    """
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):  # a file system without unnamed files, for example
            os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))
            return
    path = folder / f".{secrets.token_hex(8)}.tmp"
    create_empty(path)
    path.unlink()


def as_file(descriptor: int, access: Access, *, buffered: bool = True) -> IO[bytes]:
    """Return the Python file of a descriptor; the descriptor is closed if this fails."""
    try:
        return os.fdopen(descriptor, access.value[1], buffering=-1 if buffered else 0)
    except BaseException:
        os.close(descriptor)
        raise


def read_bounded(path: str | Path, maximum: int) -> bytes:
    """Read the first `maximum` bytes of a file; links are followed."""
    with open(path, "rb") as file:  # noqa: PTH123 - a name as typed, which may contain NUL
        return file.read(maximum)


def read_descriptor(descriptor: int, maximum: int) -> bytes:
    """Read the next `maximum` bytes of an open file, or fewer at its end."""
    content = b""
    while len(content) < maximum and (part := os.read(descriptor, maximum - len(content))):
        content += part
    return content


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file or folder; returns False if another process or descriptor holds the lock.

    The lock ends with `unlock`, or when every copy of the descriptor is closed; a forked child has a copy.

    Raises:
        OSError: the file system has no locks; ``ENOSYS`` on a system without `fcntl`.
    """
    try:
        import fcntl
    except ImportError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Release the lock of `try_lock`."""
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextlib.contextmanager
def locked(descriptor: int) -> Iterator[None]:
    """Lock an open file or folder until the context ends, waiting for other locks.

    Raises the same errors as `try_lock`.
    """
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def has_name(descriptor: int, path: Path) -> bool:
    """Whether an open file or folder still has this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def owner_problem(status: os.stat_result, *, root: bool = False) -> str | None:
    """Describe a wrong owner of a file or folder; returns None if the effective user (or root) owns it."""
    if not HAS_OWNERS:
        return None
    user = os.geteuid()
    if status.st_uid == user or (root and status.st_uid == 0):
        return None
    return f"belongs to user {status.st_uid}, not to user {user}{' or root' if root else ''}"


def mode_problem(status: os.stat_result, forbidden: int, consequence: str) -> str | None:
    """Describe a wrong mode of a file or folder; returns None if it has none of the `forbidden` permission bits."""
    mode = stat.S_IMODE(status.st_mode)
    return f"has mode {mode:04o}: {consequence}" if HAS_OWNERS and mode & forbidden else None


def reason(error: Exception) -> str:
    """Return the text of a system error, without the name of the file."""
    return getattr(error, "strerror", None) or "invalid file name"
