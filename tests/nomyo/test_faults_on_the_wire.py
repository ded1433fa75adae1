"""Everything a router may get wrong, each through the whole client: which error, and what it says of its call.

`max_retries` is 2 all along: what is never to be tried again has its one POST here, not for want of retries.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from nomyo import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    InvalidRequestError,
    NomyoError,
    ResponseError,
    ResponseNotBoundError,
    ResponseTooLargeError,
    SecurityError,
    ServerKeyError,
    ServiceUnavailableError,
)
from nomyo import transport as transport_module
from tests.nomyo.client_calls import PROMPT, Wire, ask, content, error_facts, only, run
from tests.nomyo.wire.faults import FAULTS
from tests.nomyo.wire.plain_router import KEY_PATH, POST_PATH, Reply

TWICE_MORE: dict[str, Any] = {"max_retries": 2}
UNREADABLE = [name for name, fault in FAULTS.items() if fault.concern == "answer" and name != "replay"]
AT_ONCE = ("response_unreadable", 1, "completion", False)


@pytest.fixture
def prompt_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries take no time."""
    monkeypatch.setattr("nomyo.status.BACKOFF_MAX", 0.0)


@pytest.mark.parametrize("name", [*UNREADABLE, "gzip", "gzip-bomb"])
def test_an_answer_that_cannot_be_read_is_one_opaque_error_and_is_not_asked_for_again(wire: Wire, name: str) -> None:
    wire.router.fault(name)
    error = wire.refused(ResponseError, TWICE_MORE, security_tier="high")
    assert error_facts(error) == AT_ONCE
    assert error.payload_id == only(wire.posts).payload_id
    assert isinstance(error, SecurityError)
    assert isinstance(error, ValueError)


def test_all_answers_that_cannot_be_read_are_told_alike(wire: Wire) -> None:
    faults: list[Callable[[], object]] = [
        partial(wire.router.fault, name) for name in [*UNREADABLE, "gzip", "gzip-bomb"]
    ]
    told = set()
    for switch_on in faults:
        wire.router.reset_faults()
        switch_on()
        error = wire.refused(ResponseError)
        state = {name: value for name, value in vars(error).items() if name != "payload_id"}
        told.add((type(error), str(error), repr(error), error.args, error.code, error.stage, repr(state)))
        assert error.__cause__ is error.__context__ is None
        assert not hasattr(error, "__notes__")
    assert len(told) == 1


def test_the_last_answer_again_is_not_the_answer_to_this_request(wire: Wire) -> None:
    wire.router.fault("replay")

    async def calls() -> NomyoError:
        async with wire.client(**TWICE_MORE) as client:
            assert content(await ask(client, "the first question")) == "the first question"
            with pytest.raises(ResponseNotBoundError) as caught:
                await ask(client)
            return caught.value

    error = run(calls())
    assert error_facts(error) == ("response_not_bound", 1, "completion", False)
    assert error.payload_id == wire.posts[1].payload_id
    assert len(wire.posts) == 2
    assert "the first question" not in str(error)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("echo-wrong", "response_not_bound", "the payload id of a different request"),
        ("echo-number", "response_not_bound", "the payload id of a different request"),
        ("tier-other", "tier_not_as_requested", "expected 'high', as requested, got 'standard'"),
        ("tier-missing", "tier_not_as_requested", "expected 'high', as requested, got none"),
    ],
)
def test_an_answer_that_names_something_else_is_refused_and_not_asked_for_again(
    wire: Wire, name: str, code: str, words: str
) -> None:
    wire.router.fault(name)
    error = wire.refused(ResponseNotBoundError, TWICE_MORE, security_tier="high")
    assert error_facts(error) == (code, 1, "completion", False)
    assert error.payload_id == only(wire.posts).payload_id
    assert words in str(error)


@pytest.mark.parametrize("echo", [None, "", True, [], {}])
def test_an_echo_of_another_kind_is_another_request(wire: Wire, echo: object) -> None:
    right = wire.router.correct_metadata
    wire.router.metadata = lambda post: {**right(post), "payload_id": echo}
    assert wire.refused(ResponseNotBoundError).code == "response_not_bound"


