"""HTTP: the only module of the client that imports httpx.

One pool of connections for each event loop, one SSL context for all. Redirects are not followed, no content encoding is
asked for or taken, and a body is read up to a cap.
"""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpx
import msgspec

from nomyo.early import Early
from nomyo.errors import (
    APIConnectionError,
    APITimeoutError,
    ArgumentError,
    ClientClosedError,
    NomyoError,
    ResponseError,
)
from nomyo.status import BODY_MAX

RESPONSE_MAX: Final = 64 * 1024 * 1024
"""Bytes of the largest answer that is read: six times the largest prompt, sealed."""

CONNECT_SECONDS: Final = 30.0
"""How long a connection may take to be made."""

IDLE_SECONDS: Final = 60.0
"""How long a connection is kept for the next call. A server may close it before: that is noticed, or tried again."""

_CHUNK: Final = 64 * 1024
"""Bytes of a body that are handed to the connection at a time: encrypting all of a long one would hold the loop."""

_CLOSED_MEANWHILE: Final = "the client was closed during the call"

_CLOSING: Final[set[asyncio.Task[None]]] = set()

_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
"""Failures before a byte of the request went out."""


class Reply(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        status: HTTP status.
        headers: names in lower case; of a repeated one, all values, joined by commas.
        body: as received; of an error, the beginning.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Reply {self.status}>"


def ssl_context() -> ssl.SSLContext:
    """What httpx verifies servers with: certifi's certificates, or those of SSL_CERT_FILE and SSL_CERT_DIR.

    It takes some 40 ms of work. Raises `ArgumentError` where those name what cannot be loaded.
    """
    try:
        context = httpx.create_ssl_context()
        httpx.AsyncClient(verify=context)  # the first one imports what it needs: here, it holds no event loop up
        return context
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise ArgumentError(f"SSL_CERT_FILE or SSL_CERT_DIR names certificates that cannot be loaded: {reason}")


class Transport:
    """Requests to one service.

    Args:
        client: an HTTP client of the caller's to be used instead of pools of ours; the caller closes it.
    """

    def __init__(self, client: httpx.AsyncClient | None = None) -> None:
        self._given = client
        self._context = Early(ssl_context)
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}
        self._closed = False
        if client is None:
            self._context.begin()

    async def get(self, url: str) -> Reply:
        """GET `url`. Errors as of `post`."""
        return await self._send("GET", url, {}, b"")

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """POST `body` to `url`. How long that may take is for the caller to say (`asyncio.timeout`).

        Raises:
            APIConnectionError: no whole answer came; `APITimeoutError` if no connection was made in time.
            ResponseError: an answer of status 200 is too large, or in an encoding that nobody asked for.
            ClientClosedError: the client is closed.
        """
        return await self._send("POST", url, headers, body)

    async def aclose(self) -> None:
        """Close the connections. Afterwards nothing is sent any more."""
        self._closed = True
        here = asyncio.get_running_loop()
        pools = dict(self._pools)
        self._pools.clear()
        for loop, pool in pools.items():
            if loop is here:
                await pool.close()
            elif loop.is_running():  # in another thread
                closing = asyncio.run_coroutine_threadsafe(pool.close(), loop)
                with suppress(Exception):  # the loop may end at this moment: then its connections end with it
                    await asyncio.wait_for(asyncio.wrap_future(closing), CONNECT_SECONDS)

    async def _client(self) -> httpx.AsyncClient:
        if self._closed or (self._given is not None and self._given.is_closed):
            raise ClientClosedError("the client is closed; make a new one")
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            context = await self._context.get()
            if self._closed:
                raise ClientClosedError(_CLOSED_MEANWHILE)
            for other in list(self._pools):  # a copy: other threads may have loops of their own
                if other.is_closed():
                    self._pools.pop(other, None)
            pool = self._pools.get(loop)  # another call on this loop may have been quicker
            if pool is None:
                self._pools[loop] = pool = _Pool(context)
                # Dropped without aclose(), while the loop goes on: the pool outlives this object until it is closed.
                weakref.finalize(self, _close_soon, pool, loop).atexit = False
                await pool.open()
        return pool.client

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        client = await self._client()
        length = {"Content-Length": str(len(body))} if method == "POST" else {}
        request = client.build_request(
            method,
            url,
            headers={**headers, **length, "Accept-Encoding": "identity"},
            content=body if len(body) <= _CHUNK else _chunks(body),
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            extensions={"trace": _Handshake()},
        )
        failure: NomyoError
        try:
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                return await _read(response)
            finally:
                await response.aclose()
        except (httpx.TransportError, OSError) as error:  # OSError: httpx lets an ssl.SSLError amid an answer pass
            failure = ClientClosedError(_CLOSED_MEANWHILE) if client.is_closed else _failure(error)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            failure = APIConnectionError(f"Failed to connect to router: {type(error).__name__}")
            failure.retryable = False
        except RuntimeError:  # what httpx says of a client that was closed meanwhile
            if not client.is_closed:
                raise
            failure = ClientClosedError(_CLOSED_MEANWHILE)
        raise failure


