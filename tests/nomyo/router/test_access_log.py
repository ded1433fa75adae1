"""The router's log: one line for each request, in text and in JSON, with nothing that could forge a line."""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo.router import RouterOptions, RunningRouter
from nomyo.serving.access_log import JSONFormatter, TextFormatter
from tests.nomyo.router.test_connection import connected, request_head, response
from tests.nomyo.router.test_serve import program, use
from tests.nomyo.wire.simple_client import Client


@pytest.fixture(scope="module")
def shared_router(server_key: rsa.RSAPrivateKey) -> Iterator[RunningRouter]:
    with RunningRouter(RouterOptions(tpm="none"), server_key=server_key) as router:
        yield router


class Log:
    """What the router logs: a line is there a moment after the response."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "nomyo.router")
        self._caplog = caplog

    def line(self, number: int = 1) -> logging.LogRecord:
        """The line of one request."""
        until = time.monotonic() + 60
        while len(self._caplog.records) < number:
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(0.02)
        assert len(self._caplog.records) == number
        return self._caplog.records[-1]

    def fields(self, number: int = 1) -> dict[str, object]:
        """Its fields."""
        fields: dict[str, object] = self.line(number).__dict__["access"]
        return fields


@pytest.fixture
def log(router: RunningRouter, caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


def test_an_answered_request_is_logged_with_its_payload_id(
    client: Client, log: Log, server_key: rsa.RSAPrivateKey
) -> None:
    answer = client.call(key=server_key.public_key())
    fields = log.fields()
    assert {name: fields[name] for name in ("method", "path", "status", "payload_id", "client", "detail")} == {
        "method": "POST",
        "path": "/v1/chat/secure_completion",
        "status": 200,
        "payload_id": answer.payload_id,
        "client": "127.0.0.1",
        "detail": None,
    }
    assert re.fullmatch(
        rf'POST /v1/chat/secure_completion 200 \d+ ms id="{answer.payload_id}" client=127\.0\.0\.1',
        log.line().getMessage(),
    )


def test_a_refused_request_is_logged_with_the_reason(client: Client, log: Log) -> None:
    client.send("POST", "/v1/chat/secure_completion", {"X-Payload-ID": "id-1"}, b"").read()
    fields = log.fields()
    assert (fields["status"], fields["payload_id"]) == (400, "id-1")
    assert fields["detail"] == "Content-Type must be application/octet-stream"


def test_an_unknown_path_is_logged_without_its_query(client: Client, log: Log) -> None:
    client.send("GET", "/nothing?key=hunter2").read()
    assert log.fields()["path"] == "/nothing"
    assert "hunter2" not in log.line().getMessage()


def test_a_request_that_never_reached_the_application_is_logged(router: RunningRouter, log: Log) -> None:
    with connected(router) as one:
        one.sendall(request_head(more=(("X-Payload-ID", "id-2"),)) + b"\r\n")
        assert response(one)[0] == 400
    fields = log.fields()
    assert (fields["method"], fields["path"], fields["status"]) == ("POST", "/v1/chat/secure_completion", 400)
    assert fields["detail"] == "The header field x-payload-id appears more than once"
    with connected(router) as one:
        one.sendall(b"GET / HTTP/1.1\nHost: localhost\n\n")
        assert response(one)[0] == 400
    assert (log.fields(2)["method"], log.fields(2)["status"]) == (None, 400)


HOSTILE = [
    'x" client=198.51.100.7 detail="forged',
    "\u009b31mred",
    "x" * 5000,
    "::error::forged",
    "##vso[task.complete result=Succeeded]",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_payload_id_forges_no_line_and_no_field(client: Client, log: Log, hostile: str) -> None:
    client.send("POST", "/v1/chat/secure_completion", {"X-Payload-ID": hostile}, b"").read()
    line = log.line()
    text = TextFormatter().format(line)
    assert text.isprintable()
    assert len(text) < 500
    assert text.count(" client=127.0.0.1 ") == 1
    assert re.search(r' id="(?:[^"\\]|\\.)*" client=127\.0\.0\.1 detail="', text)
    assert json.loads(JSONFormatter().format(line))["client"] == "127.0.0.1"
    for form in (text, JSONFormatter().format(line)):
        assert "\u009b" not in form
        assert "##vso[" not in form
        assert not form.startswith("::")


@pytest.mark.parametrize("hostile", ["%0aforged", "%1b[31m", "%c2%9b31m", "%e2%80%ae"])
def test_a_path_forges_no_line(client: Client, log: Log, hostile: str) -> None:
    client.send("GET", f"/{hostile}").read()
    assert TextFormatter().format(log.line()).isprintable()


@pytest.mark.parametrize("hostile", ["%20200%205%20ms%20id=%22forged%22%20client=198.51.100.7", "%23%23vso[task]"])
def test_a_path_forges_no_field(client: Client, log: Log, hostile: str) -> None:
    client.send("GET", f"/{hostile}").read()
    text = TextFormatter().format(log.line())
    assert f" GET /{hostile} 404 " in text
    assert text.count(" client=") == 1


def test_a_long_method_is_shortened(router: RunningRouter, log: Log) -> None:
    with connected(router) as one:
        one.sendall(b"A" * 5000 + b" /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert response(one)[0] == 405
    assert log.fields()["method"] == "A" * 20 + "… (5000 characters)"


def test_a_traceback_is_never_logged() -> None:
    try:
        raise ValueError("what the user said")
    except ValueError:
        record = logging.LogRecord("asyncio", logging.ERROR, "f", 1, "it failed", None, sys.exc_info())
    assert TextFormatter().format(record).endswith(" ERROR it failed (ValueError)")
    assert json.loads(JSONFormatter().format(record))["message"] == "it failed (ValueError)"


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_every_line_of_the_log_is_json_with_log_format_json(tmp_path: Path) -> None:
    arguments = ("-m", "nomyo.cli", "router", "--tpm", "soft", "--log-format", "json")
    with program(*arguments, temporary=tmp_path) as (process, ready):
        payload_id = use(ready)["_metadata"]["payload_id"]
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    documents = [json.loads(line) for line in log.splitlines()]
    assert {document["event"] for document in documents} == {"message", "request"}
    (answered,) = [one for one in documents if one.get("path") == "/v1/chat/secure_completion"]
    assert answered["payload_id"] == payload_id
    assert list(answered) == [
        "time", "level", "logger", "event", "method", "path", "status", "ms", "payload_id", "client", "detail",
    ]  # fmt: skip
