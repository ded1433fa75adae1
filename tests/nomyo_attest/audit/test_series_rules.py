from __future__ import annotations

import re

import pytest

from nomyo_attest.audit.row import COLUMNS
from nomyo_attest.audit.series.findings import moment
from nomyo_attest.audit.series.rules import SERIES_RULES, SeriesRule, find_series_rule, rules_asked

IDS = ["series.quote", "series.payload_id", "series.aik", "series.clock", "series.counters", "series.gap"]


def test_the_series_rules_are_these_in_this_order() -> None:
    assert [rule.id for rule in SERIES_RULES] == IDS


@pytest.mark.parametrize("rule", SERIES_RULES, ids=lambda rule: rule.id)
def test_a_series_rule_asks_explains_and_says_what_to_do(rule: SeriesRule) -> None:
    assert rule.question.endswith("?")
    assert rule.explanation
    assert rule.mend.endswith(".")
    assert not rule.mend.startswith("What to do")
    assert re.fullmatch(r"[\w.]+(, \w+)*", rule.cites)


@pytest.mark.parametrize("rule", SERIES_RULES, ids=lambda rule: rule.id)
def test_a_query_reads_the_verdicts_alone_and_columns_that_rows_have(rule: SeriesRule) -> None:
    query = rule.query(5)
    made = set(re.findall(r"(\w+) AS \(", query))
    assert set(re.findall(r"(?:FROM|JOIN) (\w+)", query)) <= made | {"verdicts"}
    own = made | set(re.findall(r"AS (\w+)", query)) | {"series_key", "verdicts"}
    named = set(re.findall(r"\b[a-z_]+\b", re.sub(r"'\w+'", "", query)))
    assert named - own <= set(COLUMNS)


def test_a_rule_is_found_by_its_id_and_no_other() -> None:
    assert find_series_rule("series.aik") is SERIES_RULES[2]
    with pytest.raises(KeyError):
        find_series_rule("series.nonce")


def test_the_gap_is_asked_for_with_a_limit_only() -> None:
    assert [rule.id for rule in rules_asked(None)] == IDS[:-1]
    assert [rule.id for rule in rules_asked(0)] == IDS
    with pytest.raises(ValueError, match=r"series\.gap is asked with a limit only"):
        find_series_rule("series.gap").query()


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
def test_a_time_outside_the_calendar_is_told_in_seconds(seconds: int, text: str) -> None:
    assert moment(seconds) == text
