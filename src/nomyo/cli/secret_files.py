"""Passwords and API keys from files: never from the command line, which every user of the machine can read."""

from __future__ import annotations

import os
import stat
from typing import Final

from nomyo.cli.errors import CommandError, complain
from nomyo_attest.cli.files import STANDARD_INPUT, read_input

SECRET_MAX: Final = 4096
"""Bytes of the longest password or API key."""

SECRETS_MAX: Final = 1024 * 1024
"""Bytes of the longest list of them."""


def read_secret(name: str, flag: str) -> str:
    """The one line in the file `name`, or on standard input for ``-``, without its end. Raises `CommandError`.

    Complains of a file that others may read. No message quotes the content.
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
    _look_at_mode(name)
    try:
        content = read_input(name, most)
    except CommandError as error:
        raise CommandError(f"{flag}: {error}") from None
    if len(content) > most:
        raise CommandError(f"{flag}: {name}: expected at most {most} bytes, got more")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise CommandError(f"{flag}: {name}: expected text in UTF-8, got other bytes") from None


def _look_at_mode(name: str) -> None:
    if os.name != "posix" or name == STANDARD_INPUT:
        return
    try:
        found = os.stat(name)  # noqa: PTH116 - a name as typed, NUL bytes and all
    except (OSError, ValueError):
        return  # reading it says why
    others = stat.S_IMODE(found.st_mode) & (stat.S_IRGRP | stat.S_IROTH)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and others:
        complain(f"notice: {name}: other users of this machine may read it; chmod 600 mends that")
