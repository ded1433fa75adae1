"""As much of HTTP/1.1 (RFC 9112) as the router and the proxies of this folder need, both sides of it."""

from __future__ import annotations

import asyncio
import http
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tests.nomyo.wire.loopback import Connection

Headers = list[tuple[str, str]]


class MalformedError(Exception):
    """What came is no HTTP/1.1 message; the text says which part."""


@dataclass
class Request:
    """A request as received: header names in the spelling and the order in which they came."""

    method: str
    path: str
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """The only value of a header, `None` where it is not there; `ValueError` where it is there twice."""
        return header(self.headers, name)


@dataclass(frozen=True)
class Reply:
    """A reply, and what happens to it on the way.

    body: what the body is, an iterable being sent in chunks, one a piece; `None` leaves it to the server, which puts
        the right answer for a status of 200, and a `detail` for any other.
    headers: take the place of the server's own of the same name.
    delay: seconds before its first byte.
    reset: end the connection by RST instead: "before" anything is done with the request; "after" everything is done;
        "during": after `truncate_at` bytes of the body (half of it, without).
    truncate_at: end the connection by FIN after so many bytes of the body, with the Content-Length of all of it.
    drip: so many bytes of the body at a time, so many seconds apart.
    chunked: Transfer-Encoding: chunked instead of Content-Length.
    close: end the connection after the reply, and say so in a header.
    """

    status: int = 200
    headers: Headers = field(default_factory=list)
    body: bytes | Iterable[bytes] | None = None
    delay: float = 0.0
    reset: Literal["", "before", "after", "during"] = ""
    truncate_at: int | None = None
    drip: tuple[int, float] | None = None
    chunked: bool = False
    close: bool = False


def header(headers: Headers, name: str) -> str | None:
    """The only value of a header, `None` where it is not there; `ValueError` where it is there twice."""
    values = [value for key, value in headers if key.lower() == name.lower()]
    if len(values) > 1:
        raise ValueError(f"{name} is there {len(values)} times")
    return values[0] if values else None


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; `None` where the other side ended the connection before its first byte."""
    start = await _line(reader)
    if start is None:
        return None
    parts = start.split(" ")
    if len(parts) != 3 or parts[2] != "HTTP/1.1":
        raise MalformedError("the request line")
    headers = await _headers(reader)
    return Request(parts[0], parts[1], headers, await _body(reader, headers, until_end=False))


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """The reply to a request, whole."""
    while True:
        start = await _line(reader)
        if start is None:
            raise ConnectionResetError("the server ended the connection")
        version, _, rest = start.partition(" ")
        if version != "HTTP/1.1" or not rest[:3].isdigit():
            raise MalformedError("the status line")
        status, headers = int(rest[:3]), await _headers(reader)
        if status >= 200:
            break
    body = b"" if status in {204, 304} else await _body(reader, headers, until_end=True)
    chunked = (header(headers, "Transfer-Encoding") or "").lower() == "chunked"
    return Reply(status, headers, body, chunked=chunked)


async def send_request(writer: asyncio.StreamWriter, request: Request) -> None:
    """Send a request with the headers it has; its length is told anew."""
    headers = _without(request.headers, "Content-Length", "Transfer-Encoding")
    if request.body or request.method == "POST":
        headers.append(("Content-Length", str(len(request.body))))
    writer.write(_head(f"{request.method} {request.path} HTTP/1.1", headers) + request.body)
    await writer.drain()


async def send_reply(connection: Connection, reply: Reply) -> bool:
    """Send a reply in the way it says; whether the connection is still good for another request."""
    await asyncio.sleep(reply.delay)
    if reply.reset in {"before", "after"}:
        connection.reset()
        return False
    body = b"" if reply.body is None else reply.body
    headers = _without(reply.headers, "Content-Length", "Transfer-Encoding", "Connection")
    whole = isinstance(body, bytes) and not reply.chunked
    if whole:
        assert isinstance(body, bytes)
        if reply.status not in {204, 304}:
            headers.append(("Content-Length", str(len(body))))
    else:
        headers.append(("Transfer-Encoding", "chunked"))
    if reply.close:
        headers.append(("Connection", "close"))
    head = _head(f"HTTP/1.1 {reply.status} {_phrase(reply.status)}", headers)
    return await _send(connection, head, body, reply, chunked=not whole) and not reply.close


async def _send(
    connection: Connection, head: bytes, body: bytes | Iterable[bytes], reply: Reply, *, chunked: bool
) -> bool:
    writer = connection.writer
    limit = reply.truncate_at
    if limit is None and reply.reset == "during":
        limit = len(body) // 2 if isinstance(body, bytes) else 0
    step, pause = reply.drip or (0, 0.0)
    sent, cut = 0, False
    for piece in [body] if isinstance(body, bytes) else body:
        if limit is not None and sent + len(piece) >= limit:
            piece, cut = piece[: limit - sent], True
        for start in range(0, len(piece), step or len(piece) or 1):
            part = piece[start : start + step] if step else piece
            # The head goes with the first part: two small writes would wait for each other (Nagle, delayed ACK).
            writer.write(head + (b"%x\r\n%b\r\n" % (len(part), part) if chunked else part))
            head = b""
            await writer.drain()
            await asyncio.sleep(pause)
        sent += len(piece)
        if cut:
            break
    if head:
        writer.write(head)
    if chunked and not cut:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    if reply.reset == "during":
        await asyncio.sleep(0.05)  # an RST overtakes what the other side has not read yet
        connection.reset()
    return not cut and not reply.reset


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _head(start: str, headers: Headers) -> bytes:
    lines = [start, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _without(headers: Headers, *names: str) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in {each.lower() for each in names}]


async def _line(reader: asyncio.StreamReader) -> str | None:
    line = await reader.readline()
    if not line:
        return None
    if not line.endswith(b"\r\n"):
        raise MalformedError("the end of a line")
    return line[:-2].decode("latin-1")


async def _headers(reader: asyncio.StreamReader) -> Headers:
    headers: Headers = []
    while line := await _line(reader):
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or not name:
            raise MalformedError("a header line")
        headers.append((name, value.strip()))
    if line is None:
        raise MalformedError("the headers end early")
    return headers


async def _body(reader: asyncio.StreamReader, headers: Headers, *, until_end: bool) -> bytes:
    coding, length = header(headers, "Transfer-Encoding"), header(headers, "Content-Length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise MalformedError("Transfer-Encoding")
        return await _chunks(reader)
    if length is not None:
        if not (length.isascii() and length.isdigit()):
            raise MalformedError("Content-Length")
        return await reader.readexactly(int(length))
    return await reader.read() if until_end else b""


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        line = await _line(reader)
        try:
            size = int((line or "").partition(";")[0], 16)
        except ValueError:
            raise MalformedError("a chunk's size") from None
        if size == 0:
            await _headers(reader)
            return bytes(body)
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise MalformedError("the end of a chunk")
