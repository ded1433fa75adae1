"""What a router accepts on a connection, over real TLS and byte by byte, and how long it waits."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import ssl
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo.router import RouterOptions, RunningRouter
from nomyo.serving import connection
from nomyo.serving.connection import peer_of
from tests.nomyo.router.router_calls import client_of
from tests.nomyo.wire.simple_client import read, request_headers, sealed

OPTIONS = RouterOptions(tpm="none", api_keys=("ours",))

GET = b"GET /pki/public_key HTTP/1.1\r\nHost: localhost\r\n"
POST = "/v1/chat/secure_completion"


@pytest.fixture(scope="module")
def shared_router(server_key: rsa.RSAPrivateKey) -> Iterator[RunningRouter]:
    with RunningRouter(OPTIONS, server_key=server_key) as router:
        yield router


@contextlib.contextmanager
def connected(router: RunningRouter) -> Iterator[ssl.SSLSocket]:
    """A connection with TLS on which nothing was sent."""
    context = ssl.create_default_context(cafile=str(router.ca))
    with tcp(router) as plain, context.wrap_socket(plain, server_hostname="localhost") as secured:
        yield secured


def tcp(router: RunningRouter) -> socket.socket:
    port = urlsplit(router.url).port
    assert port is not None
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def received(connection: socket.socket) -> bytes:
    """Everything until the router closes the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        while piece := connection.recv(65536):
            data += piece
    return data


def response(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one response."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(lines[0].split()[1]), headers, body


def request_head(*, without: str = "", more: tuple[tuple[str, str], ...] = (), length: int = 0) -> bytes:
    """The head of a right request for a completion, with more header fields."""
    fields = {"Host": "localhost", "Authorization": "Bearer ours", "Content-Length": str(length)}
    fields |= {name: value for name, value in request_headers("id-1").items() if value is not None}
    pairs = [(name, value) for name, value in fields.items() if name != without] + [*more]
    return f"POST {POST} HTTP/1.1\r\n".encode() + b"".join(f"{name}: {value}\r\n".encode() for name, value in pairs)


def test_a_right_request_by_hand_is_answered(router: RunningRouter, server_key: rsa.RSAPrivateKey) -> None:
    body = sealed({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}, server_key.public_key())
    with connected(router) as one:
        one.sendall(request_head(length=len(body)) + b"\r\n" + body)
        assert response(one)[0] == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer ours"),
        ("Authorization", "Bearer other"),
        ("authorization", "Bearer ours"),
        ("X-Payload-ID", "id-1"),
        ("X-Payload-ID", "id-2"),
        ("x-payload-id", ""),
        ("X-Public-Key", "x"),
        ("Content-Type", "application/octet-stream"),
    ],
)
def test_a_header_field_that_appears_twice_is_refused(router: RunningRouter, name: str, value: str) -> None:
    with connected(router) as one:
        one.sendall(request_head(more=((name, value),)) + b"\r\n")
        status, headers, body = response(one)
        assert received(one) == b""
    assert status == 400
    assert json.loads(body) == {"detail": f"The header field {name.lower()} appears more than once"}
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"


def test_two_security_tiers_are_refused_even_if_they_are_the_same(router: RunningRouter) -> None:
    for tiers in (("standard", "maximum"), ("high", "high")):
        with connected(router) as one:
            one.sendall(request_head(more=tuple(("X-Security-Tier", tier) for tier in tiers)) + b"\r\n")
            status, _, body = response(one)
        assert (status, json.loads(body)["detail"]) == (400, "The header field x-security-tier appears more than once")


