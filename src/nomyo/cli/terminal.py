"""Standard output: that there is one, and how text of an answer reaches a terminal, which must not be driven by it."""

from __future__ import annotations

import re
import sys
from typing import Final

from nomyo.cli.errors import CommandError

_DRIVING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters (ECMA-48), but for tab and line feed
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Bidi_Control: what is read would not be what is there
    "\u2028\u2029\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"  # line ends of Unicode, surrogates, hidden text
)
"""What could move the cursor, set the title, answer for the user, or show one text for another."""


def need_output() -> None:
    """Raise `CommandError` where standard output is closed: an answer would go nowhere, and nobody would know."""
    if sys.stdout is None:
        raise CommandError("standard output is closed, and what was asked for goes there; nothing was sent")


def harmless(text: str) -> str:
    r"""`text` with every character that could drive a terminal written as an escape, such as ``\x1b``.

    Line feeds and tabs stay, and so do joiners, which some scripts and emoji need; a carriage return before a line feed
    goes.
    """
    return _DRIVING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text.replace("\r\n", "\n"))
