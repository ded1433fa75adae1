"""Keys are loaded or refused with a reason; Names and Qualified Names are computed here a second time by hand."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.crypto.keys import (
    CURVES,
    HIERARCHY_NAMES,
    KeyUnusableError,
    key_name,
    primary_hierarchy,
    rsa_exponent,
    verification_key,
)
from nomyo_attest.testing import Forge
from nomyo_attest.tpm import TPM_ECC_CURVE, TPMS_RSA_PARMS, TPMT_PUBLIC, parse_public
from nomyo_attest.tpm.constants import TPM_ALG_ID
from tests.nomyo_attest.tpm.public_layouts import CURVES as CURVE_IDS
from tests.nomyo_attest.tpm.public_layouts import public
from tests.nomyo_attest.tpm.test_public import ECC, RSA
from tests.nomyo_attest.tpm.wire import join

F4 = 65537
NIST: dict[int, ec.EllipticCurve] = {0x0003: ec.SECP256R1(), 0x0004: ec.SECP384R1(), 0x0005: ec.SECP521R1()}


def rsa_public(modulus: bytes, exponent: int = 0, key_bits: int = 2048) -> TPMT_PUBLIC:
    parameters = {**RSA["parameters"], "exponent": exponent, "key_bits": key_bits}
    return TPMT_PUBLIC.parse(join(public({**RSA, "parameters": parameters, "unique": {"modulus": modulus}})))


def ecc_public(curve: int, x: bytes, y: bytes) -> TPMT_PUBLIC:
    parameters = {**ECC["parameters"], "curve_id": curve}
    return TPMT_PUBLIC.parse(join(public({**ECC, "parameters": parameters, "unique": {"x": x, "y": y}})))


@pytest.fixture(scope="module")
def modulus() -> int:
    return rsa.generate_private_key(F4, 2048).public_key().public_numbers().n


@pytest.mark.parametrize(("exponent", "read"), [(0, F4), (F4, F4), (65539, 65539), (3, 3), (2**32 - 1, 2**32 - 1)])
def test_an_rsa_key_is_loaded_with_its_exponent_and_0_is_65537(modulus: int, exponent: int, read: int) -> None:
    area = rsa_public(modulus.to_bytes(256, "big"), exponent)
    assert isinstance(area.parameters, TPMS_RSA_PARMS)
    assert rsa_exponent(area.parameters) == read
    key = verification_key(area)
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.public_numbers() == rsa.RSAPublicNumbers(read, modulus)


@pytest.mark.parametrize("octets", [b"", b"\0", b"\1", b"\2", b"\3", bytes(256)])
def test_a_modulus_that_is_none_gives_no_key(octets: bytes) -> None:
    with pytest.raises(KeyUnusableError):
        verification_key(rsa_public(octets))


@pytest.mark.parametrize("exponent", [1, 2, 4, 65536])
def test_an_exponent_that_is_none_gives_no_key(modulus: int, exponent: int) -> None:
    with pytest.raises(KeyUnusableError):
        verification_key(rsa_public(modulus.to_bytes(256, "big"), exponent))


def point(curve: ec.EllipticCurve) -> tuple[int, int, int]:
    numbers = ec.generate_private_key(curve).public_key().public_numbers()
    return numbers.x, numbers.y, (curve.key_size + 7) // 8


def test_the_curves_are_p256_p384_and_p521() -> None:
    assert {int(one): type(curve) for one, curve in CURVES.items()} == {one: type(curve) for one, curve in NIST.items()}


@pytest.mark.parametrize("curve_id", NIST)
def test_an_ecc_key_is_loaded_from_padded_and_from_stripped_coordinates(curve_id: int) -> None:
    curve = NIST[curve_id]
    x, y, size = point(curve)
    while x >> 8 * (size - 1):  # until there is a zero byte to strip; one in 256, on P-521 one in two
        x, y, size = point(curve)
    for octets in (
        (x.to_bytes(size, "big"), y.to_bytes(size, "big")),
        (x.to_bytes(size, "big").lstrip(b"\0"), y.to_bytes(size, "big").lstrip(b"\0")),
    ):
        key = verification_key(ecc_public(curve_id, *octets))
        assert isinstance(key, ec.EllipticCurvePublicKey)
        numbers = key.public_numbers()
        assert (numbers.x, numbers.y, type(numbers.curve)) == (x, y, type(curve))


@pytest.mark.parametrize("curve_id", NIST)
def test_a_point_off_its_curve_gives_no_key(curve_id: int) -> None:
    x, y, size = point(NIST[curve_id])
    octets = x.to_bytes(size, "big"), y.to_bytes(size, "big")
    off: dict[str, tuple[bytes, bytes]] = {
        "one bit of x": ((x ^ 1).to_bytes(size, "big"), octets[1]),
        "one bit of y": (octets[0], (y ^ 1).to_bytes(size, "big")),
        "x and y swapped": (octets[1], octets[0]),
        "zeros": (bytes(size), bytes(size)),
        "empty": (b"", b""),
        "no y": (octets[0], b""),
        "all ones": (b"\xff" * size, b"\xff" * size),
        "one": (b"\1", b"\1"),
    }
    for what, coordinates in off.items():
        with pytest.raises(KeyUnusableError):
            pytest.fail(f"{what}: {verification_key(ecc_public(curve_id, *coordinates))}")


@pytest.mark.parametrize("curve_id", [0x0003, 0x0004])
def test_a_coordinate_longer_than_its_curve_gives_no_key_even_if_padded_with_zeros(curve_id: int) -> None:
    x, y, size = point(NIST[curve_id])
    with pytest.raises(KeyUnusableError, match="longer than"):
        verification_key(ecc_public(curve_id, x.to_bytes(size + 1, "big"), y.to_bytes(size, "big")))
    with pytest.raises(KeyUnusableError, match="longer than"):
        verification_key(ecc_public(curve_id, x.to_bytes(size, "big"), y.to_bytes(size + 1, "big")))


@pytest.mark.parametrize(("of", "as_"), [(0x0003, 0x0004), (0x0004, 0x0003), (0x0003, 0x0005), (0x0005, 0x0004)])
def test_a_point_of_another_curve_gives_no_key(of: int, as_: int) -> None:
    x, y, size = point(NIST[of])
    with pytest.raises(KeyUnusableError):
        verification_key(ecc_public(as_, x.to_bytes(size, "big"), y.to_bytes(size, "big")))


@pytest.mark.parametrize("curve_id", [one for one in CURVE_IDS if one not in NIST])
def test_a_curve_that_is_not_supported_gives_no_key_and_is_named(curve_id: int) -> None:
    with pytest.raises(KeyUnusableError, match=TPM_ECC_CURVE(curve_id).name):
        verification_key(ecc_public(curve_id, b"\1" * 24, b"\2" * 24))


OCTETS = st.binary(max_size=66)
AREAS = st.one_of(
    st.builds(rsa_public, st.binary(max_size=256), st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1)),
    st.builds(ecc_public, st.sampled_from(CURVE_IDS), OCTETS, OCTETS),
)


@given(AREAS)
def test_any_octets_give_a_key_or_say_why_not(area: TPMT_PUBLIC) -> None:
    outcome: object
    try:
        outcome = verification_key(area)
    except KeyUnusableError as error:
        outcome = str(error)
    assert isinstance(outcome, (str, rsa.RSAPublicKey, ec.EllipticCurvePublicKey))
    assert outcome


# TPM 2.0 Part 2, 7.4
HANDLES: Final = {
    "owner": bytes.fromhex("40000001"),
    "null": bytes.fromhex("40000007"),
    "endorsement": bytes.fromhex("4000000b"),
    "platform": bytes.fromhex("4000000c"),
}
ALGORITHMS: Final = {
    TPM_ALG_ID.SHA1: ("0004", "sha1"),
    TPM_ALG_ID.SHA256: ("000b", "sha256"),
    TPM_ALG_ID.SHA384: ("000c", "sha384"),
    TPM_ALG_ID.SHA512: ("000d", "sha512"),
    TPM_ALG_ID.SHA3_256: ("0027", "sha3_256"),
    TPM_ALG_ID.SHA3_384: ("0028", "sha3_384"),
    TPM_ALG_ID.SHA3_512: ("0029", "sha3_512"),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_name_is_its_algorithm_and_the_digest_of_the_public_area(algorithm: TPM_ALG_ID) -> None:
    area = secrets.token_bytes(300)
    number, name = ALGORITHMS[algorithm]
    assert key_name(area, algorithm) == bytes.fromhex(number) + hashlib.new(name, area).digest()


def test_a_name_of_a_hash_that_cannot_be_computed_is_none() -> None:
    assert key_name(b"area", TPM_ALG_ID.SM3_256) is None


@pytest.mark.parametrize("hierarchy", HANDLES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_hierarchy_of_a_primary_key_is_found_from_its_qualified_name(algorithm: TPM_ALG_ID, hierarchy: str) -> None:
    number, hashed = ALGORITHMS[algorithm]
    name = bytes.fromhex(number) + secrets.token_bytes(hashlib.new(hashed).digest_size)
    qualified = bytes.fromhex(number) + hashlib.new(hashed, HANDLES[hierarchy] + name).digest()
    assert primary_hierarchy(name, algorithm, qualified) == hierarchy


def test_every_hierarchy_has_a_name_that_policies_write() -> None:
    assert {name: handle.to_bytes(4, "big") for handle, name in HIERARCHY_NAMES.items()} == HANDLES


def test_a_qualified_name_of_anything_else_is_that_of_no_hierarchy() -> None:
    name = b"\0\x0b" + secrets.token_bytes(32)
    endorsement = b"\0\x0b" + hashlib.sha256(HANDLES["endorsement"] + name).digest()
    others = {
        "a child of some key": b"\0\x0b" + hashlib.sha256(b"\0\x0b" + bytes(32) + name).digest(),
        "another key": b"\0\x0b" + hashlib.sha256(HANDLES["endorsement"] + name[::-1]).digest(),
        "the lockout handle": b"\0\x0b" + hashlib.sha256(bytes.fromhex("4000000a") + name).digest(),
        "no handle": b"\0\x0b" + hashlib.sha256(name).digest(),
        "the Name itself": name,
        "a byte short": endorsement[:-1],
        "a byte long": endorsement + b"\0",
        "empty": b"",
        "an algorithm": b"\0\x0b",
        "a handle": HANDLES["endorsement"],
        "one bit off": endorsement[:-1] + bytes([endorsement[-1] ^ 1]),
        "of another hash": b"\0\x0c" + hashlib.sha384(HANDLES["endorsement"] + name).digest(),
    }
    assert primary_hierarchy(name, TPM_ALG_ID.SHA256, endorsement) == "endorsement"
    for what, qualified in others.items():
        assert primary_hierarchy(name, TPM_ALG_ID.SHA256, qualified) is None, what


@pytest.mark.tpm
@pytest.mark.parametrize("key", ["rsa2048", "p256", "p384"])
@pytest.mark.parametrize("name_alg", ["sha1", "sha256", "sha384", "sha512"])
def test_tpm2_pytss_computes_the_same_name(key: str, name_alg: str) -> None:
    import tpm2_pytss

    area = Forge(key=key, name_alg=name_alg).build().public
    theirs, _ = tpm2_pytss.TPMT_PUBLIC.unmarshal(area)
    assert key_name(area, parse_public(area).value.name_alg) == bytes(theirs.get_name())
