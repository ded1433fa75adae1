"""What a model server returns, as clients see it through the router."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from nomyo import BlockingChatCompletion
from nomyo.dropin import BASE_URL, async_openai_client, http_client, openai_client
from tests.nomyo.dropin.real_model.conftest import Chain
from tests.nomyo.dropin.real_model.model_server import MODEL

TEXT = "🦙 Grüße 你好"
BODY: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": f"Repeat: {TEXT}"}],
    "temperature": 0,
    "max_tokens": 20,
}
LOOK_UP = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CHOSEN = {"tools": [LOOK_UP], "tool_choice": {"type": "function", "function": {"name": "look_up"}}}


@pytest.fixture
def client(chain: Chain) -> Iterator[Any]:
    """A client of OpenAI's SDK."""
    with openai_client(**chain.options()) as client:
        yield client


def essence(completion: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a completion that is the same for each request at temperature 0."""
    choice = completion["choices"][0]
    message = {name: choice["message"].get(name) for name in ("role", "content")}
    rest = {name: choice.get(name) for name in ("finish_reason", "logprobs")}
    return {"message": message, "usage": completion["usage"], "choices": len(completion["choices"]), **rest}


def test_each_client_returns_what_the_model_server_returns_without_the_router(chain: Chain, client: Any) -> None:
    body = {**BODY, "logprobs": True, "top_logprobs": 2}
    # Log probabilities depend on what the server still has in its cache: ask twice, so that it is this prompt.
    expected = [essence(chain.server.ask(body).json()) for _ in range(2)][-1]
    assert TEXT in expected["message"]["content"]

    with BlockingChatCompletion(**chain.options()) as blocking:
        assert essence(blocking.complete(body)) == expected
    with http_client(**chain.options()) as http:
        response = http.post(f"{BASE_URL}/chat/completions", json=body)
    assert response.headers["x-nomyo-verdict"] == "affirming"
    assert essence(response.json()) == expected
    completion = client.chat.completions.create(**body)
    assert completion.choices[0].logprobs.content[0].top_logprobs[0].logprob < 0
    assert essence(completion.model_dump(exclude_unset=True)) == expected


def test_tokens_are_counted_and_limited_by_the_model_server(client: Any) -> None:
    completion = client.chat.completions.create(**{**BODY, "max_tokens": 5})

    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 5
    assert completion.usage.prompt_tokens > 20  # the chat template adds a system message
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 5


def test_a_stop_sequence_ends_the_completion_before_it(client: Any) -> None:
    choice = client.chat.completions.create(**BODY, stop=["Gr"]).choices[0]
    assert (choice.message.content.strip(), choice.finish_reason) == ("🦙", "stop")


def test_a_seed_makes_a_completion_reproducible(client: Any) -> None:
    asked = {**BODY, "messages": [{"role": "user", "content": "Name an animal."}], "temperature": 1.5, "max_tokens": 8}
    texts = [client.chat.completions.create(**asked, seed=seed).choices[0].message.content for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_the_events_of_a_stream_form_the_completion(client: Any) -> None:
    body = {**BODY, "logprobs": True, "top_logprobs": 1}
    whole = [client.chat.completions.create(**body) for _ in range(2)][-1]  # as above
    with client.chat.completions.stream(**body, stream_options={"include_usage": True}) as stream:
        joined = [event for event in stream if event.type == "chunk"][-1].snapshot
    assert joined.choices[0].message.content == whole.choices[0].message.content
    assert joined.choices[0].finish_reason == whole.choices[0].finish_reason
    assert joined.choices[0].logprobs.content == whole.choices[0].logprobs.content
    assert joined.usage.to_dict() == whole.usage.to_dict()


def test_a_chosen_tool_is_called_with_arguments_of_its_schema(client: Any) -> None:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    body = {**BODY, **CHOSEN, "messages": messages, "max_tokens": 40}
    choice = client.chat.completions.create(**body).choices[0]
    (call,) = choice.message.tool_calls
    assert (call.function.name, choice.finish_reason) == ("look_up", "tool_calls")
    assert set(json.loads(call.function.arguments)) == {"city"}

    chunks = [chunk.choices[0] for chunk in client.chat.completions.create(**body, stream=True)]
    (streamed,) = [call for chunk in chunks for call in chunk.delta.tool_calls or ()]
    assert (streamed.index, streamed.function.name) == (0, "look_up")
    assert streamed.function.arguments == call.function.arguments
    assert chunks[-1].finish_reason == "tool_calls"


def test_a_json_object_follows_its_schema(client: Any) -> None:
    schema = LOOK_UP["function"]["parameters"]  # type: ignore[index]
    response_format = {"type": "json_object", "schema": schema}
    completion = client.chat.completions.create(**{**BODY, "max_tokens": 60}, response_format=response_format)
    assert set(json.loads(completion.choices[0].message.content)) == {"city"}


def test_this_server_ignores_fields_that_others_honor(client: Any) -> None:
    extra = {"max_completion_tokens": 1, "frobnicate": 1}
    completion = client.chat.completions.create(**{**BODY, "model": "other"}, n=2, extra_body=extra)
    assert len(completion.choices) == 1
    assert completion.usage.completion_tokens > 1
    assert completion.model == "other"  # the server repeats any name


def test_a_prompt_that_nearly_fills_the_context_is_read_to_its_end(client: Any) -> None:
    messages = [{"role": "user", "content": "word " * 600}]
    usage = client.chat.completions.create(**{**BODY, "messages": messages, "max_tokens": 1}).usage
    assert usage.prompt_tokens > 600


def test_concurrent_calls_are_completed_one_after_another_with_evidence_of_their_own(chain: Chain) -> None:
    before = chain.relay.prompts

    async def ask_four() -> list[Any]:
        async with async_openai_client(**chain.options()) as client:
            asked = [[{"role": "user", "content": f"Repeat: {word}"}] for word in ("one", "two", "three", "four")]
            return await asyncio.gather(
                *(client.chat.completions.create(**{**BODY, "messages": one, "max_tokens": 4}) for one in asked)
            )

    completions = asyncio.run(ask_four())
    assert len({completion.model_extra["_metadata"]["payload_id"] for completion in completions}) == 4
    assert {each.model_extra["_metadata"]["attestation_result"]["verdict"] for each in completions} == {"affirming"}
    assert chain.relay.prompts == before + 4
