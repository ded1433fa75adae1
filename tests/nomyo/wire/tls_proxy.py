"""A proxy that terminates TLS and changes HTTP messages, like an attacker with a trusted certificate.

with PlainRouter() as router, TlsProxy("localhost", router.port, ca=router.ca) as proxy:
    proxy.alter(flipped(100))
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import trustme

from tests.nomyo.wire.http11 import (
    MalformedError,
    Reply,
    Request,
    read_reply,
    read_request,
    send_reply,
    send_request,
)
from tests.nomyo.wire.loopback import LINE_LIMIT, Connection, Loopback, server_context

Change = Callable[[Request, Reply], Reply]


class TlsProxy(Loopback):
    """The proxy, as a context manager.

    ca: path of the server's CA certificate; `None` for a server without TLS.
    authority: the CA of the proxy's certificate; `None` for a new one.

    Attributes: `ca`, the path of the proxy's CA certificate for SSL_CERT_FILE; `requests`, as received from clients.
    """

    def __init__(self, host: str, port: int, *, ca: str | None, authority: trustme.CA | None = None) -> None:
        self.authority = authority or trustme.CA()
        super().__init__(server_context(self.authority))
        self.ca = ""
        self.requests: list[Request] = []
        self._target = (host, port)
        self._outward = None if ca is None else ssl.create_default_context(cafile=ca)
        self._changes: dict[str, Change | None] = {}
        self._request_change: Callable[[Request], Request] | None = None

    @property
    def url(self) -> str:
        """https://localhost and the proxy's port."""
        return f"https://localhost:{self.port}"

    def alter(self, change: Change | None, on: Literal["GET", "POST"] = "POST") -> None:
        """Change replies to requests with this method from now on; `None` forwards them unchanged."""
        self._changes[on] = change

    def alter_requests(self, change: Callable[[Request], Request] | None) -> None:
        """Change requests before they are forwarded; `None` forwards them unchanged."""
        self._request_change = change

    def __enter__(self) -> Self:
        folder = self.resources.enter_context(tempfile.TemporaryDirectory(prefix="tls-proxy-"))
        self.ca = str(Path(folder) / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        return super().__enter__()

    async def serve(self, connection: Connection) -> None:
        reader, writer = await asyncio.open_connection(*self._target, ssl=self._outward, limit=LINE_LIMIT)
        try:
            while (request := await read_request(connection.reader)) is not None:
                self.requests.append(request)
                sent = replace(request, headers=list(request.headers))
                await send_request(writer, self._request_change(sent) if self._request_change else sent)
                reply = await read_reply(reader)
                if (change := self._changes.get(request.method)) is not None:
                    reply = change(request, reply)
                if not await send_reply(connection, reply):
                    return
        except MalformedError as problem:
            self.errors.append(problem)
        finally:
            writer.transport.abort()


def flipped(n: int, bit: int = 0) -> Change:
    """Flip bit `bit` of byte `n` of the body; a negative `n` counts from the end."""

    def change(request: Request, reply: Reply) -> Reply:
        body = bytearray(_bytes(reply))
        body[n] ^= 1 << bit
        return replace(reply, body=bytes(body))

    return change


def html(page: bytes, status: int = 200) -> Change:
    """Reply with a web page, like a captive portal."""
    return lambda request, reply: Reply(status, [("Content-Type", "text/html; charset=utf-8")], page)


def gzip_body() -> Change:
    """Compress the body with gzip, whether or not it was requested."""

    def change(request: Request, reply: Reply) -> Reply:
        return replace(reply, headers=[*reply.headers, ("Content-Encoding", "gzip")], body=gzip.compress(_bytes(reply)))

    return change


def redirect_to(location: str, status: int = 307) -> Change:
    """Reply with a redirect."""
    return lambda request, reply: Reply(status, [("Location", location)], b"")


def deliver(**changes: object) -> Change:
    """Change the delivery of the reply: `truncate_at`, `drip`, `delay`, `reset`, `chunked`, `close` of `Reply`."""
    return lambda request, reply: replace(reply, **changes)  # type: ignore[arg-type]  # fields of Reply by name


def _bytes(reply: Reply) -> bytes:
    assert isinstance(reply.body, bytes)
    return reply.body
