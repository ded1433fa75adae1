"""Faults of ``/pki/public_key``."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from nomyo.router.faults.model import Fault

PAGE = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>\n"
"""What a hotel's network answers."""


def faults() -> Iterator[Fault]:
    """Keys that must not be used, and answers that are no key."""

    def key(name: str, reason: str, answer: Response) -> Fault:
        return Fault(f"key-{name}", reason, "key", lambda _: answer)

    yield key("503", "The key endpoint answers 503.", JSONResponse({"detail": "Key service unavailable"}, 503))
    yield key("404", "The key endpoint answers 404.", JSONResponse({"detail": "Not Found"}, 404))
    yield key("html", "The key endpoint answers 200 with an HTML page.", HTMLResponse(PAGE))
    yield key("redirect", "The key endpoint redirects.", RedirectResponse("/pki/elsewhere"))
    yield key("empty", "The key endpoint answers 200 with nothing.", PlainTextResponse(""))
    yield Fault("key-cut", "The PEM of the key is cut short.", "key", lambda honest: _text(bytes(honest.body)[:400]))
    yield Fault(
        "key-twice", "Two keys are served in one body.", "key", lambda honest: _text(bytes(honest.body) + _rsa(2048))
    )
    yield Fault("key-rsa-1024", "The key is RSA-1024.", "key", lambda _: _text(_rsa(1024)))
    yield Fault("key-rsa-2048", "The key is RSA-2048, below what the algorithm's name says.", "key", _small)
    yield Fault("key-ec", "The key is one on the curve P-256.", "key", lambda _: _text(_ec()))
    yield Fault("key-other", "The key is sound, and not the one the router opens requests with.", "key", _other)


def _small(_: Response) -> Response:
    return _text(_rsa(2048))


def _other(_: Response) -> Response:
    return _text(_rsa(4096))


def _text(body: bytes) -> Response:
    return PlainTextResponse(body)


@functools.cache
def _rsa(bits: int) -> bytes:
    return _pem(rsa.generate_private_key(65537, bits).public_key())


@functools.cache
def _ec() -> bytes:
    return _pem(ec.generate_private_key(ec.SECP256R1()).public_key())


def _pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