@pytest.mark.parametrize("tier", [None, "", "HIGH", ["high"], {"high": True}, PROMPT])
def test_a_tier_of_another_kind_is_another_tier_and_is_not_quoted(wire: Wire, tier: object) -> None:
    right = wire.router.correct_metadata
    wire.router.metadata = lambda post: {**right(post), "security_tier": tier}
    error = wire.refused(ResponseNotBoundError, security_tier="high")
    assert error.code == "tier_not_as_requested"
    assert PROMPT not in str(error)


@pytest.mark.parametrize("size", [100, 3000])
def test_a_response_over_the_cap_is_an_error_of_its_own_and_not_asked_for_again(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(transport_module, "RESPONSE_MAX", 2000)  # the key passes
    wire.router.answer(lambda post: Reply(body=b"x" * 4000, chunked=size == 3000))
    error = wire.refused(ResponseTooLargeError, TWICE_MORE)
    assert error_facts(error) == ("response_too_large", 1, "completion", False)
    assert error.limit == 2000 < error.found <= 4000
    assert len(wire.posts) == 1


def test_an_endless_response_is_read_up_to_the_cap(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "RESPONSE_MAX", 8 << 20)
    wire.router.fault("endless")
    error = wire.refused(ResponseTooLargeError, TWICE_MORE)
    assert error_facts(error) == ("response_too_large", 1, "completion", False)
    assert len(wire.posts) == 1


@pytest.mark.parametrize("name", ["truncated", "reset-before", "reset-after", "reset-during"])
def test_an_answer_that_breaks_off_is_asked_for_again(wire: Wire, prompt_retries: None, name: str) -> None:
    wire.router.fault(name)
    error = wire.refused(APIConnectionError, TWICE_MORE)
    assert error_facts(error) == ("", 3, "completion", True)
    assert error.maybe_processed is True
    assert {post.payload_id for post in wire.posts} == {error.payload_id}
    assert len({post.body for post in wire.posts}) == 1
    assert len(wire.posts) == 3


@pytest.mark.parametrize("way", [Reply(truncate_at=100), Reply(reset="before"), Reply(reset="during"), Reply(500)])
def test_an_answer_that_comes_at_the_third_try_is_handed_over(wire: Wire, prompt_retries: None, way: Reply) -> None:
    wire.router.answer(way, way)
    answer = wire.ask(TWICE_MORE)
    assert content(answer) == PROMPT
    assert {post.payload_id for post in wire.posts} == {answer["_metadata"]["payload_id"]}
    assert len(wire.posts) == 3
    assert wire.fetches == 1


def test_a_slow_drip_ends_at_the_deadline(wire: Wire) -> None:
    wire.router.fault("slow-drip")
    before = time.monotonic()
    error = wire.refused(APITimeoutError, {"max_retries": 2, "timeout": 0.8})
    assert 0.8 <= time.monotonic() - before < 3
    assert error_facts(error) == ("", 1, "completion", True)
    assert (error.maybe_processed, error.payload_id) == (True, only(wire.posts).payload_id)
    assert "0.8 s" in str(error)


def test_a_key_that_drips_ends_at_the_deadline_with_nothing_sent(wire: Wire) -> None:
    wire.router.answer(lambda _: Reply(drip=(16, 0.25)), on="GET")
    error = wire.refused(APITimeoutError, {"max_retries": 2, "timeout": 0.8})
    assert error_facts(error) == ("", 0, "key", True)
    assert error.maybe_processed is False
    assert wire.posts == []


def test_a_key_fetch_has_a_deadline_of_its_own(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nomyo.call.KEY_TIMEOUT", 0.3)
    wire.router.answer(lambda _: Reply(drip=(16, 0.25)), on="GET")
    error = wire.refused(APITimeoutError)
    assert error_facts(error) == ("", 0, "key", True)
    assert "the server's key was not received within 0.3 s" in str(error)


def test_a_redirect_is_not_followed_and_not_tried_again(wire: Wire) -> None:
    wire.router.fault("redirect")
    error = wire.refused(APIStatusError, TWICE_MORE)
    assert error_facts(error) == ("", 1, "completion", False)
    assert (error.status_code, str(error)) == (307, "Unexpected status code: 307 unknown")
    assert [each.path for each in wire.router.requests] == [KEY_PATH, POST_PATH]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_bearer_key_goes_to_no_other_host(wire: Wire, status: int) -> None:
    with type(wire.router)(authority=wire.router.authority) as other:
        wire.router.answer(lambda post: Reply(status, [("Location", other.url + post.path)], b""))
        assert wire.refused(APIStatusError, TWICE_MORE).status_code == status
        wire.router.answer(lambda get: Reply(status, [("Location", other.url + get.path)], b""), on="GET")
        assert wire.refused(APIStatusError, TWICE_MORE).stage == "key"
        assert other.connections == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("error-list", 'Bad request: [{"loc": ["body"], "msg": "bad"}]'),
        ("error-text", "Bad request: bad"),
        ("error-null", "Bad request: Unknown error"),
        ("error-detail-list", 'Bad request: [{"msg": "bad"}]'),
        ("error-html", "Bad request: an HTML page, not the router's response: it may come from a gateway or proxy"),
        ("error-long", "Bad request: Invalid response format"),
    ],
)
def test_an_error_with_an_odd_body_is_the_error_of_its_status(wire: Wire, name: str, message: str) -> None:
    wire.router.fault(name)
    error = wire.refused(InvalidRequestError, TWICE_MORE)
    assert error_facts(error) == ("", 1, "completion", False)
    assert str(error) == message
    assert (error.status_code, error.payload_id) == (400, only(wire.posts).payload_id)


