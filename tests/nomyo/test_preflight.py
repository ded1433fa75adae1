"""Refusals that hold later prompts, canaries, and payloads that are sent unchanged, over the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from nomyo import (
    APIConnectionError,
    APITimeoutError,
    ArgumentError,
    ArgumentTypeError,
    AttestationError,
    EvidenceLogError,
    InternalError,
    NomyoError,
    ServerError,
)
from nomyo.chat import SecureChatCompletion
from nomyo.preflight import CANARY
from nomyo.response import ChatResponse
from nomyo_attest.appraisal import Verdict
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import MODEL, PROMPT, Wire, ask, policy, run
from tests.nomyo.wire.plain_router import Reply

PAYLOAD = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}


@pytest.fixture
def boot(wire: Wire, tpm: Forge) -> Callable[[bool], None]:
    """Let the router boot firmware that the policy accepts (True), or other firmware (False)."""
    original = tpm.pcrs
    other = {bank: dict.fromkeys(values, bytes(len(values[0]))) for bank, values in original.items()}

    def boot(accepted: bool) -> None:
        tpm.pcrs = original if accepted else other

    return boot


def prompts(wire: Wire) -> list[bool]:
    """Whether each payload that the model received was a prompt (True) or a canary (False)."""
    return [post.plaintext != {"model": MODEL, **CANARY} for post in wire.posts]


def attesting(wire: Wire, **options: Any) -> SecureChatCompletion:
    return wire.client(attestation_policy=policy(), **options)


async def refuse(client: SecureChatCompletion, **arguments: Any) -> AttestationError:
    with pytest.raises(AttestationError) as caught:
        await ask(client, **arguments)
    return caught.value


def test_complete_sends_the_payload_unchanged_even_keys_with_the_names_of_options(wire: Wire, tpm: Forge) -> None:
    payload = {**PAYLOAD, "require_attestation": False, "base_url": "https://elsewhere.invalid", "timeout": 0}

    async def call() -> ChatResponse:
        async with attesting(wire) as client:
            return await client.complete(payload)

    response = run(call())

    assert wire.posts[0].plaintext == payload
    assert response.choices[0].message.content == PROMPT
    assert response._metadata.attestation_result.verdict == "affirming"


@pytest.mark.parametrize(
    ("payload", "kind"), [([], ArgumentTypeError), ({}, ArgumentError), ({**PAYLOAD, "stream": True}, ArgumentError)]
)
def test_complete_refuses_what_is_no_payload(wire: Wire, payload: Any, kind: type[Exception]) -> None:
    async def call() -> None:
        async with wire.client() as client:
            await client.complete(payload)

    with pytest.raises(kind):
        run(call())
    assert wire.posts == []


def test_create_returns_a_plain_dict_unless_another_class_is_chosen(wire: Wire) -> None:
    assert type(wire.ask()) is dict
    assert type(wire.ask({"response_type": ChatResponse})) is ChatResponse
    with pytest.raises(ArgumentTypeError, match="response_type"):
        wire.client(response_type=list)


def test_after_a_refusal_calls_are_refused_again_and_nothing_is_sent(wire: Wire, boot: Callable[[bool], None]) -> None:
    async def calls() -> tuple[AttestationError, AttestationError]:
        async with attesting(wire, refusal_hold=60) as client:
            first = await refuse(client)
            boot(True)
            return first, await refuse(client.with_options(timeout=9), security_tier="high")

    boot(False)
    first, held = run(calls())

    assert (first.code, first.prompt_sent, held.code, held.prompt_sent, held.attempts) == (
        *("not_affirmed", True),
        *("held", False, 0),
    )
    assert (held.payload_id, held.result) == (first.payload_id, first.result)
    assert len(wire.posts) == 1


def test_a_refusal_does_not_hold_another_api_key_or_a_client_without_the_option(
    wire: Wire, boot: Callable[[bool], None]
) -> None:
    async def calls() -> None:
        async with attesting(wire, refusal_hold=60) as client:
            await refuse(client)
            boot(True)
            await ask(client, api_key="another")
            await ask(client.with_options(refusal_hold=0))

    boot(False)
    run(calls())


def test_time_ends_a_hold(wire: Wire, boot: Callable[[bool], None]) -> None:
    async def calls() -> None:
        async with attesting(wire, refusal_hold=0.2) as client:
            await refuse(client)
            boot(True)
            await asyncio.sleep(0.25)
            await ask(client)

    boot(False)
    run(calls())


def test_an_affirmed_canary_ends_a_hold_and_a_refused_one_begins_one(wire: Wire, boot: Callable[[bool], None]) -> None:
    async def calls() -> AttestationError:
        async with attesting(wire, refusal_hold=60) as client:
            with pytest.raises(AttestationError) as caught:
                await client.attest(MODEL)
            assert (await refuse(client)).code == "held"
            boot(True)
            assert (await client.attest(MODEL)).verdict is Verdict.AFFIRMING
            await ask(client)
            return caught.value

    boot(False)
    refused = run(calls())

    assert (refused.code, refused.prompt_sent) == ("not_affirmed", False)
    assert prompts(wire) == [False, False, True]


def test_attest_needs_a_policy(wire: Wire) -> None:
    async def call() -> None:
        async with wire.client() as client:
            await client.attest(MODEL)

    with pytest.raises(ArgumentError, match="policy"):
        run(call())
    with pytest.raises(ArgumentError, match="preflight"):
        wire.client(preflight=1)
    assert wire.posts == []


def test_the_evidence_log_marks_the_line_of_a_canary(wire: Wire, tpm: Forge, tmp_path: Path) -> None:
    async def calls() -> None:
        async with attesting(wire, evidence_log=tmp_path / "evidence.jsonl") as client:
            await client.attest(MODEL)
            await ask(client)

    run(calls())
    lines = [json.loads(line) for line in (tmp_path / "evidence.jsonl").read_text().splitlines()]

    assert [line.get("canary") for line in lines] == [True, None]
    assert lines[0]["result"]["verdict"] == "affirming"


def test_with_preflight_a_canary_precedes_the_first_prompt_only(wire: Wire, tpm: Forge) -> None:
    response = wire.ask_repeatedly(3, {"attestation_policy": policy(), "preflight": 60})[0]
    fact = response["_metadata"]["verification"]["preflight"]

    assert prompts(wire) == [False, True, True, True]
    assert fact["payload_id"] == wire.posts[0].payload_id
    assert 0 <= fact["age"] < 60


def test_a_preflight_of_0_sends_a_canary_before_each_prompt(wire: Wire, tpm: Forge) -> None:
    wire.ask_repeatedly(2, {"attestation_policy": policy(), "preflight": 0})

    assert prompts(wire) == [False, True, False, True]


def test_concurrent_calls_share_one_canary(wire: Wire, tpm: Forge) -> None:
    async def calls() -> None:
        async with attesting(wire, preflight=60) as client:
            await asyncio.gather(*(ask(client) for _ in range(8)))

    run(calls())

    assert sorted(prompts(wire)) == [False, *8 * [True]]


def test_another_model_or_tier_needs_its_own_canary(wire: Wire, tpm: Forge) -> None:
    async def calls() -> None:
        async with attesting(wire, preflight=60) as client:
            await ask(client)
            await ask(client, security_tier="high")
            await client.create("another", [{"role": "user", "content": PROMPT}])

    run(calls())

    canaries = [post for post in wire.posts if post.plaintext is not None and "max_tokens" in post.plaintext]
    assert [(post.plaintext or {})["model"] for post in canaries] == [MODEL, MODEL, "another"]
    assert [post.tier for post in canaries] == [None, "high", None]


def test_a_response_that_another_policy_affirmed_does_not_count(wire: Wire, tpm: Forge) -> None:
    async def calls() -> None:
        async with attesting(wire, preflight=60) as client:
            await ask(client)
            await ask(client.with_options(attestation_policy=policy(id="another")))

    run(calls())

    assert prompts(wire) == [False, True, False, True]


def test_a_server_that_changed_before_the_first_prompt_receives_the_canary_and_no_prompt(
    wire: Wire, boot: Callable[[bool], None]
) -> None:
    async def calls() -> list[AttestationError]:
        async with attesting(wire, preflight=60, refusal_hold=60) as client:
            return [await refuse(client), await refuse(client)]

    boot(False)
    first, second = run(calls())

    assert prompts(wire) == [False]
    assert (first.code, first.prompt_sent) == ("not_affirmed", False)
    assert (second.code, second.prompt_sent) == ("held", False)


def test_after_a_refused_prompt_only_a_canary_allows_prompts_again(wire: Wire, boot: Callable[[bool], None]) -> None:
    async def calls() -> None:
        async with attesting(wire, preflight=60) as client:
            await ask(client)
            boot(False)
            await refuse(client)
            boot(True)
            await ask(client)

    run(calls())

    assert prompts(wire) == [False, True, True, False, True]


def test_another_server_key_needs_another_canary(wire: Wire, tpm: Forge) -> None:
    async def calls() -> None:
        async with attesting(wire, preflight=60) as client:
            await ask(client)
            wire.router.rotate_key()
            await ask(client)

    run(calls())

    # The server cannot decrypt the second prompt: it is encrypted to the old key, which was affirmed.
    assert [post.status for post in wire.posts] == [200, 200, 400, 200, 200]
    assert wire.posts[3].plaintext == {"model": MODEL, **CANARY}


def test_the_cancellation_of_a_caller_does_not_cancel_the_canary_for_the_others(wire: Wire, tpm: Forge) -> None:
    async def calls() -> None:
        arrived, loop = asyncio.Event(), asyncio.get_running_loop()
        wire.router.on_request = lambda request: loop.call_soon_threadsafe(arrived.set)
        async with attesting(wire, preflight=60) as client:
            first = asyncio.create_task(ask(client))
            second = asyncio.create_task(ask(client))
            await arrived.wait()
            first.cancel()
            await second
            with pytest.raises(asyncio.CancelledError):
                await first

    run(calls())

    assert prompts(wire) == [False, True]


def test_a_failed_canary_is_an_error_of_each_waiting_call_and_sends_no_prompt(wire: Wire, tpm: Forge) -> None:
    async def calls() -> list[dict[str, Any] | BaseException]:
        async with attesting(wire, preflight=60) as client:
            return list(await asyncio.gather(ask(client), ask(client), return_exceptions=True))

    wire.router.answer(lambda _: Reply(500))
    outcomes = run(calls())

    assert [type(outcome) for outcome in outcomes] == [ServerError, ServerError]
    assert [outcome.prompt_sent for outcome in outcomes if isinstance(outcome, NomyoError)] == [False, False]
    assert outcomes[0] is not outcomes[1]
    assert set(prompts(wire)) == {False}


@pytest.mark.parametrize(
    ("reply", "sent"),
    [
        (Reply(500), True),
        (Reply(401), True),
        (Reply(200, body=b"unreadable"), True),
        (Reply(reset="before"), True),
        (Reply(delay=5), True),
    ],
)
def test_an_error_after_the_request_was_sent_says_that_the_prompt_was_sent(
    wire: Wire, reply: Reply, sent: bool
) -> None:
    wire.router.answer(reply)
    with pytest.raises(NomyoError) as caught:
        wire.ask({"timeout": 1.0})
    assert caught.value.prompt_sent is sent


def test_an_error_before_the_request_was_sent_says_that_the_prompt_was_not_sent(wire: Wire, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError) as invalid:
        wire.ask(security_tier="highest")
    with pytest.raises(ArgumentError) as too_large:
        wire.ask(prompt="x" * (10 * 1024 * 1024))
    wire.router.answer(Reply(500), on="GET")
    with pytest.raises(ServerError) as without_key:
        wire.ask()
    with pytest.raises(APIConnectionError) as refused:
        wire.ask({"base_url": "https://localhost:1"})
    log = tmp_path / "log.jsonl"
    client = wire.client(evidence_log=log)
    log.unlink(missing_ok=True)
    log.mkdir()
    with pytest.raises(EvidenceLogError) as no_log:
        run(ask(client))

    for caught in (invalid, too_large, without_key, refused, no_log):
        assert caught.value.prompt_sent is False
    assert too_large.value.too_large
    assert wire.posts == []


def test_a_timeout_before_the_server_key_arrives_says_that_the_prompt_was_not_sent(wire: Wire) -> None:
    wire.router.answer(Reply(delay=5), on="GET")
    with pytest.raises(APITimeoutError) as caught:
        wire.ask({"timeout": 0.3})
    assert caught.value.prompt_sent is False


def test_a_defect_during_a_canary_is_raised_and_sends_no_further_canary(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = attesting(wire, preflight=60, timeout=5)
    service, calls = client.client._service, 0
    original = service.gate.release

    async def release(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            return await original(*arguments, **options)
        raise ZeroDivisionError

    monkeypatch.setattr(service.gate, "release", release)
    with pytest.raises(InternalError):
        run(ask(client))
    assert prompts(wire) == [False]


def test_a_canary_on_an_event_loop_that_stopped_delays_no_call_on_another(wire: Wire, tpm: Forge) -> None:
    client = attesting(wire, preflight=60, timeout=10)

    begun: list[asyncio.Task[Any]] = []  # a loop has only weak references

    async def begin() -> None:
        begun.append(asyncio.create_task(ask(client)))
        while not client.client.admissions._canaries:  # noqa: ASYNC110 - no event marks it
            await asyncio.sleep(0)

    stopped = asyncio.new_event_loop()
    stopped.run_until_complete(begin())
    run(asyncio.wait_for(ask(client), 5))
    assert prompts(wire)[-1]
    for task in asyncio.all_tasks(stopped):
        task.cancel()
    stopped.run_until_complete(asyncio.gather(*asyncio.all_tasks(stopped), return_exceptions=True))
    stopped.close()


def test_an_event_hook_that_raises_after_the_prompt_was_sent_does_not_hide_that(wire: Wire) -> None:
    async def raise_for_status(response: httpx.Response) -> None:
        if response.request.method == "POST":
            response.status_code = 500
            response.raise_for_status()

    async def call() -> NomyoError:
        async with httpx.AsyncClient(event_hooks={"response": [raise_for_status]}) as http:
            with pytest.raises(NomyoError) as caught:
                await ask(wire.client(http_client=http, max_retries=0))
            return caught.value

    error = run(call())
    assert len(wire.posts) == 1
    assert error.prompt_sent is not False
