"""The rules across records: beside those of the appraisals in the list, in JSON, and on the page `docs/rules.md`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from nomyo_attest.audit.series.rules import SERIES_RULES, SeriesRule
from nomyo_attest.report.catalogue import rule_anchor
from nomyo_attest.report.look import Look, sentence

_INTRODUCTION: Final = """\
## Across records

What `nomyo-attest audit` asks of all records together. None of these is in a policy, and none changes the verdict of a
record. A rule has one of three outcomes: it held, there are findings, or it was not evaluated, since records lack what
it compares. `--fail-on series` fails for the last two. A rule marked *if asked* is asked only where a limit is
given."""


def series_document(rules: Iterable[SeriesRule] = SERIES_RULES) -> list[dict[str, Any]]:
    """Some rules in JSON's types."""
    return [
        {
            "id": rule.id,
            "asked": _asked(rule),
            "cites": rule.cites,
            "question": rule.question,
            "explanation": rule.explanation,
            "mend": rule.mend,
        }
        for rule in rules
    ]


def _asked(rule: SeriesRule) -> str:
    return "if a limit is given" if rule.if_asked else "always"


def series_text(look: Look) -> str:
    """The rules as a list, without a line end."""
    column = 2 + max(len(rule.id) for rule in SERIES_RULES)
    lines = look.wrap("Across records, asked by nomyo-attest audit:")
    for rule in SERIES_RULES:
        kind = "if asked" if rule.if_asked else ""
        lines += look.wrap(rule.question, rule.id.ljust(column) + kind.ljust(10))
    return "\n".join(lines)


def series_rule_text(rule: SeriesRule, look: Look) -> str:
    """One rule in full, without a line end."""
    lines = [look.paint(rule.id, "bold"), "", *look.wrap(rule.question), ""]
    for paragraph in rule.explanation.split("\n\n"):
        lines += [*look.wrap(paragraph), ""]
    asked = f"by nomyo-attest audit, of all records together, {_asked(rule)}"
    lines += look.pairs([("cites", rule.cites), ("asked", asked), ("what to do", sentence(rule.mend))], indent=0)
    return "\n".join(lines)


def series_markdown() -> str:
    """The last part of the page `docs/rules.md`, with its line end."""
    parts = [_INTRODUCTION, "| rule | | asks |\n|---|---|---|\n" + "\n".join(map(_row, SERIES_RULES))]
    parts += map(series_rule_markdown, SERIES_RULES)
    return "\n\n".join(parts) + "\n"


def series_rule_markdown(rule: SeriesRule) -> str:
    """One rule's section of that page, without a line end."""
    cites = f"Stands on `{rule.cites}`{'; if asked' if rule.if_asked else ''}."
    parts = [f"### {rule.id}", rule.question, rule.explanation, cites, f"**What to do:** {rule.mend}"]
    return "\n\n".join(part for part in parts if part)


def _row(rule: SeriesRule) -> str:
    return f"| [`{rule.id}`](#{rule_anchor(rule)}) | {'if asked' if rule.if_asked else ''} | {rule.question} |"
