"""Format the summary of an audit as text for a terminal or a log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.causes import place_and_time
from nomyo_attest.report.document import (
    Aik,
    Block,
    Bullets,
    Chart,
    Detail,
    Digest,
    Entries,
    Entry,
    Fact,
    Facts,
    Fold,
    Mark,
    Name,
    Paragraph,
    Quote,
    Row,
    Section,
    Share,
    Table,
    Text,
    Verbatim,
    more,
    select,
)
from nomyo_attest.report.formatting import (
    NAME_MAX,
    Ink,
    TextStyle,
    escape_commands,
    excerpt,
    number,
    sanitize,
    source_name,
)
from nomyo_attest.report.sections import audit_document

_LISTED: Final = 10
"""Maximum rows, items and names of a list that are shown without `TextStyle.verbose`."""

_LABEL_INDENT: Final = 3
_LABEL: Final = 13
"""Columns of the labels of an entry's facts; the same as for the findings of a single result."""

_OWN_TEXT_MAX: Final = 4000
_LONG_HEX: Final = 40
_INKS: Final[dict[str, Ink]] = {"affirming": "good", "warning": "warn"}


def audit_text(summary: Summary, style: TextStyle, written: Sequence[str] = ()) -> str:
    """Format `summary` as text, without a final newline. No part of it is a command to a CI system.

    Args:
        summary: what the audit found.
        style: width, color and detail. Lists are limited unless it is `verbose`.
        written: the names of the files that the audit wrote.
    """
    report = audit_document(summary)
    renderer = _Renderer(style)
    parts = [[style.paint(report.title, "bold"), *style.wrap(renderer.text(report.subject), "  ")]]
    parts += [renderer.section(section, heading=index > 0) for index, section in enumerate(report.sections)]
    if written:
        parts.append(style.wrap(", ".join(source_name(name) for name in written), "written: "))
    tag = f"exit status {report.code}: {report.status.text}"
    status = style.wrap(f"{tag}; {excerpt(report.reason, 600)}" if report.reason else tag)
    status[0] = status[0].replace(tag, style.paint(tag, _ink(report.status)), 1)
    return escape_commands("\n\n".join("\n".join(part) for part in [*parts, status] if part))


def _ink(mark: Mark) -> Ink:
    return _INKS.get(mark.kind, "bad")


