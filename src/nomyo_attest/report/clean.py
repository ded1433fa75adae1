"""Text from outside, made fit for one line of a terminal."""

from __future__ import annotations

from typing import Final

TEXT_MAX: Final = 300
"""Characters of the longest text from outside that is shown whole; JSON output holds it uncut."""


def clean(text: str) -> str:
    r"""`text` with every character that does not print written as an escape, such as ``\x1b``.

    Those are control characters, line ends of every kind, characters that turn the direction of writing, and lone
    surrogates: what could move the cursor, colour a terminal, forge a line, or hide a part of one.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def short(text: str, limit: int = TEXT_MAX) -> str:
    """`text` cleaned, and cut where it is longer than `limit` characters."""
    return clean(text) if len(text) <= limit else f"{clean(text[:limit])}… ({len(text)} characters)"
