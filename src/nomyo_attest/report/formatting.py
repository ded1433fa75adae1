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
"""Maximum characters of a text from outside that is shown uncut; JSON output is never cut."""

NAME_MAX: Final = 200
"""Maximum characters of a name that is shown uncut: of a source, a payload id, a policy."""

# ---- hostile text

_COMMAND: Final = re.compile(r"^((?:\s|\x1b\[[0-9;]*m)*):(?=:)|#(?=#[a-z]*\[)", re.MULTILINE | re.IGNORECASE)
"""Text that CI systems interpret as a command in a log.

``::error::`` at the beginning of a line, after blanks and colors (GitHub Actions); ``##[error]`` (GitHub, Azure),
``##vso[…]`` (Azure Pipelines) and ``##teamcity[…]`` anywhere in it.
"""

_IN_JSON: Final = re.compile("#(?=#)|[\x7f-\U0010ffff]")
"""Candidates for escaping in `sanitize_json`: JSON already escapes the ASCII control characters except DEL."""


def sanitize(text: str) -> str:
    r"""Return `text` with everything that could control a terminal or a CI system replaced by an escape.

    Every character that does not print becomes an escape, such as ``\x1b``: control characters, line ends of every
    kind, characters that change the direction of writing, and lone surrogates. They could move the cursor, color a
    terminal, forge a line, or hide a part of one. Commands to CI systems are escaped as `escape_commands` does it.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
    return escape_commands(text)


def escape_commands(text: str) -> str:
    r"""Return `text`, of any number of lines, with the first character of each command to a CI system as ``\x``."""
    if "::" not in text and "##" not in text:
        return text
    return _COMMAND.sub(lambda match: "\\x23" if match[1] is None else f"{match[1]}\\x3a", text)


def sanitize_json(text: str) -> str:
    r"""Return the JSON document `text` with the same value, and with escapes as `sanitize` writes them, but in JSON.

    Line ends outside strings remain. ``##`` becomes ``\u0023#``; in JSON, ``#`` occurs in strings only, and ``::`` at
    the beginning of a line not at all.
    """
    return _IN_JSON.sub(lambda match: _escape_in_json(match[0]), text)


def _escape_in_json(char: str) -> str:
    """Return `char` if it prints and is not ``#``; else its JSON escape, two beyond U+FFFF (RFC 8259, section 7)."""
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

_OWN_LINE: Final = 4
"""Indentation, in columns, of a digest that has a line of its own."""


class TextStyle(NamedTuple):
    """How wide and how detailed text is, and whether it has color.

    Attributes:
        width: columns of a line.
        color: whether the terminal shows color.
        verbose: show all details, and digests in full.
        terminal: whether the output is a terminal. If not, the first line of a file's verdict is never
            wrapped.
    """

    width: int = 80
    color: bool = False
    verbose: bool = False
    terminal: bool = False

    def paint(self, text: str, ink: Ink) -> str:
        """Color `text` if color is on. Wrap and align text before: the escape sequences have no width."""
        return f"\x1b[{_INKS[ink]}m{text}\x1b[0m" if self.color else text

    def wrap(self, text: str, first: str = "", then: str | None = None) -> list[str]:
        """Break `text` into lines of `width` columns.

        A command in backticks is not broken, unless it is longer than a line.

        Args:
            text: a paragraph.
            first: what the first line begins with.
            then: what the other lines begin with; by default as many blanks as `first` has characters.
        """
        hang = " " * len(first) if then is None else then
        glued = _SHELL_COMMAND.sub(lambda match: match[0].replace(" ", _GLUE), text)
        lines = textwrap.wrap(
            glued, self.width, initial_indent=first, subsequent_indent=hang, break_on_hyphens=False
        ) or [first.rstrip()]
        return [line.replace(_GLUE, " ") for line in lines]

    def beside(self, first: str, text: str) -> list[str]:
        """Put `text` beside `first`. A digest that fits only alone gets its own line; longer hex is broken evenly."""
        room = self.width - len(first)
        if not _HEX.fullmatch(text) or len(text) <= room:
            return self.wrap(text, first)
        if _OWN_LINE + len(text) <= self.width:
            return [*([first.rstrip()] if first.strip() else []), " " * _OWN_LINE + text]
        step = max(room - room % _HEX_STEP, 2)
        parts = [text[i : i + step] for i in range(0, len(text), step)]
        return [(first if i == 0 else " " * len(first)) + part for i, part in enumerate(parts)]

    def pairs(self, rows: Iterable[tuple[str, str]], indent: int = 2, gap: int = 2) -> list[str]:
        """Put names in a column, with their texts beside them."""
        rows = list(rows)
        column = indent + max((len(name) for name, _ in rows), default=0) + gap
        return [line for name, text in rows for line in self.beside((" " * indent + name).ljust(column), text)]


