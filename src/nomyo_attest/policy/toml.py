"""Text and tables in TOML 1.0, as far as a learned policy needs them: the standard library only reads it."""

from __future__ import annotations

from typing import Final

_SHORT: Final = {'"': '\\"', "\\": "\\\\"}


def toml_string(text: str) -> str:
    """`text` as a basic string. What does not print is escaped, so nothing hides; a lone surrogate becomes U+FFFD."""
    return f'"{"".join(map(_character, text))}"'


def toml_comment(text: str) -> str:
    """`text` as it may stand in a comment: what does not print is escaped, a line end above all."""
    return "".join(char if char.isprintable() else _character(char) for char in text)


def _character(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:
        code = 0xFFFD
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
