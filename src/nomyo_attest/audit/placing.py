"""Files that stand in their place whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from nomyo_attest.errors import NomyoAttestError

_NO_FOLLOW: Final[dict[str, Any]] = {"follow_symlinks": False} if os.link in os.supports_follow_symlinks else {}

NO_SPACE_HINT: Final = "free some space there, or choose a folder with more space with --state (or TMPDIR)"
"""What to do if the file system of an audit's state is full."""


class OutputError(NomyoAttestError):
    """A file cannot be written.

    Attributes:
        name: the file's.
        problem: why not.
    """

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(name, problem)

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}"


@contextlib.contextmanager
def placed(name: str, *, replace: bool) -> Iterator[IO[bytes]]:
    """A new file to write to, which gets the name `name` when the block ends without an error.

    Until then it has another name in the same folder, which is removed on an error. Links are not followed, and no file
    that is there is written to. Without `replace` the name must be free. Raises `OutputError`.
    """
    path = Path(name)
    with told(name), _temporary(path) as temporary:
        with open(temporary, "xb", opener=_open_new) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _move(temporary, path, replace=replace)


def _open_new(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)


def link(make_link: Callable[[Path], None], name: str, *, replace: bool) -> bool:
    """Give a file the name `name`, too, without a copy; False where the file system cannot.

    Args:
        make_link: gives the file the path that is its argument; raises `OSError`.
        name, replace: see `placed`.

    Raises `OutputError`.
    """
    path = Path(name)
    with told(name), _temporary(path) as temporary:
        try:
            make_link(temporary)
        except OSError:  # another file system, or one without links
            return False
        _move(temporary, path, replace=replace)
        return True


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """Errors of the system as `OutputError`."""
    try:
        yield
    except FileExistsError:
        raise OutputError(name, "is there already; --force overwrites it") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and _is_possible(name):
            raise  # of what is written, not of the name
        raise OutputError(name, f"cannot be written: {reason(error)}") from None


def _is_possible(name: str) -> bool:
    """Whether a file can have this name."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def reason(error: Exception) -> str:
    """What the system says of a file, without its name."""
    return getattr(error, "strerror", None) or "no file can have this name"


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name beside `path` that is free before and after.

    The name is always the same, so that an audit that is killed leaves no file for good, unless somebody else has put
    there what cannot be removed.
    """
    temporary = path.with_name(f".{path.name[:100]}.audit.tmp")
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _move(temporary: Path, path: Path, *, replace: bool) -> None:
    if not replace:
        try:
            os.link(temporary, path, **_NO_FOLLOW)  # fails where a rename would overwrite
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if path.exists():
                raise FileExistsError(path) from None
            temporary.replace(path)
    elif _is_same_file(temporary, path):
        return  # a rename of a file to another of its names does nothing, so that both would stay
    else:
        temporary.replace(path)
    sync_folder(path.parent)


def _is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths are names of one file (hard links). A symbolic link is a file of its own: it is replaced."""
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except FileNotFoundError:
        return False


def sync_folder(folder: Path) -> None:
    """Make the names in a folder lasting, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def pieces(source: IO[bytes], size: int = 1024 * 1024) -> Iterator[bytes]:
    """All that is left of `source`, a piece at a time."""
    while piece := source.read(size):
        yield piece


def copy(source: IO[bytes], target: IO[bytes]) -> None:
    """All that is left of `source` to `target`."""
    target.writelines(pieces(source))
