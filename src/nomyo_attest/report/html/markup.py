"""HTML that cannot be broken by what is put into it, and how each kind of text is written in it.

Text is escaped unless it is markup already.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable
from typing import Final

from nomyo_attest.audit.summary import Place
from nomyo_attest.report.document import (
    VERDICT_SYMBOLS,
    Digest,
    Mark,
    Name,
    Quote,
    Share,
    Text,
)
from nomyo_attest.report.formatting import NAME_MAX, excerpt, moment, number, sanitize

VOID: Final = frozenset({"br", "meta", "wbr"})
"""Elements without an end tag (HTML, 13.1.2), as far as they are used here."""


class Markup(str):
    """Text that is HTML. What is joined to it by ``+`` or an f-string is plain text again, and will be escaped."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Escape `text`: characters that do not print are written as escapes, those with a meaning in HTML are quoted."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(sanitize(text)))


def element(name: str, /, *children: str, **attributes: str | int | None) -> Markup:
    """An element. An attribute's name loses a final ``_``, other ``_`` are hyphens; one that is None is left out."""
    start = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(sanitize(str(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{start}>")
    return Markup(f"<{name}{start}>{join(children)}</{name}>")


def join(parts: Iterable[str], between: str = "") -> Markup:
    """Concatenate parts, each escaped unless it is markup."""
    return Markup(escape(between).join(map(escape, parts)))


def fit(parts: Iterable[Markup], size: int) -> list[Markup]:
    """Take as many of the parts, from the first on, as have no more than `size` bytes together."""
    taken = []
    for part in parts:
        size -= len(part.encode())
        if size < 0:
            break
        taken.append(part)
    return taken


# ---- text

_HEX_STEP: Final = 16
"""Digits of a digest after which a line may break: eight bytes."""

_MARKS_MAXIMUM: Final = 2
"""Combining marks that a letter may carry. More, and they are drawn over the lines around."""

_OUR_TEXT_MAX: Final = 4000


def render(text: Text) -> Markup:
    """Write a text of the document as HTML."""
    match text:
        case str():
            return _ours(text)
        case int():
            return escape(number(text))
        case Name():
            return element("code", outside(text.text, text.limit))
        case Quote():
            return outside(text.shown, text.limit)
        case Digest():
            return _digits(text.hex, text.near)
        case Mark():
            return mark(text)
        case Share():
            return join([text.text, _bar(text)])
        case Place():
            time = element("small", element("time", moment(text.processed_at))) if text.processed_at is not None else ""
            return join([_spot(text.source, text.line), " ", time])
    return join(map(render, text))


def outside(text: str, limit: int = NAME_MAX) -> Markup:
    """Text from outside: cut, sanitized, and kept from turning the direction of the text around it."""
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


def mark(of: Mark) -> Markup:
    """A word with the symbol and the color of a verdict."""
    kind = of.kind if of.kind in VERDICT_SYMBOLS else "none"
    symbol = element("span", VERDICT_SYMBOLS[kind], aria_hidden="true")
    return element("span", symbol, " ", outside(of.text), class_=f"v v-{kind}")


def _ours(text: str) -> Markup:
    """Text of ours: `names` in backticks are set as code, a line end is a line break."""
    lines = []
    for line in text[:_OUR_TEXT_MAX].split("\n"):
        parts = excerpt(line, _OUR_TEXT_MAX).split("`")
        lines.append(join(element("code", part) if at % 2 else part for at, part in enumerate(parts)))
    return join(lines, element("br"))


def _digits(text: str, near: str = "", limit: int = NAME_MAX) -> Markup:
    """A digest, whole, that may break after every eight bytes.

    Where it is nearly the same as `near`, the digits that differ are marked. Two digests of different things differ
    almost everywhere, and marking that would say nothing.
    """
    if not text.isascii() or not text.isalnum() or len(text) > limit:
        return element("code", outside(text, limit))
    differ = {at for at, pair in enumerate(zip(text, near or text, strict=False)) if pair[0] != pair[1]}
    if len(differ) * 4 > len(text):
        differ = set()
    # Letters and digits alone: nothing here needs escaping.
    marked = [f"<mark>{char}</mark>" if at in differ else char for at, char in enumerate(text)]
    parts = ("".join(marked[at : at + _HEX_STEP]) for at in range(0, len(text), _HEX_STEP))
    return element("code", Markup("<wbr>".join(parts)), class_="x")


def _spot(source: str, line: int) -> Markup:
    """``recorded.jsonl:12``; ``-`` is standard input, and what failed before its first line has none."""
    named = "standard input" if source == "-" else outside(source)
    return element("code", named, f":{line}" if line else "")


def _bar(share: Share) -> Markup:
    """A bar of a share, below the number that says the same."""
    width = 100 * share.part / share.whole if share.whole else 0
    filled = element("rect", width=f"{max(width, 0.7 if share.part else 0):.2f}%", height=8, class_=f"b-{share.kind}")
    track = element("rect", width="100%", height=8, class_="track")
    return element("svg", track, filled, class_="bar", width="100%", height=8, aria_hidden="true")
