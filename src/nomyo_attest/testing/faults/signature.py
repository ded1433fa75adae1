"""Faults of the signature: its bytes, scheme and hash, and signatures that parse but do not verify."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from nomyo_attest.testing import keys, writer
from nomyo_attest.testing.faults.model import (
    Bytes,
    Fault,
    Tamper,
    add,
    always,
    at,
    combined,
    cut,
    flip,
    forge_with,
    put,
    set_fields,
)
from nomyo_attest.testing.forge import Forge

# Offsets in TPMT_SIGNATURE: sigAlg 0, hash 2, the size of the first number 4, the number 6.
_SCHEME: Final = 0
_HASH: Final = 2
_SIZE: Final = 4
_KEY_HASH: Final = 14  # offset in the default forge's TPMT_PUBLIC: the hash of its scheme


def form(name: str, reason: str, change: Bytes, *, undecided: bool = False, **fields: Any) -> Fault:
    """A fault of the bytes of TPMT_SIGNATURE."""
    tamper = at("signature", change)
    return Fault(f"signature-{name}", "signature.form", reason, tamper, base=forge_with(**fields), undecided=undecided)


def lengths() -> Iterator[Fault]:
    """TPMT_SIGNATURE that is too short or too long, or contains a wrong size field."""
    for kind, right in (("rsa2048", 256), ("p256", 32)):
        yield form(f"{kind}-trailing-byte", "A byte follows the signature.", add(b"\0"), key=kind)
        yield form(f"{kind}-cut", "The signature lacks its last byte.", cut(-1), key=kind)
        for name, size in (("too-large", right + 1), ("too-small", right - 1), ("max", 0xFFFF)):
            reason = f"The size field of the first number is {size} instead of {right}."
            yield form(f"{kind}-size-{name}", reason, put(_SIZE, writer.u16(size)), key=kind)
    for end in (1, 2, 3, 4, 5):
        yield form(f"cut-to-{end}", f"The signature is {end} bytes long.", cut(end))
    yield form("without-s", "The signature has one number, but ECDSA has two.", cut(38), key="p256")
    yield form("framed", "The signature is wrapped in a TPM2B, which a TPM never does.", writer.tpm2b)
    yield form("raw", "The signature consists of the number alone, without scheme and hash.", lambda blob: blob[6:])
    yield form("oversize", "The number is longer than an RSA-4096 signature.", _oversize)
    yield form("p256-oversize", "r is longer than on any curve.", _oversize_r, key="p256")


def algorithms() -> Iterator[Fault]:
    """TPMT_SIGNATURE with algorithms that are invalid or not supported."""
    for name, scheme in (("null", writer.ALG_NULL), ("rsaes", writer.ALG_RSAES), ("unknown", 0x7FFF)):
        reason = f"The scheme {scheme:#06x} is not a signature scheme."
        yield form(f"scheme-{name}", reason, put(_SCHEME, writer.u16(scheme)), key="p256")
    for name, hash_id in (("null", writer.ALG_NULL), ("rsa", writer.ALG_RSA), ("unknown", 0x7FFF)):
        yield form(f"hash-{name}", f"{hash_id:#06x} is not a hash.", put(_HASH, writer.u16(hash_id)))
    for name, scheme in (
        ("hmac", writer.ALG_HMAC),
        ("ecdaa", writer.ALG_ECDAA),
        ("sm2", writer.ALG_SM2),
        ("ecschnorr", writer.ALG_ECSCHNORR),
    ):
        reason = f"The scheme {name} is valid but not supported."
        yield form(f"scheme-{name}", reason, put(_SCHEME, writer.u16(scheme)), key="p256", undecided=True)


def schemes() -> Iterator[Fault]:
    """Valid signatures with a scheme other than the one in the key's public area."""
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
            f"The key's public area states {declared}, the signature {scheme}: a restricted key has only one scheme.",
            set_fields(declared_scheme=declared),
            base=forge_with(key=key, scheme=scheme),
            also_failed=("signature.hash",) if declared == "null" else (),  # without a scheme there is no hash
        )
    for key, other in (("rsa2048", "p256"), ("p256", "rsa2048")):
        yield Fault(
            f"scheme-of-{other}-beside-{key}",
            "signature.scheme",
            f"The signature is that of a {other} key, but the AIK is a {key} key.",
            at("signature", _signature_of(other)),
            base=forge_with(key=key),
            also_failed=("signature.valid",),
        )


