"""The labels of pinned AIKs in reports: shown beside the Name, and never able to leave their place."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

import nomyo_attest as na
from nomyo_attest.report.explain import body_text, head_text
from nomyo_attest.report.formatting import TextStyle
from nomyo_attest.report.html import html_report
from nomyo_attest.report.junit import junit_xml
from nomyo_attest.report.markdown import audit_markdown
from nomyo_attest.report.policy import policy_text
from nomyo_attest.report.text import audit_text
from nomyo_attest.testing import Forge
from tests.nomyo_attest.report.audit_hostile import NASTY
from tests.nomyo_attest.report.audit_labeled import LABEL, NAME, labeled

VERBOSE = TextStyle(verbose=True)


def test_a_finding_of_a_labeled_aik_shows_the_label_and_part_of_the_name() -> None:
    text = audit_text(labeled(), TextStyle())
    assert re.search(rf"^ +AIK +{LABEL} \(000babababab…abab\)$", text, re.MULTILINE)


def test_detailed_text_markdown_and_junit_have_the_whole_name_beside_the_label() -> None:
    whole = labeled()
    assert f"{LABEL} ({NAME})" in " ".join(audit_text(whole, TextStyle(verbose=True, width=200)).split())
    assert f"{LABEL} (`{NAME}`)" in audit_markdown(whole)
    texts = [failure.text or "" for failure in ET.fromstring(junit_xml(whole)).iter("failure")]
    assert any(f"AIK {LABEL} ({NAME})" in text for text in texts)


def test_the_page_has_the_whole_name_as_a_title_and_in_the_policy() -> None:
    page = html_report(labeled())
    assert f'<bdi>{LABEL}</bdi> <code title="{NAME}">' in page
    assert NAME in re.sub("<wbr>", "", page.partition('id="policy"')[2])


def test_a_label_is_no_proof_where_the_signature_does_not_verify() -> None:
    assert "not proven" not in html_report(labeled())
    assert "not proven" in html_report(labeled(trust="self_asserted"))


@pytest.mark.parametrize("report", [html_report, audit_markdown, junit_xml, lambda whole: audit_text(whole, VERBOSE)])
def test_a_hostile_label_is_shown_as_text(report: object) -> None:
    assert callable(report)
    hostile = str(report(labeled(NASTY)))
    assert "forged" in hostile
    for line in hostile.split("\n"):
        assert line.isprintable()
        assert not line.lstrip().startswith("::")


def test_a_hostile_label_adds_no_element() -> None:
    elements = [re.findall(r"<[a-z/!][^>]*>", html_report(labeled(label))) for label in (LABEL, NASTY)]
    assert elements[0] == elements[1]


def test_verify_names_the_machine_whose_pinned_key_signed() -> None:
    forge = Forge()
    name = forge.build().name.hex()
    document = forge.policy()
    document["key"] = document.get("key", {}) | {"pinned": [{"name": name, "label": LABEL}], "trust": "self_asserted"}
    policy = na.AppraisalPolicy.from_dict(document)
    result = na.appraise(forge.response(), policy)
    assert result.aik_label == result.to_dict()["aik"]["label"] == LABEL
    assert head_text("a.json", result, TextStyle()).endswith(f"AIK trust: pinned_aik ({LABEL})")
    verbose = body_text(result, policy, VERBOSE)
    assert name in verbose
    assert re.search(rf"^  AIK label +{LABEL}$", verbose, re.MULTILINE)
    assert re.search(rf"^ +{LABEL}$", policy_text(policy, TextStyle()), re.MULTILINE)
    forged = na.appraise(forge.tamper("signed", lambda signed: signed + b"\0").response(), policy)
    assert LABEL not in head_text("a.json", forged, TextStyle())


def test_a_result_without_a_label_is_as_it_was() -> None:
    forge = Forge()
    document = forge.policy()
    document["key"] = document.get("key", {}) | {"pinned": [forge.build().name.hex()]}
    result = na.appraise(forge.response(), na.AppraisalPolicy.from_dict(document))
    assert list(result.to_dict()["aik"]) == ["name", "hierarchy", "framing", "test_key"]
