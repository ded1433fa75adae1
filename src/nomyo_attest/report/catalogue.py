"""The table of rules: as a list, one rule in full, as JSON, and as the page `docs/rules.md`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from nomyo_attest.appraisal.rules import RULES, Rule
from nomyo_attest.audit.cross_record.rules import CrossRecordRule
from nomyo_attest.report.formatting import TextStyle, sentence

FORMAT: Final = "nomyo-attest-rules/1"

_INTRODUCTION: Final = """\
# Rules

Every question an appraisal asks, in order. A rule holds, does not hold, or cannot be told; what cannot be told is never
affirmed.

A rule that a policy does not mention is required. A policy may make one a warning, or ignore it, under `[rules]`; a
*core* rule it cannot soften. A rule marked *if asked* yields a finding only where the policy gives it something to
compare with.

This page is made by `nomyo-attest rules --format markdown`."""


def rules_document(rules: Iterable[Rule] = RULES) -> dict[str, Any]:
    """The rules in JSON's types."""
    return {
        "format": FORMAT,
        "rules": [
            {
                "id": rule.id,
                "core": rule.core,
                "asked": "if the policy asks" if rule.asked_with else "always",
                "field": rule.field,
                "question": rule.question,
                "explanation": rule.explanation,
                "remediation": rule.remediation,
            }
            for rule in rules
        ],
    }


def rules_text(rules: Iterable[Rule], style: TextStyle) -> str:
    """Some rules as a list: id, whether core, and what each asks; without a line end."""
    rules = list(rules)
    column = 2 + max(len(rule.id) for rule in rules)
    lines = []
    for rule in rules:
        kind = "core" if rule.core else "if asked" if rule.asked_with else ""
        lines += style.wrap(rule.question, rule.id.ljust(column) + kind.ljust(10))
    lines += [
        "",
        *style.wrap("core: no policy can soften it. if asked: only where the policy gives something to compare with."),
    ]
    lines += style.wrap("nomyo-attest rules ID tells more of one.")
    return "\n".join(lines)


def rule_text(rule: Rule, style: TextStyle) -> str:
    """One rule in full, without a line end."""
    kind = "core: no policy can soften it" if rule.core else "a policy may make it a warning, or ignore it"
    if rule.asked_with:
        kind += "; asked only where the policy gives it something to compare with"
    lines = [style.paint(rule.id, "bold"), "", *style.wrap(rule.question), ""]
    for paragraph in rule.explanation.split("\n\n"):
        lines += [*style.wrap(paragraph), ""]
    lines += style.pairs(
        [("field", rule.field), ("required", kind), ("what to do", sentence(rule.remediation))], indent=0
    )
    return "\n".join(lines)


def rules_markdown(rules: Iterable[Rule] = RULES) -> str:
    """The page `docs/rules.md`, with its line end."""
    rules = list(rules)
    parts = [_INTRODUCTION, "| rule | | asks |\n|---|---|---|\n" + "\n".join(_row(rule) for rule in rules)]
    for rule in rules:
        marks = ", ".join(_marks(rule))
        field = f"Field: `{rule.field}`{f'; {marks}' if marks else ''}."
        remediation = f"**What to do:** {rule.remediation}"
        parts += [f"## {rule.id.replace('*', chr(92) + '*')}", rule.question, rule.explanation, field, remediation]
    return "\n\n".join(parts) + "\n"


def _marks(rule: Rule) -> list[str]:
    return ["core"] * rule.core + ["if asked"] * bool(rule.asked_with)


def rule_anchor(rule: Rule | CrossRecordRule) -> str:
    """The anchor of a rule's section in `docs/rules.md`, as repository hosts and Sphinx make it of the heading."""
    return "".join(char for char in rule.id.replace(".", "") if char.isalnum() or char in "-_")


def _row(rule: Rule) -> str:
    return f"| [`{rule.id}`](#{rule_anchor(rule)}) | {', '.join(_marks(rule))} | {rule.question} |"
