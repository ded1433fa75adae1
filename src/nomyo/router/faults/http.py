"""HTTP faults: the key endpoint, statuses, error bodies and the connection."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from email.utils import formatdate
from time import time
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from nomyo.router.errors import FORBIDDEN, NOT_ENABLED, UNAUTHORIZED
from nomyo.router.faults.model import Fault
from nomyo.serving.requests import wait_for_disconnect

SIGN_IN_PAGE: Final = (
    "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>\n"
)
"""The page that a captive portal serves."""

DETAILS: Final = {
    400: "The request is invalid",
    401: UNAUTHORIZED,
    403: FORBIDDEN,
    404: NOT_ENABLED,
    408: "The request took too long",
    409: "Conflict",
    418: "I'm a teapot",
    425: "Too early",
    429: "Too many requests",
    500: "Internal error",
    502: "Bad gateway",
    503: "The inference backend is unavailable",
    504: "Gateway timeout",
    529: "Overloaded",
}
"""Status → `detail` in the body of the simulated response."""

RETRY_SECONDS: Final = 1
"""Value of Retry-After in the faults that send one, in seconds."""

DRIP_BYTES: Final = 64
DRIP_SECONDS: Final = 0.05

BOMB_BYTES: Final = 1 << 30
"""Decompressed size of the gzip bomb; compressed, it is about a thousandth of that."""

_BLOCK: Final = 1 << 20


def _replace_response(name: str, reason: str, response: Response) -> Fault:
    return Fault(name, reason, "request", lambda _: response)


def _status(name: str, reason: str, response: Response) -> Fault:
    return _replace_response(f"status-{name}", reason, response)


def status_code_faults() -> Iterator[Fault]:
    """Yield a fault for each status, with the documented form of body."""
    for status, detail in DETAILS.items():
        yield _status(str(status), f"The router responds with {status}.", JSONResponse({"detail": detail}, status))


def retry_after_faults() -> Iterator[Fault]:
    """Yield the faults that respond with 429 or 503 and a Retry-After header."""
    for status in (429, 503):
        body = {"detail": DETAILS[status]}
        for name, header, value in (
            ("seconds", "Retry-After", str(RETRY_SECONDS)),
            ("ms", "retry-after-ms", str(1000 * RETRY_SECONDS)),
            ("long", "Retry-After", "1800"),
            ("invalid", "Retry-After", "soon"),
        ):
            yield _status(
                f"{status}-{name}", f"The router responds with {status} and {header}: {value}.",
                JSONResponse(body, status, {header: value}),
            )  # fmt: skip
        reason = f"The router responds with {status} and a Retry-After date {RETRY_SECONDS + 1} seconds in the future."
        yield Fault(f"status-{status}-date", reason, "request", _respond_with_date(status))


def error_body_faults() -> Iterator[Fault]:
    """Yield the faults whose error body is not an object with a string as `detail`."""
    shapes: tuple[tuple[str, str, Any], ...] = (
        ("list", "a list", ["The request is invalid"]),
        ("string", "a string", "The request is invalid"),
        ("null", "null", None),
        ("number", "a number", 400),
        ("detail-list", "an object whose detail is a list", {"detail": [{"loc": ["body"], "msg": "field required"}]}),
        ("detail-null", "an object whose detail is null", {"detail": None}),
        ("detail-missing", "an object without a detail", {"error": {"message": "The request is invalid"}}),
        ("detail-long", "an object whose detail is 1 MiB long", {"detail": "x" * (1 << 20)}),
        (
            "detail-control",
            "an object whose detail contains terminal control characters",
            {"detail": "a\x1b[2J\r\nb\u202ec"},
        ),
    )
    for name, description, body in shapes:
        for status in (400, 503) if name in ("list", "string") else (400,):
            slug = f"error-{name}" if status == 400 else f"error-{name}-{status}"
            yield _replace_response(slug, f"The body of a {status} is {description}.", JSONResponse(body, status))
    yield _replace_response("error-html", "The body of a 502 is an HTML page.", HTMLResponse(SIGN_IN_PAGE, 502))
    yield _replace_response("error-empty", "A 400 has no body.", Response(status_code=400))


def intermediary_faults() -> Iterator[Fault]:
    """Yield responses as proxies and captive portals send them."""
    yield _replace_response("html", "The body of a 200 is an HTML page.", HTMLResponse(SIGN_IN_PAGE))
    yield _replace_response("empty", "A 200 has no body.", Response())
    yield _replace_response("redirect", "The router redirects the request.", RedirectResponse("/v1/elsewhere", 307))
    yield _status("204", "The router responds with 204.", Response(status_code=204))


def _respond_with_date(status: int) -> Callable[[None], Response]:
    def respond(_: None) -> Response:
        # A date has no fractions of a second, so a date two seconds ahead leaves at least one second to wait.
        date = formatdate(time() + RETRY_SECONDS + 1, usegmt=True)
        return JSONResponse({"detail": DETAILS[status]}, status, {"Retry-After": date})

    return respond


def status_faults() -> Iterator[Fault]:
    """Yield every fault that replaces the response before the request is processed."""
    yield from status_code_faults()
    yield from retry_after_faults()
    yield from error_body_faults()
    yield from intermediary_faults()


def key_faults() -> Iterator[Fault]:
    """Yield the faults of the key endpoint: keys that clients must not use, and responses without a key."""

    def key(name: str, reason: str, response: Response) -> Fault:
        return Fault(f"key-{name}", reason, "key", lambda _: response)

    yield key("503", "The key endpoint responds with 503.", JSONResponse({"detail": "Key service unavailable"}, 503))
    yield key("404", "The key endpoint responds with 404.", JSONResponse({"detail": "Not Found"}, 404))
    yield key("html", "The key endpoint responds with an HTML page and status 200.", HTMLResponse(SIGN_IN_PAGE))
    yield key("redirect", "The key endpoint redirects.", RedirectResponse("/pki/elsewhere"))
    yield key("empty", "The key endpoint responds with an empty body and status 200.", PlainTextResponse(""))
    yield Fault(
        "key-truncated",
        "The PEM of the key is truncated.",
        "key",
        lambda response: _pem_response(bytes(response.body)[:400]),
    )
    yield Fault(
        "key-bundle",
        "The body contains two keys.",
        "key",
        lambda response: _pem_response(bytes(response.body) + _rsa(2048)),
    )
    yield Fault("key-rsa-1024", "The key is RSA-1024.", "key", lambda _: _pem_response(_rsa(1024)))
    yield Fault(
        "key-rsa-2048",
        "The key is RSA-2048, although the algorithm's name says 4096.",
        "key",
        lambda _: _pem_response(_rsa(2048)),
    )
    yield Fault("key-ec", "The key is an EC key on P-256.", "key", lambda _: _pem_response(_ec()))
    yield Fault(
        "key-mismatched", "The key is valid, but is not the router's key.", "key", lambda _: _pem_response(_rsa(4096))
    )


def _pem_response(body: bytes) -> Response:
    return PlainTextResponse(body)


@functools.cache
def _rsa(bits: int) -> bytes:
    return _pem(rsa.generate_private_key(65537, bits).public_key())


@functools.cache
def _ec() -> bytes:
    return _pem(ec.generate_private_key(ec.SECP256R1()).public_key())


def _pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class Reset(Response):
    """Reset the connection (TCP RST) instead of responding."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        transport = scope["state"]["connection"].transport
        raw = transport.get_extra_info("socket")
        # SO_LINGER with zero seconds makes close() send RST instead of FIN.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        await wait_for_disconnect(receive)


