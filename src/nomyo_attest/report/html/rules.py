"""The rules that did not hold, or could not be told: how often, where first, and what to do."""

from __future__ import annotations

from typing import Final

from nomyo_attest.appraisal.rules import Rule, find_rule
from nomyo_attest.audit.summary import RuleSummary, Summary
from nomyo_attest.report.html.answer import bar
from nomyo_attest.report.html.markup import Markup, element, fit, join
from nomyo_attest.report.html.tables import columns, row, section, table
from nomyo_attest.report.html.wording import code, number, outside, place, prose, share
from nomyo_attest.report.look import sentence

_SIZE: Final = 150_000

_KINDS: Final = {"required": "contraindicated", "warn": "warning", "ignore": "none"}
"""Requirement → whose colour the bar of a rule has."""


def rules(summary: Summary) -> Markup:
    """The section."""
    if not summary.rules:
        return section("rules", "Rules that do not hold", element("p", "Every rule holds for every record appraised."))
    of = columns("rule", "policy says", "#fails", "#cannot be told", "share of records", "first")
    rows = fit((_row(summary, rule) for rule in summary.rules), _SIZE)
    cut = (
        "" if len(rows) == len(summary.rules) else f" The first {len(rows)} of {number(len(summary.rules))} are shown."
    )
    caption = f"Rules that do not hold, or cannot be told, for some record.{cut}"
    told = (
        "A rule that cannot be told is never affirmed. Without evidence, or with broken evidence, many rules cannot be "
        "told for that reason alone."
    )
    return section("rules", "Rules that do not hold", element("p", told), table("rules", caption, of, rows))


def _row(summary: Summary, found: RuleSummary) -> Markup:
    of = columns("", "", "#", "#", "", "")
    total, concerned = summary.counts.total, found.failed + found.undecided
    kind = _KINDS.get(found.requirement, "contraindicated")
    bars = join([bar(concerned, total, kind), element("small", share(concerned, total))])
    cells = [
        _told(found.rule),
        outside(found.requirement, 20),
        number(found.failed),
        number(found.undecided),
        bars,
        place(found.first),
    ]
    return row(of, cells)


def _told(rule_id: str) -> Markup:
    rule = known(rule_id)
    if rule is None:
        return code(rule_id)
    return join(
        [
            element("strong", code(rule_id)),
            element("small", " core") if rule.core else "",
            element("p", prose(rule.question)),
            element("p", element("b", "What to do: "), prose(sentence(rule.mend)), class_="mend"),
        ]
    )


def known(rule_id: str) -> Rule | None:
    """The rule of the table, if it has one of this id."""
    try:
        return find_rule(rule_id)
    except KeyError:
        return None
