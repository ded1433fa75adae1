"""Requests for chat completions: what is encrypted, what is refused, and what the response contains."""

from __future__ import annotations

import pytest

from nomyo.config import PAYLOAD_MAX
from nomyo.proxy.checks import BODY_MAX
from tests.nomyo.client_calls import MODEL, PROMPT
from tests.nomyo.proxy.proxy_calls import API_KEY, CLIENT_KEY, Caller, other_firmware, question
from tests.nomyo.wire.plain_router import PlainRouter

PATH = "/v1/chat/completions"


def test_a_completion_passes_the_gate_and_its_headers_name_the_verdict(proxy: Caller, router: PlainRouter) -> None:
    answer = proxy.ask()
    assert answer.status == 200
    assert answer.document["choices"][0]["message"]["content"] == PROMPT
    assert answer.document["_metadata"]["attestation_result"]["verdict"] == "affirming"
    (post,) = router.posts
    assert answer.headers["x-nomyo-verdict"] == "affirming"
    assert answer.headers["x-nomyo-payload-id"] == answer.headers["x-request-id"] == post.payload_id
    assert "server" not in answer.headers


def test_the_payload_is_encrypted_without_the_fields_that_are_not_sent(proxy: Caller, router: PlainRouter) -> None:
    answer = proxy.ask(metadata={"a": "b"}, require_attestation=False, base_url="https://x", stream=False)
    assert answer.status == 200
    (post,) = router.posts
    assert post.plaintext == {
        "model": MODEL,
        "messages": [{"role": "user", "content": PROMPT}],
        "metadata": {"a": "b"},
        "require_attestation": False,
        "base_url": "https://x",
    }


def test_the_proxys_api_key_is_used_and_no_header_of_the_client_is_forwarded(
    proxy: Caller, router: PlainRouter
) -> None:
    sent = {
        "Authorization": f"Bearer {CLIENT_KEY}",
        "Cookie": "crumb",
        "User-Agent": "sdk/1",
        "X-Stainless-Os": "Linux",
    }
    assert proxy.ask(headers=sent).status == 200
    (post,) = router.posts
    assert post.header("Authorization") == f"Bearer {API_KEY}"
    assert not any(value in str(router.requests) for value in (CLIENT_KEY, "crumb", "sdk/1", "Linux"))


def test_a_request_may_name_its_tier_in_body_or_header(proxy: Caller, router: PlainRouter) -> None:
    assert proxy.ask(security_tier="high").status == 200
    assert proxy.ask(headers={"X-Security-Tier": "maximum"}).status == 200
    assert proxy.ask().status == 200
    assert [post.tier for post in router.posts] == ["high", "maximum", None]


def test_a_repeated_header_with_two_tiers_is_refused(proxy: Caller, router: PlainRouter) -> None:
    answer = proxy.ask(headers={"X-Security-Tier": "high", "x-security-tier": "maximum"})
    assert answer.status == 400
    assert router.posts == []


def test_a_refused_response_is_a_403_with_the_rules_that_failed(proxy: Caller, router: PlainRouter) -> None:
    router.attest = other_firmware()
    answer = proxy.ask()
    assert (answer.status, answer.code) == (403, "not_affirmed")
    error = answer.document["error"]
    assert (error["verdict"], error["failed"], error["prompt_sent"]) == ("contraindicated", ["pcr.values"], True)
    assert PROMPT not in answer.body.decode()


def test_a_stream_is_verified_as_a_whole_and_then_sent_as_events(proxy: Caller, router: PlainRouter) -> None:
    answer = proxy.ask(stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-nomyo-verdict"] == "affirming"
    assert answer.events[0]["choices"][0]["delta"]["content"] == PROMPT
    assert answer.events[-1]["usage"]
    assert answer.body.endswith(b"data: [DONE]\n\n")
    router.attest = other_firmware()
    refused = proxy.ask(stream=True)
    assert (refused.status, refused.code) == (403, "not_affirmed")


@pytest.mark.parametrize("media_type", ["text/plain", "text/plain;charset=UTF-8", "multipart/form-data", ""])
def test_only_json_is_accepted_so_a_page_cannot_post_without_asking(
    proxy: Caller, router: PlainRouter, media_type: str
) -> None:
    answer = proxy.send("POST", PATH, {"Content-Type": media_type}, question())
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert router.requests == []


def test_a_charset_beside_the_media_type_is_accepted(proxy: Caller) -> None:
    assert proxy.send("POST", PATH, {"Content-Type": "Application/JSON; charset=utf-8"}, question()).status == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model": 1, "model": 2}', b'{"n": NaN}'])
def test_a_body_that_is_not_strict_json_is_refused(proxy: Caller, router: PlainRouter, body: bytes) -> None:
    answer = proxy.send("POST", PATH, {"Content-Type": "application/json"}, body)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert router.posts == []


def test_a_body_of_declared_size_above_the_maximum_is_refused_before_it_is_read(proxy: Caller) -> None:
    connection = proxy.connection()
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(PAYLOAD_MAX + 1025))
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_a_chunked_body_is_refused_before_its_end_as_soon_as_it_is_too_large(
    proxy: Caller, router: PlainRouter
) -> None:
    connection = proxy.connection()
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    connection.send(b"%x\r\n" % (BODY_MAX + 1) + bytes(BODY_MAX + 1) + b"\r\n")
    assert connection.getresponse().status == 413
    assert router.requests == []


def test_the_largest_payload_fits_and_a_larger_one_is_413(proxy: Caller, router: PlainRouter) -> None:
    router.complete = lambda payload, payload_id: {"choices": [{"message": {"content": "short"}}]}
    empty = len(question(messages=[{"role": "user", "content": ""}]))
    fits = "x" * (PAYLOAD_MAX - empty)
    assert proxy.ask(messages=[{"role": "user", "content": fits}]).status == 200
    answer = proxy.ask(messages=[{"role": "user", "content": fits + "xx"}])
    assert (answer.status, answer.code) == (413, "invalid_argument")
    assert len(router.posts) == 1
