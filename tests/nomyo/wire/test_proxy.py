from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from tests.nomyo.wire.plain_router import PlainRouter, Reply
from tests.nomyo.wire.proxy import At, Behavior, Drip, Proxy
from tests.nomyo.wire.simple_client import CONNECTION_LOST, Client, ClientResponse, read, was_reset


@pytest.fixture(params=["TLSv1_3", "TLSv1_2"])
def proxy(request: pytest.FixtureRequest, router: PlainRouter) -> Iterator[Proxy]:
    assert router.context is not None
    router.context.maximum_version = ssl.TLSVersion[request.param]
    with Proxy("localhost", router.port) as proxy:
        yield proxy


@pytest.fixture
def through(router: PlainRouter, proxy: Proxy) -> Iterator[Client]:
    with Client(proxy.port, router.ca) as client:
        yield client


@pytest.fixture
def call(router: PlainRouter, through: Client) -> Callable[[], ClientResponse]:
    """A POST alone: the first request of its connection."""
    return lambda: through.call(key=router.private_key.public_key())


def until(condition: Callable[[], object]) -> bool:
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_everything_passes_as_it_is(router: PlainRouter, proxy: Proxy, through: Client) -> None:
    for _ in range(2):
        read(through.call({"messages": [{"content": "long " * 200_000}]}))
    assert proxy.connections == router.connections == 1


@pytest.mark.parametrize("arrived", ["before", "after", "during"])
def test_http_without_tls_passes_too_and_a_reset_is_an_rst(arrived: Literal["before", "after", "during"]) -> None:
    with PlainRouter(tls=False) as router, Proxy("localhost", router.port) as proxy, Client(proxy.port, None) as client:
        proxy.behave(Behavior(reset=arrived, request=2, reset_at=30))
        key = router.private_key.public_key()
        read(client.call(key=key))
        with pytest.raises(ConnectionError) as caught:
            client.call(key=key)
        assert was_reset(caught.value)
        assert [post.status for post in router.posts] == [200] * (1 if arrived == "before" else 2)


def test_a_delay_is_that_of_a_path(proxy: Proxy, router: PlainRouter, call: Callable[[], ClientResponse]) -> None:
    trip = 0.1
    proxy.default = Behavior(delay_ms=50)
    laps = []
    for _ in range(4):
        begun = time.monotonic()
        call()
        laps.append(time.monotonic() - begun)
    assert trip < min(laps) < 2 * trip
    assert router.context is not None
    # TCP costs a round trip before the request can go; TLS 1.3 another one, TLS 1.2 two.
    trips = 4 if router.context.maximum_version == ssl.TLSVersion.TLSv1_2 else 3
    assert laps[0] > trips * trip


def test_a_new_connection_costs_a_round_trip_where_there_is_no_tls() -> None:
    with PlainRouter(tls=False) as router, Proxy("localhost", router.port) as proxy, Client(proxy.port, None) as client:
        proxy.default = Behavior(delay_ms=50)
        begun = time.monotonic()
        client.key_document()
        assert time.monotonic() - begun > 0.2


def test_a_delay_does_not_limit_how_much_is_under_way(proxy: Proxy, router: PlainRouter, through: Client) -> None:
    proxy.default = Behavior(delay_ms=100)
    key = router.private_key.public_key()
    through.call(key=key)
    router.answer(Reply(body=bytes(8 << 20)))
    begun = time.monotonic()
    assert len(through.call(key=key).body) == 8 << 20
    assert time.monotonic() - begun < 1.5  # 128 pieces of 64 KiB, one after the other, would take 12 s


def test_a_reset_on_accept_reaches_no_server() -> None:
    # Without TLS: Python 3.11 leaves a socket open where the RST comes before its handshake begins.
    with PlainRouter(tls=False) as router, Proxy("localhost", router.port) as proxy, Client(proxy.port, None) as client:
        proxy.behave(Behavior(reset="accept"))
        with pytest.raises(ConnectionError) as caught:
            client.key_document()
        assert was_reset(caught.value)
        assert (proxy.connections, router.connections) == (1, 0)
        client.connection.close()
        read(client.call())


def test_a_reset_before_the_request_comes_after_the_handshake(
    router: PlainRouter, proxy: Proxy, call: Callable[[], ClientResponse]
) -> None:
    proxy.behave(Behavior(reset="before"))
    with pytest.raises(CONNECTION_LOST):
        call()
    assert router.connections == 1
    assert router.requests == []


@pytest.mark.parametrize("reset", ["after", "during"])
def test_a_reset_after_or_during_the_answer_comes_when_all_is_done(
    router: PlainRouter, proxy: Proxy, call: Callable[[], ClientResponse], reset: str
) -> None:
    proxy.behave(Behavior(reset="after" if reset == "after" else "during"))
    router.answer(Reply(delay=0.3))
    begun = time.monotonic()
    with pytest.raises(CONNECTION_LOST):
        call()
    assert time.monotonic() - begun > 0.3  # no other record of the server was taken for its answer
    assert [post.status for post in router.posts] == [200]


