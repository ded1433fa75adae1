"""Complaints in the name of `nomyo`."""

from __future__ import annotations

from nomyo_attest.cli import errors
from nomyo_attest.cli.errors import CommandError

__all__ = ["CommandError", "complain"]


def complain(text: str) -> None:
    """Print one line on standard error, cleaned, after the program's name."""
    errors.complain(text, "nomyo")
