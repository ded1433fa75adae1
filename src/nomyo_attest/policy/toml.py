"""Write strings, comments and paths in TOML 1.0; the standard library can only read TOML."""

from __future__ import annotations

import re
from typing import Final

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
"""A key that needs no quotes (TOML 1.0, "Keys")."""

_REPEATED_HASH: Final = re.compile("#(?=#)")

_SHORT_ESCAPES: Final = {'"': '\\"', "\\": "\\\\"}


def toml_string(text: str) -> str:
    """Write `text` as a basic string.

    Characters that are not printable are escaped; a lone surrogate becomes U+FFFD. The first character of ``##`` is
    escaped, because CI systems recognize commands by it and a policy may be printed in a job's log.
    """
    escaped = _REPEATED_HASH.sub(r"\\u0023", "".join(map(_escape_character, text)))
    return f'"{escaped}"'


def toml_path(*path: str | int) -> str:
    """Write the path of a value, such as ``pcrs.sha256.7[0]``, with quotes around keys where TOML requires them."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        key = part if _BARE_KEY.fullmatch(part) else toml_string(part)
        text += f".{key}" if text else key
    return text


def toml_comment(text: str) -> str:
    """Escape the characters of `text` that are not printable, such as newlines, so that it is safe in a comment."""
    return "".join(char if char.isprintable() else _escape_character(char) for char in text)


def _escape_character(char: str) -> str:
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:
        code = 0xFFFD
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
