"""Requests to a proxy over plain HTTP, byte by byte where a test needs it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import MODEL, PROMPT

API_KEY = "bearer-of-the-proxy-8c41d7e2"
CLIENT_KEY = "bearer-of-the-client-77ab09f3"
JSON = {"Content-Type": "application/json"}


@dataclass
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the error."""
        return str(self.document["error"]["code"])

    @property
    def events(self) -> list[Any]:
        """The data of the events, without [DONE]."""
        lines = [line.removeprefix(b"data: ") for line in self.body.split(b"\n") if line.startswith(b"data: ")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]


class Caller:
    """Requests to a proxy at a base URL that ends in /v1, each on a connection of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.path == "/v1"
        assert parts.hostname is not None
        assert parts.port is not None
        self.host, self.port = parts.hostname, parts.port
        self._open: list[http.client.HTTPConnection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._open:
            connection.close()

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection, which is closed after the test."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        self._open.append(connection)
        return connection

    def send(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | Iterable[bytes] | None = None
    ) -> Answer:
        """Send a request and read its response."""
        connection = self.connection()
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def get(self, path: str, **headers: str) -> Answer:
        """Send a GET request; underscores in names of headers stand for hyphens."""
        return self.send("GET", path, named(headers))

    def ask(self, *, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        """Ask for a chat completion."""
        return self.send("POST", "/v1/chat/completions", {**JSON, **(headers or {})}, question(**fields))


def question(**fields: Any) -> bytes:
    """Return the body of a request for a chat completion."""
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], **fields}).encode()


def named(headers: dict[str, str]) -> dict[str, str]:
    """Return headers with hyphens instead of underscores."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def attest_with(forge: Forge) -> Callable[[str], Any]:
    """Return a function that makes the evidence for a payload id."""

    def attest(payload_id: str) -> Any:
        forge.payload_id = payload_id
        return forge.response()["_metadata"]["tpm_attestation"]

    return attest


def other_firmware() -> Callable[[str], Any]:
    """Return the same for a machine that measured something else."""
    forge = Forge()
    forge.measure(7, b"other firmware")
    return attest_with(forge)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
