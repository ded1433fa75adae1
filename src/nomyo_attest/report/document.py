"""The document of an audit's report: sections of paragraphs, facts, tables, entries and charts.

`sections` builds it from a `Summary`. `text`, `markdown` and `html` render it and add no content. Its text is not
escaped: text from outside is a `Name`, a `Quote` or a `Digest`, and each renderer makes it safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol, TypeAlias, TypeVar

from nomyo_attest.audit.place import Place
from nomyo_attest.report.formatting import EXCERPT_MAX, NAME_MAX, count, number, sentence

VERDICT_SYMBOLS: Final = {"affirming": "✓", "warning": "!", "contraindicated": "✗", "none": "?", "unreadable": "∅"}
"""Symbols shown beside the color of a verdict, or of an outcome of the same severity."""


_NAME_SHOWN: Final = 40
"""Maximum digits of an AIK's Name that are shown in full."""


class Detail(IntEnum):
    """Which reports show a part: all reports, those with full detail (``--verbose``), or only the HTML page."""

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
        message: whether to show the text as a sentence, with a capital letter and a period.
    """

    text: str
    limit: int = EXCERPT_MAX
    message: bool = False

    @property
    def shown(self) -> str:
        """The text, as a sentence if it is a message and is not cut."""
        return sentence(self.text) if self.message and len(self.text) <= self.limit else self.text


@dataclass(frozen=True)
class Digest:
    """Bytes in hexadecimal digits.

    Attributes:
        hex: all digits.
        short: the digits to show where space is limited; empty to show all.
        near: a value to compare with; the HTML page marks the digits that differ.
    """

    hex: str
    short: str = ""
    near: str = ""


@dataclass(frozen=True)
class Aik:
    """An AIK.

    Attributes:
        name: its Name in hex.
        label: the label that the policy gives it; empty without a label.
    """

    name: str
    label: str = ""

    @property
    def short(self) -> str:
        """The first 12 and the last 4 digits of the Name; the first 4 are the hash algorithm."""
        return f"{self.name[:12]}…{self.name[-4:]}" if len(self.name) > _NAME_SHOWN else self.name


@dataclass(frozen=True)
class Mark:
    """A word with the color and the symbol of a verdict.

    Attributes:
        kind: the verdict.
        text: the word: an outcome, a severity or the verdict.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Share:
    """A part of a whole, as formatted by `formatting.shares`; the HTML page adds a bar.

    `kind` is the verdict whose fill the bar has.
    """

    text: str
    part: int
    whole: int
    kind: str


Text: TypeAlias = "str | int | Name | Quote | Digest | Aik | Mark | Share | Place | tuple[Text, ...]"
"""Text of this package, with names in backticks; a number; an object of a class above; or a sequence of these.

A newline is rendered as a line break where the report has room for it.
"""

# ---- blocks


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of sentences."""

    text: Text
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Fact:
    """A label and its text."""

    name: Text
    text: Text
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Facts:
    """Labels in a column, with their texts beside them."""

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
        columns, rows: all columns and rows. A report shows those that match its `Detail`.
        noun: the noun for a row, for "and 12 more sources".
        total: the number of all rows, if not all are listed.
        totals: the cells of a last row with the sums. The row before it has the sums of the rows that are not shown.
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
        """Return the rows at the bottom: the sums of the `hidden` rows, if there are any, and the sums of all rows."""
        if not self.totals:
            return []
        if not hidden:
            return [self.totals]
        hidden_sums: list[Text] = [count(hidden, f"other {self.noun}")]
        for index, total in enumerate(self.totals[1:], 1):
            hidden_sums.append(total - _sum(row.cells[index] for row in shown) if isinstance(total, int) else "")
        return [hidden_sums, self.totals]

    @property
    def adds_up(self) -> bool:
        """Whether the rows add up to `totals`, or to at most `totals` if not all rows are listed."""
        for index, total in enumerate(self.totals):
            if isinstance(total, int):
                difference = total - _sum(row.cells[index] for row in self.rows)
                if difference < 0 or (difference and self.total <= len(self.rows)):
                    return False
        return True


def _sum(cells: Iterable[Text]) -> int:
    return sum(cell for cell in cells if isinstance(cell, int))


@dataclass(frozen=True)
class Entry:
    """A finding with its facts and, below it, several items of the same kind.

    Attributes:
        mark: the outcome.
        name: the rule or the record.
        amount: the number of records or findings, as text.
        facts: names and texts.
        items: facts of each item.
        brief: the number of items that a brief report shows.
        noun: the noun for an item.
        total: the number of all items.
        number: the position in the list, from 1, if other sections refer to it; otherwise 0.
    """

    mark: Mark
    name: Text
    amount: Text = ""
    facts: Sequence[Fact] = ()
    items: Sequence[Sequence[Fact]] = ()
    brief: int = 0
    noun: str = "item"
    total: int = 0
    number: int = 0
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Entries:
    """A list of entries; `total` is the number of all entries."""

    name: str
    entries: Sequence[Entry]
    noun: str = "entry"
    total: int = 0
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Bullets:
    """A list of texts; `total` is the number of all texts. If `brief` is set, a brief report shows it instead."""

    name: str
    items: Sequence[Text]
    noun: str = "item"
    total: int = 0
    brief: str = ""
    detail: Detail = Detail.BRIEF


@dataclass(frozen=True)
class Verbatim:
    """A command or a document that a reader can copy."""

    text: str
    limit: int
    detail: Detail = Detail.PAGE


@dataclass(frozen=True)
class Chart:
    """A chart, identified by its name in `html`; only the HTML page draws it."""

    name: str
    detail: Detail = Detail.PAGE


@dataclass(frozen=True)
class Fold:
    """Blocks that are collapsed under a title."""

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
        blocks: its content.
        amount: the number of entries, shown after the title.
        folded: whether Markdown collapses it.
    """

    name: str
    title: str
    blocks: Sequence[Block]
    amount: str = ""
    folded: bool = False

    @property
    def heading(self) -> str:
        """The title, with the amount if there is one."""
        return f"{self.title}: {self.amount}" if self.amount else self.title


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: the numbers of records and sources, in one line.
        subject: the policy that was applied.
        code: the exit status.
        status: the exit status, in a few words.
        meaning: the meaning of the exit status, as a sentence.
        reason: the reason for the exit status.
        sections: the sections, in order.
    """

    title: str
    subject: Text
    code: int
    status: Mark
    meaning: str
    reason: str
    sections: Sequence[Section] = field(default_factory=tuple)


class _Detailed(Protocol):
    @property
    def detail(self) -> Detail: ...


D = TypeVar("D", bound=_Detailed)


def select(parts: Iterable[D], detail: Detail) -> list[D]:
    """Return the parts that a report with this detail shows."""
    return [part for part in parts if part.detail <= detail]


def more(hidden: int, noun: str) -> str:
    """State how many items are hidden: ``"and 12 more sources"``; empty for 0."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"and {number(hidden)} more {noun if hidden == 1 else plural}" if hidden > 0 else ""
