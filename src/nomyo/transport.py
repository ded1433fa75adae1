"""Send HTTP requests, read responses, and convert errors.

In the client, only this module and `connections` import httpx at run time.

Redirects are not followed, no content encoding is requested or accepted, and bodies are read up to a limit.
"""

from __future__ import annotations

import asyncio
import re
import socket
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from nomyo.connections import CONNECT_SECONDS, Connections, EnvironmentProxy, Exchange
from nomyo.errors import (
    APIConnectionError,
    APITimeoutError,
    ArgumentTypeError,
    ClientClosedError,
    EventLoopError,
    NomyoError,
    ResponseError,
    ResponseTooLargeError,
)
from nomyo.status import BODY_MAX, is_retryable

CONNECTION_FAILED: Final = "Failed to connect to router: "
"""Beginning of the message of an `APIConnectionError`, as in nomyo 0.2.9."""

CONNECTION_REFUSED: Final = "connection refused: nothing listens on this port"
"""The reason in a message if no server listens on the port."""

RESPONSE_MAX: Final = 32 * 1024 * 1024
"""Maximum size of a response in bytes: twice that of an encrypted request."""

_CHUNK: Final = 64 * 1024
"""Bytes of a body that are sent at a time: TLS encryption of a long body at once would block the event loop."""

_CHUNKS_AT_ONCE: Final = 32
"""Chunks of a response that are read before other tasks run."""

_BEFORE_SENDING: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
"""Errors that occur before any byte of the request is sent."""


_LOOP_OF_CLIENT: Final[weakref.WeakKeyDictionary[httpx.AsyncClient, weakref.ref[asyncio.AbstractEventLoop]]] = (
    weakref.WeakKeyDictionary()
)
"""HTTP client of the caller → the event loop on which it was first used."""

_WRONG_LOOP: Final = (
    "http_client: its connections belong to a different event loop. Create an httpx.AsyncClient, and a client that "
    "uses it, for each event loop, or omit http_client: the client's own connections work on every loop"
)


class Reply(msgspec.Struct, frozen=True):
    """An HTTP response.

    Attributes:
        status: HTTP status.
        headers: names in lower case; the values of a repeated name are joined by commas.
        body: as received; only its beginning if the status is not 200.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Reply {self.status}>"


class Transport:
    """Requests to one service.

    Args:
        client: the caller's HTTP client, which the caller closes; None to create connections.
        origin: scheme, host and port of the service, to look up its proxy in the environment; None for no proxy.
            Ignored if there is a `client`.
    """

    def __init__(self, client: httpx.AsyncClient | None = None, *, origin: tuple[str, str, int] | None = None) -> None:
        if client is not None and not isinstance(client, httpx.AsyncClient):
            raise ArgumentTypeError(f"http_client: expected an httpx.AsyncClient, got {type(client).__name__}")
        self._http_client = client
        self._connections = Connections(origin=origin, start=client is None)

    async def get(self, url: str, *, maximum: int) -> Reply:
        """GET `url`, with a response of at most `maximum` bytes. Raises the errors of `post`."""
        return await self._send("GET", url, {}, b"", maximum, Exchange())

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, exchange: Exchange | None = None) -> Reply:
        """POST `body` to `url`. The caller sets the timeout (`asyncio.timeout`).

        Args:
            exchange: records how much of the request is sent; None for a caller that does not need it.

        Raises:
            APIConnectionError: no complete response arrived; `APITimeoutError` if no connection was made in time. The
                message names the host, and the proxy if there is one.
            ArgumentError: the environment names a proxy or certificates that cannot be used. Nothing was sent.
            ResponseError: a response with status 200 has a content encoding that was not requested;
                `ResponseTooLargeError` if it is too large.
            ClientClosedError: the client is closed.
        """
        return await self._send("POST", url, headers, body, RESPONSE_MAX, exchange or Exchange())

    async def aclose(self) -> None:
        """Close the connections. Nothing is sent afterwards."""
        await self._connections.aclose()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, maximum: int, exchange: Exchange
    ) -> Reply:
        if self._http_client is None:
            exchange.expect_steps()
            async with self._connections.borrow() as pool:
                return await _request(pool.client, pool.proxy, method, url, headers, body, maximum, exchange)
        self._connections.check_open()
        if self._http_client.is_closed:
            raise ClientClosedError("the http_client is closed; pass an open one")
        return await _send_on_its_loop(
            self._http_client, _request(self._http_client, None, method, url, headers, body, maximum, exchange)
        )


async def _send_on_its_loop(client: httpx.AsyncClient, exchange: Coroutine[Any, Any, Reply]) -> Reply:
    """Await a request of the caller's HTTP client. Raises `EventLoopError` if it belongs to a different event loop."""
    loop = asyncio.get_running_loop()
    first = _LOOP_OF_CLIENT.setdefault(client, weakref.ref(loop))
    if first() is not loop and _has_connections(client):
        exchange.close()
        raise EventLoopError(_WRONG_LOOP)
    try:
        return await exchange
    except NomyoError:
        raise
    except RuntimeError as error:
        if "loop" not in str(error):
            raise
    raise EventLoopError(_WRONG_LOOP)


