"""The document that every report of an audit renders: sections of paragraphs, facts, tables, entries and charts.

`sections` builds one from a `Summary`. `text`, `markdown` and `html` render it and add no content of their own. Nothing
in it is escaped: what comes from outside is marked as `Name`, `Quote` or `Digest`, and each renderer makes it safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol, TypeAlias, TypeVar

from nomyo_attest.audit.summary import Place
from nomyo_attest.report.formatting import NAME_MAX, TEXT_MAX, count, number, sentence

VERDICT_SYMBOLS: Final = {"affirming": "✓", "warning": "!", "contraindicated": "✗", "none": "?", "unreadable": "∅"}
"""What is shown beside the color of a verdict, and of other outcomes that are as good or as bad."""


class Detail(IntEnum):
    """Which reports show a part: all of them; those that show everything known (``--verbose``); the HTML page only."""

    BRIEF = 0
    FULL = 1
    PAGE = 2


# ---- text


@dataclass(frozen=True)
class Name:
    """A name from outside: of a source, a rule, a payload id."""

    text: str
    limit: int = NAME_MAX


@dataclass(frozen=True)
class Quote:
    """A sentence or a value from outside.

    Attributes:
        text: the whole text.
        limit: characters that are shown.
        message: whether it is a message, which is shown with a capital and a full stop.
    """

    text: str
    limit: int = TEXT_MAX
    message: bool = False

    @property
    def shown(self) -> str:
        """The text as a sentence, if it is a message that is shown whole; not copied if it is longer."""
        return sentence(self.text) if self.message and len(self.text) <= self.limit else self.text


@dataclass(frozen=True)
class Digest:
    """Bytes in hexadecimal digits.

    Attributes:
        hex: all digits.
        short: the digits to show where space is scarce; empty for all.
        near: a value that is compared with this one: the page marks the digits that differ.
    """

    hex: str
    short: str = ""
    near: str = ""


@dataclass(frozen=True)
class Mark:
    """A word with the color and the symbol of a verdict: an outcome, or the verdict itself."""

    kind: str
    text: str


@dataclass(frozen=True)
class Share:
    """A part of a whole, as formatted by `formatting.shares`; the page draws a bar."""

    text: str
    part: int
    whole: int
    kind: str


Text: TypeAlias = "str | int | Name | Quote | Digest | Mark | Share | Place | tuple[Text, ...]"
"""Text of ours, in which names are in backticks; a number; a span of another kind; or several of these in a row.

A line end in it is a line break where there is room for one.
"""

# ---- blocks


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: Text
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Fact:
    """A name and a text."""

    name: Text
    text: Text
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Facts:
    """Names in a column, texts beside them."""

    rows: Sequence[Fact]
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    numeric: bool = False
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    cells: Sequence[Text]
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its heading.

    Attributes:
        name: an identifier, unique in the document.
        caption: what the table shows.
        columns, rows: all of them; a report takes those of its detail.
        noun: what a row is, for "and 12 more sources".
        total: how many rows there are altogether, where not all are listed.
        totals: the cells of a last row with the sums; the difference between these and the rows shown is another row.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    noun: str = "row"
    total: int = 0
    totals: Sequence[Text] = ()
    detail: Detail = Detail.BRIEF

    def foot(self, shown: Sequence[Row], hidden: int) -> list[Sequence[Text]]:
        """The rows below those shown: the sums of the `hidden` ones, if there are any, and of all."""
        if not self.totals:
            return []
        if not hidden:
            return [self.totals]
        rest: list[Text] = [count(hidden, f"other {self.noun}")]
        for at, total in enumerate(self.totals[1:], 1):
            rest.append(total - _sum(row.cells[at] for row in shown) if isinstance(total, int) else "")
        return [rest, self.totals]

    @property
    def adds_up(self) -> bool:
        """Whether the rows have the sums that they should have; if not all are listed, no more than these."""
        for at, total in enumerate(self.totals):
            if isinstance(total, int):
                left = total - _sum(row.cells[at] for row in self.rows)
                if left < 0 or (left and self.total <= len(self.rows)):
                    return False
        return True


def _sum(cells: Iterable[Text]) -> int:
    return sum(cell for cell in cells if isinstance(cell, int))


@dataclass(frozen=True)
class Entry:
    """Something found, with its facts, and with several items of the same kind below it.

    Attributes:
        mark: the outcome.
        name: what it is about: a rule, a record.
        amount: how much of it, in a few words.
        facts: names and texts.
        items: facts of each item.
        brief: how many items a brief report shows.
        noun: what an item is.
        total: how many items there are altogether.
    """

    mark: Mark
    name: Text
    amount: Text = ""
    facts: Sequence[Fact] = ()
    items: Sequence[Sequence[Fact]] = ()
    brief: int = 0
    noun: str = "item"
    total: int = 0
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Entries:
    """A list of entries; `total` is how many there are altogether."""

    name: str
    entries: Sequence[Entry]
    noun: str = "entry"
    total: int = 0
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Bullets:
    """A list of texts; `total` is how many there are altogether. A brief report has the sentence `brief`, if any."""

    name: str
    items: Sequence[Text]
    noun: str = "item"
    total: int = 0
    brief: str = ""
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Verbatim:
    """A command or a document, to be copied character for character."""

    text: str
    limit: int
    detail: Detail = Detail.PAGE


@dataclass(frozen=True)
class Chart:
    """A drawing that only the page has, of the name that `html.charts` knows."""

    name: str
    detail: Detail = Detail.PAGE


@dataclass(frozen=True)
class Fold:
    """Blocks under a title that a page shows when they are asked for."""

    title: str
    blocks: Sequence[Block]
    detail: Detail = Detail.BRIEF


Block: TypeAlias = Paragraph | Facts | Table | Entries | Bullets | Verbatim | Chart | Fold


@dataclass(frozen=True)
class Section:
    """A part of the document.

    Attributes:
        name: an identifier, unique in the document.
        title: the heading.
        blocks: what is in it.
        amount: how much there is of what the title names.
        folded: whether Markdown shows it only when asked for.
    """

    name: str
    title: str
    blocks: Sequence[Block]
    amount: str = ""
    folded: bool = False

    @property
    def heading(self) -> str:
        """The title with the amount."""
        return f"{self.title}: {self.amount}" if self.amount else self.title


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: what was audited, in a line.
        subject: by what policy and when.
        code: the exit status.
        status: what it means.
        reason: why it is not 0.
        sections: the parts.
    """

    title: str
    subject: Text
    code: int
    status: Mark
    reason: str
    sections: Sequence[Section] = field(default_factory=tuple)


class _Detailed(Protocol):
    @property
    def detail(self) -> Detail: ...


D = TypeVar("D", bound=_Detailed)


def select(parts: Iterable[D], detail: Detail) -> list[D]:
    """The parts that a report of this detail shows."""
    return [part for part in parts if part.detail <= detail]


def more(hidden: int, noun: str) -> str:
    """``"and 12 more sources"``; empty if nothing is hidden."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"and {number(hidden)} more {noun if hidden == 1 else plural}" if hidden > 0 else ""
