"""The parts of HTTP/1.1 (RFC 9112) that the router and the proxies of this folder need, for both sides."""

from __future__ import annotations

import asyncio
import http
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tests.nomyo.wire.loopback import Connection

Headers = list[tuple[str, str]]


class MalformedError(Exception):
    """The input is not an HTTP/1.1 message; the text names the invalid part."""


@dataclass
class Request:
    """A request as received: header names in the spelling and the order in which they came."""

    method: str
    path: str
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the only value of a header, or `None`; raise `ValueError` for a duplicate header."""
        return header(self.headers, name)


@dataclass(frozen=True)
class Reply:
    """A reply, and faults in its delivery.

    body: bytes, or an iterable of chunks; `None` for the default of the server: a correct response for status 200, and
        a `detail` for any other status.
    headers: replace the server's headers with the same names.
    delay: seconds before the first byte.
    reset: close the connection with RST: "before" the request is processed; "after" it was processed; "during" the
        body, after `truncate_at` bytes or half of it.
    truncate_at: close the connection with FIN after this many bytes of the body; Content-Length is that of all of it.
    drip: send the body in pieces of this many bytes, this many seconds apart.
    chunked: send Transfer-Encoding: chunked instead of Content-Length.
    close: close the connection after the reply, and announce it in a header.
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
    """Return the only value of a header, or `None`; raise `ValueError` for a duplicate header."""
    values = [value for key, value in headers if key.lower() == name.lower()]
    if len(values) > 1:
        raise ValueError(f"duplicate header {name}: {len(values)} values")
    return values[0] if values else None


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Read the next request; return `None` if the client closed the connection before it."""
    start = await _line(reader)
    if start is None:
        return None
    parts = start.split(" ")
    if len(parts) != 3 or parts[2] != "HTTP/1.1":
        raise MalformedError("the request line")
    headers = await _headers(reader)
    return Request(parts[0], parts[1], headers, await _body(reader, headers, until_end=False))


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """Read the complete reply to a request."""
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
    """Send a request with its headers and a new Content-Length."""
    headers = _without(request.headers, "Content-Length", "Transfer-Encoding")
    if request.body or request.method == "POST":
        headers.append(("Content-Length", str(len(request.body))))
    writer.write(_head(f"{request.method} {request.path} HTTP/1.1", headers) + request.body)
    await writer.drain()


async def send_reply(connection: Connection, reply: Reply) -> bool:
    """Send a reply with its faults; return whether the connection can be used for another request."""
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
            # Send the header with the first part: Nagle's algorithm and delayed ACKs would delay a second small write.
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
        await asyncio.sleep(0.05)  # an RST discards data that the other side has not read yet
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
