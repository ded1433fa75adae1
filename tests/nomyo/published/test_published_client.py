"""The published client works with both routers: nobody has to change client and server on one day."""

from __future__ import annotations

import json
from typing import Any

import pytest

import nomyo_attest as na
from nomyo.router import RouterOptions, RunningRouter
from tests.nomyo.published.conftest import API_KEY, FORBIDDEN, Published, Service
from tests.nomyo.router.openai_server import OpenAIServer, ReceivedRequest, ScriptedReply
from tests.nomyo.wire import server_keys

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def test_it_gets_an_answer(published: Published) -> None:
    told = published({"content": "Grüße"}, {"content": "noch einmal", "temperature": 0.5, "max_tokens": 100})
    first, second = (one["answer"] for one in told)
    assert first["choices"][0]["message"] == {"role": "assistant", "content": "Grüße"}
    assert second["choices"][0]["message"]["content"] == "noch einmal"
    assert first["object"] == "chat.completion"
    assert first["_metadata"]["response_status"] == "success"
    assert first["_metadata"]["is_encrypted"] is True
    assert type(first["_metadata"]["processed_at"]) is int
    assert first["_metadata"]["payload_id"] != second["_metadata"]["payload_id"]


def test_it_gets_the_tier_it_asks_for(published: Published) -> None:
    told = published({"content": "a", "security_tier": "high"}, {"content": "b"})
    assert [one["answer"]["_metadata"]["security_tier"] for one in told] == ["high", "standard"]


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (400, "InvalidRequestError", "Bad request: "),
        (404, "APIError", "Endpoint not found: "),
        (429, "RateLimitError", "Rate limit exceeded: "),
        (500, "ServerError", "Server error: "),
        (502, "APIError", "Unexpected status code: 502 "),
        (503, "ServiceUnavailableError", "Service unavailable: "),
    ],
)
def test_it_understands_a_refusal(published: Published, service: Service, status: int, kind: str, text: str) -> None:
    service.refuse(status)
    (told,) = published({"content": "a"})
    assert (told["error"], told["status"]) == (kind, status)
    assert told["text"].startswith(text)
    assert len(told["text"]) > len(text)


def test_it_is_told_of_a_wrong_api_key(published: Published) -> None:
    (told,) = published({"content": "a"}, api_key="wrong")
    assert (told["error"], told["status"]) == ("AuthenticationError", 401)


def test_it_is_told_of_a_model_that_the_tier_does_not_allow(published: Published) -> None:
    (told,) = published({"model": FORBIDDEN, "content": "a", "security_tier": "standard"})
    assert (told["error"], told["status"]) == ("ForbiddenError", 403)


def test_it_comes_back_after_a_429(published: Published, service: Service) -> None:
    service.retry_once()
    (told,) = published({"content": "a"}, max_retries=1)
    assert told["answer"]["choices"][0]["message"]["content"] == "a"


def test_without_a_tpm_tier_maximum_is_not_available_to_it() -> None:
    options = RouterOptions(tpm="none", api_keys=(API_KEY,))
    with RunningRouter(options, server_key=server_keys.pair()) as router:
        published = Published(router.url, str(router.ca))
        maximum, high = published(
            {"content": "a", "security_tier": "maximum"}, {"content": "b", "security_tier": "high"}
        )
    assert (maximum["error"], maximum["status"]) == ("ServiceUnavailableError", 503)
    assert high["answer"]["_metadata"]["tpm_attestation"] == {"is_available": False}


def test_the_evidence_it_gets_from_the_reference_router_can_be_appraised() -> None:
    with RunningRouter(RouterOptions(tpm="soft"), server_key=server_keys.pair()) as router:
        published = Published(router.url, str(router.ca))
        first, second = (one["answer"] for one in published({"content": "a"}, {"content": "b"}))
    values = first["_metadata"]["tpm_attestation"]["pcr_values"]
    pinned = {bank: {index: [value] for index, value in of.items()} for bank, of in values.items()}
    policy = na.AppraisalPolicy.from_dict({"format": "nomyo-attest-policy/1", "id": "learnt", "pcrs": pinned})
    assert na.appraise(second, policy).verdict is na.Verdict.AFFIRMING
    second["_metadata"]["payload_id"] = first["_metadata"]["payload_id"]
    assert na.appraise(second, policy).verdict is na.Verdict.CONTRAINDICATED


def test_it_gets_tool_calls_through_the_reference_router() -> None:
    def call_a_tool(asked: ReceivedRequest) -> ScriptedReply:
        answer: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": asked.payload["model"],
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
                 "finish_reason": "tool_calls"}
            ],
        }  # fmt: skip
        return ScriptedReply(body=json.dumps(answer).encode())

    with OpenAIServer() as upstream:
        upstream.answer = call_a_tool
        options = RouterOptions(tpm="none", upstream=upstream.url)
        with RunningRouter(options, server_key=server_keys.pair()) as router:
            published = Published(router.url, str(router.ca))
            (told,) = published({"content": "weather?", "tools": TOOLS, "tool_choice": "auto"})
    assert told["answer"]["choices"][0]["message"]["tool_calls"] == [CALL]
    assert upstream.asked[0].payload["tools"] == TOOLS
    assert upstream.asked[0].payload["tool_choice"] == "auto"
