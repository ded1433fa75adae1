"""The gate: what the policy affirms passes with its result, and of what is refused nothing is left in the error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na
from nomyo import gate
from nomyo.errors import ArgumentTypeError, AttestationError
from nomyo_attest.testing import Forge
from tests.nomyo.defects.walker import places_of

SECRET = "completion-0a9357b1"
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
        gate.admit(value, policy, payload_id)
    assert type(caught.value) is AttestationError
    return caught.value


def test_an_answer_that_the_policy_affirms_passes_with_the_results_json_form() -> None:
    value = completion()
    before = json.dumps(value)
    result = gate.admit(value, POLICY, ID)
    assert result["verdict"] == "affirming"
    assert result["payload_id"] == ID
    assert result["policy"]["id"] == "forge"
    assert json.loads(json.dumps(result)) == result
    assert json.dumps(value) == before


def test_a_warning_passes_where_the_policy_softened_a_rule() -> None:
    softened = {**Forge().policy(), "rules": {"pcr.values": "warn"}}
    value = completion(Forge().measure(0, b"other firmware"))
    result = gate.admit(value, na.AppraisalPolicy.from_dict(softened), ID)
    assert result["verdict"] == "warning"
    assert refused(value).result.verdict is na.Verdict.CONTRAINDICATED


AFFIRMING = gate.admit(completion(), POLICY, ID)
WRONG: dict[str, Any] = {
    "other firmware": lambda: completion(Forge().measure(0, b"other firmware")),
    "evidence for another request": lambda: completion(Forge(payload_id="another")),
    "no TPM": lambda: {**completion(), "_metadata": {"tpm_attestation": {"is_available": False}}},
    "no evidence": lambda: {**completion(), "_metadata": {}},
    "no metadata": lambda: {"choices": [SECRET]},
    "nothing": dict,
    "a wrong signature": lambda: completion(Forge().spoil("signature", lambda data: data[:-1] + bytes([data[-1] ^ 1]))),
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
    assert gate.admit(value, POLICY, "another")["verdict"] == "affirming"
    value["_metadata"]["payload_id"] = ID
    assert {finding.rule for finding in refused(value).result.findings if finding.outcome is na.Outcome.FAIL}


def test_a_policy_is_taken_as_it_is_or_loaded_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(Forge().policy()), encoding="utf-8")
    assert gate.load_policy(None) is None
    assert gate.load_policy(POLICY) is POLICY
    for given in (path, str(path)):
        loaded = gate.load_policy(given)
        assert isinstance(loaded, na.AppraisalPolicy)
        assert loaded.id == "forge"


def test_a_policy_that_is_none_says_so(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    with pytest.raises(FileNotFoundError):
        gate.load_policy(path)
    path.write_text("format = 5", encoding="utf-8")
    with pytest.raises(na.PolicyError):
        gate.load_policy(path)


@pytest.mark.parametrize("value", [5, Forge().policy(), b"policy.toml", True, ["policy.toml"]])
def test_a_policy_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=f"attestation_policy: expected a path, got {type(value).__name__}"):
        gate.load_policy(value)
