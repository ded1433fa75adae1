"""The result: its verdict follows from its findings, and from nothing else."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.appraisal.case import NO_EVIDENCE, Case
from nomyo_attest.appraisal.finding import PlannedRule
from nomyo_attest.appraisal.result import RESULT_FORMAT
from nomyo_attest.appraisal.rules import consequences
from nomyo_attest.testing import Forge

Asked = tuple[na.Outcome, na.Requirement]

PASS, FAIL, UNDECIDED = na.Outcome.PASS, na.Outcome.FAIL, na.Outcome.UNDECIDED
REQUIRED, WARN, IGNORE = na.Requirement.REQUIRED, na.Requirement.WARN, na.Requirement.IGNORE
POLICY = na.AppraisalPolicy.from_dict(Forge().policy())

# What one finding does to the verdict, the better the further up.
ORDER = [na.Verdict.AFFIRMING, na.Verdict.WARNING, na.Verdict.NONE, na.Verdict.CONTRAINDICATED]
ALONE: dict[Asked, na.Verdict] = {
    (PASS, REQUIRED): na.Verdict.AFFIRMING,
    (PASS, WARN): na.Verdict.AFFIRMING,
    (PASS, IGNORE): na.Verdict.AFFIRMING,
    (FAIL, REQUIRED): na.Verdict.CONTRAINDICATED,
    (FAIL, WARN): na.Verdict.WARNING,
    (FAIL, IGNORE): na.Verdict.AFFIRMING,
    (UNDECIDED, REQUIRED): na.Verdict.NONE,
    (UNDECIDED, WARN): na.Verdict.WARNING,
    (UNDECIDED, IGNORE): na.Verdict.AFFIRMING,
}


def result_of(asked: Sequence[Asked]) -> na.AttestationResult:
    """A result of made-up answers."""
    plan = [PlannedRule(f"rule.{number}", na.RULES[0], requirement) for number, (_, requirement) in enumerate(asked)]
    answers = [(outcome, None, None, "" if outcome is PASS else "because") for outcome, _ in asked]
    return na.AttestationResult(Case(NO_EVIDENCE, POLICY, None, None, None), plan, answers)


@pytest.mark.parametrize("pair", list(itertools.product(ALONE, repeat=2)))
def test_the_worse_of_two_findings_gives_the_verdict(pair: tuple[Asked, Asked]) -> None:
    # Beside them stands a core rule that holds, as one always does.
    expected = max((ALONE[one] for one in pair), key=ORDER.index)
    assert result_of([(PASS, REQUIRED), *pair]).verdict is expected
    assert result_of([*pair, (PASS, REQUIRED)]).verdict is expected


@given(st.lists(st.sampled_from(sorted(ALONE, key=str)), min_size=1))
def test_the_worst_of_all_findings_gives_the_verdict_in_any_order(asked: list[Asked]) -> None:
    expected = max((ALONE[one] for one in asked), key=ORDER.index)
    for order in (asked, asked[::-1], sorted(asked, key=str)):
        assert result_of([(PASS, REQUIRED), *order]).verdict is expected


@given(st.lists(st.sampled_from(sorted(ALONE, key=str))), st.sampled_from(sorted(ALONE, key=str)))
def test_one_finding_more_never_improves_the_verdict(asked: list[Asked], more: Asked) -> None:
    before = result_of([(PASS, REQUIRED), *asked]).verdict
    after = result_of([(PASS, REQUIRED), *asked, more]).verdict
    assert ORDER.index(after) >= ORDER.index(before)


@given(st.lists(st.sampled_from(sorted(ALONE, key=str))), st.data())
def test_what_cannot_be_told_never_affirms(asked: list[Asked], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(asked)))
    assert result_of([*asked[:at], (UNDECIDED, REQUIRED), *asked[at:]]).verdict in (
        na.Verdict.NONE,
        na.Verdict.CONTRAINDICATED,
    )


def test_nothing_examined_affirms_nothing() -> None:
    assert result_of([]).verdict is na.Verdict.NONE


def test_the_ids_of_what_fails_and_what_cannot_be_told_do_not_depend_on_the_requirement() -> None:
    result = result_of([(FAIL, REQUIRED), (FAIL, IGNORE), (PASS, REQUIRED), (UNDECIDED, WARN), (FAIL, WARN)])
    assert result.failed == ("rule.0", "rule.1", "rule.4")
    assert result.undecided == ("rule.3",)


def affirmed() -> na.AttestationResult:
    return na.appraise(Forge().response(), POLICY)


def refused() -> na.AttestationResult:
    return na.appraise(Forge(safe=0).measure(7, b"db 2025-01").response(), POLICY)


def test_a_result_has_no_truth_value() -> None:
    for result in (affirmed(), refused()):
        with pytest.raises(TypeError, match="no truth value"):
            bool(result)
        with pytest.raises(TypeError, match="no truth value"):
            assert result
        with pytest.raises(TypeError, match="no truth value"):
            any([result])


def test_require_gives_the_result_back_where_it_affirms_or_warns() -> None:
    result = affirmed()
    assert result.require() is result
    policy = na.AppraisalPolicy.from_dict({**Forge().policy(), "rules": {"clock.safe": "warn"}})
    result = na.appraise(Forge(safe=0).response(), policy)
    assert result.verdict is na.Verdict.WARNING
    assert result.require() is result


@pytest.mark.parametrize("response", [{}, {"is_available": False}, "nonsense", Forge(safe=0).response()])
def test_require_raises_with_the_result_where_it_does_not_affirm(response: object) -> None:
    result = na.appraise(response, POLICY)
    with pytest.raises(na.AttestationError) as caught:
        result.require()
    assert caught.value.result is result
    assert isinstance(caught.value, na.NomyoAttestError)
    assert result.verdict.value in str(caught.value)
    following = consequences(result.undecided, result.failed, ())
    for rule in (*result.failed, *result.undecided):
        assert (f"{rule}: " in str(caught.value)) is (rule not in following)
    assert (f"undecided because of this: {len(following)} other rule" in str(caught.value)) is bool(following)


def test_require_names_nothing_that_the_policy_softened() -> None:
    policy = na.AppraisalPolicy.from_dict({**Forge().policy(), "rules": {"clock.safe": "warn"}})
    with pytest.raises(na.AttestationError) as caught:
        na.appraise(Forge(safe=0, magic=0).response(), policy).require()
    assert "attest.magic" in str(caught.value)
    assert "clock.safe" not in str(caught.value)


def test_there_is_one_finding_for_each_rule_that_is_asked_in_the_order_of_the_table() -> None:
    for result in (affirmed(), refused(), na.appraise("nonsense", POLICY), na.appraise({}, POLICY)):
        rules = [finding.rule for finding in result.findings]
        asked = [rule.id for rule in na.RULES if rule.id not in ("firmware.version", "policy.period", "claims.*")]
        assert rules == asked
        assert result.findings is result.findings


def test_a_finding_that_holds_says_so_and_one_that_does_not_says_what_to_do() -> None:
    for finding in refused().findings:
        rule = next(rule for rule in na.RULES if rule.id == finding.rule)
        assert finding.field == rule.field
        if finding.outcome is PASS:
            assert (finding.message, finding.remediation) == ("holds", "")
        else:
            assert finding.message not in ("", "holds")
            assert finding.remediation
            assert finding.rule == "pcr.values" or finding.remediation == rule.remediation
            assert finding.expected != finding.got


def test_a_finding_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        affirmed().findings[0].outcome = FAIL  # type: ignore[misc]  # that is what must not work


def test_the_json_form_has_these_keys_and_no_others() -> None:
    document = affirmed().to_dict()
    assert list(document) == [
        "format", "verdict", "trust", "policy", "payload_id", "payload_id_source", "appraised_at", "aik", "quote",
        "findings", "not_established",
    ]  # fmt: skip
    assert document["format"] == RESULT_FORMAT == "nomyo-attest-result/1"
    assert list(document["policy"]) == ["id", "digest"]
    assert list(document["aik"]) == ["name", "hierarchy", "framing", "test_key"]
    assert list(document["quote"]) == ["framing"]
    for finding in document["findings"]:
        assert list(finding) == ["rule", "outcome", "requirement", "field", "expected", "got", "message", "remediation"]


def test_the_json_form_says_what_the_result_says() -> None:
    for result in (affirmed(), refused(), na.appraise("nonsense", POLICY)):
        document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert document == result.to_dict()
        assert document["verdict"] == result.verdict.value
        assert document["trust"] == result.trust.value
        assert document["policy"] == {"id": POLICY.id, "digest": POLICY.digest}
        assert document["payload_id"] == result.payload_id
        assert document["not_established"] == list(result.not_established)
        assert [finding["rule"] for finding in document["findings"] if finding["outcome"] == "fail"] == list(
            result.failed
        )


def test_strings_that_users_store_do_not_change() -> None:
    assert [verdict.value for verdict in na.Verdict] == ["affirming", "warning", "contraindicated", "none"]
    assert [outcome.value for outcome in na.Outcome] == ["pass", "fail", "undecided"]
    assert [requirement.value for requirement in na.Requirement] == ["required", "warn", "ignore"]


def test_the_result_names_the_key_and_its_hierarchy() -> None:
    forge = Forge(key="p256", hierarchy="owner", sized_quote=True, sized_key=False)
    result = na.appraise(forge.response(), na.AppraisalPolicy.from_dict(forge.policy()))
    assert result.verdict is na.Verdict.AFFIRMING
    assert result.aik_name == forge.build().name.hex()
    assert result.hierarchy == "owner"
    assert result.payload_id == forge.payload_id
    assert result.to_dict()["aik"]["framing"] == "TPMT_PUBLIC"
    assert result.to_dict()["quote"]["framing"] == "TPM2B_ATTEST"


def test_what_a_caller_does_to_the_values_of_a_finding_reaches_no_other_result() -> None:
    def documents() -> list[str]:
        return [
            json.dumps(na.appraise(one, POLICY).to_dict())
            for one in (Forge().response(), Forge(safe=0).measure(7, b"x").response())
        ]

    before = documents()
    for response in (Forge().response(), Forge(safe=0).measure(7, b"x").response()):
        for finding in na.appraise(response, POLICY).findings:
            for value in (finding.expected, finding.got):
                if isinstance(value, (list, dict)):
                    value.clear()
    assert documents() == before


def test_an_error_of_require_shows_no_claim_of_the_server() -> None:
    policy = na.AppraisalPolicy.from_dict({**Forge().policy(), "claims": {"security_tier": ["maximum"]}})
    with pytest.raises(na.AttestationError) as caught:
        na.appraise(Forge(security_tier="a\x1b[31mred").response(), policy).require()
    assert "\x1b" not in str(caught.value)


def test_a_repr_says_the_verdict_the_policy_and_the_trust() -> None:
    assert repr(affirmed()) == "<AttestationResult affirming, policy 'forge', AIK trust self_asserted>"


@pytest.mark.parametrize(
    "result", [affirmed(), refused(), na.appraise("nonsense", POLICY), na.appraise({}, POLICY)], ids=str
)
def test_a_result_comes_the_same_from_another_process(result: na.AttestationResult) -> None:
    for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert again.to_dict() == result.to_dict()
        assert again.verdict is result.verdict
        assert again.findings == result.findings
        assert (again.failed, again.undecided, again.trust) == (result.failed, result.undecided, result.trust)


def test_a_redacted_result_has_other_words_and_the_same_outcomes() -> None:
    result = refused()
    before = result.to_dict()
    told = result.redacted(lambda words: [["expected", "got", f"<{message}>"] for _, _, message in words])
    assert [(one.expected, one.got) for one in told.findings] == [("expected", "got")] * len(result.findings)
    assert [one.message for one in told.findings] == [
        "<>" if one.outcome is PASS else f"<{one.message}>" for one in result.findings
    ]
    assert [(one.rule, one.outcome, one.requirement, one.remediation) for one in told.findings] == [
        (one.rule, one.outcome, one.requirement, one.remediation) for one in result.findings
    ]
    assert (told.verdict, told.failed, told.undecided, told.facts) == (
        result.verdict, result.failed, result.undecided, result.facts
    )  # fmt: skip
    assert result.to_dict() == before
    with pytest.raises(ValueError, match="zip"):
        result.redacted(lambda words: words[1:])


SECRET = "what the user was told"


def test_a_result_carries_nothing_of_the_completion_to_another_process() -> None:
    answer = Forge().response()
    answer["choices"][0]["message"]["content"] = SECRET
    answer["_metadata"]["cuda_device"] = SECRET
    block = answer["_metadata"]["tpm_attestation"]
    for response in (
        answer,
        json.dumps(answer)[:-1],
        {"choices": SECRET, "tpm_attestation": block},
        {"choices": SECRET, **block},
        {**answer, "_metadata": {**answer["_metadata"], "tpm_attestation": {**block, "quote_b64": "!"}}},
    ):
        result = na.appraise(response, POLICY)
        assert SECRET.encode() not in pickle.dumps(result)
        assert SECRET not in json.dumps(result.to_dict())
        assert SECRET not in repr(result)


def test_the_result_says_where_its_payload_id_is_from() -> None:
    block = Forge().response()["_metadata"]["tpm_attestation"]
    for response, arguments, payload_id, source in (
        (Forge().response(), {}, Forge().payload_id, "recorded"),
        (Forge().response(), {"payload_id": "other"}, "other", "given"),
        (block, {"payload_id": "other"}, "other", "given"),
        (block, {}, None, None),
        (Forge().response(), {"nonce": b"n"}, None, None),
        ("nonsense", {}, None, None),
    ):
        result = na.appraise(response, POLICY, **arguments)
        assert (result.payload_id, result.payload_id_source) == (payload_id, source)
        assert result.to_dict()["payload_id_source"] == source
