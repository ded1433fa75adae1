"""One source of records: its name and format, and its bytes as stored."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple

from nomyo_attest.audit.chunk import SourceEnd

Kind = Literal["json", "jsonl", "parquet"]
Packing = Literal["", "gz", "zst"]

STANDARD_INPUT: Final = "-"

SOURCE_EXTENSIONS: Final = ".json, .jsonl, .ndjson (each also .gz or .zst) or .parquet"
"""The file extensions of records, for messages."""

BLOCK_BYTES: Final = 256 * 1024
"""Bytes to read per call."""

_KINDS: Final[dict[str, Kind]] = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_PACKINGS: Final[dict[str, Packing]] = {".gz": "gz", ".zst": "zst"}

_HINTS: Final[dict[type, str]] = {
    FileNotFoundError: "; check the name",
    PermissionError: "; check its permissions",
    NotADirectoryError: "; check the name: a part of it is a file",
}


class SourceDamageError(Exception):
    """The rest of a source cannot be read. The readers report it as an unreadable record."""


class Source(NamedTuple):
    """One source, as the inventory found it.

    Attributes:
        number: its position in the order of reading, from 0.
        name: the name in reports; always valid UTF-8.
        path: the path to open; ``"-"`` is standard input.
        kind: the format of its records, determined by the extension of its name.
        packing: how it is compressed, determined by the extension; for standard input, its first bytes decide instead.
        size: stored bytes; None if unknown (a pipe, a file that does not exist).
        mtime: time of its last change, in nanoseconds; None if `size` is None.
        problem: why it cannot be read; empty if the inventory found no problem.
        within: real path of the folder that must contain the file when it is opened; empty for any folder.
    """

    number: int
    name: str
    path: str
    kind: Kind
    packing: Packing
    size: int | None
    mtime: int | None
    problem: str = ""
    within: str = ""

    def ended(self, sha256: str | None, problem: str, blank: int = 0) -> SourceEnd:
        """Return the facts about the source after it was read as far as possible."""
        return SourceEnd(
            source=self.number,
            name=self.name,
            kind=self.kind,
            size=self.size,
            sha256=sha256,
            blank=blank,
            problem=problem,
        )


def kind_of(name: str) -> tuple[Kind, Packing] | None:
    """Return format and compression by the extension of `name`, in any case; None if it is not one of records."""
    lower = name.lower()
    if lower.endswith(".parquet"):
        return "parquet", ""
    packing: Packing = ""
    for extension, compression in _PACKINGS.items():
        if lower.endswith(extension):
            lower, packing = lower.removesuffix(extension), compression
            break
    for extension, kind in _KINDS.items():
        if lower.endswith(extension):
            return kind, packing
    return None


def display(path: str) -> str:
    r"""Return `path` as text that UTF-8 can encode: bytes that are not UTF-8 become escapes such as ``\xff``."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        try:
            return os.fsencode(path).decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:  # the name did not come from a file system
            return path.encode("utf-8", "backslashreplace").decode("utf-8")
    return path


def os_problem(error: OSError | ValueError, summary: str = "cannot be read") -> str:
    """Describe an error in opening or reading a file; a NUL byte in its name raises `ValueError`."""
    if not isinstance(error, OSError):
        return f"{summary}: invalid file name"
    hint = _HINTS.get(type(error), "")
    return f"{summary}: {error.strerror or type(error).__name__}{hint}"


def special_problem(mode: int) -> str:
    """Describe an entry of the file system that is neither a file nor a folder; `mode` is its st_mode."""
    kinds = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISDIR, "folder"))
    noun = next((noun for is_kind, noun in kinds if is_kind(mode)), "device")
    return f"is a {noun}, not a file; to read from it, connect it to standard input (-)"


def changed_problem(before: int, now: int) -> str:
    """Describe a file that changed after the audit began; `before` and `now` are its sizes in bytes."""
    sizes = (
        "rewritten at its old size" if before == now else f"{before} bytes when the audit began, {now} when it was read"
    )
    return f"changed while it was audited: {sizes}; audit a copy of it"


