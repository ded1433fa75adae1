"""Build HTML that its content cannot break, and render each kind of text as HTML.

Text is escaped unless it is `Markup` already.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable
from typing import Final

from nomyo_attest.audit.summary import Place
from nomyo_attest.report.document import (
    VERDICT_SYMBOLS,
    Aik,
    Digest,
    Mark,
    Name,
    Quote,
    Share,
    Text,
)
from nomyo_attest.report.formatting import NAME_MAX, excerpt, moment, number, sanitize

VOID: Final = frozenset({"br", "meta", "wbr"})
"""The elements without an end tag (HTML, 13.1.2) that are used here."""


class Markup(str):
    """Text that is HTML. Joining it by ``+`` or an f-string returns plain text, which will be escaped."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Escape `text`: characters that do not print are written as escapes, those with a meaning in HTML are quoted."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(sanitize(text)))


def element(name: str, /, *children: str, **attributes: str | int | None) -> Markup:
    """Return an element. A final ``_`` of an attribute's name is dropped, other ``_`` become hyphens; None omits it."""
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
    """Return the leading parts that together have at most `size` bytes."""
    taken = []
    for part in parts:
        size -= len(part.encode())
        if size < 0:
            break
        taken.append(part)
    return taken


# ---- text

_HEX_STEP: Final = 16
"""A line may break after a multiple of this many digits of a digest (eight bytes)."""

_MARKS_MAXIMUM: Final = 2
"""Maximum combining marks on a letter; more would be drawn over neighboring lines."""

_OUR_TEXT_MAX: Final = 4000


def render(text: Text) -> Markup:
    """Render a text of the document as HTML."""
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
        case Aik():
            if not text.label:
                return _digits(text.name)
            name = element("code", outside(text.short), title=excerpt(text.name, NAME_MAX))
            return join([outside(text.label), " ", name])
        case Mark():
            return mark(text)
        case Share():
            return join([text.text, _bar(text)])
        case Place():
            time = element("small", element("time", moment(text.processed_at))) if text.processed_at is not None else ""
            return join([_spot(text.source, text.line), " ", time])
    return join(map(render, text))


def outside(text: str, limit: int = NAME_MAX) -> Markup:
    """Render text from outside: cut, sanitized, and isolated so that it cannot change the direction of other text."""
    rest = f"… ({number(len(text))} characters)" if len(text) > limit else ""
    return join([element("bdi", _without_stacked_marks(text[:limit])), rest])


def _without_stacked_marks(text: str) -> str:
    if text.isascii():
        return sanitize(text)
    parts, marks = [], 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char).startswith("M") else 0
        parts.append(sanitize(char) if marks <= _MARKS_MAXIMUM else f"\\u{ord(char):04x}")
    return "".join(parts)


def mark(word: Mark) -> Markup:
    """Render a word with the symbol and the color of a verdict."""
    kind = word.kind if word.kind in VERDICT_SYMBOLS else "none"
    symbol = element("span", VERDICT_SYMBOLS[kind], aria_hidden="true")
    return element("span", symbol, " ", outside(word.text), class_=f"v v-{kind}")


def _ours(text: str) -> Markup:
    """Render text of this package: names in backticks become code, a line end becomes a line break."""
    lines = []
    for line in text[:_OUR_TEXT_MAX].split("\n"):
        parts = excerpt(line, _OUR_TEXT_MAX).split("`")
        lines.append(join(element("code", part) if index % 2 else part for index, part in enumerate(parts)))
    return join(lines, element("br"))


def _digits(text: str, near: str = "", limit: int = NAME_MAX) -> Markup:
    """Render a whole digest, in which a line may break after every eight bytes.

    If it is nearly the same as `near`, the digits that differ are marked. Unrelated digests differ almost everywhere,
    so marking them would not help.
    """
    if not text.isascii() or not text.isalnum() or len(text) > limit:
        return element("code", outside(text, limit))
    differ = {index for index, pair in enumerate(zip(text, near or text, strict=False)) if pair[0] != pair[1]}
    if len(differ) * 4 > len(text):
        differ = set()
    # Only letters and digits: nothing needs escaping.
    marked = [f"<mark>{char}</mark>" if index in differ else char for index, char in enumerate(text)]
    parts = ("".join(marked[start : start + _HEX_STEP]) for start in range(0, len(text), _HEX_STEP))
    return element("code", Markup("<wbr>".join(parts)), class_="x")


def _spot(source: str, line: int) -> Markup:
    """Render ``recorded.jsonl:12``; ``-`` is standard input, and line 0 is omitted."""
    named = "standard input" if source == "-" else outside(source)
    return element("code", named, f":{line}" if line else "")


def _bar(share: Share) -> Markup:
    """Draw a share as a bar, below its number."""
    width = 100 * share.part / share.whole if share.whole else 0
    filled = element("rect", width=f"{max(width, 0.7 if share.part else 0):.2f}%", height=8, class_=f"b-{share.kind}")
    track = element("rect", width="100%", height=8, class_="track")
    return element("svg", track, filled, class_="bar", width="100%", height=8, aria_hidden="true")
