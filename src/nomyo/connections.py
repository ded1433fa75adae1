"""Manage connections: a pool per event loop, a shared SSL context, and the proxy that the environment names.

httpx also reads the proxy variables, but for all schemes at once, and raises for an entry that it does not support even
if that entry does not apply to the request (a network in ``NO_PROXY``, a SOCKS proxy in ``HTTP_PROXY``). A client only
connects to one origin, so this module looks up that origin, and only an entry that applies to it can be an error.
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
"""Timeout for establishing a connection, in seconds."""

IDLE_SECONDS: Final = 60.0
"""Seconds that an idle connection stays open."""

_SOCKS_SCHEMES: Final = ("socks5", "socks5h")
_SCHEMES: Final = ("http", "https", *_SOCKS_SCHEMES)
_SYSTEM_SETTINGS: Final = "the system's proxy settings"

_CLOSING_TASKS: Final[set[asyncio.Task[None]]] = set()
"""Tasks that close pools. They are stored here because a loop only has weak references to its tasks."""


def ssl_context() -> ssl.SSLContext:
    """Create the SSL context of httpx, with certifi's certificates or those of SSL_CERT_FILE and SSL_CERT_DIR.

    This takes about 40 ms. Raises `ArgumentError` if those variables name files that cannot be loaded.
    """
    try:
        context = httpx.create_ssl_context()
        # The first client imports more modules, which blocks no event loop in this thread. It must not read the
        # environment: an unsupported entry would raise an error that does not name it, even if it does not apply.
        httpx.AsyncClient(verify=context, trust_env=False)
        return context
    except OSError as error:
        reason = "no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror or type(error).__name__
    variable = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), None)
    if variable is None:
        raise ArgumentError(f"the default CA certificates cannot be loaded: {reason}; reinstall certifi")
    raise ArgumentError(
        f"{variable}: {os.environ[variable]}: CA certificates cannot be loaded: {reason}; correct or unset {variable}"
    )


_INHERITED: Final[list[Pool]] = []
"""Pools of the process that forked this one, kept until this process ends. Their event loops do not run here."""


class Connections:
    """The connection pools of one client.

    Args:
        origin: scheme, host and port of the service, to look up its proxy in the environment; None for no proxy.
        start: whether to start creating the SSL context in a background thread now.
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
    async def borrow(self) -> AsyncIterator[Pool]:
        """Lend the pool of the running loop to one request.

        Raises:
            ArgumentError: the environment names a proxy or certificates that cannot be used.
            ClientClosedError: after `aclose`.
        """
        pool = await self._pool()
        pool.borrowers += 1
        try:
            yield pool
        except asyncio.CancelledError:
            # A canceled request may occupy its connection in the pool forever. Therefore this pool gets no more
            # requests, and is closed when its other requests are done.
            self._retire(pool)
            raise
        finally:
            pool.borrowers -= 1
            if pool.retired and not pool.borrowers:
                _close_in_task(pool, asyncio.get_running_loop())

    async def aclose(self) -> None:
        """Close all connections. Nothing is sent afterwards."""
        self._closed = True
        running_loop = asyncio.get_running_loop()
        for loop in list(self._pools):
            pool = self._pools.pop(loop, None)
            if pool is None:
                continue
            if pool.is_inherited():
                _INHERITED.append(pool)
            elif loop is running_loop:
                await pool.close()
            elif loop.is_running():  # in another thread
                closing = asyncio.run_coroutine_threadsafe(pool.close(), loop)
                with suppress(Exception):  # if the loop ends meanwhile, its connections end with it
                    await asyncio.wait_for(asyncio.wrap_future(closing), CONNECT_SECONDS)

    async def _pool(self) -> Pool:
        self.check_open()
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is not None and pool.client.is_closed:
            # loop.shutdown_asyncgens() closed the pool, but the loop is still running.
            self._retire(pool)
            pool = None
        if pool is None:
            context = await self._context.get()
            if self._closed:
                raise ClientClosedError(ClientClosedError.DURING_CALL)
            for other in list(self._pools):
                if other.is_closed():
                    self._pools.pop(other, None)
            pool = self._pools.get(loop)  # another call on this loop may have created it meanwhile
            if pool is None:
                proxy = None if self._origin is None else environment_proxy(*self._origin)
                self._pools[loop] = pool = Pool(context, proxy)
                # If this object is dropped without aclose() while the loop runs, the finalizer closes the pool.
                weakref.finalize(self, _schedule_close, pool, loop).atexit = False
                await pool.open()
        return pool

    def _retire(self, pool: Pool) -> None:
        pool.retired = True
        for loop, candidate in list(self._pools.items()):
            if candidate is pool:
                del self._pools[loop]