class _Handshake:
    """Closes the connection of a TLS handshake that was cancelled: httpcore leaves that to the garbage collector.

    It is told of every step of a request (extension ``trace`` of httpx).
    """

    def __init__(self) -> None:
        self._stream: Any = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event == "connection.start_tls.complete":
            self._stream = None
        elif event == "connection.start_tls.failed" and self._stream is not None:
            await self._stream.aclose()


class _Pool:
    """The connections made on one event loop. They end with it, at the latest."""

    def __init__(self, context: ssl.SSLContext) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=IDLE_SECONDS)
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # calls are not to be told to belong together
        self.client = httpx.AsyncClient(verify=context, limits=limits, cookies=no_cookies)
        self._life = self._live()

    async def open(self) -> None:
        """Begin the life of the pool."""
        await anext(self._life)

    async def close(self) -> None:
        """Close the connections."""
        await self._life.aclose()

    async def _live(self) -> AsyncGenerator[None, None]:
        # An event loop closes the asynchronous generators left on it when it ends, and those that are collected. So
        # connections are closed in order also where nobody calls aclose(), as after asyncio.run(client.create(…)).
        try:
            yield
        finally:
            await self.client.aclose()


def _close_soon(pool: _Pool, loop: asyncio.AbstractEventLoop) -> None:
    if not (loop.is_closed() or pool.client.is_closed):
        loop.call_soon_threadsafe(_begin_to_close, pool, loop)


def _begin_to_close(pool: _Pool, loop: asyncio.AbstractEventLoop) -> None:
    closing = loop.create_task(pool.close())
    _CLOSING.add(closing)  # a loop keeps no reference to its tasks
    closing.add_done_callback(_CLOSING.discard)


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(view), _CHUNK):
        yield bytes(view[start : start + _CHUNK])


async def _read(response: httpx.Response) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    encoded = headers.get("content-encoding", "identity").strip().lower() != "identity"
    if response.status_code != 200:
        body = b"" if encoded else await _first_bytes(response, BODY_MAX)
        return Reply(response.status_code, headers, body)
    declared = headers.get("content-length", "0")
    if encoded or (declared.isdecimal() and int(declared[:20]) > RESPONSE_MAX):
        raise ResponseError
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > RESPONSE_MAX:
            raise ResponseError
    return Reply(200, headers, bytes(content))


async def _first_bytes(response: httpx.Response, most: int) -> bytes:
    """The beginning of an error's body; whatever can be had of one that breaks off."""
    body = bytearray()
    with suppress(httpx.TransportError, OSError):
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > most:
                break
    return bytes(body[:most])


def _failure(error: httpx.TransportError | OSError) -> APIConnectionError:
    """What was raised as an error of ours. It is not kept: it holds the request with its headers."""
    sent = not isinstance(error, _NEVER_SENT)
    if isinstance(error, httpx.TimeoutException):
        what = "no connection" if not sent else "no answer"
        failure: APIConnectionError = APITimeoutError(f"Failed to connect to router: {what} in time")
    elif _is_certificate_error(error):
        failure = APIConnectionError(
            "Failed to connect to router: its TLS certificate does not verify; SSL_CERT_FILE names the CA's if it is "
            f"private ({_reason(error)})"
        )
    else:
        failure = APIConnectionError(f"Failed to connect to router: {_reason(error)}")
    failure.maybe_processed = sent
    failure.retryable = not _is_certificate_error(error) and not isinstance(
        error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.DecodingError)
    )
    return failure


def _is_certificate_error(error: BaseException) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _reason(error: BaseException) -> str:
    """What went wrong: the text of connection errors names hosts and system errors, nothing of a request."""
    text = str(error)
    if isinstance(error, httpx.RemoteProtocolError):
        text = text.partition(":")[0]  # behind it stands what the server said, which may be what it was sent
    return (text or f"the connection broke off ({type(error).__name__})")[:200]
