"""Format an audit as Markdown, for the summary of a CI job or a comment on a pull request.

Text from records, files and the command line is put in code spans, where Markdown, HTML, links and mentions have no
effect, unless it consists of plain words only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.causes import place_text
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
    Section,
    Share,
    Table,
    Text,
    Verbatim,
    more,
    select,
)
from nomyo_attest.report.formatting import EXCERPT_MAX, NAME_MAX, excerpt, moment, number, sanitize
from nomyo_attest.report.sections import audit_document

BYTES_MAXIMUM: Final = 1024 * 1024
"""Maximum bytes of a step summary; GitHub shows no part of a longer one. The limits below keep reports far smaller."""

_ROWS: Final = 20
_ENTRIES: Final = 30
_ITEMS: Final = 3

_PLAIN: Final = re.compile(r"[A-Za-z0-9 ,.:;()'-]+", re.ASCII)


def audit_markdown(summary: Summary) -> str:
    """Format `summary` as GitHub Flavored Markdown, with a final newline: the result and its reason first."""
    report = audit_document(summary)
    state = "passed" if report.code == 0 else "not passed"
    reason = f"; {prose(excerpt(report.reason))}" if report.reason else ""
    parts = [
        f"## nomyo-attest audit: {state}",
        f"**{report.title}**, {_text(report.subject)}.",
        f"Exit status {report.code}: {report.status.text}{reason}.",
    ]
    for index, section in enumerate(report.sections):
        parts += _section(section, heading=index > 0)
    return "\n\n".join(parts) + "\n"


def code_span(text: str) -> str:
    """Format `text` as a code span that it cannot end, and that a table cell can contain."""
    text = sanitize(text)
    if text.strip() and "`" not in text and "|" not in text:
        return f"`{text}`"
    # Markdown does not interpret character references as syntax, and finds no mentions or links inside <code>.
    return f"<code>{''.join(char if char.isalnum() or char == ' ' else f'&#{ord(char)};' for char in text)}</code>"


def prose(text: str) -> str:
    """Return `text` unchanged if it consists of plain words without Markdown syntax; as a code span otherwise."""
    return text if _PLAIN.fullmatch(text) and "www." not in text else code_span(text)


def _text(text: Text) -> str:
    match text:
        case str():
            return text.replace("\n", ", ")
        case int():
            return number(text)
        case Name():
            return code_span(excerpt(text.text, min(text.limit, NAME_MAX)))
        case Quote():
            return prose(excerpt(text.shown, min(text.limit, EXCERPT_MAX))) if text.text else ""
        case Digest():
            return code_span(excerpt(text.short or text.hex, NAME_MAX))
        case Aik():
            name = code_span(excerpt(text.name, NAME_MAX))
            return f"{prose(excerpt(text.label, NAME_MAX))} ({name})" if text.label else name
        case Mark():
            return sanitize(text.text) if text.kind == "affirming" else f"**{sanitize(text.text)}**"
        case Share():
            return text.text
        case Place():
            time = "" if text.processed_at is None else f", {moment(text.processed_at)}"
            return f"{code_span(place_text(text.source, text.line))}{time}"
    return "".join(map(_text, text)).removesuffix(", ")


def _section(section: Section, *, heading: bool) -> list[str]:
    parts = [part for block in select(section.blocks, Detail.FULL) for part in _block(block)]
    if not parts or not heading:
        return parts
    return _folded(section.heading, parts) if section.folded else [f"### {section.heading}", *parts]


def _folded(title: str, parts: Iterable[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", *parts, "</details>"]


def _block(block: Block) -> list[str]:
    match block:
        case Paragraph():
            return [_text(block.text)]
        case Facts():
            rows = select(block.rows, Detail.FULL)
            return ["\n".join(_fact(_text(row.name), _text(row.text)) for row in rows)] * bool(rows)
        case Table():
            return _table(block)
        case Entries():
            shown = block.entries[:_ENTRIES]
            rest = _more(len(shown), max(len(block.entries), block.total), block.noun)
            return [*(part for entry in shown for part in _entry(entry)), *rest]
        case Bullets():
            shown_items = block.items[:_ROWS]
            rest = _more(len(shown_items), max(len(block.items), block.total), block.noun)
            return ["\n".join(f"- {_text(item)}" for item in shown_items), *rest]
        case Verbatim():
            return [code_span(excerpt(block.text, 1000))]
        case Fold():
            return _folded(block.title, (part for inner in select(block.blocks, Detail.FULL) for part in _block(inner)))
        case Chart():
            return []


def _more(shown: int, total: int, noun: str) -> list[str]:
    text = more(total - shown, noun)
    return [f"{text[0].upper()}{text[1:]}."] if text else []


def _fact(name: str, text: str) -> str:
    return f"- {name}: {text}" if name else f"- {text}"


def _entry(entry: Entry) -> list[str]:
    position = f"Incident {entry.number}: " if entry.number else ""
    head = f"{position}{_text(entry.mark)} {_text(entry.name)} {_text(entry.amount)}".rstrip()
    lines = [_fact(_text(fact.name), _text(fact.text)) for fact in select(entry.facts, Detail.BRIEF)]
    shown = entry.items[:_ITEMS]
    lines += [_fact("", _joined(item)) for item in shown]
    if shown and (rest := more(max(len(entry.items), entry.total) - len(shown), entry.noun)):
        lines.append(f"- {rest}")
    return ["\n".join([head, "", *lines]) if lines else head]


def _joined(item: Sequence[Fact]) -> str:
    return "; ".join(f"{_text(fact.name)} {_text(fact.text).removesuffix('.')}" for fact in select(item, Detail.BRIEF))


def _table(block: Table) -> list[str]:
    visible_columns = [position for position, column in enumerate(block.columns) if column.detail <= Detail.FULL]
    rows = select(block.rows, Detail.FULL)
    shown = rows[:_ROWS]
    total = max(len(rows), block.total)
    if not shown:
        return []
    head = [block.columns[position].title for position in visible_columns]
    marks = ["--:" if block.columns[position].numeric else "---" for position in visible_columns]
    cells: list[Sequence[Text]] = [row.cells for row in shown]
    cells += block.foot(shown, total - len(shown))
    lines = [head, marks, *([_text(row[position]) for position in visible_columns] for row in cells)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    caption = [f"{block.caption}:"] if block.name != "counts" else []
    return [*caption, table, *_more(len(shown), total, block.noun)]