def _has_connections(client: httpx.AsyncClient) -> bool:
    """Whether the caller's HTTP client has open connections; httpx has no public interface for this."""
    transports = [client._transport, *client._mounts.values()]
    return any(getattr(getattr(transport, "_pool", None), "connections", ()) for transport in transports)


async def _request(
    client: httpx.AsyncClient,
    proxy: EnvironmentProxy | None,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    maximum: int,
    exchange: Exchange,
) -> Reply:
    length = {"Content-Length": str(len(body))} if method == "POST" else {}
    request = client.build_request(
        method,
        url,
        headers={**headers, **length, "Accept-Encoding": "identity"},
        content=body if len(body) <= _CHUNK else _chunks(body),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        extensions={"trace": exchange},
    )
    failure: NomyoError
    try:
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            return await _read(response, maximum)
        finally:
            await response.aclose()
    except (httpx.TransportError, OSError) as error:  # OSError: httpx does not convert an ssl.SSLError in a response
        failure = (
            ClientClosedError(ClientClosedError.DURING_CALL)
            if client.is_closed
            else _connection_error(error, url, proxy)
        )
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        failure = APIConnectionError(f"{CONNECTION_FAILED}{_host_of(url)}: {type(error).__name__}")
        failure.retryable = False
        failure.maybe_processed = not isinstance(error, httpx.InvalidURL)  # an event hook raises after the response
    except RuntimeError:  # raised by httpx if the client was closed during the request
        if not client.is_closed:
            raise
        failure = ClientClosedError(ClientClosedError.DURING_CALL)
    raise failure


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(view), _CHUNK):
        yield bytes(view[start : start + _CHUNK])


async def _read(response: httpx.Response, maximum: int) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    encoded = headers.get("content-encoding", "identity").strip().lower() != "identity"
    if response.status_code != 200:
        body = b"" if encoded else await _first_bytes(response, BODY_MAX)
        return Reply(response.status_code, headers, body)
    declared = headers.get("content-length", "0")
    if encoded:
        raise ResponseError
    if declared.isdecimal() and int(declared[:20]) > maximum:
        raise _too_large_error(maximum, int(declared[:20]), "")
    return Reply(200, headers, await _all_bytes(response, maximum))


async def _all_bytes(response: httpx.Response, maximum: int) -> bytes:
    """Read the whole body. Raises `ResponseTooLargeError`."""
    content = bytearray()
    async for chunk in _raw_chunks(response):
        content += chunk
        if len(content) > maximum:
            raise _too_large_error(maximum, len(content), " or more")
    return bytes(content)


def _too_large_error(limit: int, found: int, more: str) -> ResponseTooLargeError:
    problem = f"the response is {found}{more} bytes long; the limit is {limit} bytes"
    return ResponseTooLargeError(problem, limit, found)


async def _first_bytes(response: httpx.Response, maximum: int) -> bytes:
    """Read up to `maximum` bytes of a body; fewer if the connection breaks before."""
    body = bytearray()
    with suppress(httpx.TransportError, OSError):
        async for chunk in _raw_chunks(response):
            body += chunk
            if len(body) > maximum:
                break
    return bytes(body[:maximum])


