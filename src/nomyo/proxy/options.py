"""The options of a proxy, which are checked when they are created."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from nomyo.config import is_loopback
from nomyo.errors import NomyoError

PORT_MAX: Final = 65535

_NAME: Final = r"(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])"
_HOST: Final = re.compile(rf"({_NAME})(?::([0-9]{{1,5}}))?", re.ASCII)
_ORIGIN: Final = re.compile(rf"[a-z][a-z0-9+.-]*://{_NAME}(?::[0-9]{{1,5}})?", re.ASCII)


class ProxyError(NomyoError, ValueError):
    """The proxy cannot run with these options. The message names the option of the command, the problem and a hint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyOptions:
    """The options of a proxy. Raises `ProxyError` for invalid values.

    Attributes:
        host: address to listen on. An address other than loopback needs `token` and `allow_host`.
        port: port to listen on; 0 for a free one.
        models: models that may be used; empty to allow every model.
        tier: security tier of requests that name none; None to request none.
        token: what clients must send as their API key; None to accept every client.
        allow_host: further values of the Host header, with or without a port. Without a port, any port is allowed.
        allow_origin: origins of web pages that may use the proxy, such as ``"http://localhost:3000"``.
        keepalive: seconds between the comments that keep a streaming response alive; 0 for none.
    """

    host: str = "127.0.0.1"
    port: int = 0
    models: tuple[str, ...] = ()
    tier: str | None = None
    token: str | None = field(default=None, repr=False)
    allow_host: tuple[str, ...] = ()
    allow_origin: tuple[str, ...] = ()
    keepalive: float = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= PORT_MAX:
            raise ProxyError(f"--port: expected 0 to {PORT_MAX}, got {self.port}")
        if not self.keepalive >= 0:  # also rejects NaN
            raise ProxyError(f"--keepalive: expected 0 or more seconds, got {self.keepalive:g}")
        token = self.token
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token and token):
            raise ProxyError(
                "--token-file: expected printable ASCII without blanks, got other characters; create a new token"
            )
        object.__setattr__(self, "allow_host", tuple(map(_checked_host, self.allow_host)))
        object.__setattr__(self, "allow_origin", tuple(map(_checked_origin, self.allow_origin)))
        if not is_loopback(self.host):
            where = f"--host {self.host}: other machines can connect to it"
            if token is None:
                raise ProxyError(f"{where}, so clients need a token; add --token-file, or listen on 127.0.0.1")
            if not self.allow_host:
                raise ProxyError(f"{where}; name the host in their URLs with --allow-host, or listen on 127.0.0.1")

    def allows_host(self, value: str, port: int) -> bool:
        """Whether a request with this Host header is for this proxy, which listens on `port`.

        A web page whose own name resolves to this machine (DNS rebinding) sends its own name.
        """
        found = _HOST.fullmatch(value.lower())
        if found is None:
            return False
        host, named = found[1], found[2]
        if host in self.allow_host or found[0] in self.allow_host:
            return True
        own = {"127.0.0.1", "localhost", "[::1]"}
        if is_loopback(self.host):
            own.add(url_host(self.host))
        return host in own and (80 if named is None else int(named)) == port

    def allows_origin(self, value: str) -> bool:
        """Whether a web page of this origin may use the proxy."""
        return value in self.allow_origin


def url_host(host: str) -> str:
    """Return `host` as a URL contains it."""
    return f"[{host}]" if ":" in host else host


def _checked_host(value: str) -> str:
    found = _HOST.fullmatch(value.lower())
    if found is None or not 0 < int(found[2] or 1) <= PORT_MAX:
        hint = "; a wildcard would switch off the protection against DNS rebinding" if "*" in value else ""
        raise ProxyError(f"--allow-host: expected a host, or a host and a port, such as proxy.lan:8642{hint}")
    return found[0]


def _checked_origin(value: str) -> str:
    if value in ("*", "null"):
        whose = "every web page" if value == "*" else "every sandboxed web page"
        raise ProxyError(f"--allow-origin: {value!r} would let {whose} use this proxy; name each origin")
    if _ORIGIN.fullmatch(value.lower()) is None:
        raise ProxyError(
            "--allow-origin: expected a scheme, a host and an optional port, without a path, such as http://localhost:3000"
        )
    return value.lower()
