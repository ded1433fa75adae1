"""Switching the gate off: not under "always", and never without a trace in the log and in the ledger."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na
from nomyo import ArgumentError, ArgumentTypeError, AttestationError, ResponseError, ResponseNotBoundError
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import API_KEY, MODEL, PROMPT, Wire, ask, content, only, policy
from tests.nomyo.secret_search import SecretSearch

OTHER = policy(id="another-policy")
MESSAGES = [{"role": "user", "content": PROMPT}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evidence.jsonl"


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def logged(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[logging.LogRecord]:
    return [one for one in caplog.records if one.name == "nomyo" and one.levelno >= level]


@pytest.fixture
def lying(tpm: Forge) -> Forge:
    """A TPM whose evidence the policy does not affirm."""
    return tpm.measure(0, b"other firmware")


ALWAYS: dict[str, Any] = {"attestation_policy": policy(), "require_attestation": "always"}


def test_under_always_a_call_cannot_switch_the_gate_off_and_nothing_is_sent(wire: Wire) -> None:
    error = wire.refused(ArgumentError, ALWAYS, require_attestation=False)
    assert "the client was created with 'always'" in str(error)
    wire.refused(ArgumentError, ALWAYS, require_attestation=False, base_url=wire.router.url)
    wire.refused(ArgumentTypeError, ALWAYS, require_attestation="always")
    assert wire.router.requests == []


@pytest.mark.parametrize(
    "changes",
    [
        {"require_attestation": False},
        {"attestation_policy": None},
        {"attestation_policy": OTHER},
        {"require_attestation": False, "attestation_policy": None},
        {"require_attestation": None, "attestation_policy": None},
        {"require_attestation": True, "attestation_policy": OTHER},
        {"require_attestation": "always", "attestation_policy": OTHER},
    ],
)
def test_under_always_with_options_cannot_switch_the_gate_off_or_exchange_the_policy(
    wire: Wire, changes: dict[str, Any]
) -> None:
    client = wire.client(**ALWAYS)
    with pytest.raises(ArgumentError, match="always"):
        client.with_options(**changes)
    assert wire.router.requests == []


@pytest.mark.parametrize(
    "changes", [{}, {"timeout": 5}, {"require_attestation": True}, {"require_attestation": None}, ALWAYS]
)
def test_what_is_derived_from_a_client_with_always_has_always(wire: Wire, changes: dict[str, Any]) -> None:
    derived = wire.client(**ALWAYS).with_options(**changes).with_options(max_retries=1)
    with pytest.raises(ArgumentError, match="always"):
        derived.with_options(require_attestation=False)
    with pytest.raises(ArgumentError, match="always"):
        wire.run(ask(derived, require_attestation=False))
    assert wire.router.requests == []


def test_under_always_the_gate_is_on_for_every_call_and_for_the_client_underneath(wire: Wire, lying: Forge) -> None:
    wire.refused(AttestationError, ALWAYS)
    wire.refused(AttestationError, ALWAYS, require_attestation=True)

    async def below() -> Any:
        async with wire.client(**ALWAYS) as client:
            return await client.client.send_secure_request({"model": MODEL, "messages": MESSAGES}, lying_id, API_KEY)

    lying_id = "an-id"
    with pytest.raises(AttestationError):
        wire.run(below())


@pytest.mark.usefixtures("lying")
@pytest.mark.parametrize(
    "arguments",
    [{"policy": None, "gated": False}, {"policy": OTHER, "gated": True}, {"policy": policy(), "gated": False}],
)
def test_under_always_no_argument_of_the_client_underneath_switches_the_gate_off(
    wire: Wire, arguments: dict[str, Any]
) -> None:
    async def below() -> Any:
        async with wire.client(**ALWAYS) as client:
            return await client.client.complete({"model": MODEL, "messages": MESSAGES}, payload_id="an-id", **arguments)

    with pytest.raises(AttestationError):
        wire.run(below())


def test_under_always_the_client_underneath_has_no_way_to_exchange_the_policy(wire: Wire) -> None:
    client = wire.client(**ALWAYS).client
    public = {name for name in dir(client) if not name.startswith("_")}
    assert not {name for name in public if "policy" in name or "gate" in name}


def test_always_needs_a_policy(wire: Wire) -> None:
    with pytest.raises(ArgumentError, match="there is no policy to appraise by"):
        wire.client(require_attestation="always")
    with pytest.raises(ArgumentTypeError, match="'always' in the constructor"):
        wire.client(attestation_policy=policy(), require_attestation="alway")
    with pytest.raises(ArgumentTypeError, match="got 'Always'"):
        wire.client(attestation_policy=policy(), require_attestation="Always")


@pytest.mark.parametrize("in_the_client", [True, None])
def test_a_call_that_switches_the_gate_off_is_logged_and_the_result_recorded(
    wire: Wire, lying: Forge, path: Path, caplog: pytest.LogCaptureFixture, in_the_client: bool | None
) -> None:
    options = {"attestation_policy": policy(), "require_attestation": in_the_client, "evidence_log": path}
    answer = wire.ask(options, require_attestation=False)
    assert content(answer) == PROMPT
    assert "attestation_result" not in answer["_metadata"]
    record = only(records(path))
    assert (record["gate"], record["refused"], record["result"]["verdict"]) == ("off", None, "contraindicated")
    lowered, released = logged(caplog)
    payload_id = only(wire.posts).payload_id
    assert f"off in call {payload_id}; policy {policy().id!r} ({policy().digest})" in lowered.getMessage()
    begin = f"released, the gate is off: response to {payload_id}: contraindicated; failed pcr.values; policy "
    assert released.getMessage().startswith(begin)
    assert vars(released)["gate"] == "off"


def test_a_client_made_without_the_gate_is_not_warned_about_as_long_as_the_policy_affirms(
    wire: Wire, tpm: Forge, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wire.ask({"attestation_policy": policy(), "require_attestation": False, "evidence_log": path})
    assert (only(records(path))["gate"], only(records(path))["result"]["verdict"]) == ("off", "affirming")
    assert logged(caplog) == []


@pytest.mark.parametrize("changes", [{"require_attestation": False}, {"attestation_policy": None}])
def test_with_options_that_switches_the_gate_off_is_logged(
    wire: Wire, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    client = wire.client(attestation_policy=policy())
    client.with_options(timeout=5)
    assert logged(caplog) == []
    client.with_options(**changes)
    assert "off in a client created by with_options(); policy" in only(logged(caplog)).getMessage()


def test_the_ledger_records_the_gate_where_there_is_a_policy(wire: Wire, tpm: Forge, path: Path) -> None:
    wire.ask({"attestation_policy": policy(), "evidence_log": path})
    wire.ask({"evidence_log": path})
    tpm.measure(0, b"other firmware")
    wire.refused(AttestationError, {"attestation_policy": policy(), "evidence_log": path})
    wire.router.fault("echo-wrong")
    wire.refused(
        ResponseNotBoundError, {"attestation_policy": policy(), "require_attestation": False, "evidence_log": path}
    )
    found = [(one.get("gate", "absent"), one["refused"]) for one in records(path)]
    assert found == [("on", None), ("absent", None), ("on", "not_affirmed"), ("off", "response_not_bound")]


def test_a_refusal_is_one_log_record_with_ids_and_rules_and_no_content(
    wire: Wire, lying: Forge, caplog: pytest.LogCaptureFixture
) -> None:
    wire.refused(AttestationError, {"attestation_policy": policy(), "max_retries": 2})
    record = only(logged(caplog, logging.INFO))
    payload_id = only(wire.posts).payload_id
    fields = {name: vars(record)[name] for name in ("payload_id", "refusal", "verdict", "failed_rules", "policy_id")}
    assert fields == {
        "payload_id": payload_id, "refusal": "not_affirmed", "verdict": "contraindicated",
        "failed_rules": ("pcr.values",), "policy_id": policy().id,
    }  # fmt: skip
    assert vars(record)["policy_digest"] == policy().digest
    assert record.getMessage() == (
        f"refused: response to {payload_id}: not_affirmed: contraindicated; failed pcr.values; "
        f"policy {policy().id!r} ({policy().digest})"
    )
    assert SecretSearch(PROMPT, API_KEY).look("record", vars(record)).found == []


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("echo-wrong", ResponseNotBoundError, "response_not_bound"),
        ("ciphertext-flipped", ResponseError, "response_unreadable"),
    ],
)
@pytest.mark.parametrize("by", [None, policy()])
def test_refusals_of_other_kinds_are_logged_as_well(
    wire: Wire, caplog: pytest.LogCaptureFixture, fault: str, kind: type[Exception], code: str, by: Any
) -> None:
    caplog.set_level(logging.INFO, "nomyo")
    wire.router.fault(fault)
    wire.refused(kind, {"attestation_policy": by})
    record = only(one for one in caplog.records if one.name == "nomyo")
    assert record.getMessage().startswith(f"refused: response to {only(wire.posts).payload_id}: {code}")
    assert record.levelno == (logging.INFO if by is None else logging.WARNING)
    assert vars(record).get("policy_digest") == (None if by is None else by.digest)


def test_the_policy_named_is_the_one_of_the_client(wire: Wire, lying: Forge, caplog: pytest.LogCaptureFixture) -> None:
    wire.refused(AttestationError, {"attestation_policy": OTHER})
    assert "policy 'another-policy'" in only(logged(caplog)).getMessage()
    assert isinstance(OTHER, na.AppraisalPolicy)
