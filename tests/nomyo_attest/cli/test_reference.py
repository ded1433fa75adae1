"""`nomyo-attest rules`, and the page that is made from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nomyo_attest.appraisal import RULES
from nomyo_attest.schemas import SCHEMAS, load_schema
from tests.nomyo_attest.cli.runner import run, single_error_line


def test_every_rule_is_listed_with_its_question_in_the_order_of_the_table() -> None:
    ran = run("rules")
    assert (ran.status, ran.err) == (0, "")
    starts = [line.split()[0] for line in ran.out.splitlines() if line[:1].strip()]
    assert starts[: len(RULES)] == [rule.id for rule in RULES]
    joined = " ".join(ran.out.split())
    assert all(rule.question in joined for rule in RULES if rule.id != "claims.*")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_one_rule_is_shown_in_full(rule: object) -> None:
    rule_id = rule.id  # type: ignore[attr-defined]  # a Rule; the parameter is typed loosely for its id
    ran = run("rules", rule_id)
    assert (ran.status, ran.err) == (0, "")
    joined = " ".join(ran.out.split())
    for text in (rule.question, rule.explanation, rule.remediation[1:], rule.field):  # type: ignore[attr-defined]  # as above
        assert " ".join(text.split()) in joined


def test_the_rules_that_a_rule_needs_are_shown() -> None:
    needs = "attest.form, attest.type"
    assert f"\nneeds        {needs}; otherwise" in run("rules", "pcr.values").out
    assert run("rules", "pcr.values", "--format", "json").json()["rules"][0]["needs"] == needs.split(", ")


def test_the_rule_of_a_claim_is_found_by_its_path() -> None:
    assert run("rules", "claims.security_tier").out == run("rules", "claims.*").out


def test_an_unknown_rule_is_wrong_usage_and_a_near_one_is_named() -> None:
    ran = run("rules", "pcr.value")
    assert ran.status == 2
    assert single_error_line(ran) == "unknown rule 'pcr.value'; did you mean pcr.values?"
    assert single_error_line(run("rules", "x")) == "unknown rule 'x'; nomyo-attest rules lists all rules"


def test_json_holds_the_whole_table() -> None:
    document = run("rules", "--format", "json").json()
    assert document["format"] == "nomyo-attest-rules/1"
    assert [rule["id"] for rule in document["rules"]] == [rule.id for rule in RULES]
    assert {rule["id"] for rule in document["rules"] if rule["core"]} == {rule.id for rule in RULES if rule.core}
    assert all(rule["question"] and rule["explanation"] and rule["remediation"] for rule in document["rules"])
    (one,) = run("rules", "pcr.digest", "--format", "json").json()["rules"]
    assert one in document["rules"]


def test_the_page_of_rules_is_what_the_command_prints(root: Path) -> None:
    page = (root / "docs" / "rules.md").read_text(encoding="utf-8")
    assert page == run("rules", "--format", "markdown").out, "run python fixtures/forge.py"


def test_no_line_of_text_is_wider_than_80_columns() -> None:
    for argv in (["rules"], *(["rules", rule.id] for rule in RULES)):
        assert [line for line in run(*argv).out.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_printed_as_it_is_shipped(name: str) -> None:
    ran = run("schema", name)
    assert (ran.status, ran.err) == (0, "")
    assert ran.json() == load_schema(name)