def _httpx_proxy(proxy: EnvironmentProxy) -> httpx.Proxy:
    """Convert a proxy to an `httpx.Proxy`. Raises `ArgumentError` for a URL that httpx rejects."""
    try:
        return httpx.Proxy(proxy.url, ssl_context=_proxy_context(proxy))
    except (httpx.InvalidURL, ValueError):
        pass  # the message from httpx may quote the URL
    raise invalid_proxy_error(proxy.variable)


def _proxy_context(proxy: EnvironmentProxy) -> ssl.SSLContext | None:
    """Create the SSL context for a proxy that is reached over TLS; None for any other proxy."""
    return httpx.create_ssl_context() if proxy.url.lower().startswith("https:") else None


class Exchange:
    """Follows one HTTP exchange: httpx calls it at every step of a request (extension ``trace``).

    It records how much of the request was sent, and closes the connection of a canceled TLS handshake, which httpcore
    leaves to the garbage collector.
    """

    def __init__(self) -> None:
        self._stream: Any = None
        self._seen = self._began = self._ended = False

    @property
    def sent(self) -> bool | None:
        """Whether the request was sent: False if no byte of it was; None if only a part was, or if that is unknown."""
        if self._ended:
            return True
        return None if self._began or not self._seen else False

    def expect_steps(self) -> None:
        """Declare that httpx will report the steps, which some transports of a given HTTP client do not."""
        self._seen = True

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        self._seen = True
        if event.endswith(".send_request_headers.started"):
            # A request for a tunnel goes to the proxy only.
            self._began = getattr(info.get("request"), "method", b"") != b"CONNECT"
        elif event.endswith(".send_request_body.complete"):
            self._ended = self._began
        elif event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event == "connection.start_tls.complete":
            self._stream = None
        elif event == "connection.start_tls.failed" and self._stream is not None:
            await self._stream.aclose()


class Pool:
    """The connections of one event loop, which are closed at the latest when the loop ends.

    Attributes:
        client: the HTTP client.
        proxy: the proxy that the client uses.
        borrowers: number of requests that are using the pool.
        retired: whether the pool gets no more requests.
    """

    def __init__(self, context: ssl.SSLContext, proxy: EnvironmentProxy | None) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=IDLE_SECONDS)
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # cookies would make calls linkable
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
        self._process = os.getpid()
        self._lifetime = self._stay_open()

    def is_inherited(self) -> bool:
        """Whether the pool belongs to the process that forked this one."""
        return self._process != os.getpid()

    async def open(self) -> None:
        """Open the pool."""
        await anext(self._lifetime)

    async def close(self) -> None:
        """Close the connections."""
        await self._lifetime.aclose()

    async def _stay_open(self) -> AsyncGenerator[None, None]:
        # An event loop closes asynchronous generators when it ends, or when they are garbage-collected. This closes the
        # connections properly even without aclose(), for example after asyncio.run(client.create(…)).
        try:
            yield
        finally:
            await self.client.aclose()


