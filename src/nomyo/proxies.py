"""Which proxy of the environment do requests to one service go through?

httpx reads these variables as well, but for all schemes at once, and it raises where one entry is unusual, even if that
entry does not concern the request (a network in ``NO_PROXY``, a SOCKS proxy in ``HTTP_PROXY``). A client talks to one
origin only, so only that origin is looked up here, and only an entry that concerns it can be an error.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies

import msgspec

from nomyo.errors import ArgumentError
from nomyo_attest.installation import install_command

_SOCKS: Final = ("socks5", "socks5h")
_SCHEMES: Final = ("http", "https", *_SOCKS)
_SYSTEM: Final = "the system's proxy settings"


class EnvironmentProxy(msgspec.Struct, frozen=True):
    """A proxy that the environment asks for.

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

    ``HTTPS_PROXY`` goes before ``ALL_PROXY``, and ``NO_PROXY`` before both; each also in lower case. Plain HTTP never
    goes through a proxy: the API key would be readable there.

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
