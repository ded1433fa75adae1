"""HTTP over real sockets: what is read, what is refused, and what is told of each way in which a connection fails."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nomyo import APIConnectionError, APITimeoutError, ArgumentError, NomyoError, ResponseError, ResponseTooLargeError
from nomyo import transport as transport_module
from nomyo.status import BODY_MAX
from nomyo.transport import Reply, Transport
from tests.nomyo.client_calls import API_KEY, Wire, run
from tests.nomyo.wire.loopback import Connection, Loopback
from tests.nomyo.wire.plain_router import KEY_PATH, POST_PATH
from tests.nomyo.wire.plain_router import Reply as Answer
from tests.nomyo.wire.proxy import At, Behavior, Proxy

HEADERS = {"X-Payload-ID": "an-id", "Content-Type": "application/octet-stream", "Authorization": f"Bearer {API_KEY}"}


async def get(url: str, most: int = 1 << 20) -> Reply:
    transport = Transport()
    try:
        return await transport.get(url, maximum=most)
    finally:
        await transport.aclose()


async def post(url: str, body: bytes = b"{}", headers: dict[str, str] | None = None) -> Reply:
    transport = Transport(origin=("https", "localhost", 443))
    try:
        return await transport.post(url, HEADERS if headers is None else headers, body)
    finally:
        await transport.aclose()


def failure(work: Any, kind: type[NomyoError] = APIConnectionError) -> Any:
    with pytest.raises(kind) as caught:
        run(work)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is caught.value.__context__ is None
    return caught.value


@contextmanager
def raw_server(answer: bytes, *, reads: bool = True) -> Iterator[int]:
    """A server that says these bytes to whoever comes, whatever is asked, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            with accepted:
                if reads:
                    accepted.recv(1 << 16)
                accepted.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def test_a_reply_is_status_headers_in_lower_case_and_body(wire: Wire) -> None:
    wire.router.answer(Answer(418, [("X-Some", "Ä"), ("x-some", "b"), ("X-Empty", "")], b"short"), on="GET")
    reply = run(get(wire.router.url + KEY_PATH))
    assert (reply.status, reply.body) == (418, b"short")
    assert reply.headers["x-some"].endswith(", b")
    assert reply.headers["x-empty"] == ""
    assert list(reply.headers) == [name.lower() for name in reply.headers]


def test_a_redirect_is_an_answer_like_any_other_and_the_key_goes_nowhere(wire: Wire) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        location = f"https://localhost:{elsewhere.getsockname()[1]}{POST_PATH}"
        wire.router.answer(*[Answer(status, [("Location", location)], b"") for status in (301, 302, 303, 307, 308)])
        replies = [run(post(wire.router.url + POST_PATH)).status for _ in range(5)]
        elsewhere.settimeout(0.1)
        with pytest.raises(TimeoutError):
            elsewhere.accept()
    assert replies == [301, 302, 303, 307, 308]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "GZIP", "x"])
def test_a_200_in_an_encoding_nobody_asked_for_is_refused_unread(wire: Wire, coding: str) -> None:
    wire.router.answer(Answer(headers=[("Content-Encoding", coding)], body=b"\x1f\x8b\x08"), on="GET")
    assert failure(get(wire.router.url + KEY_PATH), ResponseError).code == "response_unreadable"


def test_identity_may_be_said_aloud(wire: Wire) -> None:
    wire.router.answer(Answer(headers=[("Content-Encoding", "Identity")], body=b"as it is"), on="GET")
    assert run(get(wire.router.url + KEY_PATH)).body == b"as it is"


def test_an_error_in_an_encoding_nobody_asked_for_has_no_body(wire: Wire) -> None:
    wire.router.answer(Answer(500, [("Content-Encoding", "gzip")], b"\x1f\x8b\x08"), on="GET")
    assert run(get(wire.router.url + KEY_PATH)).body == b""


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize(("size", "taken"), [(1000, True), (1001, False), (100_000, False)])
def test_an_answer_is_read_up_to_the_cap(wire: Wire, chunked: bool, size: int, taken: bool) -> None:
    wire.router.answer(Answer(body=b"x" * size, chunked=chunked), on="GET")
    if taken:
        assert len(run(get(wire.router.url + KEY_PATH, 1000)).body) == size
    else:
        error = failure(get(wire.router.url + KEY_PATH, 1000), ResponseTooLargeError)
        assert error.limit == 1000 < error.found <= size
        assert f"{error.found}{' or more' * chunked} bytes long; the limit is 1000 bytes" in str(error)


def test_an_answer_that_says_it_is_too_large_is_not_read(wire: Wire) -> None:
    wire.router.answer(Answer(body=b"x" * 1001, drip=(1, 0.5)), on="GET")
    assert failure(get(wire.router.url + KEY_PATH, 1000), ResponseTooLargeError).found == 1001


