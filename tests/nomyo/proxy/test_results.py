"""GET /attestation: the results of the last responses, without any text of a prompt, a completion or a key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nomyo.errors import NomyoError
from nomyo.proxy.options import ProxyOptions
from nomyo.proxy.results import RESULTS_MAX, Results
from nomyo.proxy.running import RunningProxy
from tests.nomyo.client_calls import MODEL, PROMPT, Wire, policy
from tests.nomyo.proxy.proxy_calls import API_KEY, Caller, other_firmware
from tests.nomyo.wire.plain_router import PlainRouter, Recorded, Reply

COMPLETION = "completion-2e90b7d4f1a8c356"


def test_the_list_has_one_entry_for_each_response_and_the_newest_first(proxy: Caller, router: PlainRouter) -> None:
    affirmed = proxy.ask()
    router.attest = other_firmware()
    refused = proxy.ask(model="other")
    answer = proxy.get("/attestation")
    assert answer.headers["cache-control"] == "no-store"
    newest, before = answer.document["results"][:2]
    key = affirmed.document["_metadata"]["verification"]["server_key"]
    wanted = policy()
    expected = {"policy": {"id": wanted.id, "digest": wanted.digest}, "server_key": key}
    assert {**before, "time": ""} == {
        "time": "",
        "payload_id": affirmed.headers["x-nomyo-payload-id"],
        "model": MODEL,
        "released": True,
        "code": None,
        "verdict": "affirming",
        "failed": [],
        **expected,
    }
    assert {**newest, "time": ""} == {
        "time": "",
        "payload_id": refused.document["error"]["payload_id"],
        "model": "other",
        "released": False,
        "code": "not_affirmed",
        "verdict": "contraindicated",
        "failed": ["pcr.values"],
        **expected,
    }
    assert before["time"] <= newest["time"]


def test_one_result_is_returned_in_full(proxy: Caller) -> None:
    answer = proxy.ask()
    payload_id = answer.headers["x-nomyo-payload-id"]
    found = proxy.get(f"/attestation/{payload_id}").document
    assert found["payload_id"] == payload_id
    assert found["result"] == answer.document["_metadata"]["attestation_result"]
    missing = proxy.get("/attestation/none")
    assert (missing.status, missing.code) == (404, "result_not_found")


def test_a_response_that_cannot_be_read_is_listed_without_a_verdict(proxy: Caller, router: PlainRouter) -> None:
    router.answer(Reply(body=b"unreadable"))
    assert proxy.ask().code == "response_unreadable"
    entry = proxy.get("/attestation").document["results"][0]
    assert (entry["code"], entry["verdict"], entry["policy"], entry["released"]) == (
        "response_unreadable",
        None,
        None,
        False,
    )
    assert entry["server_key"].startswith("sha256/")
    assert proxy.get(f"/attestation/{entry['payload_id']}").document["result"] is None


def test_a_request_without_a_response_is_not_listed(proxy: Caller, router: PlainRouter) -> None:
    before = proxy.get("/attestation").document
    router.answer(Reply(status=503))
    assert proxy.ask().code == "upstream_503"
    router.answer(Reply(reset="before"))
    assert proxy.ask().code == "connection_error"
    assert proxy.get("/attestation").document == before


def test_no_result_quotes_the_prompt_the_completion_or_the_key(shared_wire: Wire, router: PlainRouter) -> None:
    """A server can copy them into a claim, and a policy can let the response pass with a warning."""
    claimed = [text for secret in (PROMPT, COMPLETION, API_KEY) for text in (secret, f"GPU {secret}", secret.upper())]
    claimed += [secret.encode().hex() for secret in (PROMPT, COMPLETION, API_KEY)]
    names = [f"claim{number}" for number in range(len(claimed))]
    lenient = policy(
        claims={name: ["a good one"] for name in names}, rules={f"claims.{name}": "warn" for name in names}
    )

    def metadata(request: Recorded) -> dict[str, Any]:
        return {**router.correct_metadata(request), **dict(zip(names, claimed, strict=True))}

    def complete(payload: dict[str, Any], payload_id: str) -> dict[str, Any]:
        return {"choices": [{"index": 0, "message": {"role": "assistant", "content": COMPLETION}}]}

    router.metadata, router.complete = metadata, complete
    client = shared_wire.client(api_key=API_KEY, attestation_policy=lenient, require_attestation="always")
    with RunningProxy(client, ProxyOptions()) as running, Caller(running.url) as proxy:
        released = proxy.ask()
        assert released.headers["x-nomyo-verdict"] == "warning"
        router.attest = other_firmware()
        refused = proxy.ask()
        assert refused.status == 403
        entries = proxy.get("/attestation").document["results"]
        full = [proxy.get(f"/attestation/{entry['payload_id']}").document for entry in entries]
    for text in (json.dumps([entries, full]), refused.body.decode()):
        for secret in (PROMPT, COMPLETION, API_KEY):
            assert secret.lower() not in text.lower()
    assert [entry["released"] for entry in entries] == [False, True]
    for secret in (PROMPT, API_KEY):
        assert secret.encode().hex() not in json.dumps(full)
    assert COMPLETION.encode().hex() not in json.dumps(full[1])  # the proxy never sees a refused completion
    original = released.document["_metadata"]["attestation_result"]["findings"]
    for document in full:
        assert [row["rule"] for row in document["result"]["findings"]] == [row["rule"] for row in original]
        assert "a good one" in json.dumps(document)


def test_a_prompt_of_a_word_in_results_changes_no_verdict(proxy: Caller) -> None:
    answer = proxy.ask(messages=[{"role": "user", "content": word} for word in ("affirming", "expected", "required")])
    found = proxy.get(f"/attestation/{answer.headers['x-nomyo-payload-id']}").document
    assert found["verdict"] == found["result"]["verdict"] == "affirming"
    assert {row["requirement"] for row in found["result"]["findings"]} <= {"required", "warn", "ignore"}


def test_a_held_call_is_not_listed_and_without_a_policy_there_is_no_verdict(
    shared_wire: Wire, router: PlainRouter
) -> None:
    router.attest = other_firmware()
    client = shared_wire.client(attestation_policy=policy(), require_attestation="always", refusal_hold=30.0)
    with RunningProxy(client, ProxyOptions()) as running, Caller(running.url) as proxy:
        assert proxy.ask().code == "not_affirmed"
        held = proxy.ask(model="other")
        assert (held.status, held.code, held.document["error"]["prompt_sent"]) == (403, "held", False)
        assert [entry["model"] for entry in proxy.get("/attestation").document["results"]] == [MODEL]
    assert len(router.posts) == 1
    with RunningProxy(shared_wire.client(), ProxyOptions()) as running, Caller(running.url) as proxy:
        answer = proxy.ask()
        assert answer.status == 200
        assert "x-nomyo-verdict" not in answer.headers
        (entry,) = proxy.get("/attestation").document["results"]
    assert (entry["released"], entry["verdict"], entry["policy"]) == (True, None, None)


def test_only_the_last_results_are_stored() -> None:
    results = Results()
    for number in range(RESULTS_MAX + 1):
        results.record({"model": "m" * 1000}, {"_metadata": {"payload_id": f"id-{number}"}}, [])
    entries = results.list()["results"]
    assert len(entries) == RESULTS_MAX
    assert (entries[0]["payload_id"], entries[-1]["payload_id"]) == (f"id-{RESULTS_MAX}", "id-1")
    assert len(entries[0]["model"]) < 200
    assert results.find("id-0") is None


@pytest.mark.parametrize("outcome", [None, "text", NomyoError("x"), ValueError("x")])
def test_an_outcome_that_is_not_a_response_is_ignored(outcome: object) -> None:
    results = Results()
    results.record({}, outcome, [])
    assert results.list()["results"] == []
