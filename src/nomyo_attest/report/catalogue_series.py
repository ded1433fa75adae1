"""The rules across records: beside those of the appraisals in the list, in JSON, and on the page `docs/rules.md`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from nomyo_attest.audit.cross_record.rules import CROSS_RECORD_RULES, CrossRecordRule
from nomyo_attest.report.catalogue import rule_anchor
from nomyo_attest.report.formatting import TextStyle, sentence

_INTRODUCTION: Final = """\
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
    parts = [_INTRODUCTION, "| rule | | asks |\n|---|---|---|\n" + "\n".join(map(_row, CROSS_RECORD_RULES))]
    parts += map(cross_record_rule_markdown, CROSS_RECORD_RULES)
    return "\n\n".join(parts) + "\n"


def cross_record_rule_markdown(rule: CrossRecordRule) -> str:
    """One rule's section of that page, without a line end."""
    field = f"Field: `{rule.field}`{'; if asked' if rule.if_asked else ''}."
    parts = [f"### {rule.id}", rule.question, rule.explanation, field, f"**What to do:** {rule.remediation}"]
    return "\n\n".join(part for part in parts if part)


def _row(rule: CrossRecordRule) -> str:
    return f"| [`{rule.id}`](#{rule_anchor(rule)}) | {'if asked' if rule.if_asked else ''} | {rule.question} |"
