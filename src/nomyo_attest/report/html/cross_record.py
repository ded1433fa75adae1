"""What shows across records only: what is there twice, and what goes backwards."""

from __future__ import annotations

from typing import Final

from nomyo_attest.audit.summary import FOUND, HELD, NOT_EVALUATED, CrossRecordFinding, CrossRecordRuleSummary, Summary
from nomyo_attest.report.audit_words import remediation_not_evaluated
from nomyo_attest.report.formatting import count, number, sentence
from nomyo_attest.report.html.markup import Markup, element, fit, join
from nomyo_attest.report.html.tables import columns, listing, row, section, table
from nomyo_attest.report.html.wording import code, digits, outside, place, prose

_SIZE: Final = 300_000
_RULES_SIZE: Final = 50_000
_MESSAGE_MAX: Final = 500
_PLACES_MAXIMUM: Final = 5


_ANSWERS: Final = {
    FOUND: ("contraindicated", "✗", "found"),
    HELD: ("affirming", "✓", "nothing found"),
    NOT_EVALUATED: ("none", "?", "not evaluated"),
}
"""Outcome → whose color it has, a symbol, and a word."""


def cross_record(summary: Summary) -> Markup:
    """The section."""
    told = element(
        "p", "Each record may be affirmed, and still the records not fit together. These rules compare them."
    )
    if not summary.cross_record_rules:
        return section("cross_record", "Across records", element("p", "No rule was asked across records."))
    return section("cross_record", "Across records", told, _asked(summary), _found(summary))


def _asked(summary: Summary) -> Markup:
    of = columns("rule", "answer", "#findings", "#records")
    rows = fit(map(_rule, summary.cross_record_rules), _RULES_SIZE)
    cut = (
        ""
        if len(rows) == len(summary.cross_record_rules)
        else f", the first {len(rows)} of {len(summary.cross_record_rules)}"
    )
    return table("cross_record", f"Rules across records{cut}", of, rows)


def _rule(rule: CrossRecordRuleSummary) -> Markup:
    of = columns("", "", "#", "#")
    told: list[str] = [element("strong", code(rule.rule)), element("p", prose(rule.question, _MESSAGE_MAX))]
    if rule.remark:
        told.append(element("p", element("b", "Records: "), outside(sentence(rule.remark), _MESSAGE_MAX)))
    if rule.outcome != HELD:
        remediation = rule.remediation if rule.outcome == FOUND else remediation_not_evaluated(rule)
        told.append(
            element("p", element("b", "What to do: "), prose(sentence(remediation), _MESSAGE_MAX), class_="remediation")
        )
    kind, symbol, word = _ANSWERS.get(rule.outcome, _ANSWERS[NOT_EVALUATED])
    word += ", accepted" if rule.accepted else ""
    answer = element("span", element("span", symbol, aria_hidden="true"), f" {word}", class_=f"v v-{kind}")
    return row(of, [join(told), answer, number(rule.findings), number(rule.records)])


def _found(summary: Summary) -> Markup:
    total = sum(rule.findings for rule in summary.cross_record_rules)
    if not summary.cross_record:
        return Markup()
    of = columns("rule, and what they share", "#records", "what was found", "where")
    rows = fit((_finding(one) for one in summary.cross_record), _SIZE)
    caption = count(total, "finding")
    if len(rows) < total:
        caption = f"The first {number(len(rows))} of {caption} are shown"
    return table("findings", caption, of, rows)


def _finding(found: CrossRecordFinding) -> Markup:
    of = columns("", "#", "", "")
    shown = found.places[:_PLACES_MAXIMUM] or [found.first, found.last]
    items: list[str] = [place(one) for one in shown]
    if found.records > len(shown):
        items.append(join([f"and {number(found.records - len(shown))} more; the last ", place(found.last)]))
    named = join([element("strong", code(found.rule)), element("br"), digits(found.key)])
    message = outside(sentence(found.message), _MESSAGE_MAX)
    return row(of, [named, number(found.records), message, listing(items, class_="plain")])
