"""How a command says that it cannot go on: one line on standard error, and an exit status."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

from nomyo_attest.errors import NomyoAttestError
from nomyo_attest.report.formatting import escape_commands, sanitize

OK: Final = 0
"""All evidence is affirming or warning; what was asked for is done."""

NOT_AFFIRMED: Final = 1
"""Some evidence is not affirmed, or malformed; a policy has a warning (``policy check --strict``)."""

UNUSABLE: Final = 2
"""Wrong usage; a file that cannot be read or written; a policy that cannot be used."""

INTERRUPTED: Final = 130
"""Ctrl-C: 128 and SIGINT, as shells count."""

TERMINATED: Final = 143
"""SIGTERM, where there is something to be put away before the end: 128 and SIGTERM."""

PIPE_CLOSED: Final = 141
"""Whoever read the output went away: 128 and SIGPIPE. Not 0, for nobody has seen the rest."""

PROGRAM_USUAL: Final = "nomyo-attest"


class CommandError(NomyoAttestError):
    """A command cannot do what it was asked for.

    Attributes:
        status: the exit status.
    """

    def __init__(self, message: str, *, status: int = UNUSABLE) -> None:
        self.status = status
        super().__init__(message)


def print_error(text: str, program: str = PROGRAM_USUAL) -> None:
    """Print one line on standard error, cleaned, after the program's name."""
    print_stderr(f"{program}: {sanitize(text)}")


def print_stderr(text: str) -> None:
    """Print `text`, whose parts are sanitized, on standard error; no line of it is a command to a CI system.

    Where standard error is closed, nothing is printed.
    """
    stream = sys.stderr
    if stream is not None:
        encoding = stream.encoding or "utf-8"
        with contextlib.suppress(OSError):
            shown = escape_commands(text).encode(encoding, "backslashreplace").decode(encoding)
            print(shown, file=stream, flush=True)


def print_internal_error(error: BaseException, program: str = PROGRAM_USUAL) -> None:
    """Say that this program is at fault: the kind of error and where, never its text, which may quote a file."""
    place = ""
    traceback = error.__traceback__
    while traceback is not None:
        folder, name = os.path.split(traceback.tb_frame.f_code.co_filename)
        place = f"{os.path.basename(folder)}/{name}, line {traceback.tb_lineno}"  # noqa: PTH119 - pathlib would cost an import
        traceback = traceback.tb_next
    said = f"internal error: {type(error).__name__} at {place}"
    print_error(f"{said}. The fault is not yours: please report it with this line and the command you typed", program)
