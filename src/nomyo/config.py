"""Check the base URL and other arguments, and define their defaults and limits.

The commands import this module for their help texts, so it imports nothing that is slow to import.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from nomyo.errors import ArgumentError, ArgumentTypeError, InsecureURLError, InsecureWarning

DEFAULT_BASE_URL: Final = "https://api.nomyo.ai"

TIMEOUT: Final = 900.0
"""Default timeout of a call in seconds; the same as that of each request in nomyo 0.2.9."""

SERVER_KEY_BITS: Final = 4096
"""Default minimum size of the server's key in bits: the one in the protocol's algorithm id."""

BITS_FLOOR: Final = 2048
"""Minimum size in bits of any key; no option can lower it (NIST SP 800-131A, 3)."""

TIERS: Final = ("standard", "high", "maximum")

PAYLOAD_ID_MAX: Final = 1024
"""Maximum length of a payload id in characters. It equals the limit in `nomyo_attest.evidence.response`, which is slow
to import; a test compares them.
"""

PAYLOAD_MAX: Final = 10 * 1024 * 1024
"""Maximum size of a payload in bytes, before it is encrypted."""


class BaseURL(NamedTuple):
    """A checked base URL.

    Attributes:
        text: scheme and host in lower case, with the path prefix and without a trailing slash.
        origin: scheme, host and port; an API key is sent to this origin only.
    """

    text: str
    origin: tuple[str, str, int]


def parse_base_url(text: str, *, allow_http: bool = False, unsafe_remote_http: bool = False) -> BaseURL:
    """Check a base URL.

    Args:
        allow_http: also accept ``http:`` to this machine (localhost and loopback addresses).
        unsafe_remote_http: with `allow_http`, accept ``http:`` to any host.

    Raises:
        ArgumentError: `text` is not a URL, or has a user name, a password, a query or a fragment. The message does not
            quote it, since it may contain a password.
        InsecureURLError: it uses plain HTTP, which is not allowed.
    """
    if not isinstance(text, str):
        raise ArgumentTypeError(f"base_url: expected a str, got {type(text).__name__}")
    scheme, host, port, path = _split(text)
    if scheme == "http":
        _check_http(host, allow_http=allow_http, unsafe_remote_http=unsafe_remote_http)
    authority = f"[{host}]" if ":" in host else host
    if port is not None:
        authority += f":{port}"
    default_port = {"https": 443, "http": 80}[scheme]
    origin = (scheme, host, default_port if port is None else port)
    return BaseURL(f"{scheme}://{authority}{path.rstrip('/')}", origin)


def _split(text: str) -> tuple[str, str, int | None, str]:
    """Return the checked scheme, host, port and path."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ArgumentError(
            "base_url: expected an ASCII URL without spaces; write an internationalized host name as xn--…"
        )
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    scheme = parts.scheme.lower()
    if scheme not in ("https", "http") or not _is_host(host.lower(), bracketed="[" in parts.netloc):
        hint = "" if "://" in text else "; the scheme https:// is missing"
        raise ArgumentError(f"base_url: expected https://HOST, optionally with a port and a path{hint}")
    if "@" in parts.netloc:
        raise ArgumentError("base_url: expected no user name or password; pass the API key as api_key")
    if "?" in text or "#" in text:
        raise ArgumentError("base_url: expected no query and no fragment, since paths are appended")
    return scheme, host.lower(), port, parts.path


