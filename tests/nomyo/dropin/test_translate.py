import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo
from nomyo.dropin import translate
from nomyo.dropin.problems import BODY_MAX
from nomyo.dropin.translate import HTTPResponse, Plan, Refusal
from nomyo_attest.evidence.strict_json import DEPTH_MAX

PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hello"}]
COMPLETION: Mapping[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hi", "reasoning_content": "because"},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "_metadata": {"payload_id": "0a1b", "attestation_result": {"verdict": "affirming"}},
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
messages = st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "index", "é"]), anything)
choices = st.dictionaries(st.sampled_from(["index", "message", "finish_reason", "logprobs"]), messages | anything)
completions = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(choices, max_size=3) | anything,
        "usage": anything,
        "id": anything,
        "_metadata": st.dictionaries(st.sampled_from(["payload_id", "attestation_result"]), anything) | anything,
    },
)


def planned(body: object, headers: Mapping[str, str] | None = None, path: str = PATH) -> Plan | Refusal:
    return translate.plan("POST", path, headers or {}, json.dumps(body).encode())


def plan(**body: object) -> Plan:
    found = planned({"model": "m", "messages": MESSAGES, **body})
    assert isinstance(found, Plan)
    return found


def error(response: HTTPResponse) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(response.body)["error"]
    return document


def events(response: HTTPResponse) -> list[dict[str, Any]]:
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *parts, done, end = response.body.decode("ascii").split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(part.removeprefix("data: ")) for part in parts]


@pytest.mark.parametrize("path", [PATH, "/chat/completions", "/openai/v1/chat/completions?api-version=1"])
def test_a_request_for_a_completion_is_planned_whatever_comes_before_its_path(path: str) -> None:
    assert isinstance(planned({"model": "m"}, path=path), Plan)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PATH),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/responses"),
        ("POST", f"{PATH}/"),
        ("POST", f"{PATH}/0a1b"),
        ("POST", "/v1/models?next=/chat/completions"),
        ("DELETE", PATH),
    ],
)
def test_no_other_request_is_planned(method: str, path: str) -> None:
    refused = translate.plan(method, path, {}, b"{}")

    assert isinstance(refused, Refusal)
    assert (refused.status, error(refused)["code"], error(refused)["prompt_sent"]) == (404, "not_encrypted", False)


def test_every_field_is_sent_unchanged_even_one_with_the_name_of_an_option() -> None:
    body = {
        "model": "m",
        "messages": MESSAGES,
        "metadata": {"a": "b"},
        "store": True,
        "user": "u",
        "require_attestation": False,
        "base_url": "https://elsewhere.invalid",
        "api_key": "k",
        "attestation_policy": "p.toml",
        "timeout": 1,
        "temperature": 0.5,
    }
    found = planned({**body, "stream": False, "stream_options": None, "security_tier": None})

    assert found == Plan(payload=body)


@pytest.mark.parametrize(("stream", "streamed"), [(True, True), (False, False), (None, False)])
def test_stream_says_how_the_completion_is_returned_and_is_not_sent(stream: object, streamed: bool) -> None:
    found = plan(stream=stream, stream_options={"include_usage": True, "include_obfuscation": False})

    assert (found.stream, found.include_usage, "stream" in found.payload) == (streamed, True, False)
    assert "stream_options" not in found.payload


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"[]",
        b'"text"',
        b'{"model": "m", "model": "n"}',
        b'{"temperature": NaN}',
        b'{"temperature": 1e999}',
        b"\xff{}",
        b'{"a":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1),
        b'{"stream": 1}',
        b'{"stream": "true"}',
        b'{"stream_options": true}',
        b'{"stream_options": {"include_usage": 1}}',
        b'{"security_tier": 1}',
    ],
)
def test_a_body_that_is_ambiguous_or_has_an_invalid_field_is_refused(body: bytes) -> None:
    refused = translate.plan("POST", PATH, {}, body)

    assert isinstance(refused, Refusal)
    assert (refused.status, error(refused)["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("headers", "body", "tier"),
    [
        ({}, {}, None),
        ({"X-Security-Tier": "high"}, {}, "high"),
        ({}, {"security_tier": "high"}, "high"),
        ({"x-security-tier": "high"}, {"security_tier": "high"}, "high"),
        ({"x-security-tier": ""}, {}, ""),
    ],
)
def test_the_tier_comes_from_the_body_or_the_header(
    headers: dict[str, str], body: dict[str, str], tier: str | None
) -> None:
    assert planned({"model": "m", **body}, headers) == Plan(payload={"model": "m"}, tier=tier)


def test_two_different_tiers_are_refused() -> None:
    refused = planned({"security_tier": "high"}, {"X-Security-Tier": "maximum"})

    assert isinstance(refused, Refusal)
    assert error(refused)["code"] == "invalid_request"


def test_a_completion_is_returned_with_its_metadata_and_headers_that_name_it() -> None:
    response = translate.respond(COMPLETION, plan())

    assert json.loads(response.body) == COMPLETION
    assert response.headers == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "x-should-retry": "false",
        "x-nomyo-payload-id": "0a1b",
        "x-request-id": "0a1b",
        "x-nomyo-verdict": "affirming",
    }


