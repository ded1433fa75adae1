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

EXTENSIONS: Final = ".json, .jsonl, .ndjson (each also .gz or .zst) or .parquet"
"""The file extensions of records, for messages."""

BLOCK: Final = 256 * 1024
"""Bytes read at once."""

_KINDS: Final[dict[str, Kind]] = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_PACKINGS: Final[dict[str, Packing]] = {".gz": "gz", ".zst": "zst"}

_HINTS: Final[dict[type, str]] = {
    FileNotFoundError: "; check the name",
    PermissionError: "; check its permissions",
    NotADirectoryError: "; check the name: a part of it is a file",
}


class DamageError(Exception):
    """A source cannot be read from here on. `nomyo_attest.audit` turns it into an unreadable record."""


class Source(NamedTuple):
    """One source, as the inventory found it.

    Attributes:
        number: its position in the order of reading, from 0.
        name: the name in reports; always valid UTF-8.
        path: the path to open; ``"-"`` is standard input.
        kind: the format of its records; of a source that cannot be opened, the format of its name.
        packing: how it is compressed. Standard input is recognized by its first bytes instead.
        size: stored bytes; None if unknown (a pipe, a file that does not exist).
        mtime: time of its last change, in nanoseconds; None if `size` is.
        problem: why it cannot be read; empty as far as the inventory knows.
        within: real path of the folder that the file must be in when it is opened; empty for anywhere.
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
    """Format and compression by the extension of `name`, in any case; None if it is not a name of records."""
    lower = name.lower()
    if lower.endswith(".parquet"):
        return "parquet", ""
    packing: Packing = ""
    for extension, packed in _PACKINGS.items():
        if lower.endswith(extension):
            lower, packing = lower.removesuffix(extension), packed
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
        except UnicodeEncodeError:  # not a name that a file system returned
            return path.encode("utf-8", "backslashreplace").decode("utf-8")
    return path


def os_problem(error: OSError | ValueError, what: str = "cannot be read") -> str:
    """Describe a file that the system cannot open or read; a NUL byte in a name raises `ValueError`."""
    if not isinstance(error, OSError):
        return f"{what}: invalid file name"
    hint = _HINTS.get(type(error), "")
    return f"{what}: {error.strerror or type(error).__name__}{hint}"


def special_problem(mode: int) -> str:
    """Describe an entry of the file system that is neither a file nor a folder; `mode` is its st_mode."""
    kinds = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISDIR, "folder"))
    word = next((word for test, word in kinds if test(mode)), "device")
    return f"is a {word}, not a file; to read from it, connect it to standard input (-)"


def changed_problem(then: int, now: int) -> str:
    """Describe a file that changed after the audit began; both sizes in bytes."""
    sizes = "rewritten at its old size" if then == now else f"{then} bytes when the audit began, {now} when it was read"
    return f"changed while it was audited: {sizes}; audit a copy of it"


def link_problem(target: str, folder: str) -> str:
    """Describe a symbolic link to `target`, which is not in the folder that was named."""
    return (
        f"is a symbolic link to {target}, which is outside the folder {folder}; name the target as a source,"
        " or give --follow-links to read what links lead to"
    )


def open_regular(path: str, within: str = "") -> BinaryIO:
    """Open a regular file, unbuffered.

    Opening a pipe would wait for its other end, perhaps forever, and a file may have become one since the inventory:
    hence O_NONBLOCK, which has no effect on a regular file.

    Args:
        path: its path.
        within: real path of the folder that must contain the file after links are resolved; empty for any folder.
            The opened file is checked, since a folder or file may have been replaced by a link meanwhile.

    Raises:
        OSError, ValueError: it cannot be opened.
        DamageError: it is not a regular file, or not in the folder.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    number = os.open(path, flags)
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            raise DamageError(special_problem(mode))
        if within and not is_within(real := real_path(number, path), within):
            raise DamageError(f"changed while it was audited: {link_problem(real, within)}")
        return os.fdopen(number, "rb", buffering=0)
    except BaseException:
        os.close(number)
        raise


def real_path(descriptor: int, path: str) -> str:
    """Return the path without links of the open file `descriptor`; empty if that is not the file at `path`.

    Raises `OSError`.
    """
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    real = os.path.realpath(path)
    return real if os.path.samestat(os.stat(real), os.fstat(descriptor)) else ""  # noqa: PTH116 - a name as typed, which may contain NUL bytes


def is_within(real: str, folder: str) -> bool:
    """Whether a path without links is the folder, or leads into it."""
    return real == folder or real.startswith(folder.rstrip("/") + "/")


class StoredBytes:
    """Read a file, or a pipe, once from its beginning to its end, counting and hashing its bytes.

    Args:
        file: open for reading.
        size: bytes to read: bytes appended to a file during the audit are ignored. None reads to the end.

    Attributes:
        count: bytes read so far.
    """

    def __init__(self, file: BinaryIO, size: int | None) -> None:
        self.count = 0
        self._file, self._size = file, size
        self._hash = hashlib.sha256()
        self._complete = False

    def block(self) -> bytes:
        """Read the next bytes; empty at the end. Raises `DamageError`."""
        want = BLOCK if self._size is None else min(BLOCK, self._size - self.count)
        try:
            block = self._file.read(want)
        except (OSError, ValueError) as error:
            raise DamageError(os_problem(error, "cannot be read any further")) from None
        if block is None:
            raise DamageError("cannot be read any further: standard input does not wait for its bytes (O_NONBLOCK)")
        if not block:
            if self._size is not None and self.count < self._size:
                raise DamageError(changed_problem(self._size, self.count))
            self._complete = True
        self.count += len(block)
        self._hash.update(block)
        return block

    def blocks(self) -> Iterator[bytes]:
        """Yield all remaining bytes, in blocks. Raises `DamageError`."""
        while block := self.block():
            yield block

    def drain(self) -> None:
        """Read the remaining bytes for the digest."""
        try:
            while self.block():
                pass
        except DamageError:
            pass

    @property
    def sha256(self) -> str | None:
        """SHA-256 over all bytes, in hex; None if not all of them were read."""
        return self._hash.hexdigest() if self._complete else None


def changed_since(file: BinaryIO, size: int, mtime: int | None, *, may_grow: bool) -> str:
    """Describe how a file differs from what the inventory found; empty if it does not.

    With `may_grow`, bytes may have been appended: `StoredBytes` did not read them.
    """
    now = os.fstat(file.fileno())
    if may_grow and now.st_size > size:
        return ""
    if (now.st_size, now.st_mtime_ns) != (size, mtime):
        return changed_problem(size, now.st_size)
    return ""
