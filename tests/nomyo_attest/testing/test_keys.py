"""The soft TPM's keys and primes come from their labels, and their signatures verify."""

from __future__ import annotations

import math
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from nomyo_attest.testing import ForgeError, keys
from nomyo_attest.testing.prime_offsets import OFFSETS

KEPT = sorted(label for label in OFFSETS if " rsa " in label)


def parts(kept: str) -> tuple[str, int, int, bool]:
    *label, half, bits, exponent = kept.removesuffix(" roca").split()
    return " ".join([*label, half]), int(bits), int(exponent), kept.endswith(" roca")


@pytest.mark.parametrize("number", [3, 5, 1999, 2003, 7919, 2**89 - 1, 2**127 - 1])
def test_a_prime_is_one(number: int) -> None:
    assert keys.is_prime(number)


# Squares and products of primes past the trial divisions, a Carmichael number of such primes, a Fermat number.
@pytest.mark.parametrize("number", [9, 2003**2, 2003 * 2011, 2221 * 4441 * 6661, 2**128 + 1, 2**127 + 1])
def test_a_composite_is_none(number: int) -> None:
    assert not keys.is_prime(number)


def test_a_label_gives_the_same_number_for_ever() -> None:
    assert keys.expand("label", 64) == 0x0D7E89BBD75AA077
    assert keys.expand("label", 2048).bit_length() <= 2048
    assert keys.expand("label", 64) != keys.expand("other", 64)


@pytest.mark.parametrize("kept", KEPT)
def test_a_kept_offset_leads_to_a_prime_of_the_right_shape(kept: str) -> None:
    label, bits, exponent, roca = parts(kept)
    prime = keys.prime(label, bits, exponent, roca=roca)
    odd = exponent // (exponent & -exponent)
    assert keys.is_prime(prime)
    assert (prime >> bits - 2, prime % 4) == (3, 3)
    assert math.gcd(prime - 1, odd) == 1


def test_the_kept_offsets_are_those_of_the_search() -> None:
    """One of each sort; `fixtures/forge.py --primes` searches them all."""
    for kept in ("aik rsa p 512 65537", "aik rsa q 512 65537", "aik rsa q 1024 65537 roca"):
        label, bits, exponent, roca = parts(kept)
        assert keys.search(label, bits, exponent, roca=roca) == OFFSETS[kept]


def test_a_roca_prime_is_a_power_of_65537_modulo_small_primes() -> None:
    prime = keys.prime("aik rsa p", 1024, 65537, roca=True)
    for small in (11, 13, 17, 37, 61, 97, 151):
        assert prime % small in {pow(65537, power, small) for power in range(small)}


