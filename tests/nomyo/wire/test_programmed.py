from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.nomyo.wire.plain_router import PlainRouter, Recorded, Reply, error, limited
from tests.nomyo.wire.simple_client import CONNECTION_LOST, Client, ClientResponse, read, was_reset


def detail(answer: ClientResponse) -> Any:
    return json.loads(answer.body)["detail"]


def test_programmed_answers_come_in_their_order_and_then_the_right_one(router: PlainRouter, client: Client) -> None:
    router.answer(error(500, "out of order"), None, Reply(503))
    answers = [client.call() for _ in range(4)]
    assert [each.status for each in answers] == [500, 200, 503, 200]
    assert detail(answers[0]) == "out of order"
    read(answers[1])
    read(answers[3])


def test_a_callable_answers_every_request_until_mended(router: PlainRouter, client: Client) -> None:
    router.answer(lambda request: error(418, request.plaintext))
    assert [detail(client.call({"a": n})) for n in range(2)] == [{"a": 0}, {"a": 1}]
    router.reset_faults()
    read(client.call())


def test_the_key_path_is_programmed_by_itself(router: PlainRouter, client: Client) -> None:
    router.answer(Reply(503), on="GET")
    assert client.send("GET", "/pki/public_key").read() == b'{"detail": "Programmed: 503"}'
    read(client.call())


def test_a_reply_may_be_late(router: PlainRouter, client: Client) -> None:
    router.answer(Reply(delay=0.3))
    before = time.monotonic()
    read(client.call())
    assert time.monotonic() - before > 0.3


def test_a_late_reply_keeps_nobody_else_waiting(router: PlainRouter, client: Client) -> None:
    router.answer(Reply(delay=1.5))
    with Client(router.port, router.ca) as other:
        slow = threading.Thread(target=lambda: client.call(key=router.private_key.public_key()))
        slow.start()
        while not router.posts:
            time.sleep(0.01)
        before = time.monotonic()
        read(other.call())
        assert time.monotonic() - before < 1.0
        slow.join()


def test_a_refused_request_is_refused_in_the_programmed_way(router: PlainRouter, client: Client) -> None:
    router.answer(Reply(delay=0.1, headers=[("X-More", "1")]))
    answer = client.call(headers={"X-Payload-ID": None})
    assert (answer.status, answer.headers["X-More"]) == (400, "1")


def test_a_reply_may_be_chunked_or_the_last_one(router: PlainRouter, client: Client) -> None:
    router.answer(Reply(chunked=True), Reply(close=True))
    answers = [client.call(), client.call()]
    assert [read(each)["model"] for each in answers] == ["m", "m"]
    assert answers[0].headers["Transfer-Encoding"] == "chunked"
    assert answers[1].headers["Connection"] == "close"
    read(client.call())
    assert router.connections == 2


def test_retry_after_has_three_forms(router: PlainRouter, client: Client) -> None:
    router.answer(limited(), limited(7), limited(90, "date"), limited(0.25, "ms"))
    bare, seconds, date, milliseconds = [client.call() for _ in range(4)]
    assert [each.status for each in (bare, seconds, date, milliseconds)] == [429] * 4
    assert not {"Retry-After", "retry-after-ms"} & set(bare.headers)
    assert seconds.headers["Retry-After"] == "7"
    assert 80 < parsedate_to_datetime(date.headers["Retry-After"]).timestamp() - time.time() <= 90
    assert milliseconds.headers["retry-after-ms"] == "250"


def test_open_connections_may_be_closed_between_requests(router: PlainRouter, client: Client) -> None:
    read(client.call())
    router.disconnect()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError, ssl.SSLError)):
        client.call()
    client.connection.close()
    read(client.call())


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize(("name", "completions"), [("reset-before", 0), ("reset-after", 1)])
def test_a_reset_comes_before_or_after_processing(name: str, completions: int, tls: bool) -> None:
    completed: list[str] = []

    def complete(payload: dict[str, Any], payload_id: str) -> dict[str, Any]:
        completed.append(payload_id)
        return {}

    with PlainRouter(tls=tls) as router, Client(router.port, router.ca if tls else None) as client:
        router.complete = complete
        router.fault(name)
        with pytest.raises(CONNECTION_LOST) as caught:
            client.call()
    assert tls or was_reset(caught.value)
    assert completed == [router.posts[0].payload_id] * completions
    assert router.posts[0].status == 0


def test_a_mistake_in_a_tests_callable_fails_the_test() -> None:
    def mistaken(request: Recorded) -> Reply:
        raise LookupError("mistaken")

    def test() -> None:
        with PlainRouter() as router, Client(router.port, router.ca) as client:
            router.answer(mistaken)
            with pytest.raises(OSError):  # noqa: PT011 - a lost connection has many kinds
                client.call()

    with pytest.raises(LookupError, match="mistaken"):
        test()


def test_a_mistake_in_a_tests_callable_is_told_beside_the_tests_own_failure() -> None:
    def mistaken(request: Recorded) -> Reply:
        raise LookupError("mistaken")

    def test() -> None:
        with PlainRouter() as router, Client(router.port, router.ca) as client:
            router.answer(mistaken)
            client.call()

    with pytest.raises(OSError) as caught:  # noqa: PT011 - a lost connection has many kinds
        test()
    assert caught.value.__notes__ == ["In the thread of PlainRouter: LookupError('mistaken')"]
