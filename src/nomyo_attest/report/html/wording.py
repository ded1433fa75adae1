"""Numbers, times, digests and text from outside, as the report writes them."""

from __future__ import annotations

import unicodedata
from typing import Final

from nomyo_attest.audit.row import UNREADABLE
from nomyo_attest.audit.summary import Place
from nomyo_attest.report.formatting import NAME_MAX, excerpt, moment, number, sanitize
from nomyo_attest.report.html.markup import Markup, element, join

SYMBOLS: Final = {"affirming": "✓", "warning": "!", "contraindicated": "✗", "none": "?", UNREADABLE: "∅"}
"""What stands beside a verdict's color."""

_HEX_STEP: Final = 16
"""Digits of a digest after which a line may break: eight bytes."""

_MARKS_MAXIMUM: Final = 2
"""Combining marks that a letter may carry. More, and they are drawn over the lines around."""


def outside(text: str, limit: int = NAME_MAX) -> Markup:
    """Text from outside on its own: cut, cleaned, and kept from turning the direction of what stands around it."""
    rest = f"… ({number(len(text))} characters)" if len(text) > limit else ""
    return join([element("bdi", _without_piles(text[:limit])), rest])


def _without_piles(text: str) -> str:
    if text.isascii():
        return sanitize(text)
    parts, marks = [], 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char).startswith("M") else 0
        parts.append(sanitize(char) if marks <= _MARKS_MAXIMUM else f"\\u{ord(char):04x}")
    return "".join(parts)


def stamp(seconds: int | None) -> Markup:
    """A time in a table: never broken over two lines."""
    return element("time", moment(seconds)) if seconds is not None else Markup("no time")


def verdict(name: str) -> Markup:
    """A verdict: symbol, color and word."""
    symbol = SYMBOLS.get(name, "")
    kind = name if name in SYMBOLS else "none"
    return element("span", element("span", symbol, aria_hidden="true"), " ", outside(name), class_=f"v v-{kind}")


def code(text: str, limit: int = NAME_MAX) -> Markup:
    """A name from outside in the type of names."""
    return element("code", outside(text, limit))


def prose(text: str, limit: int = 1000) -> Markup:
    """A sentence of ours, in which `names` stand in backticks."""
    return join(element("code", part) if at % 2 else part for at, part in enumerate(excerpt(text, limit).split("`")))


def digits(text: str, other: str | None = None, limit: int = NAME_MAX) -> Markup:
    """A digest, whole, that may break after every eight bytes.

    Where it is nearly the same as `other`, the digits that differ are marked. Two digests of different things differ
    almost everywhere, and marking that would say nothing.
    """
    if not text.isascii() or not text.isalnum() or len(text) > limit:
        return code(text, limit)
    differ = {at for at, pair in enumerate(zip(text, other or text, strict=False)) if pair[0] != pair[1]}
    if len(differ) * 4 > len(text):
        differ = set()
    # Letters and digits alone: nothing here needs escaping.
    marked = [f"<mark>{char}</mark>" if at in differ else char for at, char in enumerate(text)]
    parts = ("".join(marked[at : at + _HEX_STEP]) for at in range(0, len(text), _HEX_STEP))
    return element("code", Markup("<wbr>".join(parts)), class_="x")


def spot(source: str, line: int) -> Markup:
    """``recorded.jsonl:12``; ``-`` is standard input, and what failed before its first line has none."""
    named = "standard input" if source == "-" else outside(source)
    return element("code", named, f":{line}" if line else "")


def place(at: Place) -> Markup:
    """Where a record stands, and its time."""
    return join([spot(at.source, at.line), " ", element("small", stamp(at.processed_at))])
