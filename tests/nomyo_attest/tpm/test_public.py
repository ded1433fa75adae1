"""TPMT_PUBLIC: RSA and ECC keys; the other types by name."""

from __future__ import annotations

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from nomyo_attest.errors import ParseError, UnsupportedError
from nomyo_attest.tpm import TPMS_RSA_PARMS, TPMT_PUBLIC
from nomyo_attest.tpm.constants import TPM_ALG_ID
from tests.nomyo_attest.tpm import public_layouts, wire
from tests.nomyo_attest.tpm.public_layouts import NULL
from tests.nomyo_attest.tpm.wire import Fields, join, refused

RSA: Fields = {
    "type": 0x0001,
    "name_alg": 0x000B,
    "object_attributes": 0x00050072,
    "auth_policy": b"P" * 32,
    "parameters": {
        "symmetric": {"algorithm": NULL, "details": None},
        "scheme": {"scheme": 0x0014, "details": {"hash_alg": 0x000B}},
        "key_bits": 2048,
        "exponent": 0,
    },
    "unique": {"modulus": b"\xc3" * 256},
}
ECC: Fields = {
    **RSA,
    "type": 0x0023,
    "parameters": {
        "symmetric": {"algorithm": NULL, "details": None},
        "scheme": {"scheme": 0x0018, "details": {"hash_alg": 0x000B}},
        "curve_id": 0x0003,
        "kdf": {"scheme": NULL, "details": None},
    },
    "unique": {"x": b"X" * 32, "y": b"Y" * 32},
}
# Where the fields begin, counted by hand: 2 + 2 + 4 + (2 + 32), then the parameters
ATTRIBUTES, POLICY, SYMMETRIC, SCHEME, CURVE, KDF = 4, 8, 42, 44, 48, 50


@given(public_layouts.some_publics)
def test_a_public_area_reads_as_it_was_written(fields: Fields) -> None:
    wire.check_round_trip(TPMT_PUBLIC, public_layouts.public, fields)


@given(public_layouts.some_publics)
def test_a_public_area_cut_anywhere_is_refused_at_the_field_that_is_cut(fields: Fields) -> None:
    wire.check_every_truncation(TPMT_PUBLIC, public_layouts.public(fields))


@given(public_layouts.some_publics, st.binary(min_size=1, max_size=9))
def test_bytes_behind_a_public_area_are_refused(fields: Fields, more: bytes) -> None:
    wire.check_leftovers(TPMT_PUBLIC, public_layouts.public(fields), more)


@given(st.one_of(st.binary(), wire.mutations(public_layouts.some_publics.map(public_layouts.public).map(join))))
def test_any_bytes_are_refused_or_are_a_public_area_to_the_last_bit(data: bytes) -> None:
    wire.check_any_bytes(TPMT_PUBLIC, public_layouts.public, data)


def tampered(fields: Fields, offset: int, octets: bytes) -> bytes:
    blob = join(public_layouts.public(fields))
    return blob[:offset] + octets + blob[offset + len(octets) :]


@pytest.mark.parametrize("bit", [bit for bit in range(32) if not public_layouts.DEFINED_ATTRIBUTES >> bit & 1])
def test_a_reserved_attribute_bit_is_refused(bit: int) -> None:
    attributes = 0x00050072 | 1 << bit
    error = refused(TPMT_PUBLIC, tampered(RSA, ATTRIBUTES, attributes.to_bytes(4, "big")))
    assert (error.where, error.offset) == ("TPMT_PUBLIC.object_attributes", ATTRIBUTES)
    assert error.got == f"0x{attributes:08x}"
    assert "reserved" in error.expected


@pytest.mark.parametrize("bit", [bit for bit in range(32) if public_layouts.DEFINED_ATTRIBUTES >> bit & 1])
def test_a_defined_attribute_bit_is_read(bit: int) -> None:
    assert (
        TPMT_PUBLIC.parse(join(public_layouts.public({**RSA, "object_attributes": 1 << bit}))).object_attributes
        == 1 << bit
    )


@pytest.mark.parametrize(("type_", "name"), [(0x0008, "KEYEDHASH"), (0x0025, "SYMCIPHER")])
def test_a_type_that_is_not_read_is_refused_by_its_name(type_: int, name: str) -> None:
    error = refused(TPMT_PUBLIC, tampered(RSA, 0, type_.to_bytes(2, "big")))
    assert isinstance(error, UnsupportedError)
    assert (error.where, error.got) == ("TPMT_PUBLIC.type", f"TPM_ALG_{name}, recognized but not supported")


@pytest.mark.parametrize("type_", [one for one in TPM_ALG_ID if one not in (0x01, 0x08, 0x23, 0x25)])
def test_an_algorithm_that_is_no_type_of_object_is_wrong_and_not_unsupported(type_: TPM_ALG_ID) -> None:
    error = refused(TPMT_PUBLIC, tampered(RSA, 0, type_.to_bytes(2, "big")))
    assert type(error) is ParseError
    assert (error.where, error.got) == ("TPMT_PUBLIC.type", f"TPM_ALG_{type_.name}")


