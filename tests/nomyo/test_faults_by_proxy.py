"""Faults on the wire itself, below TLS and by somebody who ends TLS: cut, flipped, delayed, dripped, reset, swapped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import quote

import pytest

from nomyo import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    InvalidRequestError,
    NomyoError,
    ResponseError,
    ResponseNotBoundError,
    ServerKeyError,
)
from tests.nomyo.client_calls import API_KEY, PROMPT, Wire, ask, content, error_facts, only, run
from tests.nomyo.wire import server_keys
from tests.nomyo.wire.http11 import Request
from tests.nomyo.wire.plain_router import HTML, Reply
from tests.nomyo.wire.proxy import At, Behavior, Drip, Proxy, TlsProxy
from tests.nomyo.wire.tls_proxy import deliver, flipped, gzip_body, html, redirect_to

REQUEST, ANSWER = 2, 2  # of a connection: the first is the fetch of the key


@pytest.fixture(autouse=True)
def prompt_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries take no time."""
    monkeypatch.setattr("nomyo.status.BACKOFF_MAX", 0.0)


@pytest.fixture
def proxy(wire: Wire) -> Iterator[Proxy]:
    with Proxy("localhost", wire.router.port) as proxy:
        yield proxy


@pytest.fixture
def middle(wire: Wire) -> Iterator[TlsProxy]:
    """Somebody who ends TLS, with a certificate that the client trusts."""
    with TlsProxy("localhost", wire.router.port, ca=wire.router.ca, authority=wire.router.authority) as middle:
        yield middle