def sentence(text: str) -> str:
    """Return `text` with a full stop, and with a capital unless it begins with a name such as ``qualifiedSigner``."""
    first = text.partition(" ")[0].rstrip(".,:;")
    capital = f"{text[:1].upper()}{text[1:]}" if first.isalpha() and first.islower() else text
    return capital + "." * (text[-1:] not in {".", "…", "?"})


# ---- numbers


def number(value: int) -> str:
    """``"1,234,567"``."""
    return f"{value:,}"


def count(value: int, noun: str, plural: str = "") -> str:
    """``"1 record"``, ``"1,234 records"``; `plural` is an irregular plural."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {plural or noun + 's'}"


def size(value: int | None) -> str:
    """``"1,234 bytes"``."""
    return "not known" if value is None else f"{value:,} bytes"


def compact(value: int) -> str:
    """Format a number for an axis: ``"250k"``, ``"1.5M"``."""
    for minimum, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= minimum:
            return f"{value / minimum:.4g}{unit}"
    return str(value)


def share(part: int, whole: int) -> str:
    """``"98.7%"``; 0% and 100% only if exact; empty if `whole` is 0."""
    return shares([part], whole)[0]


def shares(parts: Sequence[int], whole: int | None = None) -> list[str]:
    """The share of each part as `share` formats it, rounded so that the shares of a whole add up to 100%.

    Shares are rounded down; the missing tenths of a percent go to the largest remainders.

    Args:
        parts: numbers of records.
        whole: the sum of all parts, listed or not; by default the sum of `parts`.
    """
    whole = sum(parts) if whole is None else whole
    if not whole:
        return ["" for _ in parts]
    every = [*parts, max(0, whole - sum(parts))]
    tenths = [part * 1000 // whole for part in every]
    by_loss = sorted(range(len(every)), key=lambda index: (-(every[index] * 1000 % whole), index))
    for index in by_loss[: max(0, 1000 - sum(tenths))]:
        tenths[index] += 1
    return [_share(part, whole, of_part) for part, of_part in zip(parts, tenths, strict=False)]


def _share(part: int, whole: int, tenths: int) -> str:
    if part and not tenths:
        return "<0.1%"
    if part < whole and tenths == 1000:
        return ">99.9%"
    return f"{tenths / 10:.1f}%"


# ---- times

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_DAY: Final = 86400
_UNITS: Final = ((3600, "h"), (60, "min"), (1, "s"))


def to_datetime(seconds: int) -> datetime:
    """Convert seconds since 1970 to a `datetime`, clamped to its years, 1 to 9999."""
    if seconds <= _FIRST.timestamp():
        return _FIRST
    return _LAST if seconds >= _LAST.timestamp() else datetime.fromtimestamp(seconds, UTC)


def moment(seconds: int | None) -> str:
    """Format seconds since 1970 in UTC: ``"2026-11-02 06:00:00Z"``; as seconds outside the years 1 to 9999."""
    if seconds is None:
        return "no time"
    if not _FIRST.timestamp() <= seconds < _LAST.timestamp():
        return f"{seconds} s"
    return f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)}Z"


def duration(seconds: float) -> str:
    """Format a length of time: ``"2.96 days"``, below a day in its two largest units: ``"8 h 12 min"``, ``"2.5 s"``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds >= _DAY:
        days = seconds / _DAY
        text = f"{days:.3g}" if days < 100 else f"{days:,.0f}"
        return f"{text} {'day' if text == '1' else 'days'}"
    left, parts = int(seconds), []
    for length, unit in _UNITS:
        whole, left = divmod(left, length)
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
"""Largest of the first two numbers of a version; above, the bits are not a version of this form, or obfuscated."""


