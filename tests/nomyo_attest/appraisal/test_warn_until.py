"""Rules that are a warning until the policy's unsafe_warn_until, and required from then on."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import nomyo_attest as na
from nomyo_attest.appraisal.verifier import appraise_evidence, read_evidence_or_error
from nomyo_attest.schemas import load_schema
from nomyo_attest.testing import FAULTS, Fault
from tests.nomyo_attest.policy.documents import TIMED

END = datetime(2026, 2, 1, tzinfo=UTC)
BEFORE, MOMENT = END - timedelta(seconds=1), timedelta(microseconds=1)
BY_RULE: dict[str, Fault] = {
    fault.rule: fault for fault in reversed(FAULTS) if fault.expect()["failed"] == [fault.rule] and not fault.arguments
}


def softened(rule: str, **changes: Any) -> tuple[na.AppraisalPolicy, Any]:
    case = BY_RULE[rule].case()
    policy = {**case.policy, "rules": {rule: "warn"}, "unsafe_warn_until": END.isoformat(), **changes}
    return na.AppraisalPolicy.from_dict(policy), case.response


@pytest.mark.parametrize("rule", TIMED)
def test_a_rule_warns_before_the_end_and_is_required_from_then_on(rule: str) -> None:
    policy, response = softened(rule)
    for now, verdict in (
        (BEFORE, na.Verdict.WARNING),
        (END - MOMENT, na.Verdict.WARNING),
        (END, na.Verdict.CONTRAINDICATED),
        (END + timedelta(days=365), na.Verdict.CONTRAINDICATED),
    ):
        result = na.appraise(response, policy, now=now)
        assert (result.verdict, result.failed) == (verdict, (rule,))
        assert result.warn_until == END.isoformat()
        assert result.warn_ended is (now >= END)


def test_a_date_ends_with_the_first_moment_of_that_day_in_utc() -> None:
    policy, response = softened("pcr.values", unsafe_warn_until="2026-02-01")
    assert policy.unsafe_warn_until == END
    assert na.appraise(response, policy, now=END - MOMENT).verdict is na.Verdict.WARNING
    assert na.appraise(response, policy, now=END).verdict is na.Verdict.CONTRAINDICATED


def test_the_clock_counts_where_no_time_is_given() -> None:
    policy, response = softened("pcr.values", unsafe_warn_until="2000-01-01")
    assert na.appraise(response, policy).verdict is na.Verdict.CONTRAINDICATED
    policy, response = softened("pcr.values", unsafe_warn_until="9999-01-01")
    assert na.appraise(response, policy).verdict is na.Verdict.WARNING


def test_where_no_time_is_known_the_rule_is_required() -> None:
    policy, response = softened("pcr.values")
    _, result = appraise_evidence(read_evidence_or_error(response), policy)
    assert (result.verdict, result.warn_ended) == (na.Verdict.CONTRAINDICATED, True)


def test_a_result_says_that_the_warnings_have_ended() -> None:
    policy, response = softened("pcr.values")
    result = na.appraise(response, policy, now=END)
    document = result.to_dict()
    assert document["policy"]["warn_until"] == END.isoformat()
    assert document["policy"]["warn_ended"] is True
    (finding,) = (one for one in document["findings"] if one["rule"] == "pcr.values")
    assert finding["requirement"] == "required"
    assert f"the rule was a warning until {END.isoformat()}" in finding["message"]
    with pytest.raises(na.AttestationError, match="was a warning until"):
        result.require()
    assert not any("unsafe_warn_until" in limit for limit in result.not_established)
    Draft202012Validator(load_schema("result")).validate(document)
    assert pickle.loads(pickle.dumps(result)).to_dict() == document


def test_a_result_says_what_is_only_a_warning_as_yet() -> None:
    policy, response = softened("key.attributes")
    result = na.appraise(response, policy, now=BEFORE)
    assert any(limit.startswith("That key.attributes holds") for limit in result.not_established)
    Draft202012Validator(load_schema("result")).validate(json.loads(json.dumps(result.to_dict())))


def test_a_policy_without_such_warnings_says_nothing_of_them() -> None:
    case = BY_RULE["pcr.values"].case()
    result = na.appraise(case.response, na.AppraisalPolicy.from_dict(case.policy), now=END)
    assert (result.warn_until, result.warn_ended) == (None, None)
    assert result.to_dict()["policy"].keys() == {"id", "digest"}


def test_a_rule_that_is_not_timed_stays_a_warning() -> None:
    case = BY_RULE["clock.safe"].case()
    document = {**case.policy, "rules": {"clock.safe": "warn"}, "unsafe_warn_until": END.isoformat()}
    result = na.appraise(case.response, na.AppraisalPolicy.from_dict(document), now=END)
    assert result.verdict is na.Verdict.WARNING


def test_the_time_is_part_of_the_digest_and_survives_a_round_trip() -> None:
    policy, _ = softened("pcr.values")
    other, _ = softened("pcr.values", unsafe_warn_until="2026-03-01")
    assert policy.digest != other.digest
    assert na.AppraisalPolicy.from_dict(policy.to_dict()).digest == policy.digest
    assert pickle.loads(pickle.dumps(policy)).unsafe_warn_until == END


def test_with_unsafe_accept_any_pcrs_the_values_need_no_end() -> None:
    case = BY_RULE["pcr.values"].case()
    for word, verdict in (("warn", na.Verdict.WARNING), ("ignore", na.Verdict.AFFIRMING)):
        document = {**case.policy, "rules": {"pcr.values": word}, "unsafe_accept_any_pcrs": True}
        assert na.appraise(case.response, na.AppraisalPolicy.from_dict(document)).verdict is verdict


@pytest.mark.parametrize("nonce", [b"", b"\0" * 65])
def test_a_nonce_of_no_byte_or_too_many_is_refused(nonce: bytes) -> None:
    case = BY_RULE["pcr.values"].case()
    with pytest.raises(ValueError, match="nonce must be 1 to 64 bytes"):
        na.appraise(case.response, na.AppraisalPolicy.from_dict(case.policy), nonce=nonce)
