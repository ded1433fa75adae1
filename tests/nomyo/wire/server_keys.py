"""Key pairs of the test router, generated on first use and cached, since RSA-4096 takes seconds."""

from __future__ import annotations

import functools
import threading

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

_LOCK = threading.Lock()


def pair(number: int = 0, bits: int = 4096, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """Return the RSA key pair with this number, the same for each call in a process."""
    with _LOCK:
        return _pair(number, bits, exponent)


def ec_pem(number: int = 0) -> bytes:
    """Return the P-256 public key with this number, as a PEM SubjectPublicKeyInfo."""
    with _LOCK:
        return _ec_pem(number)


def public_pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """Return a PEM SubjectPublicKeyInfo with a trailing newline."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@functools.cache
def _pair(number: int, bits: int, exponent: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=exponent, key_size=bits)


@functools.cache
def _ec_pem(number: int) -> bytes:
    return public_pem(ec.generate_private_key(ec.SECP256R1()).public_key())
