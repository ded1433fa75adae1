from __future__ import annotations

import re

import pytest

from nomyo_attest.audit.cross_record.findings import rfc3339
from nomyo_attest.audit.cross_record.rules import (
    CROSS_RECORD_RULES,
    CrossRecordRule,
    evaluated_rules,
    find_cross_record_rule,
)
from nomyo_attest.audit.row import COLUMNS

IDS = ["duplicate.quote", "duplicate.payload_id", "reused.aik", "rollback.clock", "rollback.counters", "gap.records"]


def test_the_cross_record_rules_are_these_in_this_order() -> None:
    assert [rule.id for rule in CROSS_RECORD_RULES] == IDS


@pytest.mark.parametrize("rule", CROSS_RECORD_RULES, ids=lambda rule: rule.id)
def test_a_cross_record_rule_has_a_question_an_explanation_and_a_remediation(rule: CrossRecordRule) -> None:
    assert rule.question.endswith("?")
    assert rule.explanation
    assert rule.remediation.endswith(".")
    assert not rule.remediation.startswith("What to do")
    assert re.fullmatch(r"[\w.]+(, \w+)*", rule.field)


@pytest.mark.parametrize("rule", CROSS_RECORD_RULES, ids=lambda rule: rule.id)
def test_a_query_reads_the_verdicts_alone_and_columns_that_rows_have(rule: CrossRecordRule) -> None:
    query = rule.query(5)
    made = set(re.findall(r"(\w+) AS \(", query))
    assert set(re.findall(r"(?:FROM|JOIN) (\w+)", query)) <= made | {"verdicts"}
    own = made | set(re.findall(r"AS (\w+)", query)) | {"cross_record_key", "verdicts"}
    named = set(re.findall(r"\b[a-z_]+\b", re.sub(r"'\w+'", "", query)))
    assert named - own <= set(COLUMNS)


def test_a_rule_is_found_by_its_id_and_no_other() -> None:
    assert find_cross_record_rule("reused.aik") is CROSS_RECORD_RULES[2]
    with pytest.raises(KeyError):
        find_cross_record_rule("rollback.nonce")


def test_the_gap_is_evaluated_only_with_a_limit() -> None:
    assert [rule.id for rule in evaluated_rules(None)] == IDS[:-1]
    assert [rule.id for rule in evaluated_rules(0)] == IDS
    with pytest.raises(ValueError, match=r"gap\.records is evaluated only with a limit"):
        find_cross_record_rule("gap.records").query()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (-50_000_000_000, "0385-07-25T07:06:40Z"),
        (253402300799, "9999-12-31T23:59:59Z"),
        (253402300800, "253402300800 s"),
        (-(2**53), "-9007199254740992 s"),
    ],
)
def test_a_time_outside_the_calendar_is_shown_in_seconds(seconds: int, text: str) -> None:
    assert rfc3339(seconds) == text
