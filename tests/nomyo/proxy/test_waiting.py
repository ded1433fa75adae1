"""Streaming requests that wait: keepalive comments, and clients that disconnect."""

from __future__ import annotations

import json
import logging

import pytest

from nomyo.proxy.options import ProxyOptions
from nomyo.proxy.running import RunningProxy
from tests.nomyo.client_calls import PROMPT, Wire
from tests.nomyo.proxy.proxy_calls import JSON, Caller, other_firmware, question, wait_until
from tests.nomyo.wire.plain_router import PlainRouter, Reply

DELAY = 0.5
WAITING = b": waiting\n\n"


@pytest.fixture(scope="module")
def options() -> ProxyOptions:
    """A proxy that sends keepalive comments often."""
    return ProxyOptions(keepalive=0.1)


def test_comments_keep_a_stream_alive_until_the_verified_events(proxy: Caller, router: PlainRouter) -> None:
    router.answer(Reply(delay=DELAY))
    answer = proxy.ask(stream=True)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert (answer.headers["cache-control"], answer.headers["x-should-retry"]) == ("no-store", "false")
    assert answer.body.startswith(WAITING * 2)
    comments, _, events = answer.body.rpartition(WAITING)
    assert set(comments.split(b"\n\n")) <= {b": waiting", b""}
    assert PROMPT.encode() in events
    assert answer.events[0]["choices"][0]["delta"]["content"] == PROMPT
    assert events.endswith(b"data: [DONE]\n\n")


def test_a_refusal_after_a_comment_is_an_event_and_no_part_of_the_completion_is_sent(
    proxy: Caller, router: PlainRouter
) -> None:
    router.attest = other_firmware()
    router.answer(Reply(delay=DELAY))
    answer = proxy.ask(stream=True)
    assert answer.status == 200
    assert answer.body.startswith(WAITING)
    (event,) = answer.events
    assert (event["error"]["code"], event["error"]["failed"]) == ("not_affirmed", ["pcr.values"])
    assert PROMPT.encode() not in answer.body
    assert b"[DONE]" not in answer.body


def test_a_refusal_before_the_first_comment_has_its_own_status(proxy: Caller, router: PlainRouter) -> None:
    router.attest = other_firmware()
    assert proxy.ask(stream=True).status == 403


def test_a_request_without_stream_gets_no_comments(proxy: Caller, router: PlainRouter) -> None:
    router.answer(Reply(delay=DELAY))
    answer = proxy.ask()
    assert answer.document["choices"][0]["message"]["content"] == PROMPT


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_disconnects_cancels_its_call(
    proxy: Caller, router: PlainRouter, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    caplog.set_level(logging.INFO, "nomyo.proxy")
    router.answer(Reply(drip=(1, 0.05)))  # the response would take minutes
    connection = proxy.connection()
    connection.request("POST", "/v1/chat/completions", question(stream=stream), JSON)
    wait_until(lambda: len(router.posts) == 1)
    assert router.open_connections > 0
    connection.close()
    wait_until(lambda: "the client disconnected" in caplog.text)
    wait_until(lambda: router.open_connections == 0)
    (line,) = [record.getMessage() for record in caplog.records if "disconnected" in record.getMessage()]
    assert line.startswith("POST /v1/chat/completions - ")
    assert proxy.ask().status == 200


def test_requests_that_do_not_end_in_the_grace_period_get_an_error_or_an_event(
    shared_wire: Wire, router: PlainRouter
) -> None:
    router.answer(Reply(delay=30), Reply(delay=30))
    with RunningProxy(shared_wire.client(), ProxyOptions(keepalive=0.1)) as running, Caller(running.url) as proxy:
        plain, stream = proxy.connection(), proxy.connection()
        plain.request("POST", "/v1/chat/completions", question(), JSON)
        stream.request("POST", "/v1/chat/completions", question(stream=True), JSON)
        wait_until(lambda: len(router.posts) == 2)
        began = stream.getresponse()
        assert began.read(len(WAITING)) == WAITING
        running.stop(0.1)
        event = began.read().rpartition(b"data: ")[2]
        assert json.loads(event)["error"]["code"] == "shutting_down"
        response = plain.getresponse()
        assert (response.status, json.loads(response.read())["error"]["code"]) == (503, "shutting_down")
