"""The command `nomyo`, made of the same parts as `nomyo-attest` (`nomyo_attest.cli`).

Importing this package costs a few milliseconds, and so does `nomyo --version`: a command imports what it needs when it
runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from nomyo.cli.commands import PROGRAM


def main(argv: Sequence[str] | None = None) -> int:
    """Run `nomyo` with `argv`, by default the program's own arguments. Returns the exit status."""
    return PROGRAM.main(argv)