def hashes() -> Iterator[Fault]:
    """Valid signatures with a hash that differs from the key's, or that the policy does not allow."""

    def hash_(name: str, reason: str, tamper: Any, **options: Any) -> Fault:
        return Fault(f"hash-{name}", "signature.hash", reason, tamper, **options)

    for declared, used in (("sha384", "sha256"), ("sha256", "sha384"), ("sha1", "sha256")):
        reason = f"The key's public area states {declared}, the signature {used}: a restricted key has only one hash."
        yield hash_(f"{used}-of-{declared}", reason, set_fields(hash_alg=used, declared_hash=declared))
    for key in ("rsa2048", "p256"):
        reason = "The signature uses SHA-1, which the policy does not allow."
        yield hash_(f"sha1-{key}", reason, set_fields(hash_alg="sha1"), base=forge_with(key=key))
    yield hash_(
        "not-listed",
        "The signature uses SHA-512, but the policy lists only SHA-256.",
        set_fields(hash_alg="sha512"),
        policy=lambda policy: policy.update(signature={"hashes": ["sha256"]}),
    )
    sm3 = writer.u16(writer.ALG_SM3_256)
    yield hash_(
        "sm3",
        "The key and the signature use SM3, which the policy does not allow and not every system can compute.",
        combined(at("public", put(_KEY_HASH, sm3)), at("signature", put(_HASH, sm3))),
        also_undecided=("signature.valid", "pcr.digest"),
    )


def _oversize(blob: bytes) -> bytes:
    return blob[:4] + writer.tpm2b(bytes(257) + blob[6:])


def _oversize_r(blob: bytes) -> bytes:
    return blob[:4] + writer.tpm2b(bytes(35) + blob[6:38]) + blob[38:]


def _signature_of(key: str) -> Bytes:
    return lambda _: Forge(key=key).build().signature


# A clock, in milliseconds, at which the default forge's signature begins with a zero byte.
_ZERO_BYTE_CLOCK: Final = 86_400_070

_LABEL: Final = Forge().label


def invalid(name: str, reason: str, tamper: Tamper, **fields: Any) -> Fault:
    """A signature that does not verify; `fields` configure the forge."""
    return Fault(f"signature-{name}", "signature.valid", reason, tamper, base=forge_with(**fields))


def any_scheme() -> Iterator[Fault]:
    """Faults that apply to every scheme."""
    for key, scheme in (("rsa2048", "rsassa"), ("rsa2048", "rsapss"), ("p256", ""), ("p384", ""), ("p521", "")):
        fields = {"key": key, "scheme": scheme}
        kind = f"{key}-{scheme}" if scheme else key
        for name, offset in (("first", 6), ("last", -1)):
            reason = f"One bit of the signature's {name} byte differs."
            yield invalid(f"{kind}-{name}-byte", reason, at("signature", flip(offset)), **fields)
        reason = "Another key signed the quote."
        yield invalid(f"{kind}-other-key", reason, at("signature", _signed_by_another_key(key, scheme)), **fields)
        reason = "The clock was changed after the quote was signed."
        yield invalid(f"{kind}-other-clock", reason, at("signed", put(62, b"\xff")), **fields)
        reason = "The signature was computed with a different hash from the one it states."
        yield invalid(f"{kind}-other-hash", reason, at("signature", _with_sha384(key, scheme)), **fields)
    yield Fault(
        "signature-key-swapped",
        "signature.valid",
        "The key in the response is neither the one that signed nor the one that the quote names.",
        at("key_blob", lambda _: Forge(label="other").build().key_blob),
        also_undecided=("key.hierarchy",),
    )


def rsa_numbers() -> Iterator[Fault]:
    """Numbers and padding that lenient RSA verification accepts."""
    for size in (0, 20, 31, 33):
        reason = f"The salt is {size} bytes long; a TPM uses 32, the size of the digest, or the largest size that fits."
        yield invalid(f"pss-salt-{size}", reason, set_fields(salt_size=size), scheme="rsapss")
    for scheme, other in (("rsapss", "rsassa"), ("rsassa", "rsapss")):
        reason = f"The signature is computed with {other}, but it and the key state {scheme}."
        yield invalid(f"{other}-as-{scheme}", reason, at("signature", _renamed(scheme, other)), scheme=scheme)
    changes: tuple[tuple[str, str, Bytes], ...] = (
        ("zero", "The signature is zero.", always(bytes(256))),
        ("one", "The signature is one.", always(bytes(255) + b"\1")),
        ("empty", "The signature is empty.", always(b"")),
        ("padded", "A zero byte precedes the signature.", lambda number: b"\0" + number),
        ("unreduced", "The signature is not reduced modulo the modulus.", _plus_n),
    )
    for name, reason, change in changes:
        yield invalid(f"rsa-{name}", reason, at("signature", _number(change)))
    reason = "The signature lacks its leading zero byte."
    yield invalid("rsa-stripped", reason, at("signature", _number(_stripped)), clock=_ZERO_BYTE_CLOCK)
    for name, reason, digest_info, hash_name in (
        # DigestInfo for SHA-256 (without its NULL) and for SHA-1: RFC 8017, 9.2, note 1
        (
            "without-null",
            "DigestInfo lacks the NULL of its algorithm.",
            "302f300b0609608648016503040201" + "0420",
            "sha256",
        ),
        ("digest-info-of-sha1", "DigestInfo and digest use SHA-1.", "3021300906052b0e03021a05000414", "sha1"),
        ("without-digest-info", "The digest is padded without a DigestInfo.", "", "sha256"),
    ):
        yield invalid(f"rsa-{name}", reason, _encoded(digest_info, hash_name))


