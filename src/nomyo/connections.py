"""Connections: a pool for each event loop, one SSL context for all, the proxy of the environment; all are closed.

httpx reads the variables for proxies as well, but for all schemes at once, and it raises where one entry is unusual,
even if that entry does not concern the request (a network in ``NO_PROXY``, a SOCKS proxy in ``HTTP_PROXY``). A client
talks to one origin only, so only that origin is looked up here, and only an entry that concerns it can be an error.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import os
import re
import ssl
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx
import msgspec

from nomyo.background import BackgroundResult
from nomyo.errors import ArgumentError, ClientClosedError
from nomyo_attest.installation import install_command

CONNECT_SECONDS: Final = 30.0
"""Seconds that making a connection may take."""

IDLE_SECONDS: Final = 60.0
"""Seconds that an idle connection stays open. If the server closes it earlier, a new one is made."""

_SOCKS: Final = ("socks5", "socks5h")
_SCHEMES: Final = ("http", "https", *_SOCKS)
_SYSTEM: Final = "the system's proxy settings"

_CLOSING: Final[set[asyncio.Task[None]]] = set()
"""Tasks that close pools: a loop holds no strong reference to its tasks."""


def ssl_context() -> ssl.SSLContext:
    """What httpx verifies servers with: certifi's certificates, or those of SSL_CERT_FILE and SSL_CERT_DIR.

    Creating it takes about 40 ms. Raises `ArgumentError` if those variables name files that cannot be loaded.
    """
    try:
        context = httpx.create_ssl_context()
        # The first client imports what it needs: in this thread, that delays no event loop. It must not read the
        # environment: an unusual entry there, which may not even apply, would fail here without a name.
        httpx.AsyncClient(verify=context, trust_env=False)
        return context
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise ArgumentError(f"SSL_CERT_FILE or SSL_CERT_DIR names certificates that cannot be loaded: {reason}")


class Connections:
    """The pools of one client.

    Args:
        origin: scheme, host and port of the service, to find its proxy in the environment; None for no proxy.
        start: whether to start making the SSL context now.
    """

    def __init__(self, *, origin: tuple[str, str, int] | None, start: bool) -> None:
        self._origin = origin
        self._context = BackgroundResult(ssl_context)
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._closed = False
        if start:
            self._context.start()

    def check_open(self) -> None:
        """Raise `ClientClosedError` after `aclose`."""
        if self._closed:
            raise ClientClosedError

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[Pool]:
        """The pool of the running loop, for one request.

        Raises:
            ArgumentError: the environment names a proxy or certificates that cannot be used.
            ClientClosedError: after `aclose`.
        """
        pool = await self._pool()
        pool.borrowers += 1
        try:
            yield pool
        except asyncio.CancelledError:
            # A canceled request may leave its connection in the pool, occupied, forever. So this pool gets no more
            # requests, and is closed when its other requests are done.
            self._retire(pool)
            raise
        finally:
            pool.borrowers -= 1
            if pool.retired and not pool.borrowers:
                _start_closing(pool, asyncio.get_running_loop())

    async def aclose(self) -> None:
        """Close all connections. Afterwards nothing is sent any more."""
        self._closed = True
        here = asyncio.get_running_loop()
        for loop in list(self._pools):
            pool = self._pools.pop(loop, None)
            if pool is None:
                continue
            if loop is here:
                await pool.close()
            elif loop.is_running():  # in another thread
                closing = asyncio.run_coroutine_threadsafe(pool.close(), loop)
                with suppress(Exception):  # the loop may end at this moment: then its connections end with it
                    await asyncio.wait_for(asyncio.wrap_future(closing), CONNECT_SECONDS)

    async def _pool(self) -> Pool:
        self.check_open()
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is not None and pool.client.is_closed:
            # loop.shutdown_asyncgens() closed it, and the loop still runs.
            self._retire(pool)
            pool = None
        if pool is None:
            context = await self._context.get()
            if self._closed:
                raise ClientClosedError(ClientClosedError.MEANWHILE)
            for other in list(self._pools):
                if other.is_closed():
                    self._pools.pop(other, None)
            pool = self._pools.get(loop)  # another call on this loop may have been quicker
            if pool is None:
                proxy = None if self._origin is None else environment_proxy(*self._origin)
                self._pools[loop] = pool = Pool(context, proxy)
                # If this object is dropped without aclose() while the loop runs, the pool lives until it is closed.
                weakref.finalize(self, _close_soon, pool, loop).atexit = False
                await pool.open()
        return pool

    def _retire(self, pool: Pool) -> None:
        pool.retired = True
        for loop, known in list(self._pools.items()):
            if known is pool:
                del self._pools[loop]


def _httpx_proxy(proxy: EnvironmentProxy) -> httpx.Proxy:
    """The proxy as httpx expects it. Raises `ArgumentError` for a URL that httpx rejects."""
    try:
        return httpx.Proxy(proxy.url, ssl_context=_proxy_context(proxy))
    except (httpx.InvalidURL, ValueError):
        pass  # what httpx says may quote the URL
    raise not_a_proxy(proxy.variable)


def _proxy_context(proxy: EnvironmentProxy) -> ssl.SSLContext | None:
    """What verifies a proxy that is itself reached over TLS; None for one that is not."""
    return httpx.create_ssl_context() if proxy.url.lower().startswith("https:") else None


class Handshake:
    """Closes the connection of a TLS handshake that was cancelled: httpcore leaves that to the garbage collector.

    httpx calls it at every step of a request (extension ``trace``).
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


