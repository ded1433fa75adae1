"""How a router ends: as a program by signals, and in this process; and what becomes of requests and their clients."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo.router import RouterOptions, RunningRouter
from tests.nomyo.router.openai_server import OpenAIServer, ScriptedReply, completion
from tests.nomyo.router.router_calls import client_of, detail
from tests.nomyo.router.test_serve import program
from tests.nomyo.wire.simple_client import Client, ClientResponse, read, request_headers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")

ENDING = "The router is shutting down; send the request again"
OUT_OF_TIME = "The router is shutting down, and the request was not completed in time; send it again"


class Upstream(OpenAIServer):
    """Responds when a test lets it, to a router with this key pair."""

    def __init__(self, server_key: Path) -> None:
        super().__init__()
        self.server_key = server_key
        self.may_respond = threading.Event()
        self.answer = self._wait

    def _wait(self, asked: Any) -> ScriptedReply:
        self.may_respond.wait(20)
        return completion(asked)

    def arrived(self, count: int = 1) -> None:
        """Wait until so many requests have arrived."""
        wait_until(lambda: len(self.asked) >= count)


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def upstream(server_key_file: Path) -> Iterator[Upstream]:
    with Upstream(server_key_file) as server:
        try:
            yield server
        finally:
            server.may_respond.set()


class Call(threading.Thread):
    """A call in a thread of its own; `answer` is what came of it."""

    def __init__(self, port: int, ca: str) -> None:
        super().__init__(daemon=True)
        self.client = Client(port, ca)
        self.answer: ClientResponse | None = None
        self.start()

    def run(self) -> None:
        with self.client:
            self.answer = self.client.call()

    def result(self) -> ClientResponse:
        self.join(20)
        assert self.answer is not None
        return self.answer


def where(ready: dict[str, Any]) -> tuple[int, str]:
    port = urlsplit(ready["url"]).port
    assert port is not None
    return port, ready["ca"]


def served(upstream: Upstream, *options: str) -> tuple[str, ...]:
    key = ("--server-key", str(upstream.server_key))
    return ("-m", "nomyo.cli", "router", "--tpm", "none", *key, "--upstream", upstream.url, *options)


def test_requests_in_progress_finish_and_new_ones_get_503(upstream: Upstream, tmp_path: Path) -> None:
    with program(*served(upstream), temporary=tmp_path) as (process, ready):
        with Client(*where(ready)) as other:
            other.key_document()
            call = Call(*where(ready))
            upstream.arrived()
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses_connections(where(ready)[0]))
            response = other.send("GET", "/readyz")
            assert response.status == 503
            assert json.loads(response.read()) == {"detail": ENDING}
            assert response.headers["retry-after"] == "5"
            assert response.headers["connection"] == "close"
        upstream.may_respond.set()
        read(call.result())
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "shutting down: 1 request in progress may take 30 s, new ones get 503" in log
    assert "Traceback" not in log
    assert list(tmp_path.iterdir()) == []


def refuses_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_post_on_an_open_connection_gets_503_while_the_router_ends(upstream: Upstream, tmp_path: Path) -> None:
    with program(*served(upstream), temporary=tmp_path) as (process, ready):
        with Client(*where(ready)) as other:
            other.key_document()
            call = Call(*where(ready))
            upstream.arrived()
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses_connections(where(ready)[0]))
            answer = other.send("POST", "/v1/chat/secure_completion", {"X-Payload-ID": "late"}, b"x" * 5_000_000)
            assert answer.status == 503
            assert json.loads(answer.read()) == {"detail": ENDING}
        upstream.may_respond.set()
        read(call.result())
        _, log = process.communicate(timeout=20)
    assert "secure_completion 503 " in log
    assert 'id="late"' in log


def test_a_request_that_does_not_finish_in_time_gets_503(upstream: Upstream, tmp_path: Path) -> None:
    with program(*served(upstream, "--grace", "0.5"), temporary=tmp_path) as (process, ready):
        call = Call(*where(ready))
        upstream.arrived()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        answer = call.result()
        _, log = process.communicate(timeout=20)
    assert 0.4 < time.monotonic() - began < 10
    assert (answer.status, detail(answer)) == (503, OUT_OF_TIME)
    assert answer.headers["retry-after"] == "5"
    assert process.returncode == 0
    assert "shutting down: 1 request did not finish in time" in log
    assert "Traceback" not in log
    assert "Exception" not in log


def test_a_second_signal_ends_the_time_of_grace(upstream: Upstream, tmp_path: Path) -> None:
    with program(*served(upstream), temporary=tmp_path) as (process, ready):
        call = Call(*where(ready))
        upstream.arrived()
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses_connections(where(ready)[0]))
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert call.result().status == 503
        process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 0


def test_without_requests_in_progress_it_ends_at_once(tmp_path: Path) -> None:
    arguments = ("-m", "nomyo.cli", "router", "--tpm", "none")
    with program(*arguments, temporary=tmp_path) as (process, ready), Client(*where(ready)) as client:
        read(client.call())
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert time.monotonic() - began < 5
        assert process.returncode == 0


def test_a_request_that_is_still_arriving_at_the_end_gets_503(server_key: rsa.RSAPrivateKey) -> None:
    with RunningRouter(RouterOptions(tpm="none"), server_key=server_key) as router, client_of(router) as client:
        client.connection.putrequest("POST", "/v1/chat/secure_completion")
        for name, value in {"Content-Length": "1000", **request_headers("slow")}.items():
            assert value is not None
            client.connection.putheader(name, value)
        client.connection.endheaders(b"a beginning")
        time.sleep(0.2)
        stopping = threading.Thread(target=router.stop, args=(0.3,))
        stopping.start()
        response = client.connection.getresponse()
        assert (response.status, json.loads(response.read())) == (503, {"detail": OUT_OF_TIME})
        stopping.join()


def test_probes_of_an_orchestrator(server_key: rsa.RSAPrivateKey, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nomyo.router")
    options = RouterOptions(tpm="none", api_keys=("ours",), rate_limit=True)
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
        for path, status in (("/healthz", "ok"), ("/readyz", "ready")) * 5:
            response = client.send("GET", path)
            assert (response.status, json.loads(response.read())) == (200, {"status": status})
        router._running.draining = True
        ready = client.send("GET", "/readyz")
        assert (ready.status, json.loads(ready.read())) == (503, {"detail": ENDING})
        healthy = client.send("GET", "/healthz")
        assert (healthy.status, healthy.read()) == (200, b'{"status":"ok"}')
    assert [record.getMessage().split(" ")[1:3] for record in caplog.records] == [["/readyz", "503"]]


# Clients that go away.


def test_a_client_that_goes_away_ends_the_request_to_the_upstream(
    server_key: rsa.RSAPrivateKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nomyo.router")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        with RunningRouter(RouterOptions(tpm="none", upstream=url), server_key=server_key) as router:
            call = Abandoned(router)
            upstream, _ = listener.accept()
            with upstream:
                upstream.settimeout(10)
                assert upstream.recv(65536).startswith(b"POST /v1/chat/completions ")
                call.abandon()
                while upstream.recv(65536):  # the rest of the request; then the end
                    pass
            wait_until(lambda: any("the client disconnected" in record.getMessage() for record in caplog.records))
    (line,) = [record.getMessage() for record in caplog.records if "secure_completion" in record.getMessage()]
    assert line.startswith("POST /v1/chat/secure_completion - ")


def test_a_client_that_goes_away_while_it_waits_leaves_its_place(
    server_key: rsa.RSAPrivateKey, upstream: Upstream
) -> None:
    options = RouterOptions(tpm="none", upstream=upstream.url, upstream_concurrency=1)
    with RunningRouter(options, server_key=server_key) as router:
        port, ca = where({"url": router.url, "ca": str(router.ca)})
        first = Call(port, ca)
        upstream.arrived()
        waiting = Abandoned(router)
        wait_until(lambda: router.counts.posts == 2)
        last = Call(port, ca)
        wait_until(lambda: router.counts.posts == 3)
        waiting.abandon()
        time.sleep(0.2)
        assert len(upstream.asked) == 1
        upstream.may_respond.set()
        for one in (first, last):
            read(one.result())
    assert len(upstream.asked) == 2


class Abandoned:
    """A call whose client does not wait for the response."""

    def __init__(self, router: RunningRouter) -> None:
        self._client = client_of(router)
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    def _call(self) -> None:
        with contextlib.suppress(OSError, AttributeError, ValueError):
            self._client.call()

    def abandon(self) -> None:
        """Close the connection."""
        wire = self._client.connection.sock
        assert wire is not None
        wire.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._client.connection.close()


def test_the_upstream_gets_no_more_requests_at_a_time_than_allowed(
    server_key: rsa.RSAPrivateKey, upstream: Upstream
) -> None:
    options = RouterOptions(tpm="none", upstream=upstream.url, upstream_concurrency=2)
    with RunningRouter(options, server_key=server_key) as router:
        port, ca = where({"url": router.url, "ca": str(router.ca)})
        calls = [Call(port, ca) for _ in range(5)]
        upstream.arrived(2)
        wait_until(lambda: router.counts.posts == 5)
        time.sleep(0.3)
        assert len(upstream.asked) == 2
        upstream.may_respond.set()
        for call in calls:
            read(call.result())


def test_a_request_that_finds_no_place_at_the_upstream_in_time_gets_503(
    server_key: rsa.RSAPrivateKey, upstream: Upstream
) -> None:
    options = RouterOptions(tpm="none", upstream=upstream.url, upstream_concurrency=1, upstream_timeout=1.0)
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
        port, ca = where({"url": router.url, "ca": str(router.ca)})
        first = Call(port, ca)
        upstream.arrived()
        time.sleep(0.3)  # so that the second still waits for a place when the first gives up its own
        second = Call(port, ca)
        wait_until(lambda: router.counts.posts == 2)
        time.sleep(0.1)
        last = client.call()  # would have to wait for the first and for the second
        assert (last.status, detail(last)) == (503, "The inference server is busy")
        assert last.headers["retry-after"] == "5"
        assert [first.result().status, second.result().status] == [504, 504]
