"""Faults of the AIK: its bytes, attributes, hierarchy, Name, and strength."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from nomyo_attest.testing import keys, writer
from nomyo_attest.testing.faults.model import (
    Bytes,
    Fault,
    Policy,
    Tamper,
    add,
    at,
    combined,
    cut,
    flip,
    forge_with,
    put,
    set_fields,
    unchanged,
    without_hierarchy,
)
from nomyo_attest.testing.forge import Forge

# Offsets in the default forge's TPMT_PUBLIC; for a P-256 key: curveID 16, kdf 18, x 20, y 54.
TYPE: Final = 0
NAME_ALG: Final = 2
ATTRIBUTES: Final = 4
POLICY: Final = 8
SYMMETRIC: Final = 10
SCHEME: Final = 12
SCHEME_HASH: Final = 14
KEY_BITS: Final = 16
EXPONENT: Final = 18
UNIQUE: Final = 22
CURVE: Final = 16
KDF: Final = 18
X: Final = 20
Y: Final = 54


def form(name: str, reason: str, change: Bytes, *, key: str = "rsa2048", **options: Any) -> Fault:
    """A fault of the bytes of TPMT_PUBLIC; the quote's qualifiedSigner is computed from the changed bytes."""
    return Fault(f"key-{name}", "key.form", reason, at("public", change), base=forge_with(key=key), **options)


def lengths() -> Iterator[Fault]:
    """TPMT_PUBLIC that is too short or too long, or contains a wrong size field."""
    for kind in ("rsa2048", "p256"):
        yield form(f"{kind}-trailing-byte", "A byte follows the public area.", add(b"\0"), key=kind)
        yield form(f"{kind}-cut", "The public area lacks its last byte.", cut(-1), key=kind)
    for field, end in (
        ("type", TYPE + 1),
        ("name-alg", NAME_ALG + 1),
        ("attributes", ATTRIBUTES + 3),
        ("policy", POLICY + 1),
        ("symmetric", SYMMETRIC + 1),
        ("scheme", SCHEME + 1),
        ("bits", KEY_BITS + 1),
        ("exponent", EXPONENT + 3),
        ("modulus", UNIQUE + 1),
    ):
        yield form(f"cut-in-{field}", f"The public area ends inside its {field}.", cut(end))
    for name, size in (("too-large", 257), ("too-small", 255), ("max", 0xFFFF)):
        reason = f"The size field of the modulus is {size} instead of 256."
        yield form(f"modulus-size-{name}", reason, put(UNIQUE, writer.u16(size)))
    yield form("modulus-oversize", "The modulus is longer than that of RSA-4096.", _padded(UNIQUE, 256, 513))
    yield form("policy-oversize", "authPolicy is longer than any digest.", _padded(POLICY, 0, 65))
    yield form("x-oversize", "A coordinate is longer than that of any curve.", _padded(X, 32, 67), key="p256")


def contents() -> Iterator[Fault]:
    """TPMT_PUBLIC with values that are invalid or not supported."""
    for kind, name, offset, number in (
        ("rsa2048", "type-ecc", TYPE, writer.ALG_ECC),
        ("rsa2048", "type-null", TYPE, writer.ALG_NULL),
        ("rsa2048", "type-unknown", TYPE, 0x7FFF),
        ("rsa2048", "name-alg-null", NAME_ALG, writer.ALG_NULL),
        ("rsa2048", "name-alg-unknown", NAME_ALG, 0x7FFF),
        ("rsa2048", "symmetric-unknown", SYMMETRIC, 0x7FFF),
        ("rsa2048", "symmetric-aes", SYMMETRIC, writer.ALG_AES),
        ("rsa2048", "scheme-ecdsa", SCHEME, writer.ALG_ECDSA),
        ("rsa2048", "scheme-unknown", SCHEME, 0x7FFF),
        ("rsa2048", "scheme-hash-null", SCHEME_HASH, writer.ALG_NULL),
        ("p256", "scheme-rsassa", SCHEME, writer.ALG_RSASSA),
        ("p256", "curve-unknown", CURVE, 0x7FFF),
        ("p256", "kdf-unknown", KDF, 0x7FFF),
    ):
        reason = f"The public area has the invalid value {number:#06x} at byte {offset}."
        yield form(f"{kind}-{name}", reason, put(offset, writer.u16(number)), key=kind)
    for name, number in (("keyedhash", writer.ALG_KEYEDHASH), ("symcipher", writer.ALG_SYMCIPHER)):
        reason = f"The key is of type {name}, which is not supported."
        yield form(f"type-{name}", reason, put(TYPE, writer.u16(number)), undecided=True)
    for bit in (0, 3, 12, 15, 20, 31):
        attributes = writer.u32(writer.AIK_ATTRIBUTES | 1 << bit)
        reason = f"The reserved bit {bit} of objectAttributes is set."
        yield form(f"reserved-bit-{bit}", reason, put(ATTRIBUTES, attributes), also_failed=("key.attributes",))


