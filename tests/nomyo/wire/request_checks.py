"""A router's checks of a request (wire protocol, sections 2 to 4 and 10), and its error replies."""

from __future__ import annotations

import json
import re
from typing import Any, Literal
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.nomyo.wire.http11 import Headers, Reply, Request
from tests.nomyo.wire.package import PackageError, strict_object, unseal

TIERS = ("standard", "high", "maximum")
CLIENT_KEY_BITS_MINIMUM = 2048


class RefusedError(Exception):
    """The request is rejected with a status other than 200."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail


def error(status: int, detail: object, headers: Headers | None = None) -> Reply:
    """Return an error reply like the service: plaintext JSON, `{"detail": …}`."""
    return Reply(status, list(headers or []), json.dumps({"detail": detail}).encode())


def limited(after: float | None = None, form: Literal["seconds", "date", "ms"] = "seconds") -> Reply:
    """Return a 429, optionally with a Retry-After of `after` seconds in one of its three forms."""
    from email.utils import formatdate
    from time import time

    headers: Headers = []
    if after is not None:
        if form == "ms":
            headers.append(("retry-after-ms", str(round(after * 1000))))
        else:
            headers.append(
                ("Retry-After", formatdate(time() + after, usegmt=True) if form == "date" else str(round(after)))
            )
    return error(429, "Too many requests", headers)


def bearer(request: Request, api_key: str | None) -> None:
    """Reject a bearer token other than the router's API key, if it has one, with 401."""
    if api_key is not None and _header(request, "Authorization", 401) != f"Bearer {api_key}":
        raise RefusedError(401, "Invalid API key")


def payload_id(request: Request) -> str:
    """Return the payload id; 400 if it is missing."""
    return _required(request, "X-Payload-ID")


def tier(request: Request) -> str | None:
    """Return the requested tier, or `None`; 400 for an unknown tier."""
    value = _header(request, "X-Security-Tier")
    if value is not None and value not in TIERS:
        raise RefusedError(400, f"X-Security-Tier is not one of {', '.join(TIERS)}")
    return value


def content_type(request: Request) -> None:
    """Reject a Content-Type other than the protocol's with 400."""
    if _required(request, "Content-Type") != "application/octet-stream":
        raise RefusedError(400, "Content-Type is not application/octet-stream")


def client_key(request: Request) -> rsa.RSAPublicKey:
    """Return the key that encrypts the response; 400 for an invalid one. Accepts `/` and `%2F`, and a final newline."""
    value = _required(request, "X-Public-Key")
    if re.fullmatch(r"(?:[A-Za-z0-9_.~/!'()*-]|%[0-9A-Fa-f]{2})+", value) is None:
        raise RefusedError(400, "X-Public-Key is not percent-encoded")
    try:
        key = load_pem_public_key(unquote(value, errors="strict").encode())
    except ValueError:
        raise RefusedError(400, "X-Public-Key is not a PEM public key") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise RefusedError(400, "X-Public-Key is not RSA")
    if key.key_size < CLIENT_KEY_BITS_MINIMUM:
        raise RefusedError(400, f"X-Public-Key: expected at least {CLIENT_KEY_BITS_MINIMUM} bits, got {key.key_size}")
    return key


def opened(body: bytes, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """Decrypt the payload in a body; 400 if it is invalid."""
    try:
        payload = strict_object(unseal(body, key), "the payload")
    except PackageError as problem:
        raise RefusedError(400, str(problem)) from None
    if not payload:
        raise RefusedError(400, "the payload is empty")
    return payload


def _required(request: Request, name: str) -> str:
    value = _header(request, name)
    if not value:
        raise RefusedError(400, f"{name} is missing")
    return value


def _header(request: Request, name: str, status: int = 400) -> str | None:
    try:
        return request.header(name)
    except ValueError as problem:
        raise RefusedError(status, str(problem)) from None
