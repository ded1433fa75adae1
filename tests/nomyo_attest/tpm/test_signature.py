"""TPMT_SIGNATURE: RSASSA, RSAPSS and ECDSA; the others by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.errors import ParseError, UnsupportedError
from nomyo_attest.tpm import TPMT_SIGNATURE
from nomyo_attest.tpm.constants import TPM_ALG_ID
from tests.nomyo_attest.tpm import layouts, wire
from tests.nomyo_attest.tpm.wire import Fields, join, refused


@given(layouts.some_signatures)
def test_a_signature_reads_as_it_was_written(fields: Fields) -> None:
    wire.check_round_trip(TPMT_SIGNATURE, layouts.signature, fields)


@given(layouts.some_signatures)
def test_a_signature_cut_anywhere_is_refused_at_the_field_that_is_cut(fields: Fields) -> None:
    wire.check_every_truncation(TPMT_SIGNATURE, layouts.signature(fields))


@given(layouts.some_signatures, st.binary(min_size=1, max_size=9))
def test_bytes_behind_a_signature_are_refused(fields: Fields, more: bytes) -> None:
    wire.check_leftovers(TPMT_SIGNATURE, layouts.signature(fields), more)


@given(st.one_of(st.binary(), wire.mutations(layouts.some_signatures.map(layouts.signature).map(join))))
def test_any_bytes_are_refused_or_are_a_signature_to_the_last_bit(data: bytes) -> None:
    wire.check_any_bytes(TPMT_SIGNATURE, layouts.signature, data)


RSA = join(layouts.signature({"sig_alg": 0x0014, "signature": {"hash": 0x000B, "sig": bytes(range(1, 9))}}))
ECC = join(
    layouts.signature(
        {"sig_alg": 0x0018, "signature": {"hash": 0x000B, "signature_r": b"\1" * 3, "signature_s": b"\2"}}
    )
)


# TPM 2.0 Part 2, 11.2.1.5 and 11.3.4: schemes a TPMT_SIGNATURE may have besides those read here
@pytest.mark.parametrize(
    ("scheme", "name"),
    [(0x0005, "HMAC"), (0x001A, "ECDAA"), (0x001B, "SM2"), (0x001C, "ECSCHNORR")],
)
def test_a_scheme_that_is_not_read_is_refused_by_its_name(scheme: int, name: str) -> None:
    error = refused(TPMT_SIGNATURE, scheme.to_bytes(2, "big") + ECC[2:])
    assert isinstance(error, UnsupportedError)
    assert error.where == "TPMT_SIGNATURE.sig_alg"
    assert error.got == f"TPM_ALG_{name}, recognized but not supported"
    assert "TPM_ALG_RSAPSS" in error.expected


@pytest.mark.parametrize("scheme", [one for one in TPM_ALG_ID if one not in (0x05, 0x14, 0x16, 0x18, 0x1A, 0x1B, 0x1C)])
def test_an_algorithm_that_is_no_signature_scheme_is_wrong_and_not_unsupported(scheme: TPM_ALG_ID) -> None:
    error = refused(TPMT_SIGNATURE, scheme.to_bytes(2, "big") + RSA[2:])
    assert type(error) is ParseError
    assert (error.where, error.got) == ("TPMT_SIGNATURE.sig_alg", f"TPM_ALG_{scheme.name}")


def test_an_unknown_scheme_is_refused_as_a_number() -> None:
    error = refused(TPMT_SIGNATURE, b"\x7f\xff" + RSA[2:])
    assert (error.where, error.offset, error.got) == ("TPMT_SIGNATURE.sig_alg", 0, "0x7fff")


@pytest.mark.parametrize("size", [513, 0x0FFF, 0xFFFF])
def test_an_rsa_signature_longer_than_rsa_4096_is_refused(size: int) -> None:
    error = refused(TPMT_SIGNATURE, RSA[:4] + size.to_bytes(2, "big") + bytes(size))
    assert (error.where, error.offset) == ("TPMS_SIGNATURE_RSA.sig", 4)
    assert (error.expected, error.got) == ("a size of at most 512", str(size))


@pytest.mark.parametrize(("field", "offset"), [("signature_r", 4), ("signature_s", 9)])
def test_an_ecdsa_number_longer_than_p521_is_refused(field: str, offset: int) -> None:
    error = refused(TPMT_SIGNATURE, ECC[:offset] + b"\0\x43" + bytes(0x43) + ECC[-3:])
    assert (error.where, error.offset, error.got) == (f"TPMS_SIGNATURE_ECC.{field}", offset, "67")


def test_a_hash_that_is_none_is_refused() -> None:
    error = refused(TPMT_SIGNATURE, RSA[:2] + b"\0\x10" + RSA[4:])
    assert (error.where, error.offset, error.got) == ("TPMS_SIGNATURE_RSA.hash", 2, "0x0010")


def test_the_bytes_of_an_ecdsa_number_are_kept_as_they_came() -> None:
    padded = {"sig_alg": 0x0018, "signature": {"hash": 0x000B, "signature_r": b"\0\0\1", "signature_s": b"\1"}}
    wire.check_round_trip(TPMT_SIGNATURE, layouts.signature, padded)
