"""Read the files that a command line names, and write its outputs, with errors that say what to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from nomyo_attest._files import atomic_file, check_writable, read_bounded, reason
from nomyo_attest.cli.errors import CommandError

STANDARD_INPUT: Final = "-"

EVIDENCE_FILE: Final = (
    "a recorded response, its _metadata, its tpm_attestation, or one line of a ledger; - is standard input"
)
"""The help of an argument that `read_record` reads."""

ONE_LINE: Final = "to read one line, write it to a file of its own: tail -n 1 evidence.jsonl > line.jsonl"
"""The hint for a file of many records."""

_LINES: Final = (".jsonl", ".ndjson")
_OF_MANY: Final = (*_LINES, ".gz", ".zst", ".parquet")
"""Extensions of files in which an audit looks for many records."""

_HINTS: Final = {
    FileNotFoundError: "check the name",
    PermissionError: "check its permissions",
    IsADirectoryError: "name a file in it",
    NotADirectoryError: "check the name: a part of it is a file",
}


def read_input(name: str, maximum: int | None = None) -> bytes:
    """Read the file `name`, or standard input for ``-``.

    Of a file larger than `maximum` bytes (by default the size of the largest response) one byte more is read, so that
    its reader refuses it.

    Raises:
        CommandError: the file cannot be read.
    """
    if maximum is None:
        from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX

        maximum = RECORD_BYTES_MAX
    try:
        if name == STANDARD_INPUT:
            if sys.stdin is None:
                raise CommandError("standard input is closed; name a file")
            return sys.stdin.buffer.read(maximum + 1)
        return read_bounded(name, maximum + 1)
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from None


def read_record(name: str) -> bytes:
    """Read the file `name`, or standard input for ``-``, which must be one record.

    An archive, an empty file, text that is not UTF-8, and a file of many records are refused.

    Raises:
        CommandError: the file cannot be read, or is refused.
    """
    from nomyo_attest.evidence.content import one_record_problem

    refuse_many([name], "")
    content = read_input(name)
    problem = one_record_problem(content)
    if problem:
        several = problem.startswith("has a record on each line")
        hint = f"; {ONE_LINE}" if several else ""
        raise CommandError(f"{'standard input' if name == STANDARD_INPUT else name}: {problem}{hint}")
    return content


def refuse_many(names: list[str], audit_hint: str) -> None:
    """Refuse folders, compressed files, and files of many records. Raises `CommandError`.

    A file whose extension is that of many records is accepted if it has one line.

    Args:
        names: the files.
        audit_hint: how to audit these files instead; empty for a command that has no such counterpart.
    """
    for name in names:
        if os.path.isdir(name):  # noqa: PTH112 - a name as typed
            raise CommandError(
                f"{name}: is a folder; this command reads files of one record; {audit_hint or 'name a file in it'}"
            )
        extension = Path(name).suffix.lower()
        if extension not in _OF_MANY or (extension in _LINES and _has_one_line(name)):
            continue
        kind = "compressed files" if extension in (".gz", ".zst") else "files of many records"
        hints = [ONE_LINE] if extension in _LINES else []
        if audit_hint or not hints:
            hints.append(audit_hint or "write one of them to a .json file")
        raise CommandError(
            f"{name}: its extension is that of {kind}; this command reads files of one record; {'; '.join(hints)}"
        )


def _has_one_line(name: str) -> bool:
    """Whether a file has at most one line with content. Other than regular files cannot be read twice: False."""
    if os.path.exists(name) and not os.path.isfile(name):  # noqa: PTH110, PTH113 - a name as typed
        return False
    try:
        content = read_input(name)
    except CommandError:
        return True  # the reader of the record reports the error
    return sum(1 for line in content.splitlines() if line.strip()) <= 1


def unreadable(name: str, error: Exception) -> CommandError:
    """Return the error for a file that could not be opened or read."""
    hint = next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), "name a file that can be read")
    return CommandError(f"{name}: cannot be read: {reason(error)}; {hint}")


def check_inputs(names: list[str]) -> None:
    """Refuse an empty name (a shell variable is not set), and standard input given twice (the second time it is empty).

    Raises `CommandError`.
    """
    if "" in names:
        raise CommandError("expected a file name, got an empty one; check whether a shell variable is empty")
    if names.count(STANDARD_INPUT) > 1:
        raise CommandError("standard input (-) can be read only once; give it once")


def check_present(names: list[str]) -> None:
    """Refuse names that do not exist: a mistyped name is a usage error, not an unreadable record.

    Raises `CommandError`.
    """
    for name in names:
        try:
            if name != STANDARD_INPUT:
                os.stat(name)  # noqa: PTH116 - a name as typed, NUL bytes and all
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise unreadable(name, error) from None
        except OSError:
            pass  # it exists but cannot be read: the reader reports why


def check_output(name: str, *, force: bool, hint: str = "omit -o to print to standard output") -> None:
    """Raise `CommandError` where `write_output` would refuse, before any work is done; `hint` is what to do instead.

    A file is created in the folder of `name` and removed, which detects missing permissions, a read-only file
    system and a full one.
    """
    path = Path(name)
    try:
        if path.is_symlink() or path.exists():
            if path.is_dir():
                raise CommandError(f"{name}: is a folder; name a file in it")
            if not path.is_file():
                raise CommandError(f"{name}: is not a regular file; {hint}")
            if not force:
                raise CommandError(f"{name}: already exists; choose another name, or add --force to overwrite it")
        elif not path.parent.is_dir():
            raise CommandError(f"{name}: its folder does not exist; create it first")
        check_writable(path.parent)
    except (OSError, ValueError) as error:
        raise _unwritable(name, error, hint) from None


def write_output(name: str, text: str, *, force: bool, private: bool = False) -> None:
    """Write the file `name`, atomically.

    Args:
        name: the file.
        text: its content, written as UTF-8.
        force: replace a file that has the name.
        private: give it mode 0600, whatever the umask is.

    Raises:
        CommandError: the file cannot be written, or exists and `force` is false.
    """
    check_output(name, force=force)
    try:
        with atomic_file(Path(name), replace=force, mode=0o600 if private else None) as file:
            file.write(text.encode("utf-8"))
    except (OSError, ValueError) as error:
        raise _unwritable(name, error) from None


def _unwritable(name: str, error: Exception, hint: str = "choose another place with -o") -> CommandError:
    if isinstance(error, FileExistsError):
        return CommandError(f"{name}: already exists; choose another name, or add --force to overwrite it")
    return CommandError(f"{name}: cannot be written: {reason(error)}; {hint}")
