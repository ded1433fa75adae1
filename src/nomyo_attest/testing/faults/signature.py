"""Faults of the signature's bytes, its scheme and its hash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from nomyo_attest.testing import writer
from nomyo_attest.testing.faults.changes import Bytes, add, at, both, cut, put, with_, world
from nomyo_attest.testing.faults.model import Fault
from nomyo_attest.testing.forge import Forge

# Of TPMT_SIGNATURE: sigAlg 0, hash 2, the size of the first number 4, the number 6.
_SCHEME: Final = 0
_HASH: Final = 2
_SIZE: Final = 4
_KEY_HASH: Final = 14  # of the default forge's TPMT_PUBLIC: the hash of its scheme


def form(name: str, reason: str, change: Bytes, *, undecided: bool = False, **fields: Any) -> Fault:
    """A fault of the bytes of TPMT_SIGNATURE."""
    tamper = at("signature", change)
    return Fault(f"signature-{name}", "signature.form", reason, tamper, world=world(**fields), undecided=undecided)


def lengths() -> Iterator[Fault]:
    """TPMT_SIGNATURE that ends too early or too late, or whose sizes lie."""
    for kind, right in (("rsa2048", 256), ("p256", 32)):
        yield form(f"{kind}-trailing-byte", "A byte stands behind the signature.", add(b"\0"), key=kind)
        yield form(f"{kind}-cut", "The signature lacks its last byte.", cut(-1), key=kind)
        for name, size in (("more", right + 1), ("less", right - 1), ("max", 0xFFFF)):
            reason = f"The size of the first number is said to be {size}, and is {right}."
            yield form(f"{kind}-size-{name}", reason, put(_SIZE, writer.u16(size)), key=kind)
    for end in (1, 2, 3, 4, 5):
        yield form(f"cut-to-{end}", f"The signature is {end} bytes long.", cut(end))
    yield form("without-s", "The signature has one number, where ECDSA has two.", cut(38), key="p256")
    yield form("framed", "The signature stands in a TPM2B, which no TPM writes.", writer.tpm2b)
    yield form("raw", "The signature is the bare number, without scheme and hash.", lambda blob: blob[6:])
    yield form("oversize", "The number is longer than RSA-4096 makes it.", _oversize)
    yield form("p256-oversize", "r is longer than any curve makes it.", _oversize_r, key="p256")


def algorithms() -> Iterator[Fault]:
    """TPMT_SIGNATURE of algorithms that cannot stand there, or that are not read here."""
    for name, scheme in (("null", writer.ALG_NULL), ("rsaes", writer.ALG_RSAES), ("unknown", 0x7FFF)):
        reason = f"The scheme {scheme:#06x} makes no signatures."
        yield form(f"scheme-{name}", reason, put(_SCHEME, writer.u16(scheme)), key="p256")
    for name, hash_id in (("null", writer.ALG_NULL), ("rsa", writer.ALG_RSA), ("unknown", 0x7FFF)):
        yield form(f"hash-{name}", f"{hash_id:#06x} is no hash.", put(_HASH, writer.u16(hash_id)))
    for name, scheme in (
        ("hmac", writer.ALG_HMAC),
        ("ecdaa", writer.ALG_ECDAA),
        ("sm2", writer.ALG_SM2),
        ("ecschnorr", writer.ALG_ECSCHNORR),
    ):
        reason = f"The scheme {name} is one of the specification's that is not read here."
        yield form(f"scheme-{name}", reason, put(_SCHEME, writer.u16(scheme)), key="p256", undecided=True)


def schemes() -> Iterator[Fault]:
    """A signature in another scheme than the key's public area allows; it verifies all the same."""
    for key, declared, scheme in (
        ("rsa2048", "rsapss", "rsassa"),
        ("rsa2048", "rsassa", "rsapss"),
        ("rsa2048", "null", "rsassa"),
        ("rsa2048", "null", "rsapss"),
        ("p256", "null", "ecdsa"),
    ):
        yield Fault(
            f"scheme-{scheme}-of-{declared}",
            "signature.scheme",
            f"The key's public area says {declared}, the signature {scheme}: no restricted key of a TPM signs so.",
            with_(declared_scheme=declared),
            world=world(key=key, scheme=scheme),
            also_failed=("signature.hash",) if declared == "null" else (),  # no scheme has no hash either
        )
    for key, other in (("rsa2048", "p256"), ("p256", "rsa2048")):
        yield Fault(
            f"scheme-of-{other}-beside-{key}",
            "signature.scheme",
            f"A signature by a {other} key beside a {key} key.",
            at("signature", _signature_of(other)),
            world=world(key=key),
            also_failed=("signature.valid",),
        )


def hashes() -> Iterator[Fault]:
    """A signature with a hash that is not the key's own, or not allowed; it verifies all the same."""

    def hash_(name: str, reason: str, tamper: Any, **more: Any) -> Fault:
        return Fault(f"hash-{name}", "signature.hash", reason, tamper, **more)

    for declared, used in (("sha384", "sha256"), ("sha256", "sha384"), ("sha1", "sha256")):
        reason = f"The key's public area says {declared}, the signature {used}: no restricted key of a TPM signs so."
        yield hash_(f"{used}-of-{declared}", reason, with_(hash_alg=used, declared_hash=declared))
    for key in ("rsa2048", "p256"):
        reason = "A SHA-1 signature, which the policy does not allow."
        yield hash_(f"sha1-{key}", reason, with_(hash_alg="sha1"), world=world(key=key))
    yield hash_(
        "not-listed",
        "A SHA-512 signature where the policy lists SHA-256 alone.",
        with_(hash_alg="sha512"),
        policy=lambda policy: policy.update(signature={"hashes": ["sha256"]}),
    )
    sm3 = writer.u16(writer.ALG_SM3_256)
    yield hash_(
        "sm3",
        "Key and signature say SM3, which the policy does not allow, and which is not computed everywhere.",
        both(at("public", put(_KEY_HASH, sm3)), at("signature", put(_HASH, sm3))),
        also_undecided=("signature.valid", "pcr.digest"),
    )


def _oversize(blob: bytes) -> bytes:
    return blob[:4] + writer.tpm2b(bytes(257) + blob[6:])


def _oversize_r(blob: bytes) -> bytes:
    return blob[:4] + writer.tpm2b(bytes(35) + blob[6:38]) + blob[38:]


def _signature_of(key: str) -> Bytes:
    return lambda _: Forge(key=key).answer().signature


FAULTS = (*lengths(), *algorithms(), *schemes(), *hashes())
