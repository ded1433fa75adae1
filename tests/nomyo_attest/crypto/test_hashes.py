"""Digests by TPM_ALG_ID, and the nonce of a payload id."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.crypto.hashes import HASHERS, payload_nonce
from nomyo_attest.tpm.constants import HASH_SIZES, TPM_ALG_ID

# FIPS 180-4 and FIPS 202, the digest of "abc": its first four bytes
OF_ABC = {
    TPM_ALG_ID.SHA1: "a9993e36",
    TPM_ALG_ID.SHA256: "ba7816bf",
    TPM_ALG_ID.SHA384: "cb00753f",
    TPM_ALG_ID.SHA512: "ddaf35a1",
    TPM_ALG_ID.SHA3_256: "3a985da7",
    TPM_ALG_ID.SHA3_384: "ec014982",
    TPM_ALG_ID.SHA3_512: "b751850b",
}


def test_every_hash_that_can_be_computed_has_its_digest_of_abc_here() -> None:
    assert HASHERS.keys() == OF_ABC.keys()
    assert TPM_ALG_ID.SM3_256 not in HASHERS


@pytest.mark.parametrize("algorithm", OF_ABC)
def test_a_hash_gives_the_digest_of_the_standard(algorithm: TPM_ALG_ID) -> None:
    digest = HASHERS[algorithm](b"abc").digest()
    assert digest[:4].hex() == OF_ABC[algorithm]
    assert len(digest) == HASH_SIZES[algorithm]


def test_the_nonce_is_the_first_16_bytes_of_sha_256_over_the_payload_id() -> None:
    # FIPS 180-4, SHA-256 of "abc"
    assert payload_nonce("abc").hex() == "ba7816bf8f01cfea414140de5dae2223"


@given(st.text(st.characters(codec="utf-8")))
def test_the_payload_id_enters_the_nonce_as_utf_8(payload_id: str) -> None:
    assert payload_nonce(payload_id) == hashlib.sha256(payload_id.encode("utf-8")).digest()[:16]
    assert len(payload_nonce(payload_id)) == 16
