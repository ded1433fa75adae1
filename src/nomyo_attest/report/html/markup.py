"""HTML that cannot be broken by what is put into it: text is escaped unless it is markup already."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final

from nomyo_attest.report.formatting import sanitize

VOID: Final = frozenset({"br", "meta", "wbr"})
"""Elements without an end tag (HTML, 13.1.2), as far as they are used here."""


class Markup(str):
    """Text that is HTML. What is joined to it by ``+`` or an f-string is plain text again, and will be escaped."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """`text` as HTML: characters that do not print are written as escapes, those that mean something are quoted."""
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
    """Parts one behind the other, each escaped unless it is markup."""
    return Markup(escape(between).join(map(escape, parts)))


def fit(parts: Iterable[Markup], size: int) -> list[Markup]:
    """As many of the parts, from the first on, as have no more than `size` bytes together."""
    taken = []
    for part in parts:
        size -= len(part.encode())
        if size < 0:
            break
        taken.append(part)
    return taken