@pytest.mark.parametrize(("reset", "arrived"), [("before", 1), ("after", 2)])
def test_a_reset_may_mean_the_second_request(
    router: PlainRouter, proxy: Proxy, through: Client, reset: str, arrived: int
) -> None:
    proxy.behave(Behavior(reset="before" if reset == "before" else "after", request=2))
    with pytest.raises(CONNECTION_LOST):
        through.call()
    assert [each.method for each in router.requests] == ["GET", "POST"][:arrived]


@pytest.mark.parametrize(
    "behavior",
    [
        Behavior(cut_up=100),
        Behavior(cut_down=100),
        Behavior(cut_up=At(0, request=1)),
        Behavior(cut_up=At(300, request=1)),
        Behavior(cut_down=At(0, request=1)),
        Behavior(cut_down=At(300, request=1)),
    ],
)
def test_a_connection_may_be_cut_at_a_byte(
    router: PlainRouter, proxy: Proxy, call: Callable[[], ClientResponse], behavior: Behavior
) -> None:
    proxy.behave(behavior)
    with pytest.raises(CONNECTION_LOST):
        call()
    assert len(router.posts) == (1 if isinstance(behavior.cut_down, At) else 0)


@pytest.mark.parametrize("n", [0, 100, 2000])
def test_exactly_so_many_bytes_come_before_a_cut(n: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Proxy(*listener.getsockname()) as proxy:
        proxy.behave(Behavior(cut_down=n))
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.sendall(b"x")
            server, _ = listener.accept()
            with server:
                server.sendall(bytes(3000))
                received = b""
                while part := client.recv(1 << 16):
                    received += part
    assert len(received) == n


@pytest.mark.parametrize(
    ("behavior", "up", "down"),
    [
        (Behavior(), b"question", b"answer"),
        (Behavior(flip_up=0), b"puestion", b"answer"),
        (Behavior(flip_up=2, flip_down=5), b"qudstion", b"answes"),
    ],
)
def test_one_bit_of_one_byte_is_another(behavior: Behavior, up: bytes, down: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Proxy(*listener.getsockname()) as proxy:
        proxy.behave(behavior)
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.sendall(b"question")
            server, _ = listener.accept()
            with server:
                server.sendall(b"answer")
                assert server.recv(8, socket.MSG_WAITALL) == up
                assert client.recv(6, socket.MSG_WAITALL) == down


def test_a_flipped_bit_of_an_answer_is_an_alarm_of_tls(
    router: PlainRouter, proxy: Proxy, call: Callable[[], ClientResponse]
) -> None:
    proxy.behave(Behavior(flip_down=At(200, request=1)))
    with pytest.raises(ssl.SSLError, match=r"(?i)bad record mac"):
        call()
    assert len(router.posts) == 1


def test_a_flipped_bit_of_a_request_never_reaches_the_server(
    router: PlainRouter, proxy: Proxy, call: Callable[[], ClientResponse]
) -> None:
    proxy.behave(Behavior(flip_up=At(200, request=1)))
    with pytest.raises((ssl.SSLError, *CONNECTION_LOST)):
        call()
    assert router.posts == []


@pytest.mark.parametrize(
    ("behavior", "arrived"),
    [(Behavior(stall_up=At(100, request=1)), 0), (Behavior(stall_down=At(100, request=1)), 1)],
)
def test_a_stall_keeps_the_connection_and_passes_nothing(
    router: PlainRouter,
    proxy: Proxy,
    through: Client,
    call: Callable[[], ClientResponse],
    behavior: Behavior,
    arrived: int,
) -> None:
    proxy.behave(behavior)
    through.connection.timeout = 0.5
    with pytest.raises(TimeoutError):
        call()
    assert len(router.posts) == arrived


def test_an_answer_may_drip(router: PlainRouter, proxy: Proxy, call: Callable[[], ClientResponse]) -> None:
    proxy.default = Behavior(drip_down=Drip(500, 0.1, request=1))
    begun = time.monotonic()
    answer = call()
    read(answer)
    assert time.monotonic() - begun > len(answer.body) / 500 * 0.1 * 0.9


def test_a_request_may_drip(router: PlainRouter, proxy: Proxy, call: Callable[[], ClientResponse]) -> None:
    proxy.default = Behavior(drip_up=Drip(500, 0.1, request=1))
    begun = time.monotonic()
    read(call())
    assert router.posts[0].at - begun > len(router.posts[0].body) / 500 * 0.1 * 0.9


def test_behaviors_are_for_one_connection_each_and_the_default_for_the_rest(router: PlainRouter, proxy: Proxy) -> None:
    proxy.behave(Behavior(reset="before"), Behavior(), Behavior(reset="before"))
    outcomes = []
    for _ in range(4):
        with Client(proxy.port, router.ca) as client:
            try:
                outcomes.append(client.key_document() == router.key_document)
            except CONNECTION_LOST:
                outcomes.append(False)
    assert outcomes == [False, True, False, True]


def test_the_end_of_one_side_is_passed_to_the_other(router: PlainRouter, proxy: Proxy, through: Client) -> None:
    router.answer(Reply(close=True))
    read(through.call())
    assert through.connection.sock is None
    with Client(proxy.port, router.ca) as second:
        second.key_document()
    assert until(lambda: not router.open_connections and not proxy.open_connections)
