"""The rules that did not hold, or could not be told: how often, where first, and what to do."""

from __future__ import annotations

from typing import Final

from nomyo_attest.appraisal.rules import Rule, find_rule
from nomyo_attest.audit.summary import OUTCOMES, Summary
from nomyo_attest.report.audit_reasons import Cause, causes, ignored, waiting
from nomyo_attest.report.formatting import excerpt, number, sentence, share
from nomyo_attest.report.html.answer import bar
from nomyo_attest.report.html.markup import Markup, element, fit, join
from nomyo_attest.report.html.tables import columns, fold, row, section, table
from nomyo_attest.report.html.wording import code, outside, place, prose

_SIZE: Final = 100_000
"""Bytes of each of the two tables."""

_MESSAGE_MAX: Final = 300

_KINDS: Final = {"FAIL": ("fails", "contraindicated"), "UNDECIDED": ("cannot be told", "none")}
"""Tag of a cause → in words, and whose color it has."""


def rules(summary: Summary) -> Markup:
    """The section."""
    title = "Rules that do not hold"
    if not summary.rules:
        return section("rules", title, element("p", "Every rule holds for every record appraised."))
    return section("rules", title, _reasons(summary), _everything(summary))


def _reasons(summary: Summary) -> Markup:
    """The rules that are the reason why records are not affirmed, or are only with a warning."""
    of = columns("rule", "answer", "#records", "share of all", "first")
    found = causes(summary)
    if not found:
        return element("p", "None that the policy heeds: see the table of all.")
    rows = fit((_row(summary, one) for one in found), _SIZE)
    cut = "" if len(rows) == len(found) else f" The first {len(rows)} of {number(len(found))} are shown."
    caption = f"Rules that are the reason why records are not affirmed, or only with a warning.{cut}"
    return table("rules", caption, of, rows)


def _row(summary: Summary, cause: Cause) -> Markup:
    of = columns("", "", "#", "", "")
    words, kind = _KINDS.get(cause.tag, ("warning", "warning"))
    total = summary.counts.total
    bars = join([bar(cause.records, total, kind), element("small", share(cause.records, total))])
    told = element("span", words, class_=f"v v-{kind}")
    return row(of, [_told(cause), told, number(cause.records), bars, place(cause.first)])


def _told(cause: Cause) -> Markup:
    rule = known(cause.rule)
    parts: list[str] = [element("strong", code(cause.rule)), element("small", " core" if rule and rule.core else "")]
    if rule:
        parts.append(element("p", prose(rule.question)))
    if cause.message:
        parts.append(element("p", element("b", "At the first: "), outside(cause.message, _MESSAGE_MAX)))
    if rule:
        parts.append(
            element("p", element("b", "What to do: "), prose(sentence(rule.remediation)), class_="remediation")
        )
    return join(parts)


def _everything(summary: Summary) -> Markup:
    """All counts, those included that are a consequence of another rule's."""
    of = columns("rule", "policy says", "#fails", "#undecided", "#undecided because of another rule", "note")
    late, quiet = set(waiting(summary)), set(ignored(summary))
    notes = dict.fromkeys(late, "only because of a rule above") | dict.fromkeys(quiet, "the policy ignores it")
    counts: dict[str, dict[str, int]] = {}
    for one in summary.rules:
        counts.setdefault(one.rule, dict.fromkeys(OUTCOMES, 0))[one.outcome] = one.records
    says = {one.rule: one.requirement for one in summary.rules}
    rows = fit(
        (
            row(of, [code(rule), excerpt(says[rule], 20), *(number(by[one]) for one in OUTCOMES), notes.get(rule, "")])
            for rule, by in counts.items()
        ),
        _SIZE,
    )
    title = f"Every rule that does not hold, or is undecided, for some record: {number(len(counts))}"
    if late:
        title += f"; {len(late)} of them only because of others"
    told = (
        "Without evidence, or with malformed evidence, many rules are undecided. An undecided record is never affirmed."
    )
    caption = "Counts of every rule"
    if len(rows) < len(counts):
        caption += f"; the first {len(rows)} are shown"
    return fold(title, element("p", told), table("everyrule", caption, of, rows))


def known(rule_id: str) -> Rule | None:
    """The rule of the table, if it has one of this id."""
    try:
        return find_rule(rule_id)
    except KeyError:
        return None
