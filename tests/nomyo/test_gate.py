"""The gate: what the policy affirms passes with its result, and of what is refused nothing is left in the error."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

import nomyo_attest as na
from nomyo import gate
from nomyo.errors import AttestationError
from nomyo_attest.testing import Forge
from tests.nomyo.defects.walker import places_of

SECRET = "0a9357b1-withheld"
POLICY = na.AppraisalPolicy.from_dict(Forge().policy())
ID = Forge().payload_id


def completion(forge: Forge | None = None) -> dict[str, Any]:
    """An answer whose message is a secret."""
    value = (forge or Forge()).response()
    assert isinstance(value, dict)
    value["choices"][0]["message"]["content"] = SECRET
    return value


def refused(value: dict[str, Any], policy: na.AppraisalPolicy = POLICY, payload_id: str = ID) -> AttestationError:
    with pytest.raises(AttestationError) as caught:
        gate.require_affirmed(value, policy, payload_id)
    assert type(caught.value) is AttestationError
    return caught.value


def test_an_answer_that_the_policy_affirms_passes_with_the_results_json_form() -> None:
    value = completion()
    before = json.dumps(value)
    result = gate.require_affirmed(value, POLICY, ID).to_dict()
    assert result["verdict"] == "affirming"
    assert result["payload_id"] == ID
    assert result["policy"]["id"] == "forge"
    assert json.loads(json.dumps(result)) == result
    assert json.dumps(value) == before


def test_a_warning_passes_where_the_policy_softened_a_rule() -> None:
    softened = {**Forge().policy(), "rules": {"pcr.values": "warn"}, "unsafe_warn_until": "9999-01-01"}
    value = completion(Forge().measure(0, b"other firmware"))
    result = gate.require_affirmed(value, na.AppraisalPolicy.from_dict(softened), ID).to_dict()
    assert result["verdict"] == "warning"
    assert refused(value).result.verdict is na.Verdict.CONTRAINDICATED


AFFIRMING = gate.require_affirmed(completion(), POLICY, ID).to_dict()
WRONG: dict[str, Any] = {
    "other firmware": lambda: completion(Forge().measure(0, b"other firmware")),
    "evidence for another request": lambda: completion(Forge(payload_id="another")),
    "no TPM": lambda: {**completion(), "_metadata": {"tpm_attestation": {"is_available": False}}},
    "no evidence": lambda: {**completion(), "_metadata": {}},
    "no metadata": lambda: {"choices": [SECRET]},
    "nothing": dict,
    "a wrong signature": lambda: completion(Forge().tamper("signature", lambda sig: sig[:-1] + bytes([sig[-1] ^ 1]))),
    "evidence that is text": lambda: {**completion(), "_metadata": {"tpm_attestation": SECRET}},
    "a verdict of the server's own": lambda: {**completion(), "_metadata": {"attestation_result": AFFIRMING}},
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_anything_else_is_refused_with_the_result_and_nothing_of_the_answer(name: str) -> None:
    error = refused(WRONG[name]())
    assert error.code == "not_affirmed"
    assert error.prompt_sent is True
    assert error.result.verdict in (na.Verdict.CONTRAINDICATED, na.Verdict.NONE)
    assert str(error).startswith(f"the evidence is not affirmed ({error.result.verdict.value}): ")
    assert error.__cause__ is None
    assert error.__context__ is None
    assert places_of(SECRET, error, frames=False) == []
    assert places_of(SECRET, error.result) == []


def test_the_payload_id_of_the_request_counts_not_the_one_in_the_answer() -> None:
    value = completion(Forge(payload_id="another"))
    assert gate.require_affirmed(value, POLICY, "another").to_dict()["verdict"] == "affirming"
    value["_metadata"]["payload_id"] = ID
    assert {finding.rule for finding in refused(value).result.findings if finding.outcome is na.Outcome.FAIL}


PROMPT = "prompt-6c1f4b2d8e0a9357"
CLAIMING = na.AppraisalPolicy.from_dict(
    {**Forge().policy(), "claims": {"cuda_device.name": ["a good one"], "response_status": ["success"]}}
)


def claiming(name: object, status: object = "success") -> dict[str, Any]:
    """An answer whose server claims this."""
    value = completion()
    value["_metadata"].update(cuda_device={"name": name}, response_status=status)
    return value


def test_claims_that_the_policy_allows_pass_as_they_are() -> None:
    assert (
        gate.require_affirmed(claiming("a good one"), CLAIMING, ID, secrets=[PROMPT]).to_dict()["verdict"]
        == "affirming"
    )


@pytest.mark.parametrize("secret", [PROMPT, SECRET])
@pytest.mark.parametrize("form", ["{}", "GPU of {} and others", "{0}{0}"])
def test_a_claim_that_quotes_what_was_sent_or_answered_is_refused_without_the_quotation(secret: str, form: str) -> None:
    value = claiming(form.format(secret))
    before = json.dumps(value)
    with pytest.raises(AttestationError) as caught:
        gate.require_affirmed(value, CLAIMING, ID, secrets=[PROMPT])
    error = caught.value
    assert json.dumps(value) == before
    assert error.result.verdict is na.Verdict.CONTRAINDICATED
    (wrong,) = (one for one in error.result.findings if one.outcome is na.Outcome.FAIL)
    assert wrong.rule == "claims.cuda_device.name"
    assert places_of(secret, error, frames=False) == []
    assert "[redacted]" in str(wrong.got)
    assert "claims.cuda_device.name" in str(error)


def test_a_claim_that_quotes_nothing_is_told_as_it_is() -> None:
    with pytest.raises(AttestationError) as caught:
        gate.require_affirmed(claiming("another one"), CLAIMING, ID, secrets=[PROMPT])
    (wrong,) = (one for one in caught.value.result.findings if one.outcome is na.Outcome.FAIL)
    assert "another one" in str(wrong.got)


def test_the_evidence_is_judged_by_its_own_payload_id_where_a_claim_is_taken_out_too() -> None:
    value = claiming(PROMPT)
    with pytest.raises(AttestationError) as caught:
        gate.require_affirmed(value, CLAIMING, ID, secrets=[PROMPT])
    outcomes = {one.rule: one.outcome for one in caught.value.result.findings}
    with pytest.raises(AttestationError) as plain:
        gate.require_affirmed(claiming("another one"), CLAIMING, ID)
    assert outcomes == {one.rule: one.outcome for one in plain.value.result.findings}


def test_evidence_stays_as_it_is_whatever_stands_in_the_prompt() -> None:
    value = claiming(PROMPT)
    quote = value["_metadata"]["tpm_attestation"]["quote_b64"]
    with pytest.raises(AttestationError) as caught:
        gate.require_affirmed(value, CLAIMING, ID, secrets=[PROMPT, quote, ID])
    assert [one.rule for one in caught.value.result.findings if one.outcome is na.Outcome.FAIL] == [
        "claims.cuda_device.name"
    ]


def test_an_answer_that_quotes_and_has_no_evidence_is_refused_for_both() -> None:
    value = claiming(PROMPT)
    del value["_metadata"]["tpm_attestation"]
    with pytest.raises(AttestationError) as caught:
        gate.require_affirmed(value, CLAIMING, ID, secrets=[PROMPT])
    assert places_of(PROMPT, caught.value, frames=False) == []


def test_what_would_be_affirmed_only_without_its_quotation_is_still_refused() -> None:
    policy = na.AppraisalPolicy.from_dict({**Forge().policy(), "claims": {"cuda_device.name": ["[redacted]"]}})
    with pytest.raises(AttestationError, match=r"claims\.cuda_device\.name"):
        gate.require_affirmed(claiming(PROMPT), policy, ID, secrets=[PROMPT])


TAMPERED: dict[str, Any] = {
    "the selection": lambda block, text: {"pcr_banks": text},
    "a bank of the selection": lambda block, text: {"pcr_banks": f"{block['pcr_banks']}+{text}"},
    "an index of the selection": lambda block, text: {"pcr_banks": f"sha256:{text}"},
    "a bank": lambda block, text: {"pcr_values": {text: {"0": "00" * 32}}},
    "an index": lambda block, text: {"pcr_values": {"sha256": {text: "00" * 32}}},
    "an index of no text": lambda block, text: {"pcr_values": {"sha256": {text: 5}}},
    "a value": lambda block, text: {"pcr_values": {"sha256": dict.fromkeys(block["pcr_values"]["sha256"], text)}},
    "a value in hex": lambda block, text: {
        "pcr_values": {"sha256": dict.fromkeys(block["pcr_values"]["sha256"], f"{text:32.32}".encode().hex())}
    },
    "a blob": lambda block, text: {"quote_b64": base64.b64encode(text.encode()).decode()},
    "a field": lambda block, text: {text: text, "is_available": text},
}


@pytest.mark.parametrize("secret", [PROMPT, SECRET])
@pytest.mark.parametrize("name", TAMPERED)
def test_evidence_that_quotes_is_refused_for_the_same_without_the_quotation(name: str, secret: str) -> None:
    found = []
    for text in (secret, "nothing-of-any-secret-at-all"):
        value = completion()
        block = value["_metadata"]["tpm_attestation"]
        block.update(TAMPERED[name](block, text))
        with pytest.raises(AttestationError) as caught:
            gate.require_affirmed(value, POLICY, ID, secrets=[PROMPT])
        found.append(caught.value)
    told = json.dumps(found[0].result.to_dict())
    for form in (secret[:8], secret.encode().hex()[:32]):
        assert form not in told + str(found[0])
        assert places_of(form, found[0], frames=False) == []
    outcomes = [[(one.rule, one.outcome, one.requirement) for one in error.result.findings] for error in found]
    assert outcomes[0] == outcomes[1]
    assert found[0].result.verdict is found[1].result.verdict


@pytest.mark.parametrize("metadata", [None, [], "text", 5])
def test_metadata_that_is_no_object_is_refused_also_where_claims_are_judged(metadata: object) -> None:
    with pytest.raises(AttestationError) as caught:
        gate.require_affirmed({**completion(), "_metadata": metadata}, CLAIMING, ID, secrets=[PROMPT])
    assert places_of(SECRET, caught.value, frames=False) == []
