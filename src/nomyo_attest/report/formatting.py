"""Format text for reports: hostile text made safe, lines of limited width, numbers, shares, times and digests.

`sanitize` and `excerpt` are for one text from a record, a file name or a server. `escape_commands` is for a whole
output: wrapping may put ``::`` at the beginning of a line.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, TypeAlias

EXCERPT_MAX: Final = 300
"""Maximum characters that are shown of a text from outside; JSON output is never cut."""

NAME_MAX: Final = 200
"""Maximum characters that are shown of the name of a source, a payload id or a policy id."""

# ---- hostile text

_COMMAND: Final = re.compile(r"^((?:\s|\x1b\[[0-9;]*m)*):(?=:)|#(?=#[a-z]*\[)", re.MULTILINE | re.IGNORECASE)
"""Text that CI systems interpret as a command in a log.

``::error::`` at the beginning of a line, after spaces and colors (GitHub Actions); ``##[error]`` (GitHub, Azure),
``##vso[…]`` (Azure Pipelines) and ``##teamcity[…]`` anywhere in a line.
"""

_IN_JSON: Final = re.compile("#(?=#)|[\x7f-\U0010ffff]")
"""Candidates for escaping in `sanitize_json`: JSON already escapes the ASCII control characters except DEL."""


def sanitize(text: str) -> str:
    r"""Return `text` with everything that could control a terminal or a CI system replaced by an escape.

    Every character that does not print becomes an escape, such as ``\x1b``: control characters, line terminators,
    characters that change the direction of writing, and lone surrogates. They could move the cursor, color a terminal,
    forge a line or hide a part of a line. Commands to CI systems are escaped as by `escape_commands`.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
    return escape_commands(text)


def escape_commands(text: str) -> str:
    r"""Return `text`, which may have many lines, with the first character of each command to a CI system escaped."""
    if "::" not in text and "##" not in text:
        return text
    return _COMMAND.sub(lambda match: "\\x23" if match[1] is None else f"{match[1]}\\x3a", text)


def sanitize_json(text: str) -> str:
    r"""Escape the JSON document `text` like `sanitize`, but with JSON escapes, so that its value stays the same.

    Newlines outside strings remain. ``##`` becomes ``\u0023#``: in JSON, ``#`` occurs only in strings. ``::`` cannot be
    at the beginning of a line.
    """
    return _IN_JSON.sub(lambda match: _escape_in_json(match[0]), text)


def _escape_in_json(char: str) -> str:
    """Escape a character unless it prints and is not ``#``; beyond U+FFFF with two escapes (RFC 8259, section 7)."""
    if char != "#" and char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def excerpt(text: str, limit: int = EXCERPT_MAX) -> str:
    """Return `text` sanitized, and cut if it is longer than `limit` characters."""
    return sanitize(text) if len(text) <= limit else f"{sanitize(text[:limit])}… ({len(text)} characters)"


def source_name(name: str) -> str:
    """Format the name of a source in one line; ``"-"`` is standard input."""
    return "standard input" if name == "-" else excerpt(name, NAME_MAX)


# ---- lines

Ink: TypeAlias = Literal["good", "warn", "bad", "dim", "bold"]

_INKS: Final[dict[Ink, str]] = {"good": "32", "warn": "33", "bad": "31;1", "dim": "2", "bold": "1"}
"""Select Graphic Rendition parameters (ECMA-48, 8.3.117) that light and dark terminals both show legibly."""

_HEX: Final = re.compile(r"(?:sha\d+:)?[0-9a-f]+", re.ASCII)
_HEX_STEP: Final = 16
"""Long hex is broken after a multiple of this many digits (eight bytes)."""

_SHELL_COMMAND: Final = re.compile(r"`[^`]{1,100}`")
_GLUE: Final = "\0"

_DIGEST_INDENT: Final = 4
"""Indentation, in columns, of a digest on a separate line."""


