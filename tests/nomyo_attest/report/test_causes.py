"""Which rules are reasons, which are only a consequence of those, and what was expected and found."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from nomyo_attest.appraisal import Outcome
from nomyo_attest.appraisal.rules import consequences
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import RuleSummary
from nomyo_attest.report.causes import (
    Cause,
    causes,
    causes_by_source,
    dependent_rules,
    ignored_rules,
    lines_text,
    place_text,
    unreadable_by_source,
)
from nomyo_attest.report.explain import reasons
from nomyo_attest.testing import FAULTS
from tests.nomyo_attest.report.appraised_faults import appraised_fault
from tests.nomyo_attest.report.audit_samples import summary


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_the_undecided_reasons_of_one_record_are_those_that_a_single_result_shows(name: str) -> None:
    result = appraised_fault(name).result
    ignored = {one.rule for one in result.findings if one.requirement.value == "ignore"}
    own = {*result.undecided} - consequences(result.undecided, result.failed, ignored) - ignored
    sorted_out = reasons(result)
    single = {one.rule for one in (*sorted_out.undecided, *sorted_out.softened) if one.outcome is Outcome.UNDECIDED}
    assert own == single


def test_a_rule_that_the_policy_ignores_explains_nothing() -> None:
    undecided = ("key.strength", "signature.valid")
    assert consequences(undecided, (), {"key.strength"}) == set()
    assert consequences(undecided, (), ()) == {"signature.valid"}


def test_missing_evidence_is_the_reason_and_malformed_evidence_is_one_that_hides_its_absence() -> None:
    both = ("evidence.available", "evidence.form")
    assert consequences(both, (), ()) == {"evidence.form"}
    assert consequences(both[:1], both[1:], ()) == {"evidence.available"}


def test_required_rules_come_before_softened_ones_and_failures_before_undecided_ones() -> None:
    sample = summary()
    assert [(one.tag, one.rule) for one in causes(summary(rules=sample.rules[::-1]))] == [
        ("FAIL", "pcr.values"),
        ("UNDECIDED", "evidence.available"),
        ("WARNING", "clock.safe"),
    ]


def test_consequences_and_ignored_rules_are_named_apart() -> None:
    sample = summary()
    more = [
        msgspec.structs.replace(sample.rules[1], rule="nonce.match", outcome="consequence"),
        msgspec.structs.replace(sample.rules[1], rule="attest.form", outcome="consequence"),
        msgspec.structs.replace(sample.rules[0], rule="key.trust", requirement="ignore"),
    ]
    whole = summary(rules=[*sample.rules, *more])
    assert [one.rule for one in causes(whole)] == ["pcr.values", "evidence.available", "clock.safe"]
    assert dependent_rules(whole) == ["attest.form", "nonce.match"]
    assert ignored_rules(whole) == ["key.trust"]


def test_a_rule_that_is_a_reason_somewhere_is_not_named_as_a_consequence() -> None:
    sample = summary()
    more = msgspec.structs.replace(sample.rules[1], outcome="consequence")
    assert dependent_rules(summary(rules=[*sample.rules, more])) == []


def test_the_causes_of_each_source_are_its_own() -> None:
    place = summary().places[1]
    places = [place, msgspec.structs.replace(place, source="other.jsonl", rule="nonce.match")]
    assert [(one.source, one.rule) for one in causes_by_source(summary(places=places))] == [
        ("recorded/2026-11.jsonl.gz", "evidence.available"),
        ("other.jsonl", "nonce.match"),
    ]


def test_failures_and_undecided_records_of_one_rule_are_two_causes() -> None:
    sample = summary()
    undecided = msgspec.structs.replace(sample.rules[0], outcome="undecided", records=3, message="there is no quote")
    found = [one for one in causes(summary(rules=[*sample.rules, undecided])) if one.rule == "pcr.values"]
    assert [(one.tag, one.records, one.message) for one in found] == [
        ("FAIL", sample.rules[0].records, sample.rules[0].message),
        ("UNDECIDED", 3, "there is no quote"),
    ]


def test_lines_say_how_many_more_there_are() -> None:
    assert lines_text([7], 1) == "line 7"
    assert lines_text([7, 9], 2000) == "lines 7, 9 and 1,998 more"
    assert lines_text([], 3) == "3 records"


def test_a_place_without_a_line_is_the_source() -> None:
    assert place_text("-", 3) == "standard input:3"
    assert place_text("a.jsonl", 0) == "a.jsonl"


def cause_of(row: dict[str, Any], *failures: dict[str, Any]) -> Cause:
    """The cause whose first record is `row`, in an audit that lists some records."""
    rule = RuleSummary(
        rule=row["findings"][0]["rule"],
        requirement="required",
        outcome="fail",
        records=1,
        first=Place(row["source"], row["line"]),
        message="",
    )
    (cause,) = causes(summary(failures=list(failures), rules=[rule]))
    return cause


@pytest.mark.parametrize(
    ("got", "told"),
    [
        ({"sha256:7": None}, "not signed"),
        ({"sha256:7": "ab" * 32}, "sha256:7 abababab…abab"),
        ([1, "x"], "1, x"),
        ("ab" * 200, "abababab…abab"),
        ("x" * 1000, "(1000 characters)"),
    ],
)
def test_values_are_one_short_line_whatever_their_type(got: object, told: str) -> None:
    row = next(one for one in summary().failures if one["failed"] == ["pcr.values"])
    row["findings"] = [row["findings"][0] | {"expected": {"sha256:7": ["cd" * 32, "ef" * 32]}, "got": got}]
    cause = cause_of(row, row)
    assert told in cause.got
    assert len(cause.got) < 450
    assert "cdcdcdcd…cdcd" in cause.expected


def test_a_claim_that_looks_like_a_digest_is_shown_as_the_text_that_it_is() -> None:
    row = dict(summary().failures[0])
    row["findings"] = [row["findings"][0] | {"rule": "claims.x", "expected": ["ab" * 32], "got": "cd" * 32}]
    assert cause_of(row, row).got == f'"{"cd" * 32}"'


def test_the_values_shown_are_those_of_the_first_record_of_the_cause() -> None:
    failing = next(one for one in summary().failures if one["failed"] == ["pcr.values"])
    other = dict(failing) | {
        "line": failing["line"] - 1,
        "findings": [failing["findings"][0] | {"got": {"sha256:7": "ab"}}],
    }
    assert cause_of(failing, other, failing).got == "sha256:7 006b7583…31aa"
    assert cause_of(other, other, failing).got == "sha256:7 ab"


def test_values_of_another_record_are_not_shown_where_the_first_record_is_not_listed() -> None:
    failing = next(one for one in summary().failures if one["failed"] == ["pcr.values"])
    cause = cause_of(failing | {"line": failing["line"] - 1}, failing)
    assert (cause.expected, cause.got) == ("", "")


def test_a_source_that_could_not_be_read_is_told_also_where_other_failures_fill_the_list() -> None:
    sample = summary()
    (listed,) = unreadable_by_source(sample)
    assert (listed.source, listed.records, listed.lines) == ("recorded/2026-11-16.jsonl.zst", 1, (412,))
    others = [row for row in sample.failures if row["verdict"] != "unreadable"]
    (unlisted,) = unreadable_by_source(summary(failures=others))
    assert unlisted == listed._replace(lines=())


def test_a_record_that_could_not_be_read_is_told_also_where_its_source_is_not_listed() -> None:
    (found,) = unreadable_by_source(summary(sources=[]))
    assert (found.records, found.lines) == (1, (412,))
    assert found.problem == "the archive is cut off at byte 1048576: the records behind are lost"
