"""Read the files that a command line names, and write its outputs, with hints in the error messages."""

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

_ONE_LINE_HINT: Final = "to read one line, copy it to a separate file: tail -n 1 evidence.jsonl > line.jsonl"
"""The hint for a file of many records."""

_JSON_LINES_EXTENSIONS: Final = (".jsonl", ".ndjson")
_MULTI_RECORD_EXTENSIONS: Final = (*_JSON_LINES_EXTENSIONS, ".gz", ".zst", ".parquet")
"""Extensions of files in which an audit looks for many records."""

_HINTS: Final = {
    FileNotFoundError: "check the name",
    PermissionError: "check its permissions",
    IsADirectoryError: "name a file in it",
    NotADirectoryError: "check the name: a part of it is a file",
}


def read_input(name: str, maximum: int | None = None) -> bytes:
    """Read the file `name`, or standard input for ``-``.

    At most `maximum` + 1 bytes are read, so that the parser refuses a larger file. The default maximum is the size of
    the largest response.

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
        raise unreadable_error(name, error) from None


def read_record(name: str) -> bytes:
    """Read the file `name`, or standard input for ``-``, which must contain one record.

    An archive, an empty file, text that is not UTF-8, and a file of many records are refused.

    Raises:
        CommandError: the file cannot be read, or is refused.
    """
    from nomyo_attest.evidence.content import one_record_problem

    refuse_multi_record([name], "")
    content = read_input(name)
    problem = one_record_problem(content)
    if problem:
        has_lines = problem.startswith("has a record on each line")
        hint = f"; {_ONE_LINE_HINT}" if has_lines else ""
        raise CommandError(f"{'standard input' if name == STANDARD_INPUT else name}: {problem}{hint}")
    return content


def refuse_multi_record(names: list[str], audit_hint: str) -> None:
    """Refuse folders, compressed files, and files of many records. Raises `CommandError`.

    A file whose extension is that of many records is accepted if it has one line.

    Args:
        names: the files.
        audit_hint: how to audit these files instead; empty if the command has no equivalent audit.
    """
    for name in names:
        if os.path.isdir(name):  # noqa: PTH112 - a name as typed
            raise CommandError(
                f"{name}: is a folder; this command reads files of one record; {audit_hint or 'name a file in it'}"
            )
        extension = Path(name).suffix.lower()
        if extension not in _MULTI_RECORD_EXTENSIONS or (extension in _JSON_LINES_EXTENSIONS and _has_one_line(name)):
            continue
        kind = "compressed files" if extension in (".gz", ".zst") else "files of many records"
        hints = [_ONE_LINE_HINT] if extension in _JSON_LINES_EXTENSIONS else []
        if audit_hint or not hints:
            hints.append(audit_hint or "write one of them to a .json file")
        raise CommandError(
            f"{name}: its extension is that of {kind}; this command reads files of one record; {'; '.join(hints)}"
        )


def _has_one_line(name: str) -> bool:
    """Whether a file has at most one non-blank line. False for a pipe or device, which cannot be read twice."""
    if os.path.exists(name) and not os.path.isfile(name):  # noqa: PTH110, PTH113 - a name as typed
        return False
    try:
        content = read_input(name)
    except CommandError:
        return True  # the reader of the record reports the error
    return sum(1 for line in content.splitlines() if line.strip()) <= 1


def unreadable_error(name: str, error: Exception) -> CommandError:
    """Return the error for a file that could not be opened or read."""
    hint = next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), "name a file that can be read")
    return CommandError(f"{name}: cannot be read: {reason(error)}; {hint}")


def check_inputs(names: list[str]) -> None:
    """Refuse an empty name, such as from an unset shell variable, and a repeated ``-``: the second read would be empty.

    Raises `CommandError`.
    """
    if "" in names:
        raise CommandError("expected a file name, got an empty string; check whether a shell variable is empty")
    if names.count(STANDARD_INPUT) > 1:
        raise CommandError("standard input (-) can be read only once; pass it once")


def check_present(names: list[str]) -> None:
    """Refuse names that do not exist: a mistyped name is a usage error, not an unreadable record.

    Raises `CommandError`.
    """
    for name in names:
        try:
            if name != STANDARD_INPUT:
                os.stat(name)  # noqa: PTH116 - a name as typed, which may contain NUL
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise unreadable_error(name, error) from None
        except OSError:
            pass  # it exists but cannot be read: the reader reports why


def check_output(name: str, *, force: bool, hint: str = "omit -o to print to standard output") -> None:
    """Raise `CommandError` if `write_output` would fail. Called before any work is done; `hint` is the next action.

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
        force: replace an existing file.
        private: create it with mode 0600, regardless of the umask.

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