@pytest.mark.parametrize("size", [BODY_MAX, BODY_MAX + 1, 1 << 20])
def test_of_an_error_the_beginning_is_read(wire: Wire, size: int) -> None:
    wire.router.answer(Answer(503, body=b"x" * size), on="GET")
    assert run(get(wire.router.url + KEY_PATH)).body == b"x" * BODY_MAX


def test_of_an_error_that_breaks_off_what_came_is_told(wire: Wire) -> None:
    wire.router.answer(Answer(503, body=b"starting up, please wait", truncate_at=11), on="GET")
    reply = run(get(wire.router.url + KEY_PATH))
    assert (reply.status, reply.body) == (503, b"starting up")


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_000_000])
def test_a_body_arrives_whole_with_its_length_told(wire: Wire, size: int) -> None:
    run(post(wire.router.url + POST_PATH, b"y" * size))
    (request,) = wire.router.posts
    assert request.body == b"y" * size
    assert request.header("Content-Length") == str(size)


def test_nobody_listens(wire: Wire) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(post(f"https://localhost:{port}/"))
    assert (error.retryable, error.maybe_processed) == (True, False)


def test_a_host_that_does_not_exist() -> None:
    error = failure(post("https://no-such-host.invalid/"))
    assert (error.retryable, error.maybe_processed) == (True, False)


def test_a_certificate_of_somebody_else_is_no_connection_and_trying_again_is_no_use(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    error = failure(post(wire.router.url + POST_PATH))
    assert "certificate does not verify" in str(error)
    assert "SSL_CERT_FILE" in str(error)
    assert (error.retryable, error.maybe_processed) == (False, False)
    assert wire.router.requests == []


class Mute(Loopback):
    async def serve(self, connection: Connection) -> None:
        await connection.reader.read()


def test_a_certificate_for_another_name_does_not_verify(wire: Wire) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    wire.router.authority.issue_cert("elsewhere.example").configure_cert(context)
    with Mute(context) as server:
        error = failure(post(f"https://localhost:{server.port}/"))
    assert "certificate does not verify" in str(error)
    assert error.retryable is False


def test_certificates_that_cannot_be_loaded_are_an_argument_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    transport = Transport()
    for _ in range(2):
        with pytest.raises(ArgumentError, match="SSL_CERT_FILE"):
            run(transport.get("https://localhost:1/", maximum=9))


def test_a_server_without_tls(wire: Wire) -> None:
    with raw_server(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as port:
        error = failure(post(f"https://localhost:{port}/"))
    assert (error.retryable, error.maybe_processed) == (True, False)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
    ],
    ids=["nothing", "a-line", "half-a-body", "half-a-chunk", "no-length", "another-protocol", "no-header", "endless"],
)
def test_what_is_no_http_is_a_broken_connection(answer: bytes) -> None:
    with raw_server(answer) as port:
        error = failure(post(f"http://localhost:{port}/"))
    assert (error.retryable, error.maybe_processed) == (True, True)


@pytest.mark.parametrize("form", [b"HTTP/1.1 %b\r\n\r\n", b"HTTP/1.1 200 OK\r\n%b\r\n\r\n", b"%b HTTP/1.1\r\n\r\n"])
def test_a_line_that_is_no_http_is_not_quoted(form: bytes) -> None:
    with raw_server(form % API_KEY.encode()) as port:
        error = failure(post(f"http://localhost:{port}/"))
    assert API_KEY not in str(error)
    assert API_KEY not in repr(error)


@pytest.mark.parametrize("at", [At(40, 1), At(8000, 1)], ids=["head", "body"])
def test_a_flipped_bit_amid_an_answer_is_a_broken_connection(wire: Wire, at: At) -> None:
    wire.router.answer(Answer(body=b"x" * 65_536), on="GET")
    with Proxy("localhost", wire.router.port) as proxy:
        proxy.behave(Behavior(flip_down=at))
        error = failure(get(proxy.url + KEY_PATH))
    assert (error.retryable, error.maybe_processed) == (True, True)


def test_of_an_error_whose_body_is_tampered_on_the_way_the_status_is_told(wire: Wire) -> None:
    wire.router.answer(Answer(503, body=b"x" * 65_536), on="GET")
    with Proxy("localhost", wire.router.port) as proxy:
        proxy.behave(Behavior(flip_down=At(40_000, 1)))
        assert run(get(proxy.url + KEY_PATH)).status == 503


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_that_refuses_has_seen_nothing_of_the_request(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with raw_server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as port:
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        error = failure(post(wire.router.url + POST_PATH))
    assert error.maybe_processed is False
    assert wire.router.connections == 0


def test_a_connection_that_is_not_made_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and says nothing of TLS
        error = failure(post(f"https://localhost:{silent.getsockname()[1]}/"), APITimeoutError)
    assert (error.retryable, error.maybe_processed) == (True, False)
    assert isinstance(error, TimeoutError)