def _is_host(host: str, *, bracketed: bool) -> bool:
    """Whether `host` is a name or an IPv4 address (RFC 3986, 3.2.2), or, in brackets, an IPv6 address."""
    if not bracketed:
        return re.fullmatch(r"[a-z0-9._-]+", host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return "%" not in host


def _check_http(host: str, *, allow_http: bool, unsafe_remote_http: bool) -> None:
    if not allow_http and is_loopback(host):
        raise InsecureURLError(f"base_url: plain http to this machine ({host}) requires allow_http=True; or use https")
    if not allow_http:
        raise InsecureURLError(
            f"base_url: plain http to {host}: the server's key and the API key would be readable on the network path. "
            "Use https; allow_http=True is only for development on this machine"
        )
    if not is_loopback(host) and not unsafe_remote_http:
        raise InsecureURLError(
            f"base_url: plain http to {host}, which is not this machine: allow_http is for localhost only. Use https, "
            "or also set unsafe_remote_http=True"
        )
    _warn_insecure(f"plain http to {host}: anyone on the network path can read and change all traffic")


def is_loopback(host: str) -> bool:
    """Whether `host` is localhost or a loopback address."""
    if host == "localhost":  # not its subdomains, which some resolvers look up on the network
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _warn_insecure(problem: str) -> None:
    """Issue an `InsecureWarning`, attributed to the line outside this package that led to it."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("nomyo."):
        level, frame = level + 1, frame.f_back
    warnings.warn(problem, InsecureWarning, stacklevel=level)


def check_max_retries(value: object) -> int:
    """Return a number of retries, 0 or more. Raises `ArgumentError`."""
    if type(value) is not int:
        hint = "; pass the key folder as key_dir" if value is None or isinstance(value, str) else ""
        raise ArgumentTypeError(f"max_retries: expected an int, got {type(value).__name__}{hint}")
    if value < 0:
        raise ArgumentError(f"max_retries: expected 0 or more, got {value}")
    return value


def check_flag(name: str, value: object) -> bool:
    """Return a flag as a bool; None, 0 and 1 are accepted. Raises `ArgumentTypeError` for any other value.

    A string is refused because ``"false"``, from an environment variable, is true in Python.
    """
    if value is None or isinstance(value, bool) or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise ArgumentTypeError(f"{name}: expected True or False, got {type(value).__name__}")


def check_timeout(value: object) -> float:
    """Return a timeout: finite seconds above 0. Raises `ArgumentError`."""
    seconds = _seconds("timeout", value)
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ArgumentError(f"timeout: expected a finite number of seconds above 0, got {seconds}")
    return seconds


def check_duration(name: str, value: object) -> float:
    """Return the value of option `name`: finite seconds, 0 or more. Raises `ArgumentError`."""
    seconds = _seconds(name, value)
    if not (seconds >= 0 and math.isfinite(seconds)):
        raise ArgumentError(f"{name}: expected a finite number of seconds, 0 or more, got {seconds}")
    return seconds


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ArgumentTypeError(f"{name}: expected seconds as a number, got {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:  # an int of hundreds of digits
        return math.inf


def check_key_bits(value: object) -> int:
    """Return the minimum size of the server's key in bits. Raises `ArgumentError`."""
    if type(value) is not int:
        raise ArgumentTypeError(f"min_server_key_bits: expected an int, got {type(value).__name__}")
    if value < BITS_FLOOR:
        raise ArgumentError(f"min_server_key_bits: expected {BITS_FLOOR} or more, got {value}")
    if value < SERVER_KEY_BITS:
        _warn_insecure(f"server keys of {value} bits are accepted; the protocol specifies {SERVER_KEY_BITS}")
    return value


def check_pins(value: object) -> tuple[str, ...]:
    """Return the pins of the server's key as a tuple; `ServerKeys` checks their form.

    Raises `ArgumentError`, also for an empty collection, which may come from an unset variable, and would accept any
    key. An empty tuple, the default, means no pins.
    """
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable):
        raise ArgumentTypeError(f"server_key_pins: expected a list of str, got {type(value).__name__}")
    pins = tuple(value)
    if not pins and type(value) is not tuple:
        raise ArgumentError(
            "server_key_pins: expected at least one fingerprint, got none; 'nomyo keys pin' prints that of a server"
        )
    return pins


def check_path(name: str, value: object) -> Path:
    """Return the argument `name` as a path. Raises `ArgumentError`."""
    if not isinstance(value, (str, os.PathLike)):
        raise ArgumentTypeError(f"{name}: expected a path, got {type(value).__name__}")
    if not os.fspath(value):
        raise ArgumentError(f"{name}: expected a path, got an empty one")
    return Path(value)


def check_api_key(value: object) -> str | None:
    """Return a bearer token that is valid in a header (RFC 6750, 2.1), or None if there is none.

    Raises `ArgumentError`, which does not quote the token.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ArgumentTypeError(f"api_key: expected a str, got {type(value).__name__}")
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise ArgumentError("api_key: expected printable ASCII without spaces; it may end with a newline")
    return value


def check_tier(value: Any) -> str | None:
    """Return a security tier, or None if there is none. Raises `ArgumentError`."""
    if value is None or (isinstance(value, str) and value in TIERS):
        return value
    shown = repr(value[:40]) if isinstance(value, str) else type(value).__name__
    raise ArgumentError(f"Invalid security_tier: {shown}. Must be one of: {', '.join(TIERS)}")


def check_payload_id(value: object) -> str:
    """Return a payload id that is valid in a header. Raises `ArgumentError`."""
    if not isinstance(value, str):
        raise ArgumentTypeError(f"payload_id: expected a str, got {type(value).__name__}")
    if not (0 < len(value) <= PAYLOAD_ID_MAX and value.isascii() and value.isprintable()) or value != value.strip():
        raise ArgumentError(
            f"payload_id: expected 1 to {PAYLOAD_ID_MAX} printable ASCII characters, without leading or trailing spaces"
        )
    return value
