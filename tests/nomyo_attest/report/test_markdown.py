"""Markdown for a job's summary, rendered, and looked at as a reader would be shown it."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import msgspec
import pytest
from markdown_it import MarkdownIt

from nomyo_attest.audit.cross_record.model import CrossRecordRuleSummary
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import Counts, Summary
from nomyo_attest.report.formatting import sanitize
from nomyo_attest.report.markdown import BYTES_MAXIMUM, audit_markdown, code_span, prose
from nomyo_attest.rules import RULE_TABLE
from tests.nomyo_attest.report.audit_hostile import NASTY, hostile
from tests.nomyo_attest.report.audit_labeled import labeled
from tests.nomyo_attest.report.audit_samples import summary


def rendered(text: str) -> ET.Element:
    """The page as elements; with HTML in the Markdown let through, as repository hosts do before they sanitize."""
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    return ET.fromstring(f"<page>{page}</page>")


@pytest.mark.parametrize(
    "text", [NASTY, "`", "``a``", "|", "a|b", "\\|", "\\", " ", "", "a`b", "&amp;", "*x* _y_ ~~z~~"]
)
def test_code_shows_any_text_as_it_is_and_as_nothing_else(text: str) -> None:
    (paragraph,) = rendered(f"x {code_span(text)} y")
    (span,) = paragraph
    assert span.tag == "code"
    assert len(span) == 0
    assert (span.text or "") == sanitize(text)
    (table,) = rendered(f"| a | b |\n|---|---|\n| {code_span(text)} | c |")
    cells = table.findall("tbody/tr/td")
    assert [len(cell.findall("code")) for cell in cells] == [1, 0]
    assert (cells[0][0].text or "").strip() == sanitize(text).strip()


@pytest.mark.parametrize(
    "text", ["*x*", "a_b_", "<b>", "@team", "#12", "[a](b)", "https://x", "www.x.test", "a|b", "`"]
)
def test_only_plain_words_are_no_code(text: str) -> None:
    assert prose(text) == code_span(text)
    assert prose("The archive is cut off at byte 12: sha256:7.") == "The archive is cut off at byte 12: sha256:7."


@pytest.mark.parametrize("whole", [summary(), hostile(), labeled(NASTY)], ids=["sample", "hostile", "label"])
def test_nothing_links_loads_runs_or_mentions_and_every_table_is_whole(whole: Summary) -> None:
    page = rendered(audit_markdown(whole))
    tags = {one.tag for one in page.iter()}
    assert tags <= {
        *("page", "h2", "h3", "p", "strong", "code", "ul", "li", "details", "summary"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    for table in page.iter("table"):
        widths = {len(row) for row in table.iter("tr")}
        assert len(widths) == 1
    for one in page.iter():
        if one.tag != "code":
            outside = f"{one.text or ''} {' '.join(child.tail or '' for child in one)}"
            assert not re.search(r"[@<>#]|://|www\.", re.sub("[<>](0.1|99.9)%", "", outside)), outside


def test_the_first_screen_says_whether_it_passed_how_many_and_what_happened() -> None:
    screen = audit_markdown(summary()).splitlines()[:32]
    assert screen[0] == "## nomyo-attest audit: not passed"
    assert "| **contraindicated** | 75 | 0.7% |" in screen
    assert "Exit status 1: not passed; 75 contraindicated, 146 none, 1 unreadable, 2 findings across records." in screen
    at = next(
        at for at, line in enumerate(screen) if line.startswith("Incident 1: **HIGH** One machine (inferred) booted")
    )
    assert "75 responses" in screen[at]
    assert screen[at + 3 : at + 5] == [
        "- expected: `c6cf0b83…3530` (Secure Boot on, db 2026-10)",
        "- got: `006b7583…31aa`",
    ]
    assert "- first: `recorded/2026-11.jsonl.gz:7609`, 2026-11-11 12:00:00Z" in screen


def test_a_passed_audit_says_so() -> None:
    text = audit_markdown(
        summary(status=0, status_reason="", rules=[], places=[], cross_record=[], cross_record_rules=[])
    )
    assert text.startswith("## nomyo-attest audit: passed\n")
    counts, _, rest = text.partition("| affirming |")
    assert "###" not in counts
    beside = rest.partition("###")[0].partition("<details>")[0]
    assert "\n- AIK trust: self_asserted: " in beside
    assert "\n- Not established: " in beside
    assert "Rules that do not hold" not in text


def test_no_record_at_all_is_said() -> None:
    assert "No record was appraised, so nothing is affirmed." in audit_markdown(summary(counts=Counts()))


def test_the_longest_summary_of_the_most_hostile_text_is_far_under_the_limit() -> None:
    whole = hostile("|\x1b" * 5000)
    rules = [msgspec.structs.replace(whole.rules[0], rule=f"claims.{'|' * 500}{number}") for number in range(500)]
    across = [
        CrossRecordRuleSummary(
            rule=f"series.{number}", question="Is it?", remediation="see", findings=1000, records=5000, outcome="found"
        )
        for number in range(6)
    ]
    far = Place("|" * 5000, 1, 0)
    found = [
        msgspec.structs.replace(whole.cross_record[0], rule=one.rule, message="|" * 5000, first=far, last=far)
        for one in across
        for _ in range(150)
    ]
    whole = msgspec.structs.replace(
        whole,
        rules=rules,
        places=[msgspec.structs.replace(whole.places[0], rule=rules[number % 500].rule) for number in range(25_000)],
        sources=whole.sources * 300,
        skipped=["|" * 5000] * 1000,
        cross_record=found,
        cross_record_rules=across,
        profiles=whole.profiles * 16,
        tiers=[("|" * 5000, 1)] * 20,
        not_established=["|" * 5000] * 100,
    )
    assert len(audit_markdown(whole).encode()) < BYTES_MAXIMUM


def test_what_is_not_shown_is_counted() -> None:
    sample = summary()
    text = audit_markdown(
        summary(
            places=sample.places * 40,
            skipped=[f"{number}.txt" for number in range(1000)],
            skipped_total=1234,
            profiles_total=77,
        )
    )
    assert "- and 37 more sources\n" in text
    assert "And 1,214 more files." in text
    assert "And 74 more profiles." in text


def test_a_share_keeps_its_sign() -> None:
    text = audit_markdown(summary(counts=Counts(affirming=1, none=99_999)))
    assert "| affirming | 1 | <0.1% |" in text
    assert "| **none** | 99,999 | >99.9% |" in text


def test_what_only_follows_is_named_where_it_is_little_and_counted_where_it_is_much() -> None:
    rules = summary().rules
    for ids, told in (
        (["attest.form", "nonce.match"], "`attest.form`, `nonce.match`."),
        (
            [row.id for row in RULE_TABLE[2:12]],
            "`attest.form`, `signature.form`, `key.form`, `attest.magic`, `attest.type`, `key.attributes` and 4 more.",
        ),
    ):
        following = [msgspec.structs.replace(rules[1], rule=one, outcome="consequence") for one in ids]
        assert f"Undecided because of these rules: {told}" in audit_markdown(summary(rules=[*rules, *following]))
