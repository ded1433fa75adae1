"""Read a request within its limits, end it when its client disconnects or the shutdown needs it, and respond."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_PIECE_BYTES: Final = 256 * 1024

_Result = TypeVar("_Result")


class BodyTooLargeError(Exception):
    """The body of a request is larger than the limit."""


class OutOfTimeError(Exception):
    """The server is shutting down, and the request did not end in time."""


async def read_body(request: Request, maximum: int) -> bytes:
    """Read the body, of at most `maximum` bytes. Raises `BodyTooLargeError` and `ClientDisconnect`."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > maximum:
        raise BodyTooLargeError
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > maximum:
            raise BodyTooLargeError
    return bytes(body)


def bearer_of(headers: Mapping[str, str]) -> str:
    """Return the bearer key in the Authorization header, or ``""`` if the request has none."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" else ""


async def wait_for_disconnect(receive: Receive) -> None:
    """Wait until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def await_or_cancel(
    work: Coroutine[Any, Any, _Result],
    out_of_time: asyncio.Event,
    *,
    while_connected: Receive | None = None,
    interval: float | None = None,
    on_interval: Callable[[], Awaitable[object]] | None = None,
) -> _Result:
    """Await `work`, and cancel it if the shutdown runs out of time or the client disconnects.

    Args:
        out_of_time: set when the shutdown runs out of time.
        while_connected: the ASGI channel that reports a disconnect; None if `work` itself reads from it.
        interval: seconds between calls of `on_interval` while `work` runs; None for no calls.
        on_interval: what to await then.

    Raises:
        OutOfTimeError: the shutdown ran out of time.
        ClientDisconnect: the client disconnected.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(_retrieve_exception)
    interrupts: list[asyncio.Future[Any]] = [asyncio.ensure_future(out_of_time.wait())]
    if while_connected is not None:
        interrupts.append(asyncio.ensure_future(wait_for_disconnect(while_connected)))
    try:
        awaited = [task, *interrupts]
        while not (await asyncio.wait(awaited, timeout=interval, return_when=asyncio.FIRST_COMPLETED))[0]:
            if on_interval is not None:
                await on_interval()
        if task.done():
            return task.result()
        if out_of_time.is_set():
            raise OutOfTimeError
        raise ClientDisconnect
    finally:
        for future in (task, *interrupts):
            future.cancel()


def _retrieve_exception(task: asyncio.Future[Any]) -> None:
    """Retrieve the exception of an abandoned task, so that asyncio does not log it with its traceback."""
    if not task.cancelled():
        task.exception()


class PiecewiseResponse(Response):
    """A response that is sent in pieces, so that megabytes neither delay other requests nor fill the write buffer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Handle an ASGI call."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = memoryview(self.body)
        for start in range(0, len(body), _PIECE_BYTES):
            piece = bytes(body[start : start + _PIECE_BYTES])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