def link_problem(target: str, folder: str) -> str:
    """Describe a symbolic link to `target`, which is outside `folder`, a folder that the user named."""
    return (
        f"is a symbolic link to {target}, which is outside the folder {folder}; name the target as a source,"
        " or give --follow-links to read what links lead to"
    )


def open_regular(path: str, within: str = "") -> BinaryIO:
    """Open a regular file, unbuffered.

    A pipe may have replaced the file since the inventory, and opening a pipe would wait for its other end, perhaps
    forever. O_NONBLOCK prevents that, and has no effect on a regular file.

    Args:
        path: its path.
        within: real path of the folder that must contain the file after links are resolved; empty for any folder.
            The opened file is checked, since a link may have replaced a folder or file since the inventory.

    Raises:
        OSError, ValueError: it cannot be opened.
        SourceDamageError: it is not a regular file, or not in the folder.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    number = os.open(path, flags)
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            raise SourceDamageError(special_problem(mode))
        if within and not is_within(real := real_path(number, path), within):
            raise SourceDamageError(f"changed while it was audited: {link_problem(real, within)}")
        return os.fdopen(number, "rb", buffering=0)
    except BaseException:
        os.close(number)
        raise


def real_path(descriptor: int, path: str) -> str:
    """Return the real path of the open file `descriptor`; empty if it is no longer the file at `path`.

    Raises `OSError`.
    """
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    real = os.path.realpath(path)
    return real if os.path.samestat(os.stat(real), os.fstat(descriptor)) else ""  # noqa: PTH116 - a name as typed, which may contain NUL bytes


def is_within(real: str, folder: str) -> bool:
    """Whether a real path is the folder or is in it; `folder` is also a real path."""
    return real == folder or real.startswith(folder.rstrip("/") + "/")


class StoredBytes:
    """Read a file or a pipe once from beginning to end, counting and hashing its bytes.

    Args:
        file: open for reading.
        size: bytes to read, so that bytes appended to a file during the audit are ignored; None to read to the end.

    Attributes:
        count: bytes read so far.
    """

    def __init__(self, file: BinaryIO, size: int | None) -> None:
        self.count = 0
        self._file, self._size = file, size
        self._hash = hashlib.sha256()
        self._complete = False

    def block(self) -> bytes:
        """Read the next bytes; empty at the end. Raises `SourceDamageError`."""
        size = BLOCK_BYTES if self._size is None else min(BLOCK_BYTES, self._size - self.count)
        try:
            block = self._file.read(size)
        except (OSError, ValueError) as error:
            raise SourceDamageError(os_problem(error, "cannot be read any further")) from None
        if block is None:
            raise SourceDamageError(
                "cannot be read any further: standard input does not wait for its bytes (O_NONBLOCK)"
            )
        if not block:
            if self._size is not None and self.count < self._size:
                raise SourceDamageError(changed_problem(self._size, self.count))
            self._complete = True
        self.count += len(block)
        self._hash.update(block)
        return block

    def blocks(self) -> Iterator[bytes]:
        """Yield all remaining bytes, in blocks. Raises `SourceDamageError`."""
        while block := self.block():
            yield block

    def drain(self) -> None:
        """Read the remaining bytes for the digest."""
        try:
            while self.block():
                pass
        except SourceDamageError:
            pass

    @property
    def sha256(self) -> str | None:
        """SHA-256 over all bytes, in hex; None if not all of them were read."""
        return self._hash.hexdigest() if self._complete else None


def changed_since(file: BinaryIO, size: int, mtime: int | None, *, may_grow: bool) -> str:
    """Describe how a file differs from its size and time of change in the inventory; empty if it does not.

    With `may_grow`, bytes may have been appended, since `StoredBytes` does not read them.
    """
    now = os.fstat(file.fileno())
    if may_grow and now.st_size > size:
        return ""
    if (now.st_size, now.st_mtime_ns) != (size, mtime):
        return changed_problem(size, now.st_size)
    return ""