async def _raw_chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the chunks of a body. Other tasks run in between, since a packet may contain thousands of small chunks."""
    count = 0
    async for chunk in response.aiter_raw():
        count += 1
        if count % _CHUNKS_AT_ONCE == 0:
            await asyncio.sleep(0)
        yield chunk


def _connection_error(
    error: httpx.TransportError | OSError, url: str, proxy: EnvironmentProxy | None
) -> APIConnectionError:
    """Create the `APIConnectionError` for an httpx error, which is not chained since it refers to the request."""
    sent = not isinstance(error, _BEFORE_SENDING)
    prefix = f"{CONNECTION_FAILED}{_host_of(url)}: "
    refusal = _proxy_status(error)
    if proxy is not None and refusal is not None:
        failure = APIConnectionError(f"{prefix}{_describe_proxy_refusal(proxy, refusal, _reason(error, proxy))}")
    elif isinstance(error, httpx.TimeoutException):
        problem = "no connection" if not sent else "no response"
        failure = APITimeoutError(f"{prefix}{problem} in time{_via(proxy)}")
    elif _is_certificate_error(error):
        failure = APIConnectionError(
            f"{prefix}its TLS certificate does not verify; if its CA is private, SSL_CERT_FILE must name the CA's "
            f"certificate ({_reason(error, proxy)}){_via(proxy)}"
        )
    else:
        failure = APIConnectionError(f"{prefix}{_reason(error, proxy)}{_via(proxy)}")
    failure.maybe_processed = sent
    failure.retryable = not (
        _is_certificate_error(error)
        or isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.DecodingError))
        or "location header" in str(error)  # httpx parses the target of a redirect even if it does not follow it
        or (refusal is not None and not is_retryable(refusal, None, None))
    )
    return failure


def _host_of(url: str) -> str:
    """Return the host of a URL, with the port if it has one."""
    return urlsplit(url).netloc


def _via(proxy: EnvironmentProxy | None) -> str:
    return "" if proxy is None else f", through {proxy}"


def _proxy_status(error: BaseException) -> int | None:
    """Return the HTTP status with which a proxy refused to connect; None for any other error."""
    found = re.match(r"([1-5]\d\d)\b", str(error)) if isinstance(error, httpx.ProxyError) else None
    return int(found[1]) if found else None


def _describe_proxy_refusal(proxy: EnvironmentProxy, status: int, reason: str) -> str:
    """Describe why a proxy refused the connection."""
    if status != HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return f"{proxy} refused to connect to it: HTTP {reason}"
    if proxy.has_credentials:
        return f"{proxy} does not accept the user name and password (407); correct them in {proxy.variable}"
    return (
        f"{proxy} requires a user name and a password (407); put them into {proxy.variable}, as "
        "http://USER:PASSWORD@HOST:PORT with special characters percent-encoded"
    )


def _is_certificate_error(error: BaseException) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _reason(error: BaseException, proxy: EnvironmentProxy | None) -> str:
    """Describe the cause of a connection error, without any part of the request."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            owner = "" if proxy is None else " of the proxy"
            return f"the host name{owner} could not be resolved ({cause.strerror})"
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return CONNECTION_REFUSED if proxy is None else "the proxy refuses connections"
    text = str(error)
    if any(reason in text for reason in _NOT_TLS_REASONS):
        return "the server does not use TLS on this port; check scheme and port of the base URL"
    if isinstance(error, httpx.RemoteProtocolError):
        text = text.partition(":")[0].rstrip(".")  # the rest quotes the server, which may echo the request
    return (text or f"the connection was lost ({type(error).__name__})")[:200]


_NOT_TLS_REASONS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""OpenSSL's error reasons if the server's first bytes are not TLS."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, including those in exception groups: anyio tries each address of a host."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _causes(member)
    cause = error.__cause__ or error.__context__  # httpcore sets no cause
    if cause is not None:
        yield from _causes(cause)
