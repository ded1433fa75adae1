"""When the gate is on, what it asks for, and what it says: per client, per call, and where a policy warns."""

from __future__ import annotations

import json
import os
import random
import uuid
from pathlib import Path

import pytest

import nomyo_attest as na
from nomyo import (
    APIStatusError,
    ArgumentError,
    ArgumentTypeError,
    AttestationError,
    ResponseNotBoundError,
    SecurityError,
)
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import PROMPT, Wire, ask, content, error_facts, only, policy, run
from tests.nomyo.wire.plain_router import Reply, error


def other_firmware(tpm: Forge) -> None:
    tpm.measure(0, b"other firmware")


def test_a_policy_turns_the_gate_on_for_every_call(wire: Wire, tpm: Forge) -> None:
    assert "attestation_result" in wire.ask({"attestation_policy": policy()})["_metadata"]
    other_firmware(tpm)
    assert wire.refused(AttestationError, {"attestation_policy": policy()}).result.failed == ("pcr.values",)


@pytest.mark.parametrize(
    ("of_client", "of_call", "gated"),
    [
        (None, None, True),
        (None, True, True),
        (None, False, False),
        (True, None, True),
        (True, False, False),
        (False, None, False),
        (False, True, True),
    ],
)
def test_a_call_may_say_otherwise_than_its_client(
    wire: Wire, tpm: Forge, of_client: bool | None, of_call: bool | None, gated: bool
) -> None:
    other_firmware(tpm)
    options = {"attestation_policy": policy(), "require_attestation": of_client}
    if gated:
        wire.refused(AttestationError, options, require_attestation=of_call)
    else:
        answer = wire.ask(options, require_attestation=of_call)
        assert content(answer) == PROMPT
        assert "attestation_result" not in answer["_metadata"]
    assert "require_attestation" not in (only(wire.posts).plaintext or {})


def test_a_gate_without_a_policy_is_an_argument_error_before_anything_is_sent(wire: Wire) -> None:
    with pytest.raises(ArgumentError, match="attestation_policy"):
        wire.client(require_attestation=True)
    failure = wire.refused(ArgumentError, require_attestation=True)
    assert isinstance(failure, ValueError)
    assert wire.router.requests == []


