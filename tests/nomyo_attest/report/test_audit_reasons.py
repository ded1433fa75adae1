"""Of counts alone, which rules are reasons, and which only follow."""

from __future__ import annotations

import msgspec
import pytest

from nomyo_attest.appraisal import Outcome
from nomyo_attest.report.audit_reasons import Tallied, causes, causes_by_source, ignored, own_undecided, waiting
from nomyo_attest.report.reasons import reasons
from nomyo_attest.testing import FAULTS
from tests.nomyo_attest.report.audit_samples import summary
from tests.nomyo_attest.report.faulty import judged


def tallies(*names: str) -> dict[str, Tallied]:
    """What some faulty records add up to."""
    found: dict[str, Tallied] = {}
    for name in names:
        for finding in judged(name).result.findings:
            if finding.outcome is Outcome.PASS:
                continue
            before = found.get(finding.rule, Tallied("", 0, 0))
            fails = finding.outcome is Outcome.FAIL
            found[finding.rule] = Tallied(
                finding.requirement.value, before.failed + fails, before.undecided + (not fails)
            )
    return found


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_of_one_record_the_undecided_reasons_are_those_that_a_single_result_shows(name: str) -> None:
    found = tallies(name)
    own = {
        rule for rule, undecided in own_undecided(found).items() if undecided and found[rule].requirement != "ignore"
    }
    sorted_out = reasons(judged(name).result)
    single = {one.rule for one in (*sorted_out.open, *sorted_out.softened) if one.outcome is Outcome.UNDECIDED}
    assert own == single


def test_records_without_evidence_do_not_hide_one_that_cannot_be_told_for_a_reason_of_its_own() -> None:
    unsupported = next(fault.name for fault in FAULTS if fault.undecided and fault.rule == "signature.form")
    own = own_undecided(tallies("absent-no-tpm", "absent-no-tpm", "absent-no-tpm", unsupported))
    assert own["evidence.available"] == 3
    assert own["signature.form"] == 1
    assert own["nonce.match"] == 0


def test_a_rule_that_the_policy_ignores_explains_nothing() -> None:
    undecided = {"key.strength": Tallied("ignore", 0, 5), "signature.valid": Tallied("required", 0, 5)}
    assert own_undecided(undecided)["signature.valid"] == 5
    required = undecided | {"key.strength": Tallied("required", 0, 5)}
    assert own_undecided(required)["signature.valid"] == 0


def test_required_rules_come_before_softened_ones_and_failures_before_what_cannot_be_told() -> None:
    sample = summary()
    assert [(one.tag, one.rule) for one in causes(summary(rules=sample.rules[::-1]))] == [
        ("FAIL", "pcr.values"),
        ("UNDECIDED", "evidence.available"),
        ("WARNING", "clock.safe"),
    ]


def test_what_follows_and_what_is_ignored_is_named_apart() -> None:
    sample = summary()
    more = [
        msgspec.structs.replace(sample.rules[1], rule="nonce.match"),
        msgspec.structs.replace(sample.rules[1], rule="attest.form"),
        msgspec.structs.replace(sample.rules[0], rule="key.trust", requirement="ignore"),
    ]
    whole = summary(rules=[*sample.rules, *more])
    assert [one.rule for one in causes(whole)] == ["pcr.values", "evidence.available", "clock.safe"]
    assert waiting(whole) == ["attest.form", "nonce.match"]
    assert ignored(whole) == ["key.trust"]


def test_in_each_source_the_reasons_are_its_own() -> None:
    place = summary().places[1]
    places = [
        place,
        msgspec.structs.replace(place, rule="nonce.match"),
        msgspec.structs.replace(place, source="other.jsonl", rule="nonce.match"),
    ]
    assert [(one.source, one.rule) for one in causes_by_source(summary(places=places))] == [
        ("recorded/2026-11.jsonl.gz", "evidence.available"),
        ("other.jsonl", "nonce.match"),
    ]


def test_the_sentence_of_a_rule_that_fails_is_that_of_a_failure() -> None:
    place = summary().places[0]
    earlier = msgspec.structs.replace(place, source="a.jsonl", failed=0, undecided=3, message="there is no quote")
    assert causes(summary(places=[earlier, place]))[0].message == place.message
