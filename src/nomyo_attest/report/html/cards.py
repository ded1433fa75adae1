"""Render the incidents as cards, most urgent first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from nomyo_attest.report.document import Entries, Entry, Fact, more
from nomyo_attest.report.formatting import number
from nomyo_attest.report.html.markup import Markup, element, fit, join, render

REMEDIATION: Final = "remediation"

_SIZE: Final = 150_000
"""Maximum bytes of all cards."""

_ITEMS: Final = 10
"""Maximum items below a card."""

Facts = Callable[[Sequence[Fact]], Markup]
"""Renders facts as a list of names and texts."""


def cards(block: Entries, facts: Facts) -> Markup:
    """Render a list of entries as numbered cards; the chart over time has the same numbers."""
    shown = fit((_card(place, entry, facts) for place, entry in enumerate(block.entries, 1)), _SIZE)
    total = max(len(block.entries), block.total)
    cut = f"The first {number(len(shown))} of {number(total)} are shown." if len(shown) < total else ""
    return join([element("p", cut) if cut else "", element("ol", *shown, class_="cards")])


def _card(place: int, entry: Entry, facts: Facts) -> Markup:
    badge = element("span", str(place), class_=f"badge d-{entry.mark.kind}", aria_hidden="true")
    head = element("p", badge, " ", render(entry.mark), class_="head")
    title = element("h3", render(entry.name), class_="what")
    body = facts([fact for fact in entry.facts if fact.name != REMEDIATION])
    remedies = [element("p", render(fact.text)) for fact in entry.facts if fact.name == REMEDIATION]
    remedy = element("div", element("h4", "Remediation"), *remedies, class_="remedy") if remedies else ""
    return element(
        "li",
        head,
        title,
        body,
        _items(entry, facts),
        remedy,
        id=f"incident-{place}",
        class_=f"card c-{entry.mark.kind}",
    )


def _items(entry: Entry, facts: Facts) -> Markup | str:
    items = [element("li", facts(item)) for item in entry.items[:_ITEMS]]
    if not items:
        return ""
    left = more(max(len(entry.items), entry.total) - len(items), entry.noun)
    return element("ul", *items, element("li", left) if left else "", class_="plain")