class TextStyle(NamedTuple):
    """How wide and how detailed text is, and whether it has color.

    Attributes:
        width: columns of a line.
        color: whether the terminal shows color.
        verbose: whether to show all details, and digests in full.
        terminal: whether the output is a terminal. Elsewhere, the first line of a file's verdict is never wrapped.
    """

    width: int = 80
    color: bool = False
    verbose: bool = False
    terminal: bool = False

    def paint(self, text: str, ink: Ink) -> str:
        """Color `text` if color is on. Wrap and align text before: the escape sequences have no width."""
        return f"\x1b[{_INKS[ink]}m{text}\x1b[0m" if self.color else text

    def wrap(self, text: str, first: str = "", rest: str | None = None) -> list[str]:
        """Break `text` into lines of `width` columns.

        A command in backticks is not broken, unless it is longer than a line.

        Args:
            text: a paragraph.
            first: the beginning of the first line.
            rest: the beginning of the other lines; by default as many spaces as `first` has characters.
        """
        hang = " " * len(first) if rest is None else rest
        glued = _SHELL_COMMAND.sub(lambda match: match[0].replace(" ", _GLUE), text)
        lines = textwrap.wrap(
            glued, self.width, initial_indent=first, subsequent_indent=hang, break_on_hyphens=False
        ) or [first.rstrip()]
        return [line.replace(_GLUE, " ") for line in lines]

    def beside(self, first: str, text: str) -> list[str]:
        """Put `text` beside `first`; hex that is too long goes on a separate line, or is broken into equal parts."""
        room = self.width - len(first)
        if not _HEX.fullmatch(text) or len(text) <= room:
            return self.wrap(text, first)
        if _DIGEST_INDENT + len(text) <= self.width:
            return [*([first.rstrip()] if first.strip() else []), " " * _DIGEST_INDENT + text]
        step = max(room - room % _HEX_STEP, 2)
        parts = [text[i : i + step] for i in range(0, len(text), step)]
        return [(first if i == 0 else " " * len(first)) + part for i, part in enumerate(parts)]

    def pairs(self, rows: Iterable[tuple[str, str]], indent: int = 2, gap: int = 2) -> list[str]:
        """Put names in a column, with their texts beside them."""
        rows = list(rows)
        column = indent + max((len(name) for name, _ in rows), default=0) + gap
        return [line for name, text in rows for line in self.beside((" " * indent + name).ljust(column), text)]


def sentence(text: str) -> str:
    """Return `text` with a period, and with a capital letter unless it begins with a name: ``qualifiedSigner``."""
    first = text.partition(" ")[0].rstrip(".,:;")
    capital = f"{text[:1].upper()}{text[1:]}" if first.isalpha() and first.islower() else text
    return capital + "." * (text[-1:] not in {".", "…", "?"})


# ---- numbers


def number(value: int) -> str:
    """Format a number: ``"1,234,567"``."""
    return f"{value:,}"


def count(value: int, noun: str, plural: str = "") -> str:
    """Format a number of things: ``"1 record"``, ``"1,234 records"``; `plural` is an irregular plural."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {plural or noun + 's'}"


def size(value: int | None) -> str:
    """Format a size: ``"1,234 bytes"``; ``"not known"`` for None."""
    return "not known" if value is None else f"{value:,} bytes"


def compact(value: int) -> str:
    """Format a number for an axis: ``"250k"``, ``"1.5M"``."""
    for minimum, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= minimum:
            return f"{value / minimum:.4g}{unit}"
    return str(value)


def share(part: int, whole: int) -> str:
    """Format a part of a whole: ``"98.7%"``. 0% and 100% are exact. Empty if `whole` is 0."""
    return shares([part], whole)[0]


def shares(parts: Sequence[int], whole: int | None = None) -> list[str]:
    """Format each part as `share` does, but round so that the shares of a whole add up to 100%.

    Shares are rounded down; the missing tenths of a percent go to the largest remainders.

    Args:
        parts: numbers of records.
        whole: the sum of all parts, including those that are not listed; by default the sum of `parts`.
    """
    whole = sum(parts) if whole is None else whole
    if not whole:
        return ["" for _ in parts]
    all_parts = [*parts, max(0, whole - sum(parts))]
    tenths = [part * 1000 // whole for part in all_parts]
    by_loss = sorted(range(len(all_parts)), key=lambda index: (-(all_parts[index] * 1000 % whole), index))
    for index in by_loss[: max(0, 1000 - sum(tenths))]:
        tenths[index] += 1
    return [_share(part, whole, rounded) for part, rounded in zip(parts, tenths, strict=False)]


def _share(part: int, whole: int, tenths: int) -> str:
    if part and not tenths:
        return "<0.1%"
    if part < whole and tenths == 1000:
        return ">99.9%"
    return f"{tenths / 10:.1f}%"


# ---- times

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
_DAY: Final = 86400
_UNITS: Final = ((3600, "h"), (60, "min"), (1, "s"))


def to_datetime(seconds: int) -> datetime:
    """Convert seconds since 1970 to a `datetime`, clamped to the years 1 to 9999."""
    if seconds <= _EARLIEST.timestamp():
        return _EARLIEST
    return _LATEST if seconds >= _LATEST.timestamp() else datetime.fromtimestamp(seconds, UTC)


def moment(seconds: int | None) -> str:
    """Format seconds since 1970 in UTC: ``"2026-11-02 06:00:00Z"``; as seconds outside the years 1 to 9999."""
    if seconds is None:
        return "no time"
    if not _EARLIEST.timestamp() <= seconds < _LATEST.timestamp():
        return f"{seconds} s"
    return f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)}Z"


def duration(seconds: float) -> str:
    """Format a length of time: ``"2.96 days"``; below a day in its two largest units: ``"8 h 12 min"``, ``"2.5 s"``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds >= _DAY:
        days = seconds / _DAY
        text = f"{days:.3g}" if days < 100 else f"{days:,.0f}"
        return f"{text} {'day' if text == '1' else 'days'}"
    remaining, parts = int(seconds), []
    for length, unit in _UNITS:
        whole, remaining = divmod(remaining, length)
        if whole:
            parts.append(f"{whole:,} {unit}")
    return " ".join(parts[:2])


