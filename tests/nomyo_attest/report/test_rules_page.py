"""The page of rules holds the whole table, and its links lead somewhere."""

from __future__ import annotations

import re

import pytest

from nomyo_attest.appraisal import RULES
from nomyo_attest.audit.cross_record.rules import CROSS_RECORD_RULES, CrossRecordRule
from nomyo_attest.report.formatting import TextStyle
from nomyo_attest.report.rules_page import cross_record_markdown, cross_record_rule_text, rules_markdown


def test_every_rule_has_a_row_and_a_section_that_the_row_links_to() -> None:
    page = rules_markdown()
    rows = re.findall(r"^\| \[`(.+?)`\]\(#(.+?)\) \| (.*?) \| (.+) \|$", page, re.MULTILINE)
    sections = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert [rule_id for rule_id, *_ in rows] == [rule.id for rule in RULES]
    assert [section.replace("\\", "") for section in sections] == [rule.id for rule in RULES]
    # The anchor that GitHub and MyST give a heading: lower case, without punctuation.
    assert [anchor for _, anchor, *_ in rows] == [re.sub(r"[^\w -]", "", section.lower()) for section in sections]
    for (_, _, marks, question), rule in zip(rows, RULES, strict=True):
        assert ("core" in marks) is rule.core
        assert question == rule.question
        assert f"**Remediation:** {rule.remediation}\n" in page


def test_the_page_says_how_it_is_made_and_ends_with_one_line_end() -> None:
    page = rules_markdown()
    assert "`nomyo-attest rules --format markdown`" in page
    assert page.endswith("\n")
    assert not page.endswith("\n\n")


def test_every_rule_across_records_has_a_row_and_a_section_that_the_row_links_to() -> None:
    page = cross_record_markdown()
    rows = re.findall(r"^\| \[`(.+?)`\]\(#(.+?)\) \| (.*?) \| (.+) \|$", page, re.MULTILINE)
    assert [(rule_id, bool(marks), question) for rule_id, _, marks, question in rows] == [
        (rule.id, rule.needs_limit, rule.question) for rule in CROSS_RECORD_RULES
    ]
    sections = re.findall(r"^### (.+)$", page, re.MULTILINE)
    assert [anchor for _, anchor, *_ in rows] == [re.sub(r"[^\w -]", "", section.lower()) for section in sections]
    for rule in CROSS_RECORD_RULES:
        assert f"\n\n{rule.explanation}\n\n" in page
        assert f"**Remediation:** {rule.remediation}\n" in page


@pytest.mark.parametrize("rule", CROSS_RECORD_RULES, ids=lambda rule: rule.id)
def test_a_rule_across_records_fits_the_terminal_and_says_everything(rule: CrossRecordRule) -> None:
    text = cross_record_rule_text(rule, TextStyle())
    assert max(map(len, text.split("\n"))) <= 80
    joined = " ".join(text.split())
    for part in (rule.question, " ".join(rule.explanation.split()), rule.field):
        assert part in joined