# What happens to the request, and how often the router has seen it after one try.
BROKEN = {
    "reset-before": (Behavior(reset="before", request=REQUEST), 0),
    "reset-after": (Behavior(reset="after", request=REQUEST), 1),
    "reset-during": (Behavior(reset="during", request=REQUEST), 1),
    "cut-the-request": (Behavior(cut_up=At(500, REQUEST)), 0),
    "cut-the-answer": (Behavior(cut_down=At(500, ANSWER)), 1),
    "cut-before-the-answer": (Behavior(cut_down=At(0, ANSWER)), 1),
    "flip-the-request": (Behavior(flip_up=At(700, REQUEST)), 0),
    "flip-the-answer": (Behavior(flip_down=At(700, ANSWER)), 1),
    "flip-a-records-head": (Behavior(flip_down=At(1, ANSWER)), 1),
}
NO_CONNECTION = {
    "reset-accept": Behavior(reset="accept"),
    "cut-the-handshake": Behavior(cut_down=100),
    "flip-the-handshake": Behavior(flip_down=100),
    "flip-the-hello": Behavior(flip_up=100),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_wire_is_a_connection_error_that_says_it_may_have_been_processed(
    wire: Wire, proxy: Proxy, name: str
) -> None:
    behavior, seen = BROKEN[name]
    proxy.behave(behavior)
    error = wire.refused(APIConnectionError, {"base_url": proxy.url})
    assert error_facts(error) == ("", 1, "completion", True)
    assert error.maybe_processed is True
    assert len(wire.posts) == seen


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_wire_is_mended_by_a_second_try_with_the_same_bytes(wire: Wire, proxy: Proxy, name: str) -> None:
    behavior, seen = BROKEN[name]
    proxy.behave(behavior)
    answer = wire.ask({"base_url": proxy.url, "max_retries": 1})
    assert content(answer) == PROMPT
    assert len(wire.posts) == seen + 1
    assert len({post.body for post in wire.posts}) == 1
    assert {post.payload_id for post in wire.posts} == {answer["_metadata"]["payload_id"]}
    assert (wire.fetches, proxy.connections) == (1, 2)


@pytest.mark.parametrize("name", NO_CONNECTION)
def test_without_a_connection_nothing_was_processed(wire: Wire, proxy: Proxy, name: str) -> None:
    proxy.default = NO_CONNECTION[name]
    error = wire.refused(APIConnectionError, {"base_url": proxy.url, "max_retries": 2})
    assert error_facts(error) == ("", 0, "key", True)
    assert error.maybe_processed is False
    assert (wire.router.requests, proxy.connections) == ([], 3)


@pytest.mark.parametrize("name", NO_CONNECTION)
def test_a_connection_that_fails_once_is_made_again(wire: Wire, proxy: Proxy, name: str) -> None:
    proxy.behave(NO_CONNECTION[name])
    assert content(wire.ask({"base_url": proxy.url, "max_retries": 1})) == PROMPT
    assert (len(wire.posts), wire.fetches) == (1, 1)


@pytest.mark.parametrize("first", [Behavior(reset="after", request=REQUEST), Behavior()], ids=["reset", "500"])
def test_what_may_have_been_processed_in_an_earlier_try_is_told(wire: Wire, proxy: Proxy, first: Behavior) -> None:
    wire.router.answer(Reply(500, close=True))
    proxy.behave(first)
    proxy.default = Behavior(reset="accept")
    error = wire.refused(APIConnectionError, {"base_url": proxy.url, "max_retries": 1})
    assert error_facts(error) == ("", 2, "completion", True)
    assert error.maybe_processed is True
    assert len(wire.posts) == 1


def test_a_delay_costs_time_and_nothing_else(wire: Wire, proxy: Proxy) -> None:
    proxy.default = Behavior(delay_ms=40)
    before = time.monotonic()
    wire.ask_repeatedly(3, {"base_url": proxy.url})
    assert time.monotonic() - before > 4 * 0.08
    assert (len(wire.posts), wire.fetches, proxy.connections) == (3, 1, 1)


@pytest.mark.parametrize(
    ("behavior", "attempts", "stage"),
    [
        (Behavior(stall_down=At(0, ANSWER)), 1, "completion"),
        (Behavior(stall_down=At(200, ANSWER)), 1, "completion"),
        (Behavior(stall_up=At(200, REQUEST)), 1, "completion"),
        (Behavior(drip_down=Drip(32, 0.3, ANSWER)), 1, "completion"),
        (Behavior(drip_up=Drip(32, 0.3, REQUEST)), 1, "completion"),
        (Behavior(stall_down=At(0, 1)), 0, "key"),
        (Behavior(stall_down=0), 0, "key"),
        (Behavior(drip_down=Drip(32, 0.3)), 0, "key"),
    ],
)
def test_a_wire_that_is_too_slow_ends_at_the_deadline(
    wire: Wire, proxy: Proxy, behavior: Behavior, attempts: int, stage: str
) -> None:
    proxy.behave(behavior)
    before = time.monotonic()
    error = wire.refused(APITimeoutError, {"base_url": proxy.url, "timeout": 0.9, "max_retries": 2})
    assert 0.9 <= time.monotonic() - before < 4
    assert error_facts(error) == ("", attempts, stage, True)
    assert error.maybe_processed is (stage == "completion")


def test_a_connection_in_the_pool_that_was_ended_meanwhile_is_noticed_without_a_retry(wire: Wire) -> None:
    async def calls() -> None:
        async with wire.client(max_retries=0) as client:
            await ask(client)
            wire.router.disconnect()
            await ask(client)

    run(calls())
    assert [post.connection for post in wire.posts] == [1, 2]


def flip_inside(name: str) -> Callable[[Request, Reply], Reply]:
    """A flipped bit in a field of the answer's package."""

    def change(request: Request, reply: Reply) -> Reply:
        assert isinstance(reply.body, bytes)
        place = reply.body.index(f'"{name}": "'.encode()) + len(name) + 5 + 7
        return flipped(place, 1)(request, reply)

    return change


@pytest.mark.parametrize("name", ["ciphertext", "nonce", "tag", "encrypted_aes_key", "version", "algorithm"])
def test_a_bit_that_is_flipped_by_who_ends_tls_makes_an_answer_unreadable(
    wire: Wire, middle: TlsProxy, name: str
) -> None:
    middle.alter(flip_inside(name) if name != "version" else flipped(13, 1))
    error = wire.refused(ResponseError, {"base_url": middle.url, "max_retries": 2})
    assert error_facts(error) == ("response_unreadable", 1, "completion", False)
    assert len(wire.posts) == 1


@pytest.mark.parametrize("change", [html(HTML), gzip_body(), deliver(body=b"")], ids=["html", "gzip", "empty"])
def test_a_page_an_encoding_or_nothing_instead_of_an_answer_is_unreadable(
    wire: Wire, middle: TlsProxy, change: Callable[[Request, Reply], Reply]
) -> None:
    middle.alter(change)
    error = wire.refused(ResponseError, {"base_url": middle.url, "max_retries": 2})
    assert error_facts(error) == ("response_unreadable", 1, "completion", False)
    assert len(wire.posts) == 1


def test_a_page_instead_of_a_key_is_a_refused_key(wire: Wire, middle: TlsProxy) -> None:
    middle.alter(html(HTML), on="GET")
    error = wire.refused(ServerKeyError, {"base_url": middle.url, "max_retries": 2})
    assert error_facts(error) == ("server_key_refused", 0, "key", False)
    assert "HTML page" in str(error)


def test_a_redirect_by_who_ends_tls_is_not_followed(wire: Wire, middle: TlsProxy) -> None:
    with type(wire.router)(authority=wire.router.authority) as other:
        middle.alter(redirect_to(other.url))
        error = wire.refused(APIStatusError, {"base_url": middle.url, "max_retries": 2})
        assert (error.status_code, other.connections) == (307, 0)


def test_another_key_from_who_ends_tls_is_caught_by_a_pin_alone(wire: Wire, middle: TlsProxy) -> None:
    with type(wire.router)(key=1, authority=wire.router.authority) as thief:
        middle.alter(deliver(body=thief.key_document), on="GET")
        known = wire.ask()["_metadata"]["verification"]["server_key"]
        sent = len(wire.posts)
        error = wire.refused(ServerKeyError, {"base_url": middle.url, "server_key_pins": [known]})
        assert error_facts(error) == ("server_key_not_pinned", 0, "key", False)
        assert len(wire.posts) == sent


def test_a_reply_key_that_is_swapped_on_the_way_makes_the_answer_unreadable(wire: Wire, middle: TlsProxy) -> None:
    thief = quote(server_keys.public_pem(server_keys.pair(1).public_key()))

    def swap(request: Request) -> Request:
        headers = [(name, thief if name == "X-Public-Key" else value) for name, value in request.headers]
        return replace(request, headers=headers)

    middle.alter_requests(swap)
    error = wire.refused(ResponseError, {"base_url": middle.url, "max_retries": 2})
    assert error_facts(error) == ("response_unreadable", 1, "completion", False)
    assert only(wire.posts).refused is None


@pytest.mark.parametrize(
    ("header", "value", "kind", "code"),
    [
        ("X-Payload-ID", "another-id", ResponseNotBoundError, "response_not_bound"),
        ("X-Security-Tier", "standard", ResponseNotBoundError, "tier_not_as_requested"),
        ("X-Security-Tier", None, ResponseNotBoundError, "tier_not_as_requested"),
        ("X-Public-Key", "nonsense", InvalidRequestError, ""),
    ],
)
def test_a_header_that_is_changed_on_the_way_shows_in_the_answer(
    wire: Wire, middle: TlsProxy, header: str, value: str | None, kind: type[NomyoError], code: str
) -> None:
    def change(request: Request) -> Request:
        kept = [(name, text) for name, text in request.headers if name != header or request.method == "GET"]
        added = [] if value is None or request.method == "GET" else [(header, value)]
        return replace(request, headers=kept + added)

    middle.alter_requests(change)
    error = wire.refused(kind, {"base_url": middle.url}, security_tier="high")
    assert error_facts(error) == (code, 1, "completion", False)


def test_who_ends_tls_sees_the_bearer_key_and_nothing_of_the_prompt(wire: Wire, middle: TlsProxy) -> None:
    wire.ask({"base_url": middle.url})
    (post,) = [request for request in middle.requests if request.method == "POST"]
    assert post.header("Authorization") == f"Bearer {API_KEY}"
    assert PROMPT.encode() not in post.body
    assert set(json.loads(post.body)) == {
        "version",
        "algorithm",
        "encrypted_payload",
        "encrypted_aes_key",
        "key_algorithm",
        "payload_algorithm",
    }