@pytest.mark.parametrize("value", [1, 0, "yes", "", []])
def test_what_is_neither_true_nor_false_does_not_switch_the_gate(wire: Wire, value: object) -> None:
    failure = wire.refused(ArgumentTypeError, {"attestation_policy": policy()}, require_attestation=value)
    assert "require_attestation" in str(failure)
    assert wire.router.requests == []


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_a_policy_may_be_a_file(wire: Wire, tpm: Forge, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"policy.{suffix}"
    pcrs = Forge().policy()["pcrs"]
    if suffix == "json":
        path.write_text(json.dumps(Forge().policy()))
    else:
        lines = [f"{index} = {json.dumps(values)}" for index, values in pcrs["sha256"].items()]
        path.write_text("\n".join(['format = "nomyo-attest-policy/1"', 'id = "forge"', "[pcrs.sha256]", *lines]))
    for given in (path, str(path)):
        answer = wire.ask({"attestation_policy": given})
        assert answer["_metadata"]["attestation_result"]["policy"]["id"] == "forge"


def test_a_policy_that_cannot_be_loaded_is_told_by_the_constructor(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("id = 1")
    with pytest.raises(na.PolicyError):
        wire.client(attestation_policy=tmp_path / "bad.toml")
    with pytest.raises(FileNotFoundError):
        wire.client(attestation_policy=tmp_path / "none.toml")
    assert wire.router.requests == []


def test_no_evidence_is_no_answer(wire: Wire) -> None:
    failure = wire.refused(AttestationError, {"attestation_policy": policy(), "max_retries": 2})
    assert error_facts(failure) == ("not_affirmed", 1, "completion", False)
    assert failure.result.verdict is na.Verdict.NONE
    assert "evidence.available" in failure.result.undecided
    assert len(wire.posts) == 1


def test_a_refused_answer_is_every_kind_of_error_that_one_would_catch(wire: Wire) -> None:
    failure = wire.refused(AttestationError, {"attestation_policy": policy()})
    assert isinstance(failure, SecurityError)
    assert isinstance(failure, na.AttestationError)
    assert failure.prompt_sent is True
    assert failure.payload_id == failure.result.payload_id == only(wire.posts).payload_id


def test_a_rule_that_the_policy_softened_warns_and_lets_through(wire: Wire, tpm: Forge) -> None:
    tpm.safe = 0
    wire.refused(AttestationError, {"attestation_policy": policy()})
    answer = wire.ask({"attestation_policy": policy(rules={"clock.safe": "warn"})})
    result = answer["_metadata"]["attestation_result"]
    assert (content(answer), result["verdict"]) == (PROMPT, "warning")
    (finding,) = [finding for finding in result["findings"] if finding["rule"] == "clock.safe"]
    assert (finding["outcome"], finding["requirement"]) == ("fail", "warn")


def test_a_warning_does_not_cover_another_failure(wire: Wire, tpm: Forge) -> None:
    tpm.safe = 0
    other_firmware(tpm)
    failure = wire.refused(AttestationError, {"attestation_policy": policy(rules={"clock.safe": "warn"})})
    assert failure.result.failed == ("clock.safe", "pcr.values")


@pytest.mark.parametrize(("tier", "passes"), [("maximum", True), ("standard", False)])
def test_a_policy_may_judge_what_the_server_claims(wire: Wire, tpm: Forge, tier: str, passes: bool) -> None:
    options = {"attestation_policy": policy(claims={"security_tier": ["maximum", "high"]})}
    if passes:
        findings = wire.ask(options, security_tier=tier)["_metadata"]["attestation_result"]["findings"]
        assert [f["outcome"] for f in findings if f["rule"] == "claims.security_tier"] == ["pass"]
    else:
        assert wire.refused(AttestationError, options, security_tier=tier).result.failed == ("claims.security_tier",)


def test_a_claim_deep_in_the_metadata_is_judged(wire: Wire, tpm: Forge) -> None:
    claims = {"memory_protection.memory_locking": [True], "cuda_device.available": [True]}
    failure = wire.refused(AttestationError, {"attestation_policy": policy(claims=claims)})
    assert failure.result.failed == ("claims.cuda_device.available",)


def test_evidence_of_another_request_is_refused_also_where_the_answer_names_ours(wire: Wire, tpm: Forge) -> None:
    wire.ask({"attestation_policy": policy()})
    first = wire.posts[0].payload_id
    make = wire.router.attest
    assert make is not None
    wire.router.attest = lambda payload_id: make(first)
    assert wire.refused(AttestationError, {"attestation_policy": policy()}).result.failed == ("nonce.match",)


def test_a_policy_for_lost_payload_ids_still_has_the_one_of_this_call_compared(wire: Wire, tpm: Forge) -> None:
    lax = policy(unsafe_any_nonce=True)
    assert lax.unsafe_any_nonce is True
    make = wire.router.attest
    assert make is not None
    wire.router.attest = lambda payload_id: make("another-request")
    failure = wire.refused(AttestationError, {"attestation_policy": lax})
    assert failure.result.failed == ("nonce.match",)


def test_an_echo_and_a_tier_are_compared_before_the_evidence_is_looked_at(wire: Wire, tpm: Forge) -> None:
    other_firmware(tpm)
    for name, code in (("echo-wrong", "response_not_bound"), ("tier-other", "tier_not_as_requested")):
        wire.router.fault(name)
        failure = wire.refused(ResponseNotBoundError, {"attestation_policy": policy()}, security_tier="high")
        assert failure.code == code
        wire.router.reset_faults()


def test_evidence_without_an_echo_is_bound_by_its_nonce(wire: Wire, tpm: Forge) -> None:
    wire.router.fault("echo-missing")
    answer = wire.ask({"attestation_policy": policy()})
    assert answer["_metadata"]["attestation_result"]["verdict"] == "affirming"
    assert answer["_metadata"]["verification"]["payload_id_echoed"] is False


def test_a_result_that_the_server_brings_is_not_the_result(wire: Wire, tpm: Forge) -> None:
    right = wire.router.correct_metadata
    lie = {"verdict": "affirming", "trust": "certified_aik"}
    wire.router.metadata = lambda post: {**right(post), "attestation_result": lie}
    result = wire.ask({"attestation_policy": policy()})["_metadata"]["attestation_result"]
    assert (result["trust"], result["format"]) == ("self_asserted", "nomyo-attest-result/1")
    other_firmware(tpm)
    wire.refused(AttestationError, {"attestation_policy": policy()})


def test_retries_before_the_answer_do_not_weaken_the_gate(
    wire: Wire, tpm: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nomyo.status.BACKOFF_MAX", 0.0)
    other_firmware(tpm)
    wire.router.answer(Reply(503), Reply(reset="after"))
    failure = wire.refused(AttestationError, {"attestation_policy": policy(), "max_retries": 2})
    assert error_facts(failure) == ("not_affirmed", 3, "completion", False)
    assert {post.payload_id for post in wire.posts} == {failure.result.payload_id}


def test_a_call_to_another_base_url_has_the_same_gate(wire: Wire, tpm: Forge) -> None:
    async def call() -> None:
        async with wire.client(base_url="https://localhost:1", attestation_policy=policy()) as client:
            await ask(client, base_url=wire.router.url)

    other_firmware(tpm)
    with pytest.raises(AttestationError):
        run(call())


def test_payload_ids_are_of_the_systems_random_source_and_nobody_elses(
    wire: Wire, tpm: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bytes] = []
    urandom = os.urandom

    def noted(size: int) -> bytes:
        drawn.append(urandom(size))
        return drawn[-1]

    monkeypatch.setattr(os, "urandom", noted)
    random.seed(1)
    wire.ask({"attestation_policy": policy()})
    random.seed(1)
    wire.ask({"attestation_policy": policy()}, extra_body={"payload_id": "chosen by the caller"})
    ids = [uuid.UUID(post.payload_id) for post in wire.posts]
    assert {each.version for each in ids} == {4}
    assert ids[0] != ids[1]
    assert {uuid.UUID(bytes=one, version=4) for one in drawn if len(one) == 16} >= set(ids)
    assert wire.posts[1].plaintext is not None
    assert wire.posts[1].plaintext["payload_id"] == "chosen by the caller"


@pytest.mark.parametrize("refusal", [error(400, "no"), error(401, "no"), Reply(204)])
def test_an_error_is_an_error_with_the_gate_too(wire: Wire, tpm: Forge, refusal: Reply) -> None:
    wire.router.answer(lambda post: refusal)
    with pytest.raises(APIStatusError) as caught:
        wire.ask({"attestation_policy": policy()})
    assert caught.value.status_code == refusal.status