def _schedule_close(pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
    if not (pool.is_inherited() or loop.is_closed() or pool.client.is_closed):
        loop.call_soon_threadsafe(_close_in_task, pool, loop)


def _close_in_task(pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
    closing = loop.create_task(pool.close())
    _CLOSING_TASKS.add(closing)
    closing.add_done_callback(_CLOSING_TASKS.discard)


class EnvironmentProxy(msgspec.Struct, frozen=True):
    """A proxy that the environment names.

    Attributes:
        url: its URL, including a user name and password if it has them.
        variable: the environment variable that names it.
        address: scheme, host and port without user name and password, for messages.
        has_credentials: whether the URL contains a user name or a password.
    """

    url: str
    variable: str
    address: str
    has_credentials: bool

    def __repr__(self) -> str:
        return f"<EnvironmentProxy {self.address} from {self.variable}>"

    def __str__(self) -> str:
        return f"the proxy {self.address} (from {self.variable})"


def environment_proxy(scheme: str, host: str, port: int) -> EnvironmentProxy | None:
    """Return the proxy for requests to an origin; None for a direct connection.

    ``HTTPS_PROXY`` overrides ``ALL_PROXY``, and ``NO_PROXY`` overrides both. Each name can also be in lower case. Plain
    HTTP never uses a proxy, which could read the API key.

    Args:
        scheme: ``"https"`` or ``"http"``.
        host: name or address in lower case; an IPv6 address without brackets.
        port: the port.

    Raises:
        ArgumentError: the proxy that applies cannot be used. The message names the variable, not its value, which may
            contain a password.
    """
    if scheme != "https":
        return None
    proxies = getproxies()
    kind = next((kind for kind in ("https", "all") if proxies.get(kind)), None)
    if kind is None or is_exempt(proxies.get("no", ""), scheme, host, port):
        return None
    return _parse_proxy(proxies[kind], _variable_name(kind, proxies[kind]))


def is_exempt(no_proxy: str, scheme: str, host: str, port: int) -> bool:
    """Whether the list in ``NO_PROXY`` exempts an origin.

    Entries are separated by commas: ``*``, a host name (which includes its subdomains), an address, or a network in
    CIDR notation. An entry with a port applies only to that port. An entry in any other form matches nothing.
    """
    return any(_matches(entry.strip().lower(), scheme, host.rstrip("."), port) for entry in no_proxy.split(","))


def _matches(entry: str, scheme: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    entry_scheme, separator, rest = entry.partition("://")
    if separator:
        if entry_scheme != scheme:
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


def _parse_proxy(url: str, variable: str) -> EnvironmentProxy:
    """Parse the URL of a proxy from an environment variable. Raises `ArgumentError` if it cannot be used."""
    if "://" not in url:
        url = f"http://{url}"
    scheme = url.partition("://")[0].lower()
    if re.fullmatch(r"[a-z][a-z0-9+.-]{0,19}", scheme) is None:  # probably a user name and password
        raise invalid_proxy_error(variable)
    if scheme not in _SCHEMES:
        raise ArgumentError(
            f"{variable}: {scheme!r} proxies are not supported; expected one of "
            f"{', '.join(_SCHEMES)}. Set another proxy, or exempt the host in NO_PROXY if it can be reached directly"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise invalid_proxy_error(variable)
    if scheme in _SOCKS_SCHEMES and importlib.util.find_spec("socksio") is None:
        raise ArgumentError(
            f"{variable}: a SOCKS proxy requires the extra 'socks': {install_command('socks')}. Or set an HTTP proxy, "
            "or exempt the host in NO_PROXY if it can be reached directly"
        )
    bracketed = f"[{host}]" if ":" in host else host
    address = f"{scheme}://{bracketed}" + ("" if port is None else f":{port}")
    return EnvironmentProxy(url, variable, address, parts.username is not None or parts.password is not None)


def invalid_proxy_error(variable: str) -> ArgumentError:
    """Create the error for a variable that does not contain a proxy URL. It does not quote the value."""
    return ArgumentError(
        f"{variable}: not a proxy URL; expected http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with "
        "special characters percent-encoded"
    )


def _variable_name(kind: str, value: str) -> str:
    """Return the name of the proxy variable that has this value."""
    names = [name for name in os.environ if name.lower() == f"{kind}_proxy" and os.environ[name] == value]
    return names[0] if names else _SYSTEM_SETTINGS
