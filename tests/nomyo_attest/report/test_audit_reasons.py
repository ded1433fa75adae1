"""Which rules are reasons, and which are only a consequence of those."""

from __future__ import annotations

import msgspec
import pytest

from nomyo_attest.appraisal import Outcome
from nomyo_attest.appraisal.rules import consequences
from nomyo_attest.report.audit_reasons import causes, causes_by_source, ignored, waiting
from nomyo_attest.report.reasons import reasons
from nomyo_attest.testing import FAULTS
from tests.nomyo_attest.report.audit_samples import summary
from tests.nomyo_attest.report.faulty import judged


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_the_undecided_reasons_of_one_record_are_those_that_a_single_result_shows(name: str) -> None:
    result = judged(name).result
    ignored = {one.rule for one in result.findings if one.requirement.value == "ignore"}
    own = {*result.undecided} - consequences(result.undecided, result.failed, ignored) - ignored
    sorted_out = reasons(result)
    single = {one.rule for one in (*sorted_out.open, *sorted_out.softened) if one.outcome is Outcome.UNDECIDED}
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
    assert waiting(whole) == ["attest.form", "nonce.match"]
    assert ignored(whole) == ["key.trust"]


def test_a_rule_that_is_a_reason_somewhere_is_not_named_as_a_consequence() -> None:
    sample = summary()
    more = msgspec.structs.replace(sample.rules[1], outcome="consequence")
    assert waiting(summary(rules=[*sample.rules, more])) == []


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
