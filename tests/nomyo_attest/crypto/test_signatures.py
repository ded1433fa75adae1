"""Signatures that verify and signatures that do not, made here with keys of our own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from nomyo_attest.crypto.keys import VerificationKey
from nomyo_attest.crypto.signatures import can_verify, verify_signature
from nomyo_attest.tpm import TPMT_SIGNATURE
from tests.nomyo_attest.tpm.layouts import signature
from tests.nomyo_attest.tpm.wire import join

RSASSA, RSAPSS, ECDSA = 0x0014, 0x0016, 0x0018
HASHES: Final[dict[int, hashes.HashAlgorithm]] = {
    0x0004: hashes.SHA1(),
    0x000B: hashes.SHA256(),
    0x000C: hashes.SHA384(),
    0x000D: hashes.SHA512(),
    0x0027: hashes.SHA3_256(),
    0x0028: hashes.SHA3_384(),
    0x0029: hashes.SHA3_512(),
}
SHA256 = 0x000B
MESSAGE = b"the bytes that a TPM signs"
CURVES: Final[dict[str, tuple[Callable[[], ec.EllipticCurve], int]]] = {
    "p256": (ec.SECP256R1, 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551),
    "p384": (
        ec.SECP384R1,
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    ),
    "p521": (ec.SECP521R1, (1 << 521) - 0x5AE79787C40D069948033FEB708F65A2FC44A36477663B851449048E16EC79BF7),
}


@cache
def made(kind: str, number: int) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    """The key of that number; the same one each time."""
    return ec.generate_private_key(CURVES[kind][0]()) if kind in CURVES else rsa.generate_private_key(65537, int(kind))


def rsa_key(bits: int = 2048, number: int = 0) -> rsa.RSAPrivateKey:
    key = made(str(bits), number)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def ecc_key(curve: str, number: int = 0) -> ec.EllipticCurvePrivateKey:
    key = made(curve, number)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def of_rsa(scheme: int, hash_alg: int, octets: bytes) -> TPMT_SIGNATURE:
    return TPMT_SIGNATURE.parse(join(signature({"sig_alg": scheme, "signature": {"hash": hash_alg, "sig": octets}})))


def of_ecc(hash_alg: int, r: bytes, s: bytes) -> TPMT_SIGNATURE:
    numbers = {"hash": hash_alg, "signature_r": r, "signature_s": s}
    return TPMT_SIGNATURE.parse(join(signature({"sig_alg": ECDSA, "signature": numbers})))


def sign_pss(salt: int, hash_alg: int = SHA256, bits: int = 2048) -> bytes:
    hash_ = HASHES[hash_alg]
    return rsa_key(bits).sign(MESSAGE, padding.PSS(padding.MGF1(hash_), salt), hash_)


def sign_ecdsa(curve: str, hash_alg: int = SHA256) -> tuple[int, int]:
    return decode_dss_signature(ecc_key(curve).sign(MESSAGE, ec.ECDSA(HASHES[hash_alg])))


@pytest.mark.parametrize("hash_alg", HASHES)
@pytest.mark.parametrize("bits", [2048, 3072])
def test_rsassa_verifies_with_each_hash(hash_alg: int, bits: int) -> None:
    octets = rsa_key(bits).sign(MESSAGE, padding.PKCS1v15(), HASHES[hash_alg])
    value = of_rsa(RSASSA, hash_alg, octets)
    assert can_verify(value)
    assert verify_signature(rsa_key(bits).public_key(), value, MESSAGE)


@pytest.mark.parametrize("hash_alg", HASHES)
@pytest.mark.parametrize("bits", [2048, 3072])
def test_rsapss_verifies_with_a_salt_as_long_as_the_digest_and_with_the_longest(hash_alg: int, bits: int) -> None:
    digest = HASHES[hash_alg].digest_size
    for salt in (digest, bits // 8 - digest - 2):
        value = of_rsa(RSAPSS, hash_alg, sign_pss(salt, hash_alg, bits))
        assert verify_signature(rsa_key(bits).public_key(), value, MESSAGE), salt


@pytest.mark.parametrize("salt", [0, 1, 8, 16, 20, 31, 33, 48, 64, 100, 128, 200, 220, 221])
def test_rsapss_with_any_other_salt_does_not_verify(salt: int) -> None:
    octets, hash_ = sign_pss(salt), hashes.SHA256()
    rsa_key().public_key().verify(octets, MESSAGE, padding.PSS(padding.MGF1(hash_), salt), hash_)
    assert not verify_signature(rsa_key().public_key(), of_rsa(RSAPSS, SHA256, octets), MESSAGE)


@pytest.mark.parametrize("hash_alg", HASHES)
def test_rsapss_with_the_salt_of_another_hash_does_not_verify(hash_alg: int) -> None:
    digest = HASHES[hash_alg].digest_size
    for salt in {20, 32, 48, 64} - {digest}:
        value = of_rsa(RSAPSS, hash_alg, sign_pss(salt, hash_alg))
        assert not verify_signature(rsa_key().public_key(), value, MESSAGE), salt


def test_rsapss_with_mgf1_of_another_hash_does_not_verify() -> None:
    octets = rsa_key().sign(MESSAGE, padding.PSS(padding.MGF1(hashes.SHA1()), 32), hashes.SHA256())
    assert not verify_signature(rsa_key().public_key(), of_rsa(RSAPSS, SHA256, octets), MESSAGE)


def test_the_longest_salt_verifies_even_where_one_of_the_digest_s_size_would_not_fit() -> None:
    # RSA-1024 with SHA-512: 128 - 64 - 2 bytes of salt at the most, fewer than the 64 of the digest.
    value = of_rsa(RSAPSS, 0x000D, sign_pss(62, 0x000D, 1024))
    assert verify_signature(rsa_key(1024).public_key(), value, MESSAGE)


@pytest.mark.parametrize("hash_alg", HASHES)
@pytest.mark.parametrize("curve", CURVES)
def test_ecdsa_verifies_with_each_curve_and_hash(curve: str, hash_alg: int) -> None:
    size = (CURVES[curve][1].bit_length() + 7) // 8
    r, s = sign_ecdsa(curve, hash_alg)
    value = of_ecc(hash_alg, r.to_bytes(size, "big"), s.to_bytes(size, "big"))
    assert can_verify(value)
    assert verify_signature(ecc_key(curve).public_key(), value, MESSAGE)


@pytest.mark.parametrize("short", [0, 1], ids=["r", "s"])
@pytest.mark.parametrize("curve", CURVES)
def test_ecdsa_verifies_with_a_short_number_padded_and_stripped(curve: str, short: int) -> None:
    size = (CURVES[curve][1].bit_length() + 7) // 8
    numbers = sign_ecdsa(curve)
    while numbers[short] >> 8 * (size - 1):  # one signature in 256 has a zero byte in front; on P-521 one in two
        numbers = sign_ecdsa(curve)
    padded = [number.to_bytes(size, "big") for number in numbers]
    stripped = [number.lstrip(b"\0") for number in padded]
    assert len(stripped[short]) < size
    for r, s in (padded, stripped, (padded[0], stripped[1]), (stripped[0], padded[1])):
        assert verify_signature(ecc_key(curve).public_key(), of_ecc(SHA256, r, s), MESSAGE)


@pytest.mark.parametrize("curve", CURVES)
def test_ecdsa_numbers_outside_1_to_the_order_do_not_verify(curve: str) -> None:
    order = CURVES[curve][1]
    r, s = sign_ecdsa(curve)
    largest = (1 << 8 * 66) - 1
    for r_, s_ in (
        (0, s), (r, 0), (0, 0), (order, s), (r, order), (order, order), (r + order, s), (r, s + order), (largest, s),
        (r, largest), (s, r), (1, 1), (r, r), (order - r, s),
    ):  # fmt: skip
        if max(r_, s_) <= largest:
            numbers = [number.to_bytes(66, "big") for number in (r_, s_)]
            assert not verify_signature(ecc_key(curve).public_key(), of_ecc(SHA256, *numbers), MESSAGE), (r_, s_)


def test_empty_ecdsa_numbers_do_not_verify() -> None:
    r, s = (number.to_bytes(32, "big") for number in sign_ecdsa("p256"))
    for numbers in ((b"", s), (r, b""), (b"", b"")):
        assert not verify_signature(ecc_key("p256").public_key(), of_ecc(SHA256, *numbers), MESSAGE)


def signatures() -> dict[str, tuple[VerificationKey, TPMT_SIGNATURE]]:
    r, s = (number.to_bytes(32, "big") for number in sign_ecdsa("p256"))
    return {
        "rsassa": (
            rsa_key().public_key(),
            of_rsa(RSASSA, SHA256, rsa_key().sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())),
        ),
        "rsapss": (rsa_key().public_key(), of_rsa(RSAPSS, SHA256, sign_pss(32))),
        "ecdsa": (ecc_key("p256").public_key(), of_ecc(SHA256, r, s)),
    }


@pytest.mark.parametrize("kind", ["rsassa", "rsapss", "ecdsa"])
def test_a_signature_over_other_bytes_does_not_verify(kind: str) -> None:
    key, value = signatures()[kind]
    assert verify_signature(key, value, MESSAGE)
    for other in (b"", MESSAGE[:-1], MESSAGE + b"\0", b"T" + MESSAGE[1:], MESSAGE * 2):
        assert not verify_signature(key, value, other)


@pytest.mark.parametrize("kind", ["rsassa", "rsapss", "ecdsa"])
def test_a_signature_of_another_key_does_not_verify(kind: str) -> None:
    _, value = signatures()[kind]
    others: list[VerificationKey] = [rsa_key(number=1).public_key(), rsa_key(3072).public_key()]
    for other in (*others, ecc_key("p256", 1).public_key(), ecc_key("p384").public_key()):
        assert not verify_signature(other, value, MESSAGE)


def test_a_signature_does_not_verify_with_a_key_of_the_other_kind() -> None:
    by_kind = signatures()
    assert not verify_signature(by_kind["ecdsa"][0], by_kind["rsassa"][1], MESSAGE)
    assert not verify_signature(by_kind["ecdsa"][0], by_kind["rsapss"][1], MESSAGE)
    assert not verify_signature(by_kind["rsassa"][0], by_kind["ecdsa"][1], MESSAGE)


def test_a_signature_does_not_verify_as_one_of_another_scheme() -> None:
    pkcs = rsa_key().sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    assert not verify_signature(rsa_key().public_key(), of_rsa(RSAPSS, SHA256, pkcs), MESSAGE)
    assert not verify_signature(rsa_key().public_key(), of_rsa(RSASSA, SHA256, sign_pss(32)), MESSAGE)


@pytest.mark.parametrize("hash_alg", [one for one in HASHES if one != SHA256])
def test_a_signature_does_not_verify_with_another_hash_than_its_own(hash_alg: int) -> None:
    for key, value in signatures().values():
        header = value.sig_alg.to_bytes(2, "big") + hash_alg.to_bytes(2, "big")
        fields = value.signature
        rest = [getattr(fields, name) for name in fields.__struct_fields__[1:]]
        other = TPMT_SIGNATURE.parse(header + b"".join(len(one).to_bytes(2, "big") + one for one in rest))
        assert not verify_signature(key, other, MESSAGE)


@pytest.mark.parametrize("octets", [b"", b"\0", bytes(255), bytes(256), bytes(257), b"\xff" * 256, b"\1" * 512])
def test_octets_that_are_no_rsa_signature_do_not_verify(octets: bytes) -> None:
    for scheme in (RSASSA, RSAPSS):
        assert not verify_signature(rsa_key().public_key(), of_rsa(scheme, SHA256, octets), MESSAGE)


@pytest.mark.parametrize("scheme", [RSASSA, RSAPSS])
def test_an_rsa_signature_is_as_long_as_its_modulus(scheme: int) -> None:
    def sign() -> bytes:
        return sign_pss(32) if scheme == RSAPSS else rsa_key().sign(message, padding.PKCS1v15(), hashes.SHA256())

    message, number = MESSAGE, 0
    octets = sign()
    while octets[0]:  # one signature in 256 begins with a zero byte; PKCS #1 v1.5 needs another message for another
        number += 1
        message = MESSAGE if scheme == RSAPSS else MESSAGE + number.to_bytes(4, "big")
        octets = sign()
    assert verify_signature(rsa_key().public_key(), of_rsa(scheme, SHA256, octets), message)
    for other in (octets[1:], b"\0" + octets, bytes(8) + octets, octets + b"\0", octets[:-1]):
        assert not verify_signature(rsa_key().public_key(), of_rsa(scheme, SHA256, other), message)


def test_the_signature_and_modulus_minus_it_are_not_taken_for_each_other() -> None:
    octets = rsa_key().sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    modulus = rsa_key().public_key().public_numbers().n
    for other in (modulus - int.from_bytes(octets, "big"), 0, 1, modulus - 1):
        assert not verify_signature(rsa_key().public_key(), of_rsa(RSASSA, SHA256, other.to_bytes(256, "big")), MESSAGE)


def test_a_digest_in_place_of_the_bytes_does_not_verify() -> None:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(MESSAGE)
    hashed = digest.finalize()
    for key, value in signatures().values():
        assert not verify_signature(key, value, hashed)


def test_a_hash_that_cannot_be_computed_here_is_told_before_anything_is_verified() -> None:
    assert not can_verify(of_rsa(RSASSA, 0x0012, b"\1" * 256))
    assert not can_verify(of_ecc(0x0012, b"\1", b"\1"))


def test_the_same_signature_numbers_as_no_tpm_writes_them_still_name_one_signature() -> None:
    # ECDSA's own symmetry: (r, n - s) verifies too. It is the same key and message, so nothing is gained by it.
    r, s = sign_ecdsa("p256")
    mirrored = of_ecc(SHA256, r.to_bytes(32, "big"), (CURVES["p256"][1] - s).to_bytes(32, "big"))
    assert verify_signature(ecc_key("p256").public_key(), mirrored, MESSAGE)
    assert not verify_signature(ecc_key("p256").public_key(), mirrored, MESSAGE + b"\0")


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("scheme", [RSASSA, RSAPSS])
@pytest.mark.parametrize("size", [32, 48, 64, 66, 256])
def test_an_rsa_signature_of_any_length_does_not_verify_with_a_key_on_a_curve(
    curve: str, scheme: int, size: int
) -> None:
    # key_size of a curve counts bits, as that of an RSA key does: 32 and 48 bytes are as long as P-256 and P-384.
    assert verify_signature(ecc_key(curve).public_key(), of_rsa(scheme, SHA256, bytes(size)), MESSAGE) is False
