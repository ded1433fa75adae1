"""Every fault of the router, as OpenAI's SDK sees it, and what the SDK makes of the events of a stream."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nomyo.dropin import openai_client, refusal
from nomyo.dropin.events import event_stream
from nomyo.errors import APIConnectionError
from nomyo.router import FAULTS
from tests.nomyo.dropin.sdk.installed import sdk
from tests.nomyo.dropin.sdk.stage import API_KEY, MESSAGES, MODEL, PROMPT, Stage
from tests.nomyo.secret_search import SecretSearch

openai = sdk("openai")

TYPES = {
    400: {"invalid_request_error", "upstream_error"},
    403: {"attestation_error", "security_error", "upstream_error"},
    500: {"upstream_error"},
    502: {"upstream_error"},
}
"""Status → types of errors; those of other statuses are `upstream_error`."""

MAJOR = int(openai.__version__.partition(".")[0])

STREAM = {1: [False], 2: [True]}.get(MAJOR, [False, True])
"""Values of `stream`: both with the newest version, and one with each of the others, to save time."""

PATIENT = ("drip", "gzip-bomb")
"""Faults whose responses take seconds."""


@pytest.mark.parametrize("stream", STREAM)
@pytest.mark.parametrize("fault", [fault.name for fault in FAULTS if fault.name not in PATIENT])
def test_every_fault_of_the_router_is_a_response_or_the_error_of_a_connection(
    stage: Stage, fault: str, stream: bool
) -> None:
    with openai_client(**stage.options()) as client:
        if not fault.startswith("key-"):  # otherwise the client knows the key already
            client.chat.completions.create(model=MODEL, messages=MESSAGES)  # for the fault that replays a response
        stage.router.fault = fault
        outcome = call(client, stream)

    found = refusal(outcome) if isinstance(outcome, Exception) else None
    if isinstance(outcome, openai.APIStatusError):
        assert outcome.type in TYPES.get(outcome.status_code, {"upstream_error"})
        assert outcome.code
        assert (found is None) == (outcome.code == "bad_completion")
        assert outcome.response.headers["x-should-retry"] == "false"
    elif isinstance(outcome, Exception):
        assert isinstance(found, APIConnectionError)
    else:
        kind = outcome.headers["content-type"].partition(";")[0]
        assert kind == ("text/event-stream" if stream else "application/json")
        assert outcome.headers["x-nomyo-verdict"] == "affirming"


def call(client: Any, stream: bool) -> Any:
    """Return the raw response, or the exception of the SDK; no other exception is expected."""
    try:
        return client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES, stream=stream)
    except (openai.APIStatusError, openai.APIConnectionError) as error:
        return error


@pytest.mark.parametrize("fault", ["status-401", "text-not-json", "reset-after", "echo-payload-id"])
def test_the_exception_of_nomyo_behind_that_of_the_sdk_contains_neither_prompt_nor_key(
    stage: Stage, fault: str
) -> None:
    stage.router.fault = fault
    with openai_client(**stage.options()) as client, pytest.raises(openai.OpenAIError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    search = SecretSearch(PROMPT, API_KEY).look("error", refusal(caught.value))

    assert search.found == []
    assert search.object_count > 5


CALL = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1),
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": st.text(min_size=1), "arguments": st.text()}),
    }
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | st.text(min_size=1)},
    optional={"tool_calls": st.lists(CALL, min_size=1, max_size=3), "refusal": st.none() | st.text(min_size=1)},
)


@settings(max_examples=40)
@given(st.lists(st.tuples(MESSAGE, st.sampled_from(["stop", "tool_calls"])), min_size=1, max_size=3), st.booleans())
def test_the_events_of_a_stream_joined_by_the_sdk_are_the_completion(
    messages: list[tuple[dict[str, Any], str]], usage: bool
) -> None:
    completion = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1767225600,
        "model": MODEL,
        "choices": [
            {"index": index, "message": message, "finish_reason": reason}
            for index, (message, reason) in enumerate(messages)
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    library = sdk("httpx2" if MAJOR >= 3 else "httpx")
    body = event_stream(completion, include_usage=usage)
    headers = {"content-type": "text/event-stream"}
    transport = library.MockTransport(lambda _: library.Response(200, headers=headers, content=body))
    http = library.Client(transport=transport)
    with (
        openai.OpenAI(api_key="unused", base_url="https://nomyo.invalid/v1", http_client=http) as client,
        client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream,
    ):
        joined = stream.get_final_completion()

    assert (joined.usage is not None) is usage
    assert [choice.finish_reason for choice in joined.choices] == [reason for _, reason in messages]
    for choice, (message, _) in zip(joined.choices, messages, strict=True):
        assert choice.message.content == message["content"]
        assert choice.message.refusal == message.get("refusal")
        calls = [call.model_dump(include={"id", "type", "function"}) for call in choice.message.tool_calls or ()]
        assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls] == [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls", ())
        ]