class _Renderer:
    def __init__(self, style: TextStyle) -> None:
        self.style = style
        self.detail = Detail.FULL if style.verbose else Detail.BRIEF

    def text(self, text: Text) -> str:
        """Render a text as one line, sanitized."""
        match text:
            case str():
                return excerpt(text.replace("\n", ", "), _OWN_TEXT_MAX)
            case int():
                return number(text)
            case Name():
                return excerpt(text.text, text.limit)
            case Quote():
                return excerpt(text.shown, text.limit)
            case Digest():
                return excerpt(text.hex if self.style.verbose or not text.short else text.short, NAME_MAX)
            case Aik():
                name = excerpt(text.name if self.style.verbose else text.short, NAME_MAX)
                return f"{excerpt(text.label, NAME_MAX)} ({name})" if text.label else name
            case Mark():
                return sanitize(text.text)
            case Share():
                return text.text
            case Place():
                return place_and_time(text)
        return "".join(map(self.text, text)).removesuffix(", ")

    def section(self, section: Section, *, heading: bool) -> list[str]:
        """Render a section under its heading; empty if no block is shown at this detail."""
        parts = [part for part in map(self.block, select(section.blocks, self.detail)) if part]
        if not parts:
            return []
        lines = [self.style.paint(section.heading, "bold")] if heading else []
        for index, part in enumerate(parts):
            lines += [""] * (index > 0) + part
        return lines

    def block(self, block: Block) -> list[str]:
        match block:
            case Paragraph():
                return self.style.wrap(self.text(block.text), "  ")
            case Facts():
                return self.style.pairs(
                    (self.text(row.name), self.text(row.text)) for row in select(block.rows, self.detail)
                )
            case Table():
                return self._table(block)
            case Entries():
                return self._entries(block)
            case Bullets():
                return self._bullets(block)
            case Verbatim():
                return self.style.wrap(excerpt(block.text, 1000), "  ")
            case Fold():
                lines = [line for inner in select(block.blocks, self.detail) for line in self.block(inner)]
                return [*self.style.wrap(block.title, "  "), *lines]
            case Chart():
                return []

    # ---- lists

    def _more(self, shown: int, listed: int, total: int, noun: str, indent: str = "  ") -> list[str]:
        rest = more(max(total, listed) - shown, noun)
        if not rest:
            return []
        return self.style.wrap(rest + ("" if self.style.verbose else " (--verbose lists more)"), indent)

    def _bullets(self, block: Bullets) -> list[str]:
        if block.brief and not self.style.verbose:
            return self.style.wrap(excerpt(block.brief, 1000), "  ")
        shown = block.items if self.style.verbose else block.items[:_LISTED]
        lines = [line for item in shown for line in self.style.wrap(self.text(item), "  - ")]
        return lines + self._more(len(shown), len(block.items), block.total, block.noun)

    def _entries(self, block: Entries) -> list[str]:
        listed = select(block.entries, self.detail)
        shown = listed if self.style.verbose else listed[: 3 * _LISTED]
        lines: list[str] = []
        detailed = False
        for entry in shown:
            previous, detailed = detailed, bool(select(entry.facts, self.detail))
            lines += [""] * (bool(lines) and (previous or detailed)) + self._entry(entry)
        return lines + self._more(len(shown), len(listed), block.total, block.noun)

    def _entry(self, entry: Entry) -> list[str]:
        lines = self._head(entry)
        for fact in select(entry.facts, self.detail):
            if fact.name == "remediation":
                continue
            lines += self._fact(fact)
        items = entry.items if self.style.verbose else entry.items[: entry.brief]
        for item in items:
            for fact in select(item, self.detail):
                lines += self._fact(fact)
        if items:
            lines += self._more(len(items), len(entry.items), entry.total, entry.noun, " " * (_LABEL_INDENT + _LABEL))
        return lines + [
            line for fact in select(entry.facts, self.detail) if fact.name == "remediation" for line in self._fact(fact)
        ]

    def _head(self, entry: Entry) -> list[str]:
        """Render mark, name and amount on a line, as for a rule of a single result; a long amount goes below."""
        tag, name, amount = entry.mark.text, self.text(entry.name), self.text(entry.amount)
        before = f"  {entry.number}. " if entry.number else "  "
        first = f"{before}{tag}  {name}  "
        lines = [f"{first}{amount}".rstrip()]
        if len(lines[0]) > self.style.width:
            lines = self.style.wrap(name, f"{before}{tag}  ", "    ") + (
                self.style.wrap(amount, "    ") if amount else []
            )
        rest = lines[0].removeprefix(f"{before}{tag}  ")
        name = rest[: len(name)]
        painted = f"{self.style.paint(name, 'bold')}{rest[len(name) :]}"
        return [f"{before}{self.style.paint(tag, _ink(entry.mark))}  {painted}", *lines[1:]]

    def _fact(self, fact: Fact) -> list[str]:
        return self.style.wrap(self.text(fact.text), f"{' ' * _LABEL_INDENT}{self.text(fact.name).ljust(_LABEL)}")

    # ---- tables

    def _table(self, block: Table) -> list[str]:
        visible_columns = [position for position, column in enumerate(block.columns) if column.detail <= self.detail]
        rows = select(block.rows, self.detail)
        shown = rows if self.style.verbose else rows[:_LISTED]
        if not shown:
            return []
        listed = len(select(block.rows, Detail.FULL))
        cells = [
            [self.text(row.cells[position]) for position in visible_columns]
            for row in [*shown, *self._foot(block, shown)]
        ]
        head = [block.columns[position].title for position in visible_columns]
        numeric = [block.columns[position].numeric for position in visible_columns]
        widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
        lines = self.style.wrap(block.caption, "  ") if block.name != "counts" else []
        if 2 + sum(widths) + 2 * (len(widths) - 1) <= self.style.width:
            lines.append(self.style.paint(_aligned(head, widths, numeric), "dim"))
            lines += [self._painted(row, _aligned(texts, widths, numeric)) for row, texts in _paired(shown, cells)]
        else:
            lines += [line for texts in cells for line in self._stacked(texts, head, numeric)]
        return lines + self._more(len(shown), listed, block.total, block.noun)

    def _foot(self, block: Table, shown: Sequence[Row]) -> Iterable[Row]:
        hidden = max(block.total, len(block.rows)) - len(shown)
        return (Row(cells) for cells in block.foot(shown, hidden))

    def _painted(self, row: Row | None, line: str) -> str:
        first = row.cells[0] if row is not None else None
        if not isinstance(first, Mark):
            return line
        return line.replace(first.text, self.style.paint(first.text, _ink(first)), 1)

    def _stacked(self, cells: Sequence[str], head: Sequence[str], numeric: Sequence[bool]) -> list[str]:
        """Render a row of a table that is too wide: its first cell on a line, the others below it."""
        first, *others = zip(cells, head, numeric, strict=True)
        lines = self.style.wrap(first[0], "  ", "    ")
        beside = []
        for cell, title, is_number in others:
            if not is_number and len(cell) > _LONG_HEX and cell.isalnum():
                lines += self.style.beside("    ", cell)
            elif cell and cell != "0":
                beside.append(f"{cell} {title}" if is_number else f"{title} {cell}")
        return lines + (self.style.wrap(", ".join(beside), "    ") if beside else [])


def _aligned(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    aligned = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    )
    return f"  {'  '.join(aligned)}".rstrip()


def _paired(shown: Sequence[Row], cells: Sequence[Sequence[str]]) -> Iterable[tuple[Row | None, Sequence[str]]]:
    return ((shown[index] if index < len(shown) else None, texts) for index, texts in enumerate(cells))