def firmware_version(value: int) -> str:
    """Format `firmwareVersion` of a TPM in the form that people know, with the hexadecimal one in parentheses.

    The number is the manufacturer's. Most use four 16-bit numbers: ``"3.7.0.5 (0x0003000700000005)"``. Software TPMs
    begin with a date in decimal digits: ``"2024-01-25 (0x2024012500120000)"``. Any other is hexadecimal only.
    """
    written = f"0x{value:016x}"
    if date := _DATE_FIRST.match(written):
        return f"{'-'.join(date.groups())} ({written})"
    groups = [value >> shift & 0xFFFF for shift in (48, 32, 16, 0)]
    if groups[0] > _GROUP_MAX or groups[1] > _GROUP_MAX:
        return written
    return f"{'.'.join(map(str, groups))} ({written})"


_DATE_FIRST: Final = re.compile(r"0x((?:19|20)\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", re.ASCII)


def firmware_text(text: str) -> str:
    """Format a version that is given in hexadecimal, such as ``"0x0003000700000005"``; other text is returned as is."""
    return firmware_version(int(text, 16)) if _VERSION.fullmatch(text) else text


_VERSION: Final = re.compile(r"0x[0-9a-f]{1,16}", re.ASCII)

# ---- digests

_SHOWN_WHOLE: Final = 40
"""Maximum digits of a value that is not shortened: a nonce (32) and a SHA-1 digest (40) fit beside their name."""

_HEAD, _WINDOW, _TAIL = 8, 8, 4
"""Digits shown of a longer value: at its start, where it begins to differ from another value, at its end."""

Digests: TypeAlias = Mapping[bytes, str]
"""Byte string → its text."""


def digests(values: Iterable[bytes], *, whole: bool = False) -> Digests:
    """Format byte strings for comparison: in hex, shortened so that different values remain different.

    A shortened value has its first 8 and last 4 digits. If another value has the same ones, it also has 8 digits from
    the place where the two begin to differ.
    """
    known = {value: value.hex() for value in values}
    if whole or all(len(text) <= _SHOWN_WHOLE for text in known.values()):
        return known
    cut = {value: _cut(text, None) for value, text in known.items()}
    if len(set(cut.values())) == len(cut):
        return cut
    places = {
        value: _parting(text, [other for other in known.values() if other != text]) for value, text in known.items()
    }
    cut = {value: _cut(text, places[value]) for value, text in known.items()}
    return cut if len(set(cut.values())) == len(cut) else known


def _parting(text: str, others: list[str]) -> int:
    """Return the index of the first digit after the longest prefix that `text` shares with another value."""
    return max(next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), 0) for other in others)


def _cut(text: str, place: int | None) -> str:
    if len(text) <= _SHOWN_WHOLE:
        return text
    head, tail = text[:_HEAD], text[-_TAIL:]
    if place is None or place < _HEAD or place >= len(text) - _TAIL:
        return f"{head}…{tail}"
    start = place - place % 4
    if start == _HEAD:
        return f"{text[: start + _WINDOW]}…{tail}"
    return f"{head}…{text[start : start + _WINDOW]}…{tail}"