LINES = "A line of the request ends in LF or CR alone; CRLF is required"
FOLDED = "A header field continues on a second line, which is not allowed"
INVALID = "The request is not valid HTTP/1.1"


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        (b"GET /pki/public_key HTTP/1.1\nHost: localhost\r\n\r\n", LINES),
        (b"GET /pki/public_key HTTP/1.1\r\nHost: localhost\n\r\n", LINES),
        (GET + b"X: 1\n\n", LINES),
        (GET + b"X: 1\r\n\n", LINES),
        (GET + b"X: 1\rY: 2\r\n\r\n", LINES),
        (b"\nGET /pki/public_key HTTP/1.1\r\nHost: localhost\r\n\r\n", LINES),
        (GET + b"X: 1\r\n 2\r\n\r\n", FOLDED),
        (GET + b"Authorization: Bearer\r\n\tours\r\n\r\n", FOLDED),
        (b"GET /pki/public_key HTTP/1.1\r\n Host: localhost\r\n\r\n", FOLDED),
        (GET + b"X : 1\r\n\r\n", INVALID),
        (GET + b"X: \x00\r\n\r\n", INVALID),
        (GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", INVALID),
        (GET + b"Host: other\r\n\r\n", INVALID),
        (b"nonsense\r\n\r\n", INVALID),
        (GET + b"X: " + b"x" * 20_000 + b"\r\n\r\n", "The head of the request is larger than 16384 bytes"),
    ],
)
@pytest.mark.parametrize("pieces", [1, 3])
def test_a_request_that_proxies_may_read_otherwise_is_refused(
    router: RunningRouter, sent: bytes, detail: str, pieces: int
) -> None:
    with connected(router) as one:
        size = -(-len(sent) // pieces)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, len(sent), size):
                one.sendall(sent[start : start + size])
                time.sleep(0.02)
        status, headers, body = response(one)
        assert received(one) == b""
    assert (status, json.loads(body)["detail"]) == (400, detail)
    assert headers["connection"] == "close"


@pytest.mark.parametrize(
    "sent",
    [
        request_head(without="Content-Length", more=(("Transfer-Encoding", "chunked"), ("Content-Length", "3"))),
        request_head(without="Content-Length", more=(("Transfer-Encoding", "chunked"),)).replace(b"/1.1", b"/1.0", 1),
    ],
)
def test_transfer_encoding_beside_content_length_or_in_http_1_0_is_refused(router: RunningRouter, sent: bytes) -> None:
    with connected(router) as one:
        one.sendall(sent + b"\r\n0\r\n\r\n")
        status, _, body = response(one)
    assert status == 400
    assert (
        json.loads(body)["detail"] == "Transfer-Encoding is not allowed together with Content-Length, nor in HTTP/1.0"
    )


@pytest.mark.parametrize("end", [b"0\r\n\n", b"0\r\nX: 1\r\n\r\n", b"0\r\nX: 1\n\n", b"0\r\nX: 1\r\n 2\r\n\r\n"])
@pytest.mark.parametrize("split", [False, True])
def test_a_chunked_body_with_trailer_fields_or_bare_lf_is_refused(
    router: RunningRouter, end: bytes, split: bool
) -> None:
    head = request_head(without="Content-Length", more=(("Transfer-Encoding", "chunked"),)) + b"\r\n"
    with connected(router) as one:
        for piece in (head, b"3\r\nabc\r\n", *([end[:3], end[3:]] if split else [end])):
            one.sendall(piece)
            time.sleep(0.02)
        status, _, body = response(one)
    assert status == 400
    assert "chunked body ends in trailer fields or without CRLF" in json.loads(body)["detail"]


@pytest.mark.parametrize(
    "chunks", [b"3\r\nabcXX0\r\n\r\n", b"3\r\nabc\n\n0\r\n\r\n", b"3\nabc\r\n0\r\n\r\n", b"3;a=\n\r\nabc\r\n0\r\n\r\n"]
)
def test_a_chunk_that_proxies_may_read_otherwise_is_refused(router: RunningRouter, chunks: bytes) -> None:
    head = request_head(without="Content-Length", more=(("Transfer-Encoding", "chunked"),)) + b"\r\n"
    with connected(router) as one:
        one.sendall(head + chunks)
        status, _, body = response(one)
    assert (status, json.loads(body)["detail"]) == (400, INVALID)


@pytest.mark.parametrize("together", [True, False])
def test_a_fault_in_a_body_that_the_application_does_not_read_is_no_error_in_the_log(
    router: RunningRouter, caplog: pytest.LogCaptureFixture, together: bool
) -> None:
    caplog.set_level(logging.INFO)
    head = request_head(without="Content-Length", more=(("Transfer-Encoding", "chunked"),)) + b"\r\n"
    chunks = b"3\r\nabcXX0\r\n\r\n"
    # The application answers 400 without reading the body.
    head = head.replace(b"application/octet-stream", b"text/plain")
    with connected(router) as one:
        for piece in [head + chunks] if together else [head, chunks]:
            one.sendall(piece)
        assert response(one)[0] == 400
        received(one)
    time.sleep(0.2)
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []
    assert {record.name for record in caplog.records} == {"nomyo.router"}


def test_a_second_request_on_a_connection_is_as_strict_as_the_first(router: RunningRouter) -> None:
    with connected(router) as one:
        one.sendall(GET + b"\r\n" + GET + b"X: 1\n\n")  # pipelined
        assert response(one)[0] == 200
        assert json.loads(response(one)[2])["detail"] == LINES
    with connected(router) as one:
        one.sendall(GET + b"\r\n")
        assert response(one)[0] == 200
        one.sendall(GET + b"X: 1\r\n 2\r\n\r\n")
        assert json.loads(response(one)[2])["detail"] == FOLDED


# How long a router waits.


@pytest.fixture
def hasty(server_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningRouter]:
    """A router that waits for half a second where others wait for ten and more."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.5)
    with RunningRouter(OPTIONS, server_key=server_key) as router:
        yield router


def test_the_documented_times_and_numbers() -> None:
    assert (connection.HEAD_SECONDS, connection.SILENCE_SECONDS, connection.PEER_IDLE_MAX) == (10, 30, 100)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: lo", GET])
def test_a_connection_without_a_complete_head_is_closed(hasty: RunningRouter, sent: bytes) -> None:
    began = time.monotonic()
    with connected(hasty) as one:
        one.sendall(sent)
        data = received(one)
    assert 0.3 < time.monotonic() - began < 5
    assert data.startswith(b"HTTP/1.1 408 " if sent else b"")
    assert bool(data) is bool(sent)


def test_a_head_that_drips_is_not_waited_for_any_longer(hasty: RunningRouter) -> None:
    began = time.monotonic()
    with connected(hasty) as one, contextlib.suppress(OSError):
        for byte in GET * 20:
            one.sendall(bytes([byte]))
            time.sleep(0.05)
            if time.monotonic() - began > 5:
                pytest.fail("the connection is still open")
    assert time.monotonic() - began < 5


def test_a_peer_that_does_not_begin_tls_is_closed(hasty: RunningRouter) -> None:
    began = time.monotonic()
    with tcp(hasty) as one:
        assert received(one) == b""
    assert 0.3 < time.monotonic() - began < 5


def test_a_body_that_does_not_come_is_a_408(hasty: RunningRouter) -> None:
    with connected(hasty) as one:
        one.sendall(request_head(length=1000) + b"\r\na beginning")
        status, headers, body = response(one)
        assert received(one) == b""
    assert (status, json.loads(body)["detail"]) == (408, "The request did not arrive in time")
    assert headers["connection"] == "close"


def test_a_body_that_comes_slowly_is_waited_for(hasty: RunningRouter, server_key: rsa.RSAPrivateKey) -> None:
    body = sealed({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}, server_key.public_key())
    with connected(hasty) as one:
        one.sendall(request_head(length=len(body)) + b"\r\n")
        for start in range(0, len(body), 400):
            one.sendall(body[start : start + 400])
            time.sleep(0.2)
        assert response(one)[0] == 200


def long_request(server_key: rsa.RSAPrivateKey) -> bytes:
    """A request whose response, an echo of it, has 4 MB: more than the buffers of both systems hold."""
    content = "x" * 4_000_000
    body = sealed({"model": "m", "messages": [{"role": "user", "content": content}]}, server_key.public_key())
    return request_head(length=len(body)) + b"\r\n" + body


def test_a_response_that_is_not_read_is_given_up(
    hasty: RunningRouter, server_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STALLED_SECONDS", 0.5)
    with connected(hasty) as one:
        one.sendall(long_request(server_key))
        until = time.monotonic() + 60
        while not hasty.counts.responses:
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(2)
        with contextlib.suppress(OSError):
            assert len(received(one)) < 4_000_000


@pytest.mark.slow
def test_a_response_that_is_read_slowly_arrives(
    hasty: RunningRouter, server_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STALLED_SECONDS", 5.0)
    with connected(hasty) as one:
        one.sendall(long_request(server_key))
        data = one.recv(65536)
        length = int(
            next(line for line in data.lower().split(b"\r\n") if line.startswith(b"content-length")).split()[1]
        )
        began = time.monotonic()
        while len(data) < length:
            part = one.recv(65536)
            assert part, "the response broke off"
            data += part
            time.sleep(0.05)
        assert time.monotonic() - began > 6


def test_a_body_that_never_ends_is_a_408(hasty: RunningRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BODY_SECONDS", 1.0)
    began = time.monotonic()
    with connected(hasty) as one, contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
        one.sendall(request_head(length=1000) + b"\r\n")
        for _ in range(100):
            one.sendall(b"x")
            time.sleep(0.1)
    assert time.monotonic() - began < 5


def test_a_connection_that_made_a_request_is_kept(hasty: RunningRouter) -> None:
    with client_of(hasty) as client:
        read(client.call(headers={"Authorization": "Bearer ours"}))
        time.sleep(1.2)
        read(client.call(headers={"Authorization": "Bearer ours"}))
        assert hasty.counts.connections == 1


@pytest.mark.parametrize("secured", [True, False])
def test_idle_connections_of_one_peer_are_bounded_and_the_longest_idle_one_is_closed(
    router: RunningRouter, monkeypatch: pytest.MonkeyPatch, secured: bool
) -> None:
    monkeypatch.setattr(connection, "PEER_IDLE_MAX", 5)
    with contextlib.ExitStack() as stack:
        opened: list[socket.socket] = []
        for _ in range(8):
            opened.append(stack.enter_context(connected(router) if secured else tcp(router)))
            time.sleep(0.05)
        for one in opened[:3]:
            assert received(one) == b""
        for one in opened[3:]:
            one.settimeout(0.2)
            with pytest.raises(TimeoutError):
                one.recv(1)
        with client_of(router) as client:  # which closes one more
            read(client.call(headers={"Authorization": "Bearer ours"}))


def test_connections_with_a_request_in_progress_are_not_counted(
    router: RunningRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PEER_IDLE_MAX", 2)
    with contextlib.ExitStack() as stack:
        busy = []
        for _ in range(5):
            one = stack.enter_context(connected(router))
            one.sendall(request_head(length=10) + b"\r\n")
            time.sleep(0.05)
            busy.append(one)
        for one in busy:
            one.sendall(b"0123456789")
            assert response(one)[0] == 400  # no package


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("2001:db8::1", 1, 0, 0), "2001:db8::/64"),
        (("2001:db8::2%eth0", 1, 0, 0), "2001:db8::/64"),
        (("::ffff:192.0.2.1", 1, 0, 0), "192.0.2.1"),
        ("", ""),
    ],
)
def test_a_peer_is_an_ipv4_address_or_a_64_of_ipv6(address: object, peer: str) -> None:
    assert peer_of(address) == peer
