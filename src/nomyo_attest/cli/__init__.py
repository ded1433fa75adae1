"""The command `nomyo-attest`.

Importing this package costs a few milliseconds, and so does `nomyo-attest --version`: a command imports what it needs
when it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nomyo_attest.cli.commands import run
from nomyo_attest.cli.console import ReaderGoneError
from nomyo_attest.cli.errors import CommandError, complain, confess
from nomyo_attest.cli.exits import INTERRUPTED, PIPE_CLOSED, UNUSABLE


def main(argv: Sequence[str] | None = None) -> int:
    """Run `nomyo-attest` with `argv`, by default the program's own arguments. Returns the exit status (`exits`)."""
    try:
        return run(list(sys.argv[1:] if argv is None else argv))
    except CommandError as error:
        complain(str(error))
        return error.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except ReaderGoneError:
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - the last net: whatever it is, a user gets a sentence
        confess(error)
        return UNUSABLE
