"""The form in which evidence is sent."""

from __future__ import annotations

import base64
import importlib.util

import pytest

import nomyo_attest as na

if importlib.util.find_spec("tpm2_pytss") is not None:  # without it, the marker below skips these tests
    from nomyo_attest.attester import evidence_block, qualifying_data, response

pytestmark = pytest.mark.tpm

VALUES = {"sha256": {7: b"\x07" * 32, 0: b"\x00" * 32}}


def test_the_reader_reads_what_was_written() -> None:
    block = evidence_block((("sha256", (0, 7)),), VALUES, b"quote", b"signature", b"public")
    evidence = na.Evidence.from_response(response(block, "request-1", security_tier="high"))
    assert (evidence.quote, evidence.signature, evidence.aik_public) == (b"quote", b"signature", b"public")
    assert evidence.pcrs.values == VALUES
    assert evidence.payload_id == "request-1"
    assert evidence.claims["security_tier"] == "high"


def test_a_block_has_the_fields_of_the_protocol_and_no_other() -> None:
    block = evidence_block((("sha256", (0, 7)),), VALUES, b"quote", b"signature", b"public")
    assert block == {
        "is_available": True,
        "pcr_banks": "sha256:0,7",
        "pcr_values": {"sha256": {"0": "00" * 32, "7": "07" * 32}},
        "quote_b64": base64.b64encode(b"quote").decode(),
        "signature_b64": base64.b64encode(b"signature").decode(),
        "aik_pubkey_b64": base64.b64encode(b"public").decode(),
    }


def test_a_response_claims_nothing_that_was_not_given() -> None:
    metadata = response({"is_available": False}, "request-1", created=1)["_metadata"]
    assert metadata["security_tier"] == "standard"
    assert metadata["cuda_device"] == {"available": False}
    assert [value for value in metadata["memory_protection"].values() if value is True] == []
    assert metadata["processed_at"] == 1


def test_claims_do_not_take_the_place_of_the_evidence() -> None:
    metadata = response({"is_available": False}, "request-1", claims={"tpm_attestation": {"is_available": True}})[
        "_metadata"
    ]
    assert metadata["tpm_attestation"] == {"is_available": False}


def test_qualifying_data_is_the_first_half_of_the_sha256_of_the_payload_id() -> None:
    # SHA-256 of "abc" (FIPS 180-4, example 1)
    assert qualifying_data("abc").hex() == "ba7816bf8f01cfea414140de5dae2223"
