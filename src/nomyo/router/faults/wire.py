"""Faults of the connection: answers that stop, drip, never come, or grow without end."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nomyo.router.faults.model import Fault

DRIP_BYTES: Final = 64
DRIP_SECONDS: Final = 0.05

BOMB_BYTES: Final = 1 << 30
"""Size of the gzip bomb once it is inflated; on the wire it is a thousandth of that."""

_BLOCK: Final = 1 << 20


class Reset(Response):
    """No response: the connection is reset (TCP RST)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        transport = scope["state"]["connection"].transport
        raw = transport.get_extra_info("socket")
        # Lingering for zero seconds makes close() send a RST in the place of a FIN.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        await _gone(receive)


class ResetUnprocessed(Reset):
    """The same, once the request has arrived, so that the client is not still sending it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await super().__call__(scope, receive, send)


class Cut(Response):
    """The first half of a body whose Content-Length promises all, and the connection is closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        scope["state"]["connection"].transport.close()
        await _gone(receive)


class Drip(Response):
    """The body, `DRIP_BYTES` at a time, every `DRIP_SECONDS`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body, gone = bytes(self.body), asyncio.ensure_future(_gone(receive))
        try:
            for start in range(0, len(body), DRIP_BYTES):
                last = start + DRIP_BYTES >= len(body)
                piece = body[start : start + DRIP_BYTES]
                await send({"type": "http.response.body", "body": piece, "more_body": not last})
                await asyncio.wait([gone], timeout=DRIP_SECONDS)
                if gone.done():
                    return
        finally:
            gone.cancel()


async def _gone(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


@functools.cache
def bomb() -> bytes:
    """`BOMB_BYTES` of blanks, which JSON allows before an object, in gzip (RFC 1952).

    A block ended by a full flush depends on none before it (RFC 1951, 2), so one is compressed, and repeated.
    """
    block = b" " * _BLOCK
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    piece = compressor.compress(block) + compressor.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS).flush(zlib.Z_FINISH)
    check = 0
    for _ in range(BOMB_BYTES // _BLOCK):
        check = zlib.crc32(block, check)
    header = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x02\xff"
    return header + piece * (BOMB_BYTES // _BLOCK) + end + struct.pack("<II", check, BOMB_BYTES & 0xFFFFFFFF)


def _around(kind: type[Response]) -> Any:
    return lambda reply: kind(reply.body, media_type=reply.media_type)


def faults() -> Iterator[Fault]:
    """All of them."""
    reason = "The connection is reset when the request has arrived, before it is processed."
    yield Fault("reset-before", reason, "request", lambda _: ResetUnprocessed())
    reason = "The connection is reset when the request has been processed."
    yield Fault("reset-after", reason, "reply", lambda _: Reset())
    yield Fault("cut", "The connection is closed in the middle of the answer.", "reply", _around(Cut))
    reason = f"The answer comes {DRIP_BYTES} bytes at a time, every {DRIP_SECONDS:g} seconds."
    yield Fault("drip", reason, "reply", _around(Drip))
    reason = f"The answer is a gzip bomb of {BOMB_BYTES >> 20} MiB."
    yield Fault(
        "gzip-bomb", reason, "reply",
        lambda reply: Response(bomb(), headers={"Content-Encoding": "gzip"}, media_type=reply.media_type),
    )  # fmt: skip