def framings() -> Iterator[Fault]:
    """TPM2B_PUBLIC whose size does not match its content."""
    changes: tuple[tuple[str, str, Bytes], ...] = (
        ("size-too-large", "is one byte too large", lambda blob: writer.u16(len(blob) - 1) + blob[2:]),
        ("size-too-small", "is one byte too small", lambda blob: writer.u16(len(blob) - 3) + blob[2:]),
        ("size-zero", "is zero", put(0, writer.u16(0))),
        ("trailing", "does not include the byte that follows", add(b"\0")),
        ("doubled", "is present twice", writer.tpm2b),
        ("little-endian", "is written little-endian", lambda blob: blob[1::-1] + blob[2:]),
    )
    for name, what, change in changes:
        yield Fault(f"key-framing-{name}", "key.form", f"The size of TPM2B_PUBLIC {what}.", at("key_blob", change))
    bare = forge_with(sized_key=False)
    reason = "A byte follows the bare TPMT_PUBLIC."
    yield Fault("key-framing-bare-trailing", "key.form", reason, at("key_blob", add(b"\0")), base=bare)


def attributes() -> Iterator[Fault]:
    """Keys that may do more than sign data from inside the TPM, or that may leave it."""
    right = writer.AIK_ATTRIBUTES
    for name, value, what in (
        ("not-restricted", right & ~writer.RESTRICTED, "may sign data from outside the TPM"),
        ("not-sign", right & ~writer.SIGN_ENCRYPT, "may not sign"),
        ("not-fixed-tpm", right & ~writer.FIXED_TPM, "may have been duplicated to another TPM"),
        ("not-fixed-parent", right & ~writer.FIXED_PARENT, "may have been moved to another parent"),
        ("not-sensitive-data-origin", right & ~writer.SENSITIVE_DATA_ORIGIN, "was created outside the TPM"),
        ("decrypt", right | writer.DECRYPT, "may decrypt too: it is not only for signing"),
        (
            "imported",
            writer.USER_WITH_AUTH | writer.RESTRICTED | writer.SIGN_ENCRYPT,
            "was created in software and imported",
        ),
    ):
        yield Fault(f"attributes-{name}", "key.attributes", f"The key {what}.", set_fields(attributes=value))
    reason = "The key has no attributes."
    also = ("key.template",)  # without userWithAuth and authPolicy, nothing can authorize signing
    yield Fault("attributes-none", "key.attributes", reason, set_fields(attributes=0), also_failed=also)