def test_a_stream_has_two_events_for_each_choice_and_no_metadata() -> None:
    completion = {**COMPLETION, "choices": [{**COMPLETION["choices"][0], "index": index} for index in (0, 1)]}
    found = events(translate.respond(completion, plan(stream=True)))

    assert [[choice["index"] for choice in event["choices"]] for event in found] == [[0], [0], [1], [1]]
    assert found[0]["choices"][0] == {
        "index": 0,
        "delta": COMPLETION["choices"][0]["message"],
        "finish_reason": None,
        "logprobs": None,
    }
    assert found[1]["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert all(event.keys() == {"id", "object", "created", "model", "choices"} for event in found)


def test_the_last_event_has_the_usage_if_it_was_requested() -> None:
    streamed = plan(stream=True, stream_options={"include_usage": True})
    *_, last = events(translate.respond(COMPLETION, streamed))

    assert (last["choices"], last["usage"]) == ([], COMPLETION["usage"])


def test_each_tool_call_in_a_stream_has_its_index() -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}, {"id": "b", "index": 7}]
    choice = {"message": {"role": "assistant", "content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}
    first, _ = events(translate.respond({"choices": [choice]}, plan(stream=True)))

    assert [(call["id"], call["index"]) for call in first["choices"][0]["delta"]["tool_calls"]] == [("a", 0), ("b", 1)]


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        [],
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{"text": "a"}]},
        {"choices": [{"message": "a"}]},
        {"choices": [{"message": {"tool_calls": [None]}}]},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_response_that_is_no_chat_completion_is_withheld(outcome: object, stream: bool) -> None:
    response = translate.respond(outcome, plan(stream=stream))

    assert (response.status, error(response)["code"], error(response)["prompt_sent"]) == (502, "bad_completion", True)


@given(completions, st.booleans())
def test_any_outcome_has_a_response_of_ascii_lines_without_the_refused_text(outcome: object, stream: bool) -> None:
    response = translate.respond(outcome, Plan(payload={}, stream=stream, include_usage=True))

    assert response.body.isascii()
    assert all(value.isascii() and value.isprintable() for value in response.headers.values())
    assert response.status in (200, 502)
    if response.status == 200 and stream:
        events(response)
    elif response.status == 200:
        assert json.loads(response.body) == outcome
    else:
        assert len(response.body) <= BODY_MAX


@given(
    st.text(), st.text(), st.dictionaries(st.text(), st.text()), st.binary() | anything.map(json.dumps).map(str.encode)
)
def test_any_request_is_planned_or_refused(method: str, path: str, headers: dict[str, str], body: bytes) -> None:
    for verb, place in ((method, path), ("POST", PATH)):
        found = translate.plan(verb, place, headers, body)
        assert isinstance(found, Plan) or 400 <= found.status < 500


FAILURES = [
    (nomyo.ResponseNotBoundError("m"), 403, "security_error", "response_not_bound"),
    (nomyo.ResponseError(), 403, "security_error", "response_unreadable"),
    (nomyo.ResponseTooLargeError("m"), 403, "security_error", "response_too_large"),
    (nomyo.ServerKeyError("m"), 403, "security_error", "server_key_refused"),
    (nomyo.EvidenceLogError("p", "m", "h"), 403, "evidence_log_error", "evidence_log"),
    (nomyo.AuthenticationError("m"), 401, "upstream_error", "upstream_401"),
    (nomyo.APIStatusError("m", 418), 418, "upstream_error", "upstream_418"),
    (nomyo.APIStatusError("m", 204), 502, "upstream_error", "upstream_204"),
    (nomyo.APIStatusError("m", 302), 502, "upstream_error", "upstream_302"),
    (nomyo.APITimeoutError("m"), 504, "timeout", "timeout"),
    (nomyo.APIConnectionError("m"), 502, "connection_error", "connection_error"),
    (nomyo.ArgumentTypeError("m"), 400, "invalid_request_error", "invalid_argument"),
    (nomyo.ClientClosedError(), 400, "invalid_request_error", "client_closed"),
    (nomyo.InternalError("m"), 500, "internal_error", "internal_error"),
    (nomyo.EventLoopError("m"), 500, "internal_error", "internal_error"),
    (RuntimeError("a prompt"), 500, "internal_error", "internal_error"),
]


@pytest.mark.parametrize(
    ("failure", "status", "kind", "code"), FAILURES, ids=[f"{type(one[0]).__name__}-{one[3]}" for one in FAILURES]
)
def test_each_error_has_its_status_type_and_code(failure: Exception, status: int, kind: str, code: str) -> None:
    response = translate.respond(failure, plan(stream=True))
    found = error(response)

    assert (response.status, found["type"], found["code"], found["param"]) == (status, kind, code, None)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-should-retry"] == "false"
    assert "a prompt" not in found["message"]


def test_an_error_names_its_request_and_repeats_retry_after() -> None:
    failure = nomyo.RateLimitError("slow down")
    failure.headers = {"retry-after": "7"}
    failure.payload_id, failure.attempts, failure.prompt_sent = "0a1b", 3, True
    response = translate.respond(failure, plan())
    found = error(response)

    assert (response.headers["retry-after"], response.headers["x-request-id"]) == ("7", "0a1b")
    assert (found["payload_id"], found["attempts"], found["prompt_sent"]) == ("0a1b", 3, True)


def test_a_payload_that_is_too_large_has_the_status_413() -> None:
    failure = nomyo.ArgumentError("Payload too large")
    failure.too_large = True

    assert translate.respond(failure, plan()).status == 413


@given(st.text() | st.text(max_size=3).map(lambda text: text * 4000))
def test_the_body_of_an_error_has_at_most_two_kibibytes(message: str) -> None:
    response = translate.respond(nomyo.APIConnectionError(message), plan())

    assert len(response.body) <= BODY_MAX
    assert response.body.isascii()


def test_the_declared_models_are_listed() -> None:
    listed = json.loads(translate.list_models("/v1/models", ["a/b", "c"]).body)

    assert [entry["id"] for entry in listed["data"]] == ["a/b", "c"]
    assert json.loads(translate.list_models("/v1/models/a/b", ["a/b"]).body)["id"] == "a/b"
    assert error(translate.list_models("/v1/models/d", ["a/b"]))["code"] == "model_not_found"
