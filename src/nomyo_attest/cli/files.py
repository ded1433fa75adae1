"""Files in and out: read with a limit and a good word, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path
from typing import Final

from nomyo_attest.cli.errors import CommandError

STANDARD_INPUT: Final = "-"

_NEW: Final[int] = os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)

EVIDENCE_FILE: Final = "a recorded response, its _metadata or its tpm_attestation; - is standard input"
"""The help of an argument that `read_input` reads."""

OF_MANY: Final = (".jsonl", ".ndjson", ".gz", ".zst", ".parquet")
"""Extensions of files in which an audit looks for many records."""

_HINTS: Final = {
    FileNotFoundError: "check the name",
    PermissionError: "check its permissions",
    IsADirectoryError: "name the files in it, such as FOLDER/*.json",
    NotADirectoryError: "check the name: a part of it is a file",
}


def read_input(name: str, most: int | None = None) -> bytes:
    """The content of the file `name`, or of standard input for ``-``. Raises `CommandError`.

    Of a file larger than `most` bytes, by default than any response, one byte more is read, so that its reader refuses
    it.
    """
    if most is None:
        from nomyo_attest.evidence.text import TEXT_MAX

        most = TEXT_MAX
    try:
        if name == STANDARD_INPUT:
            if sys.stdin is None:
                raise CommandError("standard input is closed; name a file")
            return sys.stdin.buffer.read(most + 1)
        with open(name, "rb") as file:  # noqa: PTH123 - a name as typed, NUL bytes and all: ValueError is caught below
            return file.read(most + 1)
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from None


def read_record(name: str) -> bytes:
    """The content of the file `name`, or of standard input for ``-``, which is to be one record. Raises `CommandError`.

    What is certain not to be a record is refused: an archive, an empty file, text that is not UTF-8, many records.
    """
    from nomyo_attest.evidence.content import one_record_problem

    refuse_many([name], "write one of them to a .json file")
    content = read_input(name)
    problem = one_record_problem(content)
    if problem:
        raise CommandError(f"{'standard input' if name == STANDARD_INPUT else name}: {problem}")
    return content


def refuse_many(names: list[str], hint: str) -> None:
    """Refuse files in which an audit looks for many records, as their names say. Raises `CommandError`."""
    for name in names:
        if name.lower().endswith(OF_MANY):
            what = "has many records"
            if name.lower().endswith((".gz", ".zst")):
                what = "is compressed"
            raise CommandError(f"{name}: its name says that it {what}; this command reads files of one record; {hint}")


def unreadable(name: str, error: Exception) -> CommandError:
    """The complaint about a file that could not be opened or read."""
    reason = getattr(error, "strerror", None) or "no file can have this name"
    hint = next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), "name a file that can be read")
    return CommandError(f"{name}: cannot be read: {reason}; {hint}")


def check_inputs(names: list[str]) -> None:
    """Refuse an empty name, as of a shell variable that is not set; and standard input given twice: the second reading
    would find nothing. Raises `CommandError`.
    """
    if "" in names:
        raise CommandError("expected a file name, got an empty one; see whether a shell variable is empty")
    if names.count(STANDARD_INPUT) > 1:
        raise CommandError("standard input (-) can be read once only; name it once")


def check_present(names: list[str]) -> None:
    """Refuse names under which there is nothing: a mistyped name is a usage error, not a record that could not be read.

    Raises `CommandError`.
    """
    for name in names:
        try:
            if name != STANDARD_INPUT:
                os.stat(name)  # noqa: PTH116 - a name as typed, NUL bytes and all
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise unreadable(name, error) from None
        except OSError:
            pass  # it is there and cannot be read: the reader says why


def check_output(name: str, *, force: bool, hint: str = "leave -o away to print on standard output") -> None:
    """Raise `CommandError` where `write_output` would refuse, before any work is done; `hint` is what to do instead.

    A file is made in the folder of `name`, and removed: that finds a folder without permission to write, a read-only
    file system, and a full one.
    """
    path = Path(name)
    try:
        if path.is_symlink() or path.exists():
            if not path.is_file():
                raise CommandError(f"{name}: is not a regular file; {hint}")
            if not force:
                raise CommandError(f"{name}: is there already; --force overwrites it")
        elif not path.parent.is_dir():
            raise CommandError(f"{name}: its folder is not there; make it first")
        _make_and_remove(path.parent)
    except (OSError, ValueError) as error:
        raise _unwritable(name, error, hint) from None


def _make_and_remove(folder: Path) -> None:
    """Make a file in a folder: without a name where the system can, so that a killed process leaves nothing."""
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):  # such as a file system without them
            os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))
            return
    path = folder / f".{secrets.token_hex(8)}.tmp"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | _NEW, 0o600)
    try:
        os.close(descriptor)
    finally:
        path.unlink()


def write_output(name: str, text: str, *, force: bool, private: bool = False) -> None:
    """Write the file `name`, whole or not at all; without `force` only if it is not there. Raises `CommandError`.

    With `private` nobody but its owner may read it (mode 0600), however the umask stands.
    """
    check_output(name, force=force)
    path = Path(name)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            opener = _open_private if private else _open_new
            with open(temporary, "x", encoding="utf-8", newline="\n", opener=opener) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if force:
                temporary.replace(path)
            else:
                _move_to_new(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise _unwritable(name, error) from None


def _open_private(name: str, flags: int) -> int:
    return os.open(name, flags | _NEW, 0o600)


def _open_new(name: str, flags: int) -> int:
    return os.open(name, flags | _NEW, 0o666)


def _move_to_new(temporary: Path, path: Path) -> None:
    """Give a file its name, which must be free at that very moment: a link fails where a rename would overwrite."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:  # a file system without links; `check_output` looked a moment ago
        temporary.replace(path)


def _unwritable(name: str, error: Exception, hint: str = "choose another place with -o") -> CommandError:
    if isinstance(error, FileExistsError):
        return CommandError(f"{name}: is there already; --force overwrites it")
    reason = getattr(error, "strerror", None) or "no file can have this name"
    return CommandError(f"{name}: cannot be written: {reason}; {hint}")
