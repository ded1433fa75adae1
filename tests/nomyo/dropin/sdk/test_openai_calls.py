"""What programs do with OpenAI's SDK: tools, formats, streams, and the methods around a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nomyo import SecureChatCompletion
from nomyo.dropin import EncryptedTransport, async_openai_client, openai_client, refusal
from nomyo.errors import APITimeoutError, AttestationError
from tests.nomyo.dropin.sdk import scripted_model
from tests.nomyo.dropin.sdk.installed import sdk
from tests.nomyo.dropin.sdk.outcomes import other_firmware, slow
from tests.nomyo.dropin.sdk.stage import MESSAGES, MODEL, REPLY, Stage

openai = sdk("openai")
pydantic = sdk("pydantic")

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
ARGUMENTS = {"city": scripted_model.TEXT}
City = pydantic.create_model("City", city=(str, ...), population=(int, ...))
OSLO = City(city=scripted_model.TEXT, population=scripted_model.NUMBER)

Create = Callable[..., Any]


@pytest.fixture
def client(stage: Stage) -> Iterator[Any]:
    with openai_client(**stage.options()) as client:
        yield client


@pytest.fixture(params=["blocking", "asynchronous"])
def create(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Create]:
    """`chat.completions.create` of both clients; a stream is returned as a list."""
    if request.param == "blocking":
        with openai_client(**stage.options()) as client:

            def call(**arguments: Any) -> Any:
                reply = client.chat.completions.create(model=MODEL, **{"messages": MESSAGES, **arguments})
                return list(reply) if arguments.get("stream") else reply

            yield call
        return
    asynchronous_client = async_openai_client(**stage.options())

    async def acall(**arguments: Any) -> Any:
        reply = await asynchronous_client.chat.completions.create(model=MODEL, **{"messages": MESSAGES, **arguments})
        return [chunk async for chunk in reply] if arguments.get("stream") else reply

    yield lambda **arguments: asyncio.run(acall(**arguments))
    asyncio.run(asynchronous_client.close())


def test_a_completion_has_the_verdict_and_all_its_fields(create: Create) -> None:
    completion = create()

    assert completion.choices[0].message.content == REPLY
    assert completion.usage.total_tokens == scripted_model.USAGE["total_tokens"]
    assert completion.model_extra["_metadata"]["attestation_result"]["verdict"] == "affirming"
    assert completion._request_id == completion.model_extra["_metadata"]["payload_id"]


def test_several_choices_are_requested_and_returned(stage: Stage, create: Create) -> None:
    assert [choice.index for choice in create(n=2).choices] == [0, 1]
    assert stage.payload["n"] == 2


def test_a_tool_is_called_and_its_result_is_sent(stage: Stage, create: Create) -> None:
    call = create(tools=[TOOL]).choices[0].message
    assert json.loads(call.tool_calls[0].function.arguments) == ARGUMENTS

    result = {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "700000"}
    messages = [*MESSAGES, call.model_dump(exclude_none=True), result]
    assert create(messages=messages, tools=[TOOL]).choices[0].message.content == "reply to 700000"
    assert stage.payload == {"model": MODEL, "messages": messages, "tools": [TOOL]}


def test_a_response_format_is_sent_unchanged(stage: Stage, create: Create) -> None:
    schema = {"name": "City", "schema": City.model_json_schema()}
    completion = create(response_format={"type": "json_schema", "json_schema": schema})

    assert City.model_validate_json(completion.choices[0].message.content) == OSLO
    assert stage.payload["response_format"] == {"type": "json_schema", "json_schema": schema}


@pytest.mark.parametrize("usage", [True, False])
def test_a_stream_ends_with_the_usage_if_that_is_requested(stage: Stage, create: Create, usage: bool) -> None:
    chunks = create(stream=True, stream_options={"include_usage": usage})
    totals = [chunk.usage.total_tokens for chunk in chunks if chunk.usage]

    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == REPLY
    assert totals == ([scripted_model.USAGE["total_tokens"]] if usage else [])
    assert chunks[-1].choices == [] or not usage
    assert stage.payload == {"model": MODEL, "messages": MESSAGES}


def test_a_stream_contains_the_calls_of_tools(create: Create) -> None:
    other = {"type": "function", "function": {**TOOL["function"], "name": "other"}}
    chunks = create(stream=True, tools=[TOOL, other])
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]

    assert [(call.index, call.function.name) for call in calls] == [(0, "look_up"), (1, "other")]
    assert json.loads(calls[0].function.arguments) == ARGUMENTS
    assert reasons == ["tool_calls"]


def test_the_security_tier_is_an_extra_field_or_header_and_is_not_sent_to_the_model(
    stage: Stage, create: Create
) -> None:
    for arguments in ({"extra_body": {"security_tier": "high"}}, {"extra_headers": {"X-Security-Tier": "high"}}):
        assert create(**arguments).model_extra["_metadata"]["security_tier"] == "high"
        assert stage.payload == {"model": MODEL, "messages": MESSAGES}
    with pytest.raises(openai.BadRequestError) as caught:
        create(extra_body={"security_tier": "highest"})
    assert caught.value.code == "invalid_argument"
    assert stage.prompts == 2


def test_typed_output_is_parsed(stage: Stage, client: Any) -> None:
    parsed = client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=City)
    assert parsed.choices[0].message.parsed == OSLO

    stage.router.boot_other_firmware()
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=City)
    assert caught.value.code == "not_affirmed"


def test_the_asynchronous_client_parses_typed_output_of_calls_and_streams(stage: Stage) -> None:
    client = async_openai_client(**stage.options())

    async def calls() -> list[Any]:
        arguments = {"model": MODEL, "messages": MESSAGES, "response_format": City}
        parsed = await client.chat.completions.parse(**arguments)
        async with client.chat.completions.stream(**arguments) as stream:
            streamed = await stream.get_final_completion()
        await client.close()
        return [parsed.choices[0].message.parsed, streamed.choices[0].message.parsed]

    assert asyncio.run(calls()) == [OSLO, OSLO]


def test_the_stream_helper_reassembles_text_and_typed_output(stage: Stage, client: Any) -> None:
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_completion().choices[0].message.content == REPLY
    assert "content.delta" in kinds
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES, response_format=City) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == OSLO

    stage.router.boot_other_firmware()
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.stream(model=MODEL, messages=MESSAGES).__enter__()
    assert caught.value.code == "not_affirmed"


def test_raw_and_streaming_responses_have_the_verdict_in_a_header(client: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
    assert raw.parse().choices[0].message.content == REPLY
    with client.chat.completions.with_streaming_response.create(model=MODEL, messages=MESSAGES) as response:
        assert json.loads(response.read())["choices"][0]["message"]["content"] == REPLY

    for headers in (raw.headers, response.headers):
        assert headers["x-nomyo-verdict"] == "affirming"
        assert headers["x-request-id"] == headers["x-nomyo-payload-id"]


def test_a_client_has_the_timeout_of_the_transport_and_neither_retries_redirects_nor_proxies(stage: Stage) -> None:
    with openai_client(**stage.options(timeout=7.0)) as client:
        assert (client.timeout, client.max_retries) == (7.0, 0)
        assert (client._client.trust_env, client._client.follow_redirects) == (False, False)


def test_a_copy_of_the_client_with_other_options_is_encrypted_and_held_too(stage: Stage, client: Any) -> None:
    copy = client.with_options(max_retries=5, timeout=0.5)
    assert copy.chat.completions.create(model=MODEL, messages=MESSAGES).choices[0].message.content == REPLY

    slow(stage)
    with pytest.raises(openai.APITimeoutError) as late:
        copy.with_options(max_retries=0).chat.completions.create(model=MODEL, messages=MESSAGES)
    assert isinstance(refusal(late.value), APITimeoutError)

    stage.reset()
    other_firmware(stage)
    codes = []
    for each in (client, copy):
        with pytest.raises(openai.PermissionDeniedError) as caught:
            each.chat.completions.create(model=MODEL, messages=MESSAGES)
        codes.append(caught.value.code)
    assert codes == ["not_affirmed", "held"]
    assert stage.prompts == 1


def test_a_refusal_has_the_whole_result_of_the_appraisal(stage: Stage, client: Any) -> None:
    other_firmware(stage)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    error = refusal(caught.value)

    assert isinstance(error, AttestationError)
    assert "pcr.values" in error.result.failed
    assert caught.value.body["failed"] == list(error.result.failed)
    assert caught.value.body["prompt_sent"] is True
    assert caught.value.request_id == error.payload_id


def test_a_completion_whose_evidence_cannot_be_stored_is_withheld(stage: Stage, tmp_path: Path) -> None:
    log = tmp_path / "evidence.jsonl"
    with openai_client(**stage.options(evidence_log=log)) as client:
        log.unlink(missing_ok=True)
        log.mkdir()
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert caught.value.code == "evidence_log"
    assert stage.prompts == 0


def test_a_call_of_a_closed_secure_client_is_an_invalid_request(stage: Stage) -> None:
    secure = SecureChatCompletion(**stage.options())
    asyncio.run(secure.aclose())
    with openai_client(EncryptedTransport(secure)) as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert caught.value.code == "client_closed"
    assert stage.posts == 0


def test_with_preflight_a_changed_server_receives_a_canary_and_no_prompt(stage: Stage) -> None:
    other_firmware(stage)
    with openai_client(**stage.options(preflight=60)) as client, pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert (caught.value.code, caught.value.body["prompt_sent"]) == ("not_affirmed", False)
    assert [request.payload["messages"][0]["content"] for request in stage.model.asked] == ["."]
