"""Keys that others than their TPM can sign with, or soon will.

Where a library loads such a key at all, its signature verifies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nomyo_attest.testing import keys, writer
from nomyo_attest.testing.faults.changes import Bytes, Tamper, at, both, flip, nothing, put, with_, world
from nomyo_attest.testing.faults.key import CURVE, EXPONENT, KEY_BITS, UNIQUE, X
from nomyo_attest.testing.faults.model import Fault

_FIELD_OF_P521 = (1 << 521) - 1  # NIST SP 800-186, 3.2.1.5


def weak(name: str, reason: str, tamper: Tamper, **more: Any) -> Fault:
    """A key that loads, and verifies its signature."""
    return Fault(f"weak-{name}", "key.strength", reason, tamper, **more)


def unusable(name: str, reason: str, tamper: Tamper, **fields: Any) -> Fault:
    """A key that libraries refuse to load, so that whether the signature verifies cannot be told."""
    return weak(name, reason, tamper, world=world(**fields), also_undecided=("signature.valid",))


def rsa() -> Iterator[Fault]:
    """Weak RSA keys."""
    for bits in (1024, 1536):
        yield weak(f"rsa-{bits}", f"RSA-{bits}.", with_(key=f"rsa{bits}"))
    for exponent in (3, 257):
        yield weak(f"exponent-{exponent}", f"RSA with the exponent {exponent}.", with_(exponent=exponent))
    yield weak("roca", "A modulus of the form of CVE-2017-15361: it can be factored.", with_(roca=True))
    reason = "keyBits says 4096 over a modulus of 2048 bits."
    yield weak("key-bits-more", reason, at("public", put(KEY_BITS, writer.u16(4096))))
    reason = "keyBits says 2048 over a modulus of 1024 bits."
    yield weak("key-bits-of-1024", reason, _of_rsa1024(put(KEY_BITS, writer.u16(2048))))
    reason = "A modulus of 1024 bits, padded with zeros to the 2048 that keyBits says."
    yield weak("modulus-padded", reason, _of_rsa1024(_padded_modulus))
    reason = "RSA-2048 where the policy asks for 3072 bits."
    yield weak("below-policy", reason, nothing, policy=lambda policy: policy["key"].update(rsa_min_bits=3072))
    reason = "RSA with the exponent 1: the signature is the padded digest, which anybody can write."
    yield unusable("exponent-1", reason, with_(exponent=1))
    yield unusable("exponent-even", "RSA with the exponent 65538.", with_(exponent=65538), scheme="rsapss")
    yield unusable("modulus-empty", "The modulus is empty.", at("public", lambda blob: blob[:UNIQUE] + bytes(2)))


def ecc() -> Iterator[Fault]:
    """Weak, unknown and broken ECC keys."""
    for curve, bits in (("p192", 192), ("p224", 224)):
        yield unusable(curve, f"A curve of {bits} bits.", with_(key=curve), key="p256")
    changes: tuple[tuple[str, str, Bytes], ...] = (
        ("curve-bn256", "A curve that is not supported: BN_P256.", _named_curve("bn256")),
        ("curve-sm2", "A curve that is not supported: SM2_P256.", _named_curve("sm2")),
        ("curve-p384", "A point of P-256 under the name of P-384.", _named_curve("p384")),
        ("point-off-curve", "The point is not on P-256.", flip(-1)),
        ("point-zero", "The point is (0, 0).", put(X, writer.tpm2b(bytes(32)) * 2)),
        ("point-empty", "The point has no coordinates.", lambda blob: blob[:X] + bytes(4)),
        ("point-short", "The point has no y.", lambda blob: blob[: X + 34] + bytes(2)),
    )
    for name, reason, change in changes:
        yield unusable(name, reason, at("public", change), key="p256")
    reason = "x is larger than the field, and right modulo it."
    yield unusable("point-unreduced", reason, at("public", _x_plus_p), key="p521")


def _named_curve(curve: str) -> Bytes:
    return put(CURVE, writer.u16(writer.CURVES[curve]))


def _of_rsa1024(change: Bytes) -> Tamper:
    return both(with_(key="rsa1024"), at("public", change))


def _padded_modulus(blob: bytes) -> bytes:
    modulus = blob[UNIQUE + 2 :].rjust(256, b"\0")
    return blob[:KEY_BITS] + writer.u16(2048) + blob[EXPONENT:UNIQUE] + writer.tpm2b(modulus)


def _x_plus_p(blob: bytes) -> bytes:
    size = keys.coordinate_size("p521")
    x = int.from_bytes(blob[X + 2 : X + 2 + size], "big") + _FIELD_OF_P521
    return put(X + 2, x.to_bytes(size, "big"))(blob)


FAULTS = (*rsa(), *ecc())