class ResetUnprocessed(Reset):
    """Reset the connection once the whole request has arrived, so that the client is no longer sending it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await super().__call__(scope, receive, send)


class ClosedEarly(Response):
    """Send half of the body that Content-Length announces, and close the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        scope["state"]["connection"].transport.close()
        await wait_for_disconnect(receive)


class Drip(Response):
    """Send `DRIP_BYTES` of the body every `DRIP_SECONDS`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body, disconnect = bytes(self.body), asyncio.ensure_future(wait_for_disconnect(receive))
        try:
            for start in range(0, len(body), DRIP_BYTES):
                last = start + DRIP_BYTES >= len(body)
                piece = body[start : start + DRIP_BYTES]
                await send({"type": "http.response.body", "body": piece, "more_body": not last})
                await asyncio.wait([disconnect], timeout=DRIP_SECONDS)
                if disconnect.done():
                    return
        finally:
            disconnect.cancel()


@functools.cache
def gzip_bomb() -> bytes:
    """Return `BOMB_BYTES` of spaces, which JSON allows before an object, in gzip (RFC 1952).

    A block after a full flush does not depend on earlier blocks (RFC 1951, 2), so one block is compressed and repeated.
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


def _reply_as(kind: type[Response]) -> Any:
    return lambda reply: kind(reply.body, media_type=reply.media_type)


def connection_faults() -> Iterator[Fault]:
    """Yield the faults of the connection and of the transfer."""
    reason = "The connection is reset when the request has arrived, before it is processed."
    yield Fault("reset-before", reason, "request", lambda _: ResetUnprocessed())
    reason = "The connection is reset when the request has been processed."
    yield Fault("reset-after", reason, "reply", lambda _: Reset())
    yield Fault("cut", "The connection is closed in the middle of the response body.", "reply", _reply_as(ClosedEarly))
    reason = f"The response arrives slowly: {DRIP_BYTES} bytes every {DRIP_SECONDS:g} seconds."
    yield Fault("drip", reason, "reply", _reply_as(Drip))
    reason = f"The response is a gzip bomb of {BOMB_BYTES >> 20} MiB."
    yield Fault(
        "gzip-bomb", reason, "reply",
        lambda reply: Response(gzip_bomb(), headers={"Content-Encoding": "gzip"}, media_type=reply.media_type),
    )  # fmt: skip