HASHES: dict[str, Any] = {
    "sha1": hashes.SHA1(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
CURVES: dict[str, Any] = {
    "p192": ec.SECP192R1(),
    "p224": ec.SECP224R1(),
    "p256": ec.SECP256R1(),
    "p384": ec.SECP384R1(),
    "p521": ec.SECP521R1(),
}
MESSAGE = b"what a TPM would sign"

# RFC 6979, A.2.5 to A.2.7: private key; r and s for "sample" with SHA-256.
RFC_6979 = {
    "p256": (
        "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
    ),
    "p384": (
        "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5",
        "21B13D1E013C7FA1392D03C5F99AF8B30C570C6F98D4EA8E354B63A21D3DAA33BDE1E888E63355D92FA2B3C36D8FB2CD",
        "F3AA443FB107745BF4BD77CB3891674632068A10CA67E3D45DB2266FA7D1FEEBEFDC63ECCD1AC42EC0CB8668A4FA0AB0",
    ),
    "p521": (
        "0FAD06DAA62BA3B25D2FB40133DA757205DE67F5BB0018FEE8C86E1B68C7E75CAA896EB32F1F47C70855836A6D16FCC1466F6D8FBEC67DB89EC0C08B0E996B83538",
        "1511BB4D675114FE266FC4372B87682BAECC01D3CC62CF2303C92B3526012659D16876E25C7C1E57648F23B73564D67F61C6F14D527D54972810421E7D87589E1A7",
        "04A171143A83163D6DF460AAF61522695F207A58B95C0644D87E52AA1A347916E4F7A72930B1BC06DBE22CE3F58264AFD23704CBB63B29B931F7DE6C9D949A7ECFC",
    ),
}


def rsa_public(key: keys.RSAKey) -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(key.e, key.n).public_key()


def ecc_public(key: keys.ECCKey) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicNumbers(key.x, key.y, CURVES[key.curve]).public_key()


@pytest.mark.parametrize("curve", RFC_6979)
def test_ecdsa_gives_the_signatures_of_rfc_6979(curve: str) -> None:
    scalar, r, s = (int(number, 16) for number in RFC_6979[curve])
    assert keys.ECCKey(curve, scalar, 0, 0).sign_ecdsa("sha256", b"sample") == (r, s)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("hash_name", HASHES)
def test_ecdsa_verifies_on_every_curve_with_every_hash(curve: str, hash_name: str) -> None:
    key = keys.ecc_key("test", curve)
    signature = encode_dss_signature(*key.sign_ecdsa(hash_name, MESSAGE))
    ecc_public(key).verify(signature, MESSAGE, ec.ECDSA(HASHES[hash_name]))


def test_ecdsa_signs_until_the_numbers_are_accepted() -> None:
    key = keys.ecc_key("test")
    short_r = key.sign_ecdsa("sha256", MESSAGE, accept=lambda r, _: r < 1 << 248)
    assert short_r[0] < 1 << 248
    assert short_r != key.sign_ecdsa("sha256", MESSAGE)
    ecc_public(key).verify(encode_dss_signature(*short_r), MESSAGE, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("curve", CURVES)
def test_the_orders_of_the_curves_are_right(curve: str) -> None:
    """(n - 1) G and G differ in the sign of y alone; n itself is no scalar."""
    base, last = (
        ec.derive_private_key(k, CURVES[curve]).public_key().public_numbers() for k in (1, keys.order(curve) - 1)
    )
    assert base.x == last.x
    assert base.y != last.y
    with pytest.raises(ValueError, match="Invalid EC key"):
        ec.derive_private_key(keys.order(curve), CURVES[curve])
    assert keys.coordinate_size(curve) == (CURVES[curve].key_size + 7) // 8


@pytest.mark.parametrize("hash_name", HASHES)
def test_rsassa_verifies_with_every_hash(hash_name: str) -> None:
    key = keys.rsa_key("aik")
    rsa_public(key).verify(key.sign_rsassa(hash_name, MESSAGE), MESSAGE, padding.PKCS1v15(), HASHES[hash_name])


@pytest.mark.parametrize("hash_name", HASHES)
@pytest.mark.parametrize("salt_size", [None, 0, 1, 32, 100])
def test_rsapss_verifies_with_every_hash_and_just_its_salt(hash_name: str, salt_size: int | None) -> None:
    key = keys.rsa_key("aik")
    hash_ = HASHES[hash_name]
    signature = key.sign_rsapss(hash_name, MESSAGE, salt_size)
    size = 256 - hash_.digest_size - 2 if salt_size is None else salt_size
    rsa_public(key).verify(signature, MESSAGE, padding.PSS(padding.MGF1(hash_), size), hash_)
    with pytest.raises(InvalidSignature):
        rsa_public(key).verify(signature, MESSAGE, padding.PSS(padding.MGF1(hash_), size - 1 if size else 1), hash_)


@pytest.mark.parametrize("exponent", [1, 3, 257, 65538])
def test_weak_exponents_sign_all_the_same(exponent: int) -> None:
    key = keys.rsa_key("aik", 2048, exponent)
    signature = int.from_bytes(key.sign_rsapss("sha256", MESSAGE), "big")
    sound = keys.rsa_key("aik")
    encoded = pow(signature, exponent, key.n)
    assert key.n == sound.n
    assert key.root(encoded.to_bytes(256, "big")) is not None
    # What the sound exponent makes of the same message begins and ends as every encoded message does.
    assert (
        encoded & 0xFF
        == pow(int.from_bytes(sound.sign_rsapss("sha256", MESSAGE), "big"), 65537, sound.n) & 0xFF
        == 0xBC
    )


def test_an_even_exponent_has_no_rsassa_signature_of_three_messages_in_four() -> None:
    key = keys.rsa_key("aik", 2048, 65538)
    signed = 0
    for number in range(32):
        try:
            signature = key.sign_rsassa("sha256", bytes([number]))
        except ForgeError:
            continue
        signed += 1
        assert pow(int.from_bytes(signature, "big"), 65538, key.n).to_bytes(256, "big")[:3] == b"\x00\x01\xff"
    assert 2 <= signed <= 16


def test_the_same_label_makes_the_same_key_and_another_another() -> None:
    keys.rsa_key.cache_clear()
    first = keys.rsa_key("aik")
    keys.rsa_key.cache_clear()
    assert keys.rsa_key("aik") == first != keys.rsa_key("other")
    assert keys.ecc_key("aik") != keys.ecc_key("other")
    assert keys.ecc_key("aik", "p384").scalar != keys.ecc_key("aik", "p256").scalar


@pytest.mark.parametrize("bits", [1024, 2048, 3072, 4096])
def test_a_modulus_has_exactly_its_bits(bits: int) -> None:
    assert keys.rsa_key("aik", bits).n.bit_length() == bits


@pytest.mark.parametrize("bits", [0, 64, 1023])
def test_a_modulus_that_cannot_be_is_refused(bits: int) -> None:
    with pytest.raises(ForgeError, match="bits: expected an even number"):
        keys.rsa_key("aik", bits)


def test_a_curve_that_is_not_known_is_refused() -> None:
    with pytest.raises(ForgeError, match="curve: expected one of p192"):
        keys.ecc_key("aik", "ed25519")