def templates() -> Iterator[Fault]:
    """Public areas that a TPM does not create, or does not sign with."""

    def template(name: str, reason: str, tamper: Tamper, **options: Any) -> Fault:
        return Fault(f"template-{name}", "key.template", reason, tamper, **options)

    aes = b"".join(map(writer.u16, (writer.ALG_AES, 128, writer.ALG_CFB)))
    for key in ("rsa2048", "p256"):
        reason = "The signing key has a symmetric algorithm, like a storage key."
        yield template(
            f"symmetric-{key}", reason, at("public", _replace_null(SYMMETRIC, aes)), base=forge_with(key=key)
        )
    reason = "The signing key has a key derivation function."
    kdf = writer.u16(writer.ALG_KDF1_SP800_108) + writer.u16(writer.ALG_SHA256)
    yield template("kdf", reason, at("public", _replace_null(KDF, kdf)), base=forge_with(key="p256"))
    for size in (1, 20, 48):
        reason = f"authPolicy is {size} bytes long, but nameAlg is SHA-256."
        yield template(f"policy-{size}-bytes", reason, set_fields(auth_policy=b"\xa5" * size))
    right = writer.AIK_ATTRIBUTES
    reason = "The key has both encryptedDuplication and fixedTPM set."
    yield template("encrypted-duplication", reason, set_fields(attributes=right | writer.ENCRYPTED_DUPLICATION))
    reason = "The key has neither userWithAuth nor an authPolicy, so nothing can authorize signing."
    yield template("no-authorization", reason, set_fields(attributes=right & ~writer.USER_WITH_AUTH))
    reason = "The exponent is 65541, which is not prime."
    yield template("exponent-composite", reason, set_fields(exponent=65541))


def hierarchies() -> Iterator[Fault]:
    """Keys of a hierarchy that the policy does not accept."""

    def hierarchy(name: str, reason: str, **options: Any) -> Fault:
        return Fault(f"hierarchy-{name}", "key.hierarchy", reason, **options)

    for other in ("owner", "platform", "null"):
        reason = f"A primary key of the {other} hierarchy, but the policy requires endorsement."
        yield hierarchy(other, reason, tamper=set_fields(hierarchy=other))
    yield hierarchy(
        "endorsement",
        "A primary key of the endorsement hierarchy, but the policy requires owner or platform.",
        policy=lambda policy: policy["key"].update(hierarchy=["owner", "platform"]),
    )
    reason = "A child of another key: its qualified name does not identify its hierarchy."
    yield hierarchy("child", reason, tamper=set_fields(hierarchy=None), undecided=True)
    yield hierarchy(
        "other-key",
        "qualifiedSigner is that of another key: the quote does not name the key in the response.",
        tamper=at("qualified_signer", lambda _: Forge(label="other").build().qualified_signer),
        undecided=True,
    )


def trust() -> Iterator[Fault]:
    """Keys that are not pinned."""
    reason = "The policy pins a different AIK."
    yield Fault("pinned-other", "key.trust", reason, policy=_pins(Forge(label="other")))
    other = Forge(attributes=writer.AIK_ATTRIBUTES | writer.NO_DA)
    reason = "The policy pins an AIK with the same modulus but different attributes, and therefore a different Name."
    yield Fault("pinned-other-attributes", "key.trust", reason, policy=_pins(other))
    sm3 = writer.u16(writer.ALG_SM3_256)
    yield Fault(
        "name-alg-sm3",
        "key.trust",
        "The key's nameAlg is SM3, which not every system can compute, so its Name is unknown.",
        combined(at("public", put(NAME_ALG, sm3)), at("name", lambda name: sm3 + name[2:])),
        policy=without_hierarchy,
        undecided=True,
    )


def _padded(offset: int, size: int, wanted: int) -> Bytes:
    """Pad the TPM2B of `size` bytes at `offset` with leading zeros."""
    begin, end = offset + 2, offset + 2 + size
    return lambda blob: blob[:offset] + writer.tpm2b(blob[begin:end].rjust(wanted, b"\0")) + blob[end:]


def _replace_null(offset: int, octets: bytes) -> Bytes:
    """Replace the two bytes of TPM_ALG_NULL at `offset` by `octets`."""
    return lambda blob: blob[:offset] + octets + blob[offset + 2 :]


def _pins(pinned: Forge) -> Callable[[Policy], None]:
    return lambda policy: policy["key"].update(trust="pinned_aik", pinned=[pinned.build().name.hex()])


_FIELD_OF_P521 = (1 << 521) - 1  # NIST SP 800-186, 3.2.1.5


def weak(name: str, reason: str, tamper: Tamper, **options: Any) -> Fault:
    """A weak key that libraries load, and whose signature verifies."""
    return Fault(f"weak-{name}", "key.strength", reason, tamper, **options)


def unusable(name: str, reason: str, tamper: Tamper, **fields: Any) -> Fault:
    """A key that libraries do not load, so that `signature.valid` is undecided."""
    return weak(name, reason, tamper, base=forge_with(**fields), also_undecided=("signature.valid",))


