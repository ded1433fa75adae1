"""An HTML page read into a tree, strictly: every element is closed where it must be, and no attribute stands twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

LINES = {"br", "dd", "div", "dt", "h2", "h3", "li", "p", "summary", "td", "th", "ul"}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


@dataclass
class Node:
    """An element: its name, attributes, and what is in it in order."""

    name: str
    attributes: dict[str, str]
    inside: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text in it; what stands on a line of its own has one."""
        return "".join(
            one if isinstance(one, str) else f"\n{one.text}\n" if one.name in LINES else one.text for one in self.inside
        )

    @property
    def words(self) -> str:
        """All text in it, with single blanks."""
        return " ".join(self.text.split())

    def walk(self) -> Iterator[Node]:
        """It and all elements in it, in the order of the file."""
        yield self
        for one in self.inside:
            if isinstance(one, Node):
                yield from one.walk()

    def all(self, name: str, class_: str = "") -> list[Node]:
        """The elements in it of a name, and of a class."""
        wanted = set(class_.split())
        return [one for one in self.walk() if one.name == name and wanted <= set(one.get("class").split())]

    def by_id(self, name: str) -> Node:
        """The one element with an id."""
        (found,) = (one for one in self.walk() if one.attributes.get("id") == name)
        return found

    def get(self, attribute: str) -> str:
        """An attribute; empty if it has none."""
        return self.attributes.get(attribute, "")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Node("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {key: value or "" for key, value in attrs}
        assert len(attributes) == len(attrs), f"<{tag}> has an attribute twice: {attrs}"
        node = Node(tag, attributes)
        self.open[-1].inside.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}> at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:40]}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"a processing instruction: {data[:40]}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data[:40]}")


def parse(page: str) -> Node:
    """The `html` element of a page; an `AssertionError` says what is wrong with it."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert len(reader.open) == 1, f"not closed: {[one.name for one in reader.open[1:]]}"
    (root,) = (one for one in reader.open[0].inside if isinstance(one, Node))
    return root


def rows(table: Node, part: str = "tbody") -> list[list[str]]:
    """The cells of a table's body as words."""
    (body,) = table.all(part)
    return [[cell.words for cell in row.inside if isinstance(cell, Node)] for row in body.all("tr")]
