"""Read passwords and API keys from files: every user of the machine can read a command line."""

from __future__ import annotations

import os
import shlex
import stat
from typing import Final

from nomyo.cli.errors import CommandError, complain
from nomyo_attest.cli.files import STANDARD_INPUT, read_input, unreadable

SECRET_MAX: Final = 4096
"""Bytes of the longest password or API key."""

SECRETS_MAX: Final = 1024 * 1024
"""Bytes of the longest list of them."""


def read_secret(name: str, flag: str) -> str:
    """The one line in the file `name`, or on standard input for ``-``, without its end.

    The file must belong to the user or to root, and nobody else may write to it. A file that every user can read is
    reported. No message quotes the content. Raises `CommandError`.
    """
    text = _text(name, flag, SECRET_MAX)
    line = text.removesuffix("\n").removesuffix("\r")
    if "\n" in line or not line:
        got = "more than one line" if line else "nothing"
        raise CommandError(f"{flag}: {name}: expected one line, got {got}")
    return line


def read_secrets(name: str, flag: str) -> tuple[str, ...]:
    """The lines of the file `name`, without blanks around them; not the empty ones, nor those that begin with ``#``.

    Raises `CommandError` as `read_secret` does.
    """
    lines = [line.strip() for line in _text(name, flag, SECRETS_MAX).splitlines()]
    secrets = tuple(line for line in lines if line and not line.startswith("#"))
    if not secrets:
        raise CommandError(f"{flag}: {name}: expected one or more lines, got nothing")
    return secrets


def _text(name: str, flag: str, most: int) -> str:
    if os.path.isdir(name):  # noqa: PTH112 - a name as typed, NUL bytes and all
        raise CommandError(f"{flag}: {name}: is a folder; name a file")
    try:
        content = read_input(name, most) if name == STANDARD_INPUT else _read(name, most + 1)
    except CommandError as error:
        raise CommandError(f"{flag}: {error}") from None
    if len(content) > most:
        raise CommandError(f"{flag}: {name}: expected at most {most} bytes, got more")
    from nomyo_attest.evidence.content import wrong_encoding

    if problem := wrong_encoding(content[:64]):
        raise CommandError(f"{flag}: {name}: {problem}")
    try:
        return content.decode("utf-8-sig")  # some editors put a byte order mark in front of it
    except UnicodeDecodeError:
        raise CommandError(f"{flag}: {name}: expected text in UTF-8, got other bytes") from None


def _read(name: str, most: int) -> bytes:
    """Open the file, check the open file's owner and mode, and read at most `most` bytes. Raises `CommandError`.

    Links are followed: Kubernetes mounts secrets as links. A pipe, as a shell makes for ``<(…)``, is not checked.
    """
    try:
        with open(name, "rb") as file:  # noqa: PTH123 - a name as typed, NUL bytes and all: ValueError is caught below
            _check(name, os.fstat(file.fileno()))
            return file.read(most)
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from None


def _check(name: str, found: os.stat_result) -> None:
    """Refuse a file that another user could have written; report one that every user can read."""
    if not hasattr(os, "geteuid") or not stat.S_ISREG(found.st_mode):
        return
    user = os.geteuid()
    mode = stat.S_IMODE(found.st_mode)
    quoted = shlex.quote(name)
    if found.st_uid not in {user, 0}:
        raise CommandError(
            f"{name}: belongs to user {found.st_uid}, not to user {user} or root; "
            f"as root, chown it to user {user}, or name a copy that belongs to that user"
        )
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        hint = f"chmod go-w {quoted}" if user in {found.st_uid, 0} else "name a copy that only you can write to"
        raise CommandError(f"{name}: has mode {mode:04o}: others may write to it; {hint}")
    if mode & stat.S_IROTH:
        hint = f"; chmod 600 {quoted} prevents that" if user in {found.st_uid, 0} else ""
        complain(f"notice: {name}: has mode {mode:04o}: every user of this machine can read it{hint}")