def weak_rsa_keys() -> Iterator[Fault]:
    """Weak RSA keys."""
    for bits in (1024, 1536):
        yield weak(f"rsa-{bits}", f"The key is RSA-{bits}.", set_fields(key=f"rsa{bits}"))
    for exponent in (3, 257):
        yield weak(f"exponent-{exponent}", f"The RSA exponent is {exponent}.", set_fields(exponent=exponent))
    yield weak("roca", "The modulus has the ROCA form (CVE-2017-15361) and can be factored.", set_fields(roca=True))
    reason = "keyBits is 4096, but the modulus is 2048 bits long."
    yield weak("key-bits-too-large", reason, at("public", put(KEY_BITS, writer.u16(4096))))
    reason = "keyBits is 2048, but the modulus is 1024 bits long."
    yield weak("key-bits-of-1024", reason, _with_rsa1024(put(KEY_BITS, writer.u16(2048))))
    reason = "The modulus is 1024 bits long, padded with zeros to the 2048 bits of keyBits."
    yield weak("modulus-padded", reason, _with_rsa1024(_padded_modulus))
    reason = "The key is RSA-2048, but the policy requires 3072 bits."
    yield weak("below-policy", reason, unchanged, policy=lambda policy: policy["key"].update(rsa_min_bits=3072))
    reason = "The RSA exponent is 1: the signature is the padded digest, which anyone can compute."
    yield unusable("exponent-1", reason, set_fields(exponent=1))
    yield unusable(
        "exponent-even", "The RSA exponent is 65538, which is even.", set_fields(exponent=65538), scheme="rsapss"
    )
    yield unusable("modulus-empty", "The modulus is empty.", at("public", lambda blob: blob[:UNIQUE] + bytes(2)))


def weak_ecc_keys() -> Iterator[Fault]:
    """Weak, unknown and broken ECC keys."""
    for curve, bits in (("p192", 192), ("p224", 224)):
        yield unusable(curve, f"The curve has only {bits} bits.", set_fields(key=curve), key="p256")
    changes: tuple[tuple[str, str, Bytes], ...] = (
        ("curve-bn256", "BN_P256 is not a supported curve.", _named_curve("bn256")),
        ("curve-sm2", "SM2_P256 is not a supported curve.", _named_curve("sm2")),
        ("curve-p384", "The point is on P-256, but the curve id is that of P-384.", _named_curve("p384")),
        ("point-off-curve", "The point is not on P-256.", flip(-1)),
        ("point-zero", "The point is (0, 0).", put(X, writer.tpm2b(bytes(32)) * 2)),
        ("point-empty", "The point has no coordinates.", lambda blob: blob[:X] + bytes(4)),
        ("point-short", "The point has no y coordinate.", lambda blob: blob[: X + 34] + bytes(2)),
    )
    for name, reason, change in changes:
        yield unusable(name, reason, at("public", change), key="p256")
    reason = "x is not reduced modulo the field prime."
    yield unusable("point-unreduced", reason, at("public", _x_plus_p), key="p521")


def _named_curve(curve: str) -> Bytes:
    return put(CURVE, writer.u16(writer.CURVES[curve]))


def _with_rsa1024(change: Bytes) -> Tamper:
    return combined(set_fields(key="rsa1024"), at("public", change))


def _padded_modulus(blob: bytes) -> bytes:
    modulus = blob[UNIQUE + 2 :].rjust(256, b"\0")
    return blob[:KEY_BITS] + writer.u16(2048) + blob[EXPONENT:UNIQUE] + writer.tpm2b(modulus)


def _x_plus_p(blob: bytes) -> bytes:
    size = keys.coordinate_size("p521")
    x = int.from_bytes(blob[X + 2 : X + 2 + size], "big") + _FIELD_OF_P521
    return put(X + 2, x.to_bytes(size, "big"))(blob)


FAULTS = (
    *lengths(),
    *contents(),
    *framings(),
    *attributes(),
    *templates(),
    *hierarchies(),
    *trust(),
    *weak_rsa_keys(),
    *weak_ecc_keys(),
)
