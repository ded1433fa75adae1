"""The numbers of the specification, against the specification's own text, `hashlib` and tpm2-pytss."""

from __future__ import annotations

import hashlib

import pytest

from nomyo_attest.tpm.constants import (
    HASH_ALGORITHMS,
    HASH_NAMES,
    HASH_SIZES,
    HASH_TABLE,
    PCR_COUNT,
    TPM_ALG_ID,
    TPM_ECC_CURVE,
    TPM_GENERATED_VALUE,
    TPM_RH,
    TPM_ST,
    TPMA_OBJECT,
    TPMA_OBJECT_DEFINED,
    attribute_names,
    hash_name,
)


def test_the_magic_is_ff_and_tcg() -> None:
    assert TPM_GENERATED_VALUE.to_bytes(4, "big") == b"\xffTCG"


def test_a_pc_client_tpm_has_24_pcrs() -> None:
    assert PCR_COUNT == 24


@pytest.mark.parametrize("algorithm", [row.algorithm for row in HASH_TABLE if row.computed])
def test_a_hash_has_the_digest_size_that_hashlib_gives_it(algorithm: TPM_ALG_ID) -> None:
    assert hashlib.new(HASH_NAMES[algorithm]).digest_size == HASH_SIZES[algorithm]


def test_sm3_has_digests_of_32_bytes() -> None:
    assert HASH_SIZES[TPM_ALG_ID.SM3_256] == 32


def test_names_and_algorithms_of_hashes_are_one_table_read_both_ways() -> None:
    assert {HASH_ALGORITHMS[name]: name for name in HASH_ALGORITHMS} == HASH_NAMES
    assert HASH_SIZES.keys() == HASH_NAMES.keys()


def test_a_hash_is_called_as_users_write_it_and_anything_else_as_the_specification_does() -> None:
    assert hash_name(TPM_ALG_ID.SHA3_384) == "sha3_384"
    assert hash_name(TPM_ALG_ID.NULL) == "TPM_ALG_NULL"


# TPM 2.0 Part 2, 8.3.2, table "Definition of TPMA_OBJECT Bits"; bits 8 and 9 since revision 1.83
ATTRIBUTES = {
    1: "fixedTPM",
    2: "stClear",
    4: "fixedParent",
    5: "sensitiveDataOrigin",
    6: "userWithAuth",
    7: "adminWithPolicy",
    8: "firmwareLimited",
    9: "svnLimited",
    10: "noDA",
    11: "encryptedDuplication",
    16: "restricted",
    17: "decrypt",
    18: "sign",
    19: "x509sign",
}


@pytest.mark.parametrize("bit", range(32))
def test_each_attribute_bit_is_called_as_part_2_spells_it(bit: int) -> None:
    assert attribute_names(1 << bit) == [ATTRIBUTES.get(bit, f"reserved bit {bit}")]
    assert bool(TPMA_OBJECT_DEFINED >> bit & 1) == (bit in ATTRIBUTES)


def test_several_attribute_bits_are_named_from_the_lowest_up() -> None:
    assert attribute_names(0) == []
    assert attribute_names(0x00050072) == [
        "fixedTPM", "fixedParent", "sensitiveDataOrigin", "userWithAuth", "restricted", "sign",
    ]  # fmt: skip
    assert attribute_names(0x80000002) == ["fixedTPM", "reserved bit 31"]


def test_the_handles_are_those_of_the_four_hierarchies() -> None:
    assert {one.name: int(one) for one in TPM_RH} == {
        "OWNER": 0x40000001,
        "NULL": 0x40000007,
        "ENDORSEMENT": 0x4000000B,
        "PLATFORM": 0x4000000C,
    }


@pytest.mark.tpm
def test_every_number_is_the_one_that_tpm2_pytss_knows_by_that_name() -> None:
    from tpm2_pytss import constants as theirs

    compared = 0
    for ours, library in (
        (TPM_ALG_ID, theirs.TPM2_ALG),
        (TPM_ST, theirs.TPM2_ST),
        (TPM_RH, theirs.TPM2_RH),
        (TPM_ECC_CURVE, theirs.TPM2_ECC),
        (TPMA_OBJECT, theirs.TPMA_OBJECT),
    ):
        for member in ours:
            name = str(member.name)
            # The library is older than a few of the names, and spells attributes and some curves in one word.
            spelled = next((one for one in (name, name.replace("_", "")) if hasattr(library, one)), None)
            if spelled is not None:
                assert int(getattr(library, spelled)) == int(member), member
                compared += 1
    assert compared >= 60