@pytest.mark.parametrize("name_alg", [0x0000, 0x0001, 0x0010, 0x0014, 0x7FFF])
def test_a_name_algorithm_that_is_no_hash_is_refused(name_alg: int) -> None:
    error = refused(TPMT_PUBLIC, tampered(RSA, 2, name_alg.to_bytes(2, "big")))
    assert (error.where, error.offset, error.got) == ("TPMT_PUBLIC.name_alg", 2, f"0x{name_alg:04x}")


@pytest.mark.parametrize(
    ("fields", "offset", "where", "allowed"),
    [
        (RSA, SYMMETRIC, "TPMT_SYM_DEF_OBJECT.algorithm", {NULL, *public_layouts.CIPHERS}),
        (RSA, SCHEME, "TPMT_RSA_SCHEME.scheme", set(public_layouts.RSA_SCHEMES)),
        (ECC, SYMMETRIC, "TPMT_SYM_DEF_OBJECT.algorithm", {NULL, *public_layouts.CIPHERS}),
        (ECC, SCHEME, "TPMT_ECC_SCHEME.scheme", {NULL, 0x001A, *public_layouts.ECC_SCHEMES}),
        (ECC, KDF, "TPMT_KDF_SCHEME.scheme", {NULL, *public_layouts.KDF_SCHEMES}),
    ],
)
def test_an_algorithm_that_may_not_stand_in_a_place_is_refused_there(
    fields: Fields, offset: int, where: str, allowed: set[int]
) -> None:
    for algorithm in TPM_ALG_ID:
        if algorithm not in allowed:
            error = refused(TPMT_PUBLIC, tampered(fields, offset, algorithm.to_bytes(2, "big")))
            assert (error.where, error.offset, error.got) == (where, offset, f"TPM_ALG_{algorithm.name}")


@pytest.mark.parametrize("curve", [0x0000, 0x0006, 0x0012, 0x0021, 0x0033, 0x0042, 0xFFFF])
def test_an_unknown_curve_is_refused(curve: int) -> None:
    error = refused(TPMT_PUBLIC, tampered(ECC, CURVE, curve.to_bytes(2, "big")))
    assert (error.where, error.offset, error.got) == ("TPMS_ECC_PARMS.curve_id", CURVE, f"0x{curve:04x}")


@pytest.mark.parametrize(
    ("fields", "unique", "where"),
    [
        (RSA, {"modulus": bytes(513)}, "TPMS_RSA_UNIQUE.modulus"),
        (ECC, {"x": bytes(67), "y": b""}, "TPMS_ECC_POINT.x"),
        (ECC, {"x": b"", "y": bytes(67)}, "TPMS_ECC_POINT.y"),
    ],
)
def test_a_unique_field_longer_than_its_type_allows_is_refused(fields: Fields, unique: Fields, where: str) -> None:
    assert refused(TPMT_PUBLIC, join(public_layouts.public({**fields, "unique": unique}))).where == where


def test_a_policy_longer_than_a_digest_is_refused() -> None:
    error = refused(TPMT_PUBLIC, join(public_layouts.public({**RSA, "auth_policy": bytes(65)})))
    assert (error.where, error.offset) == ("TPMT_PUBLIC.auth_policy", POLICY)


def test_an_rsa_area_under_the_type_of_an_ecc_key_is_refused_and_the_other_way_round() -> None:
    refused(TPMT_PUBLIC, tampered(RSA, 0, b"\0\x23"))
    refused(TPMT_PUBLIC, tampered(ECC, 0, b"\0\x01"))


@pytest.mark.parametrize("exponent", [0, 3, 65537, 2**32 - 1])
def test_the_exponent_is_kept_as_it_stands_on_the_wire(exponent: int) -> None:
    wire.check_round_trip(
        TPMT_PUBLIC, public_layouts.public, {**RSA, "parameters": {**RSA["parameters"], "exponent": exponent}}
    )


@pytest.mark.tpm
@given(fields=public_layouts.some_publics)
def test_tpm2_pytss_reads_the_same_fields_from_a_public_area(fields: Fields) -> None:
    import tpm2_pytss
    from tpm2_pytss.TSS2_Exception import TSS2_Exception

    blob = join(public_layouts.public(fields))
    try:
        theirs, end = tpm2_pytss.TPMT_PUBLIC.unmarshal(blob)
    except TSS2_Exception:
        reject()  # the library knows fewer ciphers, hashes and modes
    assert end == len(blob)
    ours = TPMT_PUBLIC.parse(blob)
    assert (int(theirs.type), int(theirs.nameAlg)) == (ours.type, ours.name_alg)
    assert int(theirs.objectAttributes) == ours.object_attributes
    assert bytes(theirs.authPolicy) == ours.auth_policy
    if isinstance(ours.parameters, TPMS_RSA_PARMS):
        assert bytes(theirs.unique.rsa) == fields["unique"]["modulus"]
        assert theirs.parameters.rsaDetail.keyBits == ours.parameters.key_bits
        assert theirs.parameters.rsaDetail.exponent == ours.parameters.exponent
    else:
        assert {"x": bytes(theirs.unique.ecc.x), "y": bytes(theirs.unique.ecc.y)} == fields["unique"]
        assert int(theirs.parameters.eccDetail.curveID) == ours.parameters.curve_id
