"""tpm2-pytss, another reader, reads the same from every valid vector and recording, and agrees on the signature."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.crypto.keys import key_name
from nomyo_attest.tpm import (
    TPM_ALG_ID,
    TPM_GENERATED_VALUE,
    TPMS_ATTEST,
    TPMS_ECC_PARMS,
    TPMS_ECC_POINT,
    TPMS_QUOTE_INFO,
    TPMS_RSA_PARMS,
    TPMS_RSA_UNIQUE,
    TPMS_SIGNATURE_ECC,
    TPMT_PUBLIC,
    TPMT_SIGNATURE,
    parse_attest,
    parse_public,
)

if importlib.util.find_spec("tpm2_pytss") is not None:  # without it, the marker below skips these tests
    import tpm2_pytss as tss

pytestmark = pytest.mark.tpm

FIXTURES = Path(__file__).parents[2] / "fixtures"


def valid_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.json")) if json.loads(path.read_text("utf-8"))["rule"] is None]


VECTORS = valid_in(FIXTURES / "vectors")
RECORDINGS = valid_in(FIXTURES / "evidence" / "recorded")


@pytest.fixture(params=[*VECTORS, *RECORDINGS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def evidence(request: pytest.FixtureRequest) -> na.Evidence:
    document = json.loads(request.param.read_text("utf-8"))
    return na.Evidence.from_response(document["response"] if "response" in document else document["response_text"])


def unsized(blob: bytes, framing: str) -> bytes:
    """A blob without its TPM2B size, if it has one."""
    return blob[2:] if framing.startswith("TPM2B_") else blob


def theirs(kind: Any, blob: bytes) -> Any:
    """What tpm2-pytss reads, to the last byte."""
    value, consumed = kind.unmarshal(blob)
    assert consumed == len(blob)
    return value


def fields_of_attest(attest: TPMS_ATTEST) -> dict[str, Any]:
    quote = attest.attested
    assert isinstance(quote, TPMS_QUOTE_INFO)
    return {
        "magic": attest.magic,
        "type": int(attest.type),
        "qualifiedSigner": attest.qualified_signer,
        "extraData": attest.extra_data,
        "clockInfo.clock": attest.clock_info.clock,
        "clockInfo.resetCount": attest.clock_info.reset_count,
        "clockInfo.restartCount": attest.clock_info.restart_count,
        "clockInfo.safe": int(attest.clock_info.safe),
        "firmwareVersion": attest.firmware_version,
        "pcrSelect": [(int(one.hash), one.pcr_select) for one in quote.pcr_select.pcr_selections],
        "indices": [one.indices for one in quote.pcr_select.pcr_selections],
        "pcrDigest": quote.pcr_digest,
    }


def their_fields_of_attest(attest: Any) -> dict[str, Any]:
    quote, clock = attest.attested.quote, attest.clockInfo
    bitmaps = [(int(one.hash), bytes(one.pcrSelect)[: one.sizeofSelect]) for one in quote.pcrSelect]
    return {
        "magic": int(attest.magic),
        "type": int(attest.type),
        "qualifiedSigner": bytes(attest.qualifiedSigner),
        "extraData": bytes(attest.extraData),
        "clockInfo.clock": int(clock.clock),
        "clockInfo.resetCount": int(clock.resetCount),
        "clockInfo.restartCount": int(clock.restartCount),
        "clockInfo.safe": int(clock.safe),
        "firmwareVersion": int(attest.firmwareVersion),
        "pcrSelect": bitmaps,
        "indices": [tuple(n for n in range(8 * len(bits)) if bits[n // 8] >> n % 8 & 1) for _, bits in bitmaps],
        "pcrDigest": bytes(quote.pcrDigest),
    }


def fields_of_signature(signature: TPMT_SIGNATURE) -> dict[str, Any]:
    arm = signature.signature
    common = {"sigAlg": int(signature.sig_alg), "hash": int(arm.hash)}
    if isinstance(arm, TPMS_SIGNATURE_ECC):
        return common | {"signatureR": arm.signature_r, "signatureS": arm.signature_s}
    return common | {"sig": arm.sig}


def their_fields_of_signature(signature: Any) -> dict[str, Any]:
    arms = signature.signature
    arm = {
        TPM_ALG_ID.RSASSA: lambda: arms.rsassa,
        TPM_ALG_ID.RSAPSS: lambda: arms.rsapss,
        TPM_ALG_ID.ECDSA: lambda: arms.ecdsa,
    }[TPM_ALG_ID(int(signature.sigAlg))]()
    common = {"sigAlg": int(signature.sigAlg), "hash": int(arm.hash)}
    if int(signature.sigAlg) == TPM_ALG_ID.ECDSA:
        return common | {"signatureR": bytes(arm.signatureR), "signatureS": bytes(arm.signatureS)}
    return common | {"sig": bytes(arm.sig)}


def fields_of_public(public: TPMT_PUBLIC) -> dict[str, Any]:
    parameters, unique = public.parameters, public.unique
    assert parameters.scheme.details is not None
    common = {
        "type": int(public.type),
        "nameAlg": int(public.name_alg),
        "objectAttributes": public.object_attributes,
        "authPolicy": public.auth_policy,
        "symmetric": int(parameters.symmetric.algorithm),
        "scheme": int(parameters.scheme.scheme),
        "hashAlg": int(parameters.scheme.details.hash_alg),
    }
    if isinstance(parameters, TPMS_RSA_PARMS):
        assert isinstance(unique, TPMS_RSA_UNIQUE)
        return common | {"keyBits": parameters.key_bits, "exponent": parameters.exponent, "n": unique.modulus}
    assert isinstance(parameters, TPMS_ECC_PARMS)
    assert isinstance(unique, TPMS_ECC_POINT)
    kdf = int(parameters.kdf.scheme)
    return common | {"curveID": int(parameters.curve_id), "kdf": kdf, "x": unique.x, "y": unique.y}


def their_fields_of_public(public: Any) -> dict[str, Any]:
    rsa = int(public.type) == TPM_ALG_ID.RSA
    parameters = public.parameters.rsaDetail if rsa else public.parameters.eccDetail
    common = {
        "type": int(public.type),
        "nameAlg": int(public.nameAlg),
        "objectAttributes": int(public.objectAttributes),
        "authPolicy": bytes(public.authPolicy),
        "symmetric": int(parameters.symmetric.algorithm),
        "scheme": int(parameters.scheme.scheme),
        "hashAlg": int(parameters.scheme.details.anySig.hashAlg),
    }
    if rsa:
        n = bytes(public.unique.rsa)
        return common | {"keyBits": int(parameters.keyBits), "exponent": int(parameters.exponent), "n": n}
    point, kdf = public.unique.ecc, int(parameters.kdf.scheme)
    return common | {"curveID": int(parameters.curveID), "kdf": kdf, "x": bytes(point.x), "y": bytes(point.y)}


def test_the_quote_has_the_same_fields(evidence: na.Evidence) -> None:
    ours = parse_attest(evidence.quote)
    blob = unsized(evidence.quote, ours.framing)
    assert ours.inner == blob
    assert fields_of_attest(ours.value) == their_fields_of_attest(theirs(tss.TPMS_ATTEST, blob))
    assert ours.value.magic == TPM_GENERATED_VALUE


def test_the_signature_has_the_same_fields(evidence: na.Evidence) -> None:
    ours = TPMT_SIGNATURE.parse(evidence.signature)
    assert fields_of_signature(ours) == their_fields_of_signature(theirs(tss.TPMT_SIGNATURE, evidence.signature))


def test_the_public_area_has_the_same_fields_and_the_same_name(evidence: na.Evidence) -> None:
    ours = parse_public(evidence.aik_public)
    blob = unsized(evidence.aik_public, ours.framing)
    public = theirs(tss.TPMT_PUBLIC, blob)
    assert ours.inner == blob
    assert fields_of_public(ours.value) == their_fields_of_public(public)
    assert key_name(ours.inner, ours.value.name_alg) == bytes(public.get_name())
    if ours.framing == "TPM2B_PUBLIC":
        assert theirs(tss.TPM2B_PUBLIC, evidence.aik_public).publicArea.marshal() == blob


def test_the_signature_is_valid_for_both(evidence: na.Evidence) -> None:
    quote = parse_attest(evidence.quote).inner
    public = theirs(tss.TPMT_PUBLIC, parse_public(evidence.aik_public).inner)
    theirs(tss.TPMT_SIGNATURE, evidence.signature).verify_signature(public, quote)


def test_there_are_valid_vectors_and_recordings_to_compare() -> None:
    assert len(VECTORS) >= 20
    assert len(RECORDINGS) >= 20
