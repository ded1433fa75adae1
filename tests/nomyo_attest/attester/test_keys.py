"""The texts that name a kind of key."""

from __future__ import annotations

import importlib.util

import pytest

import nomyo_attest as na

if importlib.util.find_spec("tpm2_pytss") is not None:  # without it, the marker below skips these tests
    from nomyo_attest.attester import AIK_ATTRIBUTES, KeyKind
    from nomyo_attest.attester.keys import ek_template
    from nomyo_attest.tpm import TPMA_OBJECT

pytestmark = pytest.mark.tpm


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("rsa2048", "rsa2048-rsassa-sha256"),
        ("rsa2048-rsapss", "rsa2048-rsapss-sha256"),
        ("rsa3072-sha384", "rsa3072-rsassa-sha384"),
        ("rsa4096-rsapss-sha512", "rsa4096-rsapss-sha512"),
        ("p256", "p256-ecdsa-sha256"),
        ("p256-ecdsa", "p256-ecdsa-sha256"),
        ("p384", "p384-ecdsa-sha384"),
        ("p384-sha256", "p384-ecdsa-sha256"),
        ("p521", "p521-ecdsa-sha512"),
    ],
)
def test_what_is_left_out_of_a_kind_is_filled_in(text: str, whole: str) -> None:
    assert str(KeyKind.parse(text)) == whole
    assert KeyKind.parse(whole) == KeyKind.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rsa",
        "rsa1024",
        "rsa2048-",
        "rsa2048-ecdsa",
        "p256-rsassa",
        "p224",
        "p256-md5",
        "p256-sha256-ecdsa",
        "P256",
        " p256",
    ],
)
def test_a_kind_that_no_key_has_is_refused(text: str) -> None:
    with pytest.raises(na.AttesterError, match=r"key .*: expected "):
        KeyKind.parse(text)


def test_two_templates_of_a_kind_differ_in_their_unique_field_alone() -> None:
    for text in ("rsa2048", "p256"):
        one, other = (KeyKind.parse(text).template().publicArea for _ in range(2))
        assert one.marshal() != other.marshal()
        other.unique = one.unique
        assert one.marshal() == other.marshal()


def test_an_attestation_key_signs_only_what_the_tpm_states() -> None:
    must = TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.SIGN_ENCRYPT | TPMA_OBJECT.FIXED_TPM | TPMA_OBJECT.FIXED_PARENT
    must |= TPMA_OBJECT.SENSITIVE_DATA_ORIGIN
    assert AIK_ATTRIBUTES & (must | TPMA_OBJECT.DECRYPT) == must


def test_the_endorsement_key_is_made_from_the_template_of_the_profile() -> None:
    public = ek_template().publicArea
    # TCG EK Credential Profile, template L-1: attributes, size of the policy, AES-128-CFB, no scheme, 256 zeros.
    assert int(public.objectAttributes) == 0x000300B2
    assert public.marshal()[:44].hex().startswith("0001000b000300b2" + "0020" + "837197674484b3f81a90cc8d46a5d724")
    assert public.marshal()[42:].hex() == "0006" + "0080" + "0043" + "0010" + "0800" + "00000000" + "0100" + "00" * 256
