"""Tables that a screen reader can walk and a keyboard can scroll."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nomyo_attest.report.html.markup import Markup, element, join


class Column(NamedTuple):
    """A column's heading; what stands in a `numeric` one is set flush right."""

    title: str
    numeric: bool = False


def columns(*titles: str) -> list[Column]:
    """Columns of text; a title that begins with ``#`` is one of numbers."""
    return [Column(title.removeprefix("#"), title.startswith("#")) for title in titles]


def row(of: Sequence[Column], cells: Sequence[str], **attributes: str | None) -> Markup:
    """A row; its first cell is its heading."""
    first, *others = zip(cells, of, strict=True)
    kind = {True: "n", False: None}
    return element(
        "tr",
        element("th", first[0], scope="row", class_=kind[first[1].numeric]),
        *(element("td", cell, class_=kind[column.numeric]) for cell, column in others),
        **attributes,
    )


def table(name: str, caption: str, of: Sequence[Column], rows: Iterable[Markup], foot: Iterable[Markup] = ()) -> Markup:
    """A table under its caption, in a region that scrolls sideways where the page is too narrow."""
    body = list(rows)
    ends = list(foot)
    head = [element("th", column.title, scope="col", class_="n" if column.numeric else None) for column in of]
    whole = element(
        "table",
        element("caption", caption, id=f"{name}-caption"),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        *([element("tfoot", *ends)] if ends else []),
        class_=f"t-{name}",
    )
    return element("div", whole, class_="scroll", role="region", tabindex=0, aria_labelledby=f"{name}-caption")


def pairs(rows: Iterable[tuple[str, str]]) -> Markup:
    """Names and what they stand for."""
    return element("dl", *(element("div", element("dt", name), element("dd", text)) for name, text in rows))


def fold(summary: str, *inside: str) -> Markup:
    """Something that is shown when asked for."""
    return element("details", element("summary", summary), *inside)


def listing(items: Iterable[str], **attributes: str | None) -> Markup:
    """A list."""
    return element("ul", *(element("li", item) for item in items), **attributes)


def section(name: str, title: str, *inside: str) -> Markup:
    """A section of the page: a landmark with its heading."""
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, join(inside), id=name, aria_labelledby=f"{name}-title")
