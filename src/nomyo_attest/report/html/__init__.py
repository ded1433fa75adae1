"""Render an audit's report as one self-contained HTML file: no network access, no script, no second file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.document import (
    VERDICT_SYMBOLS,
    Block,
    Bullets,
    Chart,
    Column,
    Document,
    Entries,
    Entry,
    Fact,
    Facts,
    Fold,
    Paragraph,
    Row,
    Section,
    Table,
    Text,
    Verbatim,
    more,
)
from nomyo_attest.report.formatting import number
from nomyo_attest.report.html import charts
from nomyo_attest.report.html.markup import Markup, element, fit, join, render, untrusted
from nomyo_attest.report.html.style import STYLE
from nomyo_attest.report.sections import audit_document

_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
"""Forbid loading, running and sending anything: a browser applies this style sheet only, whatever the page contains."""

_SIZE: Final = 100_000
_SIZES: Final = {
    "failures": 1_100_000,
    "sources": 300_000,
    "rules": 200_000,
    "cross_record": 220_000,
    "skipped": 60_000,
    "duplicate_names": 60_000,
    "limits": 30_000,
}
"""Maximum bytes of a list, by its name; `_SIZE` for other lists. The page must be small enough for an email."""

_NARROW: Final = 3
"""Maximum columns of a table that a phone shows as a table; it shows the rows of a wider table as cards."""

_ITEMS_SIZE: Final = 50_000
"""Maximum bytes of the items of an entry."""

_CARDS_SIZE: Final = 150_000
"""Maximum bytes of all cards."""

_CARD_ITEMS: Final = 10
"""Maximum items on a card."""

_REMEDIATION: Final = "remediation"

_CHARTS: Final[dict[str, Callable[[Summary], Markup]]] = {
    "timeline": charts.draw_timeline,
    "profiles": charts.draw_profiles,
}


def html_report(summary: Summary) -> str:
    """Format `summary` as one self-contained HTML file, to be read, mailed or printed.

    The file has no script and loads nothing. It is at most about 3 MB, whatever the summary contains: each list states
    how many of its entries are shown.
    """
    report = audit_document(summary)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=CONTENT_SECURITY_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"Attestation audit: {report.status.text}, {report.title}, {summary.policy.id[:60]}"),
        element("style", Markup(STYLE)),
    )
    renderer = _Renderer(summary)
    body = element(
        "body",
        element("a", "Skip to the result", href="#result", class_="skip"),
        charts.patterns(),
        element(
            "header",
            element("h1", "Attestation audit"),
            element("p", report.title, ", ", render(report.subject)),
            _status(report),
        ),
        element("nav", _contents(report), aria_label="Contents"),
        element("main", *map(renderer.section, report.sections)),
        element("footer", element("p", "One file: no script, nothing loaded. All times are UTC.")),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _status(report: Document) -> Markup:
    symbol = element("span", VERDICT_SYMBOLS[report.status.kind], aria_hidden="true")
    head = element("strong", symbol, f" {report.status.text[:1].upper()}{report.status.text[1:]}")
    reason = untrusted(report.reason, 1000) if report.reason else ""
    code = element("small", f"Exit status {report.code}: {report.meaning}")
    return element("p", head, " ", reason, " ", code, class_=f"status status-{report.status.kind}")


def _contents(report: Document) -> Markup:
    return _list(
        join(
            [
                element("a", section.title, href=f"#{section.name}"),
                element("small", section.amount) if section.amount else "",
            ]
        )
        for section in report.sections
    )


def _list(items: Iterable[str], **attributes: str | None) -> Markup:
    return element("ul", *(element("li", item) for item in items), **attributes)


class _Renderer:
    def __init__(self, summary: Summary) -> None:
        self.summary = summary

    def section(self, section: Section) -> Markup:
        """Render a section of the page: a landmark with its heading."""
        heading = element("h2", section.title, id=f"{section.name}-title")
        blocks = join(map(self.block, section.blocks))
        return element("section", heading, blocks, id=section.name, aria_labelledby=f"{section.name}-title")

    def block(self, block: Block) -> Markup:
        match block:
            case Paragraph():
                return element("p", render(block.text))
            case Facts():
                return _facts(block.rows)
            case Table():
                return _table(block)
            case Entries():
                return _cards(block) if block.name == "incidents" else _entries(block)
            case Bullets():
                items = fit((element("li", render(item)) for item in block.items), _SIZES.get(block.name, _SIZE))
                rest = more(max(len(block.items), block.total) - len(items), block.noun)
                return join([element("ul", *items), element("p", rest) if rest else ""])
            case Verbatim():
                return element("pre", element("code", untrusted(block.text, block.limit)), tabindex=0)
            case Fold():
                return element("details", element("summary", block.title), *map(self.block, block.blocks))
            case Chart():
                return _CHARTS[block.name](self.summary)


def _facts(rows: Iterable[Fact]) -> Markup:
    divs = [element("div", element("dt", render(row.name)), element("dd", render(row.text))) for row in rows]
    return element("dl", *divs) if divs else Markup()


def _table(block: Table) -> Markup:
    """Render a table under its caption, in a region that scrolls sideways if the page is too narrow."""
    rows = fit((_row(block, row.cells) for row in block.rows), _SIZES.get(block.name, _SIZE))
    shown: Sequence[Row] = block.rows[: len(rows)]
    total = max(len(block.rows), block.total)
    caption = block.caption
    if len(rows) < total:
        caption += f". The first {number(len(rows))} of {number(total)} are shown."
    foot = [_row(block, cells) for cells in block.foot(shown, total - len(rows))]
    head = [
        element("th", column.title, scope="col", class_="n" if column.numeric else None) for column in block.columns
    ]
    stacked = " stacked" if len(block.columns) > _NARROW and block.name != "counts" else ""
    table = element(
        "table",
        element("caption", caption, id=f"{block.name}-caption"),
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        *([element("tfoot", *foot)] if foot else []),
        class_=f"t-{block.name}{stacked}",
    )
    region = {"role": "region", "aria_labelledby": f"{block.name}-caption"}
    return element("div", table, class_="scroll", tabindex=0, **region)


def _row(block: Table, cells: Sequence[Text]) -> Markup:
    """Render a row; its first cell is its heading.

    On a narrow page, the row is a card: each cell has the title of its column beside it, and zeros are omitted.
    """
    first, *others = zip(cells, block.columns, strict=True)
    heading = element("th", render(first[0]), scope="row", class_="n" if first[1].numeric else None)
    return element("tr", heading, *(_cell(cell, column) for cell, column in others))


def _cell(cell: Text, column: Column) -> Markup:
    if cell in (0, ""):
        return element("td", render(cell), class_="n z" if column.numeric else "z")
    return element("td", render(cell), class_="n" if column.numeric else None, data_label=column.title)


def _entries(block: Entries) -> Markup:
    entries = fit(map(_entry, block.entries), _SIZES.get(block.name, _SIZE))
    return join([_cut(len(entries), block), element("ul", *entries, class_=f"entries e-{block.name}")])


def _cut(shown: int, block: Entries) -> Markup | str:
    """State how many entries of a list are shown; empty if all are."""
    total = max(len(block.entries), block.total)
    return element("p", f"The first {number(shown)} of {number(total)} are shown.") if shown < total else ""


def _entry(entry: Entry) -> Markup:
    name, amount = element("strong", render(entry.name)), element("span", render(entry.amount), class_="amount")
    head = element("p", render(entry.mark), " ", name, " ", amount, class_="head")
    items = fit((_facts(item) for item in entry.items), _ITEMS_SIZE)
    rest = more(max(len(entry.items), entry.total) - len(items), entry.noun)
    below = join([*(element("li", item) for item in items), element("li", rest) if rest else ""])
    return element("li", head, _facts(entry.facts), element("ul", below, class_="plain") if entry.items else "")


# ---- cards


def _cards(block: Entries) -> Markup:
    """Render the incidents as numbered cards; the chart over time has the same numbers."""
    shown = fit((_card(position, entry) for position, entry in enumerate(block.entries, 1)), _CARDS_SIZE)
    return join([_cut(len(shown), block), element("ol", *shown, class_="cards")])


def _card(position: int, entry: Entry) -> Markup:
    badge = element("span", str(position), class_=f"badge d-{entry.mark.kind}", aria_hidden="true")
    head = element("p", badge, " ", render(entry.mark), class_="head")
    title = element("h3", render(entry.name), class_="what")
    facts = _facts(fact for fact in entry.facts if fact.name != _REMEDIATION)
    texts = [element("p", render(fact.text)) for fact in entry.facts if fact.name == _REMEDIATION]
    remediation = element("div", element("h4", "Remediation"), *texts, class_="remedy") if texts else ""
    return element(
        "li",
        head,
        title,
        facts,
        _card_items(entry),
        remediation,
        id=f"incident-{position}",
        class_=f"card c-{entry.mark.kind}",
    )


def _card_items(entry: Entry) -> Markup | str:
    items = [element("li", _facts(item)) for item in entry.items[:_CARD_ITEMS]]
    if not items:
        return ""
    rest = more(max(len(entry.items), entry.total) - len(items), entry.noun)
    return element("ul", *items, element("li", rest) if rest else "", class_="plain")
