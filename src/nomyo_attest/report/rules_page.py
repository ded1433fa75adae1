"""The rules of an appraisal and across records: as a list, one in full, as JSON, and as the page `docs/rules.md`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from nomyo_attest.appraisal.rules import RULES, Rule
from nomyo_attest.audit.cross_record.rules import CROSS_RECORD_RULES, CrossRecordRule
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


# ---- across records

_CROSS_RECORD_INTRODUCTION: Final = """\
## Across records

What `nomyo-attest audit` asks of all records together. None of these is in a policy, and none changes the verdict of a
record. A rule has one of three outcomes: it held, there are findings, or it was not evaluated, since records lack what
it compares. `--fail-on cross-record` fails for the last two. A rule marked *if asked* is asked only where a limit is
given."""


def cross_record_document(rules: Iterable[CrossRecordRule] = CROSS_RECORD_RULES) -> list[dict[str, Any]]:
    """Some rules in JSON's types."""
    return [
        {
            "id": rule.id,
            "asked": _asked(rule),
            "field": rule.field,
            "question": rule.question,
            "explanation": rule.explanation,
            "remediation": rule.remediation,
        }
        for rule in rules
    ]


def _asked(rule: CrossRecordRule) -> str:
    return "if a limit is given" if rule.if_asked else "always"


def cross_record_text(style: TextStyle) -> str:
    """The rules as a list, without a line end."""
    column = 2 + max(len(rule.id) for rule in CROSS_RECORD_RULES)
    lines = style.wrap("Across records, asked by nomyo-attest audit:")
    for rule in CROSS_RECORD_RULES:
        kind = "if asked" if rule.if_asked else ""
        lines += style.wrap(rule.question, rule.id.ljust(column) + kind.ljust(10))
    return "\n".join(lines)


def cross_record_rule_text(rule: CrossRecordRule, style: TextStyle) -> str:
    """One rule in full, without a line end."""
    lines = [style.paint(rule.id, "bold"), "", *style.wrap(rule.question), ""]
    for paragraph in rule.explanation.split("\n\n"):
        lines += [*style.wrap(paragraph), ""]
    asked = f"by nomyo-attest audit, of all records together, {_asked(rule)}"
    lines += style.pairs(
        [("field", rule.field), ("asked", asked), ("what to do", sentence(rule.remediation))], indent=0
    )
    return "\n".join(lines)


def cross_record_markdown() -> str:
    """The last part of the page `docs/rules.md`, with its line end."""
    parts = [
        _CROSS_RECORD_INTRODUCTION,
        "| rule | | asks |\n|---|---|---|\n" + "\n".join(map(_cross_record_row, CROSS_RECORD_RULES)),
    ]
    parts += map(cross_record_rule_markdown, CROSS_RECORD_RULES)
    return "\n\n".join(parts) + "\n"


def cross_record_rule_markdown(rule: CrossRecordRule) -> str:
    """One rule's section of that page, without a line end."""
    field = f"Field: `{rule.field}`{'; if asked' if rule.if_asked else ''}."
    parts = [f"### {rule.id}", rule.question, rule.explanation, field, f"**What to do:** {rule.remediation}"]
    return "\n\n".join(part for part in parts if part)


def _cross_record_row(rule: CrossRecordRule) -> str:
    return f"| [`{rule.id}`](#{rule_anchor(rule)}) | {'if asked' if rule.if_asked else ''} | {rule.question} |"
