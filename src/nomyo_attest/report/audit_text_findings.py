"""What does not hold, as text: the rules of the appraisals, and those that show across records only."""

from __future__ import annotations

from typing import Final

from nomyo_attest.audit.summary import FOUND, HELD, NOT_EVALUATED, CrossRecordFinding, CrossRecordRuleSummary, Summary
from nomyo_attest.report.audit_reasons import Cause, causes, causes_by_source, ignored, waiting
from nomyo_attest.report.audit_words import (
    Compared,
    lines_text,
    many,
    not_evaluated_text,
    remediation_not_evaluated,
    remediation_of,
    source_name,
    where,
)
from nomyo_attest.report.clean import short
from nomyo_attest.report.look import Ink, Look, sentence

RULE_MAX: Final = 60
"""Characters of a rule's id; only those of claims could be as long."""

_LABEL: Final = 12
_NOT_EVALUATED: Final = "NOT EVALUATED"
_FINDINGS_SHOWN: Final = 3
"""Findings shown of one rule across records, without `Look.verbose`."""

_PLACES_SHOWN: Final = 100
"""Sources shown of one rule, with `Look.verbose`."""

_INKS: Final[dict[str, Ink]] = {
    "FAIL": "bad",
    "UNDECIDED": "bad",
    "WARNING": "warn",
    "FOUND": "bad",
    "holds": "good",
}


def rules(summary: Summary, look: Look) -> list[str]:
    """The rules that are reasons: how many records, what was expected and found first, where, and what to do."""
    compared = Compared(summary)
    by_source = causes_by_source(summary)
    parts = []
    for cause in causes(summary):
        lines = _rule(cause, compared, look)
        places = (
            [one for one in by_source if (one.rule, one.outcome) == (cause.rule, cause.outcome)] if look.verbose else []
        )
        for one in places[:_PLACES_SHOWN]:
            told = f"{source_name(one.source)}: {lines_text(one.lines, one.records)}"
            lines += _row("in", told, look)
        if len(places) > _PLACES_SHOWN:
            lines += _row("", f"and {many(len(places) - _PLACES_SHOWN, 'more source')}", look)
        parts.append(lines)
    brief = []
    late, quiet = waiting(summary), ignored(summary)
    if late:
        brief += look.wrap(", ".join(map(_named, late)), "  not decided because of these: ", "    ")
        if len(brief) > 2 and not look.verbose:
            hint = f"not decided because of these: {many(len(late), 'other rule')} (--verbose names them)"
            brief = look.wrap(hint, "  ")
    if quiet:
        brief += look.wrap(", ".join(map(_named, quiet)), "  not heeded, as the policy has it: ", "    ")
    return _under(look.paint("Rules that do not hold", "bold"), [*parts, *([brief] if brief else [])])


def series(summary: Summary, look: Look) -> list[str]:
    """The cross-record checks: what was found, what was not evaluated and why, and what holds for which records."""
    parts = [
        _cross_record_rule(rule, [one for one in summary.cross_record if one.rule == rule.rule], look)
        for rule in summary.cross_record_rules
        if rule.outcome == FOUND
    ]
    asked = summary.cross_record_rules if summary.counts.total > summary.counts.unreadable else []
    parts += _not_evaluated([rule for rule in asked if rule.outcome == NOT_EVALUATED], look)
    holding = _holding([rule for rule in asked if rule.outcome == HELD], look)
    return _under(look.paint("Across records", "bold"), [*parts, *([holding] if holding else [])])


def _not_evaluated(rules: list[CrossRecordRuleSummary], look: Look) -> list[list[str]]:
    """The checks that were not evaluated, those together that lack the same."""
    parts = []
    for remark in dict.fromkeys(map(not_evaluated_text, rules)):
        alike = [rule for rule in rules if not_evaluated_text(rule) == remark]
        named = look.wrap(", ".join(_named(rule.rule) for rule in alike), f"  {_NOT_EVALUATED}  ", "    ")
        named[0] = named[0].replace(_NOT_EVALUATED, look.paint(_NOT_EVALUATED, "bad"), 1)
        lines = named + _row("why", sentence(short(remark)), look)
        if not alike[0].accepted:
            lines += _row("what to do", sentence(remediation_not_evaluated(alike[0])), look)
        parts.append(lines)
    return parts


def _holding(rules: list[CrossRecordRuleSummary], look: Look) -> list[str]:
    """The checks that hold, those together that hold for the same records."""
    lines: list[str] = []
    if look.verbose:
        for rule in rules:
            lines += _tagged("holds", _named(rule.rule), rule.question, look)
            lines += _row("records", sentence(short(rule.remark)), look) if rule.remark else []
        return lines
    for remark in dict.fromkeys(rule.remark for rule in rules):
        named = ", ".join(_named(rule.rule) for rule in rules if rule.remark == remark)
        told = look.wrap(f"{named}: {short(remark)}" if remark else named, "  holds  ")
        told[0] = told[0].replace("holds", look.paint("holds", "good"), 1)
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


def _rule(cause: Cause, compared: Compared, look: Look) -> list[str]:
    lines = _tagged(cause.tag, _named(cause.rule), many(cause.records, "record"), look)
    expected, got = compared.of(cause)
    if expected:
        lines += _row("expected", expected, look) + _row("got", got, look)
    elif cause.message:
        lines += _row("problem", sentence(short(cause.message)), look)
    lines += _row("first", where(cause.first), look)
    remediation = remediation_of(cause.rule)
    return lines + _row("what to do", sentence(remediation), look) if remediation else lines


def _cross_record_rule(rule: CrossRecordRuleSummary, found: list[CrossRecordFinding], look: Look) -> list[str]:
    found_of = f"{many(rule.findings, 'finding')}, {many(rule.records, 'record')}"
    lines = _tagged("FOUND", _named(rule.rule), found_of, look) + _row("asks", rule.question, look)
    lines += _row("records", sentence(short(rule.remark)), look) if rule.remark else []
    shown = found if look.verbose else found[:_FINDINGS_SHOWN]
    for one in shown:
        lines += _row("found", sentence(short(one.message)), look)
        if look.verbose:
            lines += _row("key", short(one.key), look)
        lines += _row("first", where(one.first), look)
        lines += _row("last", where(one.last), look)
    left = rule.findings - len(shown)
    if left:
        hint = " (--verbose lists them)" if not look.verbose and left <= len(found) - len(shown) else ""
        lines += _row("", f"and {many(left, 'more finding')}{hint}", look)
    return lines + _row("what to do", sentence(rule.remediation), look)


def _named(rule: str) -> str:
    return short(rule, RULE_MAX)


def _tagged(tag: str, name: str, text: str, look: Look) -> list[str]:
    """Tag and name, as before a rule of a single result, and a text beside them, or below where there is no room."""
    first = f"  {tag}  {name}  "
    if len(first) + len(text) > look.width:
        lines = [first.rstrip(), *look.wrap(text, "    ")]
    else:
        lines = [f"{first}{text}"]
    lines[0] = f"  {look.paint(tag, _INKS[tag])}  {look.paint(name, 'bold')}{lines[0][len(first) - 2 :]}"
    return lines


def _row(name: str, text: str, look: Look) -> list[str]:
    return look.wrap(text, f"    {name.ljust(_LABEL)}")