def ecdsa_numbers() -> Iterator[Fault]:
    """Pairs of numbers that lenient ECDSA verification accepts."""
    changes: tuple[tuple[str, str, str, Callable[[int, int, int], tuple[int, int]]], ...] = (
        ("zero", "p256", "r and s are zero.", lambda *_: (0, 0)),
        ("one", "p256", "r and s are one.", lambda *_: (1, 1)),
        ("r-zero", "p256", "r is zero.", lambda _, s, __: (0, s)),
        ("s-zero", "p256", "s is zero.", lambda r, *_: (r, 0)),
        ("swapped", "p256", "r and s are swapped.", lambda r, s, _: (s, r)),
        ("r-negated", "p256", "r is replaced with the order minus r.", lambda r, s, order: (order - r, s)),
        ("order", "p256", "r and s are the order of the curve.", lambda _, __, order: (order, order)),
        ("r-unreduced", "p521", "r is not reduced modulo the order.", lambda r, s, order: (r + order, s)),
        ("s-unreduced", "p521", "s is not reduced modulo the order.", lambda r, s, order: (r, s + order)),
    )
    for name, curve, reason, change in changes:
        yield invalid(f"ecdsa-{name}", reason, at("signature", _numbers(curve, change)), key=curve)
    yield invalid("ecdsa-empty", "r and s are empty.", at("signature", lambda blob: blob[:4] + bytes(4)), key="p256")


def _signed_by_another_key(key: str, scheme: str) -> Bytes:
    """Sign the same bytes with another key."""

    def sign(_: bytes) -> bytes:
        attest = Forge(key=key, scheme=scheme).build().attest
        return Forge(key=key, scheme=scheme, label="other").tamper("signed", always(attest)).build().signature

    return sign


def _with_sha384(key: str, scheme: str) -> Bytes:
    """Sign the same bytes with SHA-384, but state SHA-256."""

    def sign(blob: bytes) -> bytes:
        attest = Forge(key=key, scheme=scheme).build().attest
        other = Forge(key=key, scheme=scheme, hash_alg="sha384").tamper("signed", always(attest))
        return blob[:4] + other.build().signature[4:]

    return sign


def _renamed(scheme: str, other: str) -> Bytes:
    """Return a signature in `other` that states `scheme`."""
    return lambda blob: blob[:6] + Forge(scheme=other, declared_scheme=scheme).build().signature[6:]


def _number(change: Bytes) -> Bytes:
    """Change the number of an RSA signature and update its size."""
    return lambda blob: blob[:4] + writer.tpm2b(change(blob[6:]))


def _stripped(number: bytes) -> bytes:
    assert number[0] == 0
    return number[1:]


def _plus_n(number: bytes) -> bytes:
    return (int.from_bytes(number, "big") + keys.rsa_key(_LABEL).n).to_bytes(256, "big")


def _encoded(digest_info: str, hash_name: str) -> Tamper:
    """Sign an encoding of the digest that differs from RFC 8017, 9.2."""
    signed: list[bytes] = []

    def store(attest: bytes) -> bytes:
        signed.append(attest)
        return attest

    def sign(_: bytes) -> bytes:
        info = bytes.fromhex(digest_info) + keys.digest(hash_name, signed[-1])
        signature = keys.rsa_key(_LABEL).root(b"\0\1" + b"\xff" * (253 - len(info)) + b"\0" + info)
        assert signature is not None  # only even exponents can have no root
        return signature

    return combined(at("signed", store), at("signature", _number(sign)))


def _numbers(curve: str, change: Callable[[int, int, int], tuple[int, int]]) -> Bytes:
    """Change r and s of an ECDSA signature; `change` also receives the order of the curve."""
    size = keys.coordinate_size(curve)

    def tamper(blob: bytes) -> bytes:
        r, s = int.from_bytes(blob[6 : 6 + size], "big"), int.from_bytes(blob[8 + size :], "big")
        changed = change(r, s, keys.order(curve))
        return blob[:4] + b"".join(writer.tpm2b(number.to_bytes(size, "big")) for number in changed)

    return tamper


FAULTS = (*lengths(), *algorithms(), *schemes(), *hashes(), *any_scheme(), *rsa_numbers(), *ecdsa_numbers())
