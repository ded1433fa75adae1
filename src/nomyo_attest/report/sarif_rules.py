"""The rules as SARIF's reportingDescriptor objects (3.49): what a reader sees beside a result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from nomyo_attest.appraisal.rules import RULES, Rule
from nomyo_attest.audit.cross_record.rules import CROSS_RECORD_RULES, CrossRecordRule
from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.audit_words import MEND_UNREADABLE, WHY_UNREADABLE
from nomyo_attest.report.catalogue import rule_anchor
from nomyo_attest.report.formatting import sanitize, sentence

UNREADABLE_RULE: Final = "unreadable"
"""The id of results about what could not be read: that of the verdict."""

_TEXT_MAXIMUM: Final = 1000
"""Characters of a description: GitHub takes 1024."""


def descriptors(summary: Summary, named: Iterable[str], docs_url: str | None) -> list[dict[str, Any]]:
    """Every rule of the appraisals and across records, in the order of their tables; then that of `UNREADABLE_RULE`.

    `named` are the ids that results have: those of claims, such as ``claims.security_tier``, get a descriptor each.
    """
    claims = sorted({one for one in named if one.startswith("claims.")})
    found = []
    for rule in RULES:
        found += [
            _appraisal(one, rule, docs_url) for one in (claims if rule.id == "claims.*" and claims else [rule.id])
        ]
    asked = {one.rule for one in summary.cross_record_rules}
    found += [_across(rule, docs_url) for rule in CROSS_RECORD_RULES if rule.id in asked]
    known = {one["id"] for one in found}
    for one in summary.cross_record_rules:
        if one.rule not in known:
            found.append(_descriptor(one.rule, one.question, "", "", one.remediation, None))
    found.append(_descriptor(UNREADABLE_RULE, "Can every record be read?", WHY_UNREADABLE, "", MEND_UNREADABLE, None))
    return found


def _appraisal(rule_id: str, rule: Rule, docs_url: str | None) -> dict[str, Any]:
    page = f"{docs_url}#{rule_anchor(rule)}" if docs_url else None
    return _descriptor(
        sanitize(rule_id), rule.question, rule.explanation, rule.field, rule.remediation, page, core=rule.core
    )


def _across(rule: CrossRecordRule, docs_url: str | None) -> dict[str, Any]:
    page = f"{docs_url}#{rule_anchor(rule)}" if docs_url else None
    return _descriptor(rule.id, rule.question, rule.explanation, rule.field, rule.remediation, page)


def _descriptor(
    rule_id: str, question: str, explanation: str, field: str, remediation: str, page: str | None, *, core: bool = False
) -> dict[str, Any]:
    described = f"Field: {field}." if field else ""
    text = [question, explanation, described, f"What to do: {sentence(remediation)}", f"More: {page}" if page else ""]
    markdown = [
        f"**{question}**",
        explanation,
        f"Field: `{field}`." if field else "",
        f"**What to do:** {sentence(remediation)}",
        f"[More of `{rule_id}`]({page})" if page else "",
    ]
    descriptor: dict[str, Any] = {
        "id": rule_id,
        "shortDescription": {"text": question},
        "fullDescription": {"text": _cut(explanation or question)},
        "help": {"text": _joined(text), "markdown": _joined(markdown)},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["attestation", *(["core"] if core else [])]},
    }
    if page:
        descriptor["helpUri"] = page
    return descriptor


def _joined(paragraphs: Iterable[str]) -> str:
    """Paragraphs with what in them would be a placeholder (3.11.5) escaped."""
    return "\n\n".join(one for one in paragraphs if one).replace("{", "{{").replace("}", "}}")


def _cut(text: str) -> str:
    """The sentences of `text` that fit."""
    text = " ".join(text.split())
    if len(text) <= _TEXT_MAXIMUM:
        return text
    return text[: text.rindex(". ", 0, _TEXT_MAXIMUM) + 1]
