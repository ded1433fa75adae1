"""The command `nomyo-attest`, and the parts of it that any command line of several commands is made of.

Importing this package costs a few milliseconds, and so does `nomyo-attest --version`: a command imports what it needs
when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from nomyo_attest.cli.commands import PROGRAM


def main(argv: Sequence[str] | None = None) -> int:
    """Run `nomyo-attest` with `argv`, by default the program's own arguments. Returns the exit status (`exits`)."""
    return PROGRAM.main(argv)
