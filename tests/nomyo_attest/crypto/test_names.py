"""Names and Qualified Names, computed here a second time by hand."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

import pytest

from nomyo_attest.crypto.names import HIERARCHY_NAMES, key_name, primary_hierarchy
from nomyo_attest.testing import Forge
from nomyo_attest.tpm import parse_public
from nomyo_attest.tpm.constants import TPM_ALG_ID

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