def clock_reading(milliseconds: int) -> str:
    """Format a TPM's clock exactly: ``"106 d 14:19:46.838"``."""
    seconds, thousandths = divmod(milliseconds, 1000)
    days, seconds = divmod(seconds, _DAY)
    return f"{days:,} d {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{thousandths:03}"


# ---- firmware versions

_GROUP_MAX: Final = 999
"""Maximum of the first two numbers of a version. Larger ones are obfuscated, or the format is a different one."""


def firmware_version(value: int) -> str:
    """Format the `firmwareVersion` of a TPM as vendors write it, followed by the hexadecimal number in parentheses.

    The format depends on the manufacturer. Most use four 16-bit numbers: ``"3.7.0.5 (0x0003000700000005)"``. The
    versions of software TPMs begin with a date: ``"2024-01-25 (0x2024012500120000)"``. Any other number is formatted in
    hexadecimal only.
    """
    hexadecimal = f"0x{value:016x}"
    if date := _LEADING_DATE.match(hexadecimal):
        return f"{'-'.join(date.groups())} ({hexadecimal})"
    groups = [value >> shift & 0xFFFF for shift in (48, 32, 16, 0)]
    if groups[0] > _GROUP_MAX or groups[1] > _GROUP_MAX:
        return hexadecimal
    return f"{'.'.join(map(str, groups))} ({hexadecimal})"


_LEADING_DATE: Final = re.compile(r"0x((?:19|20)\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", re.ASCII)


def firmware_text(text: str) -> str:
    """Format a version in hexadecimal, such as ``"0x0003000700000005"``; return any other text unchanged."""
    return firmware_version(int(text, 16)) if _VERSION.fullmatch(text) else text


_VERSION: Final = re.compile(r"0x[0-9a-f]{1,16}", re.ASCII)

# ---- digests

_IN_FULL_MAX: Final = 40
"""Maximum digits of a value that is not shortened: a nonce (32) and a SHA-1 digest (40) fit beside their name."""

_HEAD, _WINDOW, _TAIL = 8, 8, 4
"""Digits shown of a longer value: at its start, where it begins to differ from another value, and at its end."""

Digests: TypeAlias = Mapping[bytes, str]
"""Byte string → its text in hex, in full or shortened."""


def digests(values: Iterable[bytes], *, in_full: bool = False) -> Digests:
    """Format byte strings for comparison: in hex, shortened so that different values remain different.

    A shortened value has its first 8 and last 4 digits. If another value has the same first and last digits, each also
    has 8 digits from the position where the two begin to differ.
    """
    full = {value: value.hex() for value in values}
    if in_full or all(len(text) <= _IN_FULL_MAX for text in full.values()):
        return full
    shortened = {value: _shorten(text, None) for value, text in full.items()}
    if len(set(shortened.values())) == len(shortened):
        return shortened
    positions = {
        value: _first_difference(text, [other for other in full.values() if other != text])
        for value, text in full.items()
    }
    shortened = {value: _shorten(text, positions[value]) for value, text in full.items()}
    return shortened if len(set(shortened.values())) == len(shortened) else full


def _first_difference(text: str, others: list[str]) -> int:
    """Return the index of the first digit after the longest prefix that `text` has in common with another value."""
    return max(next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), 0) for other in others)


def _shorten(text: str, position: int | None) -> str:
    if len(text) <= _IN_FULL_MAX:
        return text
    head, tail = text[:_HEAD], text[-_TAIL:]
    if position is None or position < _HEAD or position >= len(text) - _TAIL:
        return f"{head}…{tail}"
    start = position - position % 4
    if start == _HEAD:
        return f"{text[: start + _WINDOW]}…{tail}"
    return f"{head}…{text[start : start + _WINDOW]}…{tail}"
