"""Build HTML that its content cannot break, and render each kind of text as HTML.

Text is escaped unless it is `Markup` already.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable
from typing import Final

from nomyo_attest.audit.place import Place
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
"""The elements without an end tag (HTML, 13.1.2) that the page uses."""


class Markup(str):
    """Text that is HTML. Joining it by ``+`` or an f-string returns plain text, which will be escaped."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Escape `text`: unprintable characters, and those that have a meaning in HTML."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(sanitize(text)))


def element(name: str, /, *children: str, **attributes: str | int | None) -> Markup:
    """Build an element. In the name of an attribute, a final ``_`` is removed and every other ``_`` becomes a hyphen.

    An attribute whose value is None is omitted.
    """
    start = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(sanitize(str(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{start}>")
    return Markup(f"<{name}{start}>{join(children)}</{name}>")


def join(parts: Iterable[str], separator: str = "") -> Markup:
    """Concatenate parts, each escaped unless it is markup."""
    return Markup(escape(separator).join(map(escape, parts)))


def fit(parts: Iterable[Markup], size: int) -> list[Markup]:
    """Return the leading parts that together are at most `size` bytes."""
    fitting = []
    for part in parts:
        size -= len(part.encode())
        if size < 0:
            break
        fitting.append(part)
    return fitting


# ---- text

_HEX_STEP: Final = 16
"""A line may break after a multiple of this many digits of a digest (eight bytes)."""

_MARKS_MAXIMUM: Final = 2
"""Maximum combining marks on a letter: more marks would be drawn over neighboring lines."""

_OWN_TEXT_MAX: Final = 4000


def render(text: Text) -> Markup:
    """Render a text of the document as HTML."""
    match text:
        case str():
            return _own_text(text)
        case int():
            return escape(number(text))
        case Name():
            return element("code", untrusted(text.text, text.limit))
        case Quote():
            return untrusted(text.shown, text.limit)
        case Digest():
            return _digest(text.hex, text.near)
        case Aik():
            if not text.label:
                return _digest(text.name)
            name = element("code", untrusted(text.short), title=excerpt(text.name, NAME_MAX))
            return join([untrusted(text.label), " ", name])
        case Mark():
            return render_mark(text)
        case Share():
            return join([text.text, _bar(text)])
        case Place():
            time = element("small", element("time", moment(text.processed_at))) if text.processed_at is not None else ""
            return join([_place(text.source, text.line), " ", time])
    return join(map(render, text))


def untrusted(text: str, limit: int = NAME_MAX) -> Markup:
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


def render_mark(mark: Mark) -> Markup:
    """Render a mark with the symbol and the color of its verdict."""
    kind = mark.kind if mark.kind in VERDICT_SYMBOLS else "none"
    symbol = element("span", VERDICT_SYMBOLS[kind], aria_hidden="true")
    return element("span", symbol, " ", untrusted(mark.text), class_=f"v v-{kind}")


def _own_text(text: str) -> Markup:
    """Render text of this package: names in backticks become code, and a newline becomes a line break."""
    lines = []
    for line in text[:_OWN_TEXT_MAX].split("\n"):
        parts = excerpt(line, _OWN_TEXT_MAX).split("`")
        lines.append(join(element("code", part) if index % 2 else part for index, part in enumerate(parts)))
    return join(lines, element("br"))


def _digest(text: str, near: str = "", limit: int = NAME_MAX) -> Markup:
    """Render a digest in full, in which a line may break after every eight bytes.

    If it nearly equals `near`, the digits that differ are marked. Marks on unrelated digests would not help, since
    almost all their digits differ.
    """
    if not text.isascii() or not text.isalnum() or len(text) > limit:
        return element("code", untrusted(text, limit))
    differ = {index for index, pair in enumerate(zip(text, near or text, strict=False)) if pair[0] != pair[1]}
    if len(differ) * 4 > len(text):
        differ = set()
    # Letters and digits need no escaping.
    marked = [f"<mark>{char}</mark>" if index in differ else char for index, char in enumerate(text)]
    parts = ("".join(marked[start : start + _HEX_STEP]) for start in range(0, len(text), _HEX_STEP))
    return element("code", Markup("<wbr>".join(parts)), class_="x")


def _place(source: str, line: int) -> Markup:
    """Render ``recorded.jsonl:12``; ``-`` is standard input, and line 0 is omitted."""
    name = "standard input" if source == "-" else untrusted(source)
    return element("code", name, f":{line}" if line else "")


def _bar(share: Share) -> Markup:
    """Draw a share as a bar below its number."""
    width = 100 * share.part / share.whole if share.whole else 0
    filled = element("rect", width=f"{max(width, 0.7 if share.part else 0):.2f}%", height=8, class_=f"b-{share.kind}")
    track = element("rect", width="100%", height=8, class_="track")
    return element("svg", track, filled, class_="bar", width="100%", height=8, aria_hidden="true")