class Pool:
    """The connections made on one event loop. They end with it, at the latest.

    Attributes:
        client: the HTTP client.
        proxy: the proxy that it uses.
        borrowers: how many requests use it now.
        retired: whether it gets no more requests.
    """

    def __init__(self, context: ssl.SSLContext, proxy: EnvironmentProxy | None) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=IDLE_SECONDS)
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # cookies would link calls to each other
        self.proxy = proxy
        self.client = httpx.AsyncClient(
            verify=context,
            limits=limits,
            cookies=no_cookies,
            trust_env=False,
            proxy=None if proxy is None else _httpx_proxy(proxy),
        )
        self.borrowers = 0
        self.retired = False
        self._life = self._live()

    async def open(self) -> None:
        """Open the pool."""
        await anext(self._life)

    async def close(self) -> None:
        """Close the connections."""
        await self._life.aclose()

    async def _live(self) -> AsyncGenerator[None, None]:
        # An event loop closes the asynchronous generators left on it when it ends, and those that are collected. So
        # connections are closed in order without aclose(), too, as after asyncio.run(client.create(…)).
        try:
            yield
        finally:
            await self.client.aclose()


def _close_soon(pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
    if not (loop.is_closed() or pool.client.is_closed):
        loop.call_soon_threadsafe(_start_closing, pool, loop)


def _start_closing(pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
    closing = loop.create_task(pool.close())
    _CLOSING.add(closing)
    closing.add_done_callback(_CLOSING.discard)


class EnvironmentProxy(msgspec.Struct, frozen=True):
    """A proxy that the environment names.

    Attributes:
        url: its URL, with the user name and password if there are any.
        variable: the environment variable that names it.
        place: scheme, host and port, for messages: never the user name or the password.
        has_credentials: whether the URL has a user name or a password.
    """

    url: str
    variable: str
    place: str
    has_credentials: bool

    def __repr__(self) -> str:
        return f"<EnvironmentProxy {self.place} from {self.variable}>"

    def __str__(self) -> str:
        return f"the proxy {self.place} (from {self.variable})"


def environment_proxy(scheme: str, host: str, port: int) -> EnvironmentProxy | None:
    """The proxy for requests to an origin; None for a direct connection.

    ``HTTPS_PROXY`` overrides ``ALL_PROXY``, and ``NO_PROXY`` overrides both; each also in lower case. Plain HTTP never
    uses a proxy: it could read the API key.

    Args:
        scheme: ``"https"`` or ``"http"``.
        host: name or address, in lower case, an IPv6 address without brackets.
        port: its port.

    Raises:
        ArgumentError: the proxy that applies cannot be used. The message names the variable, not its value, which may
            hold a password.
    """
    if scheme != "https":
        return None
    proxies = getproxies()
    kind = next((kind for kind in ("https", "all") if proxies.get(kind)), None)
    if kind is None or is_exempt(proxies.get("no", ""), scheme, host, port):
        return None
    return _checked(proxies[kind], _variable(kind, proxies[kind]))


def is_exempt(no_proxy: str, scheme: str, host: str, port: int) -> bool:
    """Whether the list in ``NO_PROXY`` exempts an origin.

    Entries are separated by commas: ``*``, a host name (which includes its subdomains), an address, a network in CIDR
    notation, each with a port if it is for that port only. An entry in any other form matches nothing.
    """
    return any(_matches(entry.strip().lower(), scheme, host.rstrip("."), port) for entry in no_proxy.split(","))


def _matches(entry: str, scheme: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    named, separator, rest = entry.partition("://")
    if separator:
        if named != scheme:
            return False
        entry = rest.rstrip("/")
    with_port = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:\[\]]+):(\d{1,5})", entry)
    if with_port:
        if int(with_port[2]) != port:
            return False
        entry = with_port[1]
    entry = entry.removeprefix("[").removesuffix("]")
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    name = entry.removeprefix("*").lstrip(".").rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _checked(url: str, variable: str) -> EnvironmentProxy:
    """The proxy at a URL, if it can be used."""
    if "://" not in url:
        url = f"http://{url}"
    scheme = url.partition("://")[0].lower()
    if re.fullmatch(r"[a-z][a-z0-9+.-]{0,19}", scheme) is None:  # perhaps a user name and a password
        raise not_a_proxy(variable)
    if scheme not in _SCHEMES:
        raise ArgumentError(
            f"{variable}: proxies of the kind {scheme!r} are not supported; expected one of "
            f"{', '.join(_SCHEMES)}. Set another proxy, or exempt the host in NO_PROXY if it can be reached directly"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise not_a_proxy(variable)
    if scheme in _SOCKS and importlib.util.find_spec("socksio") is None:
        raise ArgumentError(
            f"{variable}: a SOCKS proxy needs the extra 'socks': {install_command('socks')}. Or set an HTTP proxy, or "
            "exempt the host in NO_PROXY if it can be reached directly"
        )
    named = f"[{host}]" if ":" in host else host
    place = f"{scheme}://{named}" + ("" if port is None else f":{port}")
    return EnvironmentProxy(url, variable, place, parts.username is not None or parts.password is not None)


def not_a_proxy(variable: str) -> ArgumentError:
    """The error for a variable whose value, which it does not quote, is not the URL of a proxy."""
    return ArgumentError(
        f"{variable}: not the URL of a proxy; expected http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with "
        "special characters percent-encoded"
    )


def _variable(kind: str, value: str) -> str:
    """The name of the variable that has this value."""
    names = [name for name in os.environ if name.lower() == f"{kind}_proxy" and os.environ[name] == value]
    return names[0] if names else _SYSTEM
