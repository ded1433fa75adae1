"""What does not hold, as text: the rules of the appraisals, and those that show across records only."""

from __future__ import annotations

from typing import Final

from nomyo_attest.audit.summary import FOUND, HELD, NOT_EVALUATED, CrossRecordFinding, CrossRecordRuleSummary, Summary
from nomyo_attest.report.audit_reasons import Cause, causes, causes_by_source, ignored, waiting
from nomyo_attest.report.audit_words import (
    Compared,
    lines_text,
    not_evaluated_text,
    remediation_not_evaluated,
    remediation_of,
    where,
)
from nomyo_attest.report.formatting import Ink, TextStyle, count, excerpt, sentence, source_name

RULE_MAX: Final = 60
"""Characters of a rule's id; only those of claims could be as long."""

_LABEL: Final = 12
_NOT_EVALUATED: Final = "NOT EVALUATED"
_FINDINGS_SHOWN: Final = 3
"""Findings shown of one rule across records, without `TextStyle.verbose`."""

_PLACES_SHOWN: Final = 100
"""Sources shown of one rule, with `TextStyle.verbose`."""

_INKS: Final[dict[str, Ink]] = {
    "FAIL": "bad",
    "UNDECIDED": "bad",
    "WARNING": "warn",
    "FOUND": "bad",
    "holds": "good",
}


def rules(summary: Summary, style: TextStyle) -> list[str]:
    """The rules that are reasons: how many records, what was expected and found first, where, and what to do."""
    compared = Compared(summary)
    by_source = causes_by_source(summary)
    parts = []
    for cause in causes(summary):
        lines = _rule(cause, compared, style)
        places = (
            [one for one in by_source if (one.rule, one.outcome) == (cause.rule, cause.outcome)]
            if style.verbose
            else []
        )
        for one in places[:_PLACES_SHOWN]:
            told = f"{source_name(one.source)}: {lines_text(one.lines, one.records)}"
            lines += _row("in", told, style)
        if len(places) > _PLACES_SHOWN:
            lines += _row("", f"and {count(len(places) - _PLACES_SHOWN, 'more source')}", style)
        parts.append(lines)
    brief = []
    late, quiet = waiting(summary), ignored(summary)
    if late:
        brief += style.wrap(", ".join(map(_named, late)), "  not decided because of these: ", "    ")
        if len(brief) > 2 and not style.verbose:
            hint = f"not decided because of these: {count(len(late), 'other rule')} (--verbose names them)"
            brief = style.wrap(hint, "  ")
    if quiet:
        brief += style.wrap(", ".join(map(_named, quiet)), "  not heeded, as the policy has it: ", "    ")
    return _under(style.paint("Rules that do not hold", "bold"), [*parts, *([brief] if brief else [])])


def series(summary: Summary, style: TextStyle) -> list[str]:
    """The cross-record checks: what was found, what was not evaluated and why, and what holds for which records."""
    parts = [
        _cross_record_rule(rule, [one for one in summary.cross_record if one.rule == rule.rule], style)
        for rule in summary.cross_record_rules
        if rule.outcome == FOUND
    ]
    asked = summary.cross_record_rules if summary.counts.total > summary.counts.unreadable else []
    parts += _not_evaluated([rule for rule in asked if rule.outcome == NOT_EVALUATED], style)
    holding = _holding([rule for rule in asked if rule.outcome == HELD], style)
    return _under(style.paint("Across records", "bold"), [*parts, *([holding] if holding else [])])


def _not_evaluated(rules: list[CrossRecordRuleSummary], style: TextStyle) -> list[list[str]]:
    """The checks that were not evaluated, those together that lack the same."""
    parts = []
    for remark in dict.fromkeys(map(not_evaluated_text, rules)):
        alike = [rule for rule in rules if not_evaluated_text(rule) == remark]
        named = style.wrap(", ".join(_named(rule.rule) for rule in alike), f"  {_NOT_EVALUATED}  ", "    ")
        named[0] = named[0].replace(_NOT_EVALUATED, style.paint(_NOT_EVALUATED, "bad"), 1)
        lines = named + _row("why", sentence(excerpt(remark)), style)
        if not alike[0].accepted:
            lines += _row("what to do", sentence(remediation_not_evaluated(alike[0])), style)
        parts.append(lines)
    return parts


def _holding(rules: list[CrossRecordRuleSummary], style: TextStyle) -> list[str]:
    """The checks that hold, those together that hold for the same records."""
    lines: list[str] = []
    if style.verbose:
        for rule in rules:
            lines += _tagged("holds", _named(rule.rule), rule.question, style)
            lines += _row("records", sentence(excerpt(rule.remark)), style) if rule.remark else []
        return lines
    for remark in dict.fromkeys(rule.remark for rule in rules):
        named = ", ".join(_named(rule.rule) for rule in rules if rule.remark == remark)
        told = style.wrap(f"{named}: {excerpt(remark)}" if remark else named, "  holds  ")
        told[0] = told[0].replace("holds", style.paint("holds", "good"), 1)
        lines += told
    return lines


def _under(title: str, parts: list[list[str]]) -> list[str]:
    """Parts under a title, with an empty line between any two."""
    if not parts:
        return []
    lines = [title]
    for place, part in enumerate(parts):
        lines += [""] * (place > 0) + part
    return lines


def _rule(cause: Cause, compared: Compared, style: TextStyle) -> list[str]:
    lines = _tagged(cause.tag, _named(cause.rule), count(cause.records, "record"), style)
    expected, got = compared.of(cause)
    if expected:
        lines += _row("expected", expected, style) + _row("got", got, style)
    elif cause.message:
        lines += _row("problem", sentence(excerpt(cause.message)), style)
    lines += _row("first", where(cause.first), style)
    remediation = remediation_of(cause.rule)
    return lines + _row("what to do", sentence(remediation), style) if remediation else lines


def _cross_record_rule(rule: CrossRecordRuleSummary, found: list[CrossRecordFinding], style: TextStyle) -> list[str]:
    found_of = f"{count(rule.findings, 'finding')}, {count(rule.records, 'record')}"
    lines = _tagged("FOUND", _named(rule.rule), found_of, style) + _row("asks", rule.question, style)
    lines += _row("records", sentence(excerpt(rule.remark)), style) if rule.remark else []
    shown = found if style.verbose else found[:_FINDINGS_SHOWN]
    for one in shown:
        lines += _row("found", sentence(excerpt(one.message)), style)
        if style.verbose:
            lines += _row("key", excerpt(one.key), style)
        lines += _row("first", where(one.first), style)
        lines += _row("last", where(one.last), style)
    left = rule.findings - len(shown)
    if left:
        hint = " (--verbose lists them)" if not style.verbose and left <= len(found) - len(shown) else ""
        lines += _row("", f"and {count(left, 'more finding')}{hint}", style)
    return lines + _row("what to do", sentence(rule.remediation), style)


def _named(rule: str) -> str:
    return excerpt(rule, RULE_MAX)


def _tagged(tag: str, name: str, text: str, style: TextStyle) -> list[str]:
    """Tag and name, as before a rule of a single result, and a text beside them, or below where there is no room."""
    first = f"  {tag}  {name}  "
    if len(first) + len(text) > style.width:
        lines = [first.rstrip(), *style.wrap(text, "    ")]
    else:
        lines = [f"{first}{text}"]
    lines[0] = f"  {style.paint(tag, _INKS[tag])}  {style.paint(name, 'bold')}{lines[0][len(first) - 2 :]}"
    return lines


def _row(name: str, text: str, style: TextStyle) -> list[str]:
    return style.wrap(text, f"    {name.ljust(_LABEL)}")