@pytest.mark.parametrize(("name", "status"), [("status-204", 204), ("status-418", 418)])
def test_another_status_is_an_error_too(wire: Wire, name: str, status: int) -> None:
    wire.router.fault(name)
    error = wire.refused(APIStatusError, TWICE_MORE)
    assert error_facts(error) == ("", 1, "completion", False)
    assert error.status_code == status


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("key-html", "an HTML page"),
        ("key-rsa-1024", "RSA-1024"),
        ("key-rsa-2048", "RSA-2048"),
        ("key-exponent-3", "exponent"),
        ("key-ec", "an EC key on secp256r1"),
        ("key-empty", "an empty body"),
        ("key-gzip", "has a content encoding that was not requested"),
        ("key-two", "2 PEM blocks"),
    ],
)
def test_a_key_that_will_not_do_is_refused_with_nothing_sent(wire: Wire, name: str, words: str) -> None:
    if name == "key-gzip":
        wire.router.answer(Reply(headers=[("Content-Encoding", "gzip")], body=b"\x1f\x8b"), on="GET")
    else:
        wire.router.fault(name)
    error = wire.refused(ServerKeyError, TWICE_MORE)
    assert error_facts(error) == ("server_key_refused", 0, "key", False)
    assert words in str(error)
    assert error.payload_id is not None
    assert (wire.posts, wire.fetches) == ([], 1)


@pytest.mark.parametrize(
    ("name", "kind", "retried", "facts_of"),
    [
        ("key-503", ServiceUnavailableError, True, ("", 0, "key", True)),
        ("key-redirect", APIStatusError, False, ("", 0, "key", False)),
        ("key-reset", APIConnectionError, True, ("", 0, "key", True)),
    ],
)
def test_a_key_that_does_not_come_is_asked_for_again_where_that_may_help(
    wire: Wire, prompt_retries: None, name: str, kind: type[NomyoError], retried: bool, facts_of: tuple[Any, ...]
) -> None:
    wire.router.fault(name)
    error = wire.refused(kind, TWICE_MORE)
    assert error_facts(error) == facts_of
    assert (wire.posts, wire.fetches) == ([], 3 if retried else 1)


COVERED: list[Callable[..., None]] = [value for name, value in list(globals().items()) if name.startswith("test_")]


def test_no_fault_is_left_out() -> None:
    named = {"replay", "slow-drip", "endless", "redirect", "gzip", "gzip-bomb", *UNREADABLE}
    for test in COVERED:
        for mark in getattr(test, "pytestmark", []):
            named |= {str(case[0] if isinstance(case, tuple) else case) for case in mark.args[1]}
    elsewhere = {"echo-missing", "processed-at-differs"}  # test_call.py: these answers are handed over
    assert FAULTS.keys() == (named & FAULTS.keys()) | elsewhere
