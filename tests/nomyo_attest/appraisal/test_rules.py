"""The table of rules: complete, in order, each documented by its check."""

from __future__ import annotations

import re

import pytest

import nomyo_attest as na
from nomyo_attest.appraisal.rules import find_rule


@pytest.mark.parametrize("rule", na.RULES, ids=lambda rule: rule.id)
def test_a_rule_asks_explains_and_says_what_to_do(rule: na.Rule) -> None:
    assert rule.question.endswith("?")
    assert rule.explanation
    assert rule.remediation.endswith((".", ")"))
    assert not rule.remediation.startswith("What to do")
    assert "Remediation: " in (rule.check.__doc__ or "")
    assert re.fullmatch(r"[\w.]+(, \w+)*", rule.field)


@pytest.mark.parametrize("rule", na.RULES, ids=lambda rule: rule.id)
def test_a_rule_is_found_by_its_id(rule: na.Rule) -> None:
    assert find_rule(rule.id) is rule


def test_every_claim_is_judged_by_one_rule() -> None:
    assert find_rule("claims.security_tier") is find_rule("claims.memory_protection.memory_locking") is na.RULES[-1]


@pytest.mark.parametrize("rule_id", ["", "pcr", "pcr.value", "PCR.VALUES", "claims", "pcr.values\n"])
def test_another_id_is_no_rule(rule_id: str) -> None:
    with pytest.raises(KeyError):
        find_rule(rule_id)


def test_a_rule_needs_only_rules_before_it_in_the_table() -> None:
    """But for the first two, which need each other: without evidence, neither is decided."""
    ids = [rule.id for rule in na.RULES]
    for place, rule in enumerate(na.RULES[2:], 2):
        assert set(rule.needs) <= set(ids[:place]), rule.id
    assert [na.RULES[0].needs, na.RULES[1].needs] == [(ids[1],), (ids[0],)]
