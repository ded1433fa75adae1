"""Read settings from options, environment variables and secret files.

An option overrides its variable, and error messages name the source that was used. An empty value is an error in both.
It usually comes from a shell variable that is not set, or from a command that failed: ``export
NOMYO_SERVER_KEY_PINS=$(…)`` hides the exit status. Ignoring it would silently drop a pin or a policy, or send a prompt
to the wrong server.

Secrets are read from files, because every user of the machine can read a command line.
"""

from __future__ import annotations

import argparse
import os
import shlex
import stat
from collections.abc import Mapping
from typing import Final, NamedTuple

from nomyo.cli.terminal import print_error
from nomyo_attest.cli.errors import CommandError
from nomyo_attest.cli.files import STANDARD_INPUT, read_input, unreadable_error

_PREFIX: Final = "NOMYO_"

VARIABLES: Final[Mapping[str, str]] = {
    "api_key": "NOMYO_API_KEY",
    "base_url": "NOMYO_BASE_URL",
    "attestation_policy": "NOMYO_POLICY",
    "require_attestation": "NOMYO_POLICY",
    "evidence_log": "NOMYO_EVIDENCE_LOG",
    "model": "NOMYO_MODEL",
    "security_tier": "NOMYO_SECURITY_TIER",
    "server_key_pins": "NOMYO_SERVER_KEY_PINS",
}
"""Option of the client → the environment variable that sets it."""


class Setting(NamedTuple):
    """A value and its source.

    Attributes:
        value: the value; None if neither the option nor the variable is set.
        source: the option or the variable, such as ``"--policy"``.
    """

    value: str | None
    source: str


def read_setting(flag: str, value: str | None, variable: str) -> Setting:
    """Return the value of the option `flag`, or else that of the environment variable.

    Raises `CommandError` if the variable is empty.
    """
    if value is not None:
        return Setting(value, flag)
    found = os.environ.get(variable)
    if found is not None and not found.strip():
        raise CommandError(f"{variable}: empty environment variable; set a value, or unset it")
    return Setting(found, variable)


def check_variables() -> None:
    """Refuse environment variables that look like a misspelling of one in `VARIABLES`.

    An unknown variable has no effect, so a misspelled ``NOMYO_POLICY`` would disable the gate silently.

    Raises `CommandError`.
    """
    for name in os.environ:
        if not name.upper().startswith(_PREFIX) or name in VARIABLES.values():
            continue
        from nomyo.option_names import intended_option  # imported here, so that other commands start faster

        suggestion = intended_option(name, tuple(VARIABLES.values()))
        if suggestion not in VARIABLES.values():  # it may resemble an option of the library
            suggestion = VARIABLES.get(intended_option(name[len(_PREFIX) :].lower(), tuple(VARIABLES)) or "")
        if suggestion is not None:
            raise CommandError(
                f"{name[:40]}: unknown environment variable; did you mean {suggestion}? Otherwise unset it"
            )


def nonempty(text: str) -> str:
    """Return `text` unless it is empty or whitespace: the `type` of every text argument.

    Raises `argparse.ArgumentTypeError`.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError(
            "expected a value, got an empty string; check whether a shell variable is empty"
        )
    return text


SECRET_MAX: Final = 4096
"""Maximum size of a password or an API key in bytes."""

SECRETS_MAX: Final = 1024 * 1024
"""Maximum size of a file of secrets in bytes."""


def read_secret(name: str, flag: str) -> str:
    """Return the only line of the file `name`, or of standard input for ``-``, without its newline.

    The file must belong to the user or to root, and no other user may be able to write to it. If every user can read
    it, a notice is printed. No message quotes the content. Raises `CommandError`.
    """
    text = _read_text(name, flag, SECRET_MAX)
    line = text.removesuffix("\n").removesuffix("\r")
    if "\n" in line or not line:
        got = "more than one line" if line else "nothing"
        raise CommandError(f"{flag}: {name}: expected one line, got {got}")
    return line


def read_secrets(name: str, flag: str) -> tuple[str, ...]:
    """Return the lines of the file `name`, stripped, without empty lines and lines that begin with ``#``.

    Raises `CommandError` as `read_secret` does.
    """
    lines = [line.strip() for line in _read_text(name, flag, SECRETS_MAX).splitlines()]
    secrets = tuple(line for line in lines if line and not line.startswith("#"))
    if not secrets:
        raise CommandError(f"{flag}: {name}: expected one or more lines, got nothing")
    return secrets


def _read_text(name: str, flag: str, maximum: int) -> str:
    if os.path.isdir(name):  # noqa: PTH112 - unlike Path, accepts NUL bytes in a name
        raise CommandError(f"{flag}: {name}: is a folder; name a file")
    try:
        content = read_input(name, maximum) if name == STANDARD_INPUT else _read(name, maximum + 1)
    except CommandError as error:
        raise CommandError(f"{flag}: {error}") from None
    if len(content) > maximum:
        raise CommandError(f"{flag}: {name}: expected at most {maximum} bytes, got more")
    from nomyo_attest.evidence.content import wrong_encoding

    if problem := wrong_encoding(content[:64]):
        raise CommandError(f"{flag}: {name}: {problem}")
    try:
        return content.decode("utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError:
        raise CommandError(f"{flag}: {name}: expected text in UTF-8, got other bytes") from None


def _read(name: str, maximum: int) -> bytes:
    """Open the file, check owner and mode of the open file, and read up to `maximum` bytes. Raises `CommandError`.

    Symbolic links are followed, since Kubernetes mounts secrets as links. A pipe, such as ``<(…)`` of a shell, is not
    checked.
    """
    try:
        with open(name, "rb") as file:  # noqa: PTH123 - for a NUL byte in the name, ValueError is caught below
            _check_owner_and_mode(name, os.fstat(file.fileno()))
            return file.read(maximum)
    except (OSError, ValueError) as error:
        raise unreadable_error(name, error) from None


def _check_owner_and_mode(name: str, status: os.stat_result) -> None:
    """Refuse a file that another user could have written, and print a notice if every user can read it."""
    if not hasattr(os, "geteuid") or not stat.S_ISREG(status.st_mode):
        return
    user = os.geteuid()
    mode = stat.S_IMODE(status.st_mode)
    quoted = shlex.quote(name)
    if status.st_uid not in {user, 0}:
        raise CommandError(
            f"{name}: belongs to user {status.st_uid}, not to user {user} or root; "
            f"as root, chown it to user {user}, or name a copy that belongs to that user"
        )
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        hint = f"chmod go-w {quoted}" if user in {status.st_uid, 0} else "name a copy that only you can write to"
        raise CommandError(f"{name}: has mode {mode:04o}: others may write to it; {hint}")
    if mode & stat.S_IROTH:
        hint = f"; chmod 600 {quoted} prevents that" if user in {status.st_uid, 0} else ""
        print_error(f"notice: {name}: has mode {mode:04o}: every user of this machine can read it{hint}")
