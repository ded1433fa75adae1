"""Errors of the commands: exit statuses, and messages on standard error."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import Final

from nomyo_attest.audit.status import EXIT_NOT_AFFIRMED, EXIT_OK, EXIT_UNUSABLE
from nomyo_attest.errors import NomyoAttestError
from nomyo_attest.report.formatting import escape_commands, sanitize

__all__ = (
    "DEFAULT_PROGRAM",
    "EXIT_INTERRUPTED",
    "EXIT_NOT_AFFIRMED",
    "EXIT_OK",
    "EXIT_PIPE_CLOSED",
    "EXIT_TERMINATED",
    "EXIT_UNUSABLE",
    "CommandError",
    "print_error",
    "print_internal_error",
    "print_stderr",
)

EXIT_INTERRUPTED: Final = 130
"""Ctrl-C: 128 + SIGINT, as in shells."""

EXIT_TERMINATED: Final = 143
"""SIGTERM, in commands that clean up before they end: 128 + SIGTERM."""

EXIT_PIPE_CLOSED: Final = 141
"""The reader of the output closed it: 128 + SIGPIPE. Not 0, since part of the output is lost."""

DEFAULT_PROGRAM: Final = "nomyo-attest"

_COMMAND: Final = re.compile(r"`[^`]*`|\b(?:nomyo|nomyo-attest|chmod|tail|pip|mkdir|cd) [^;,()]*")
"""A command in a message, or the part of a sentence that begins with the name of a program."""


class CommandError(NomyoAttestError):
    """A command cannot continue. The message is one line: the place, the problem and a hint.

    Attributes:
        status: the exit status.
    """

    def __init__(self, message: str, *, status: int = EXIT_UNUSABLE) -> None:
        self.status = status
        super().__init__(message)


def print_error(text: str, program: str = DEFAULT_PROGRAM) -> None:
    """Print a message on standard error, sanitized, after the program's name.

    It is one line; on a terminal, a long one is broken.
    """
    line = f"{program}: {sanitize(text)}"
    if sys.stderr is not None and sys.stderr.isatty():
        line = _break_line(line)
    print_stderr(line)


def _break_line(line: str) -> str:
    """Break a message at spaces. Commands and names are not broken, so that they can be copied."""
    import textwrap

    from nomyo_attest.cli.console import text_style

    glued = _COMMAND.sub(lambda command: command[0].replace(" ", "\0"), line)  # no sanitized text contains NUL
    width = text_style(stream=sys.stderr).width
    lines = textwrap.wrap(glued, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines).replace("\0", " ")


def print_stderr(text: str) -> None:
    """Print text that is already sanitized on standard error, if it is open.

    Lines that a CI system would execute as commands are escaped.
    """
    stream = sys.stderr
    if stream is not None:
        encoding = stream.encoding or "utf-8"
        with contextlib.suppress(OSError):
            shown = escape_commands(text).encode(encoding, "backslashreplace").decode(encoding)
            print(shown, file=stream, flush=True)


def print_internal_error(error: BaseException, program: str = DEFAULT_PROGRAM) -> None:
    """Report a bug in this program: the class of the error and its place, but not its text, which may quote a file."""
    place = ""
    traceback = error.__traceback__
    while traceback is not None:
        folder, name = os.path.split(traceback.tb_frame.f_code.co_filename)
        place = f"{os.path.basename(folder)}/{name}, line {traceback.tb_lineno}"  # noqa: PTH119 - pathlib would cost an import
        traceback = traceback.tb_next
    summary = f"internal error: {type(error).__name__} at {place}"
    print_error(f"{summary}. This is a bug: please report it with this line and the command you typed", program)
