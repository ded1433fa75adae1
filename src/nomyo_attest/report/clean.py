"""Text from records, file names and servers, made safe for a terminal and for the log of a CI job.

`clean` is for one such text, wherever it is shown. `no_commands` is for the whole of an output: a line end of our own
may put ``::`` at the beginning of a line.
"""

from __future__ import annotations

import re
from typing import Final

TEXT_MAX: Final = 300
"""Characters of the longest text from outside that is shown whole; JSON output holds it uncut."""

_COMMAND: Final = re.compile(r"^((?:\s|\x1b\[[0-9;]*m)*):(?=:)|#(?=#[a-z]*\[)", re.MULTILINE | re.IGNORECASE)
"""What CI systems take for a command in a log.

``::error::`` at the beginning of a line, after blanks and colors (GitHub Actions); ``##[error]`` (GitHub, Azure),
``##vso[…]`` (Azure Pipelines) and ``##teamcity[…]`` anywhere in it.
"""

_IN_JSON: Final = re.compile("#(?=#)|[\x7f-\U0010ffff]")
"""What `clean_json` may have to escape: JSON itself escapes the control characters of ASCII but for DEL."""


def clean(text: str) -> str:
    r"""Return `text` with everything that could drive a terminal or a CI system written as an escape.

    Every character that does not print becomes an escape, such as ``\x1b``: control characters, line ends of every
    kind, characters that change the direction of writing, and lone surrogates. They could move the cursor, color a
    terminal, forge a line, or hide a part of one. Commands to CI systems are escaped as `no_commands` does it.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
    return no_commands(text)


def no_commands(text: str) -> str:
    r"""Return `text`, of any number of lines, with the first character of each command to a CI system as ``\x``."""
    if "::" not in text and "##" not in text:
        return text
    return _COMMAND.sub(lambda found: "\\x23" if found[1] is None else f"{found[1]}\\x3a", text)


def clean_json(text: str) -> str:
    r"""Return the JSON document `text` with the same value, and with escapes as `clean` makes them, but in JSON.

    Line ends outside strings remain. ``##`` becomes ``\u0023#``; in JSON, ``#`` occurs in strings only, and ``::`` at
    the beginning of a line not at all.
    """
    return _IN_JSON.sub(lambda found: _escape_in_json(found[0]), text)


def _escape_in_json(char: str) -> str:
    """An escape of JSON, or two beyond U+FFFF (RFC 8259, section 7); `char` itself if it prints and is not ``#``."""
    if char != "#" and char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def short(text: str, limit: int = TEXT_MAX) -> str:
    """`text` cleaned, and cut where it is longer than `limit` characters."""
    return clean(text) if len(text) <= limit else f"{clean(text[:limit])}… ({len(text)} characters)"
