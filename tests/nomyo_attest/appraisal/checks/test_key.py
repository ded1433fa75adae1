"""What the AIK's public area says of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.testing import Forge
from tests.nomyo_attest.appraisal.checks.rule_findings import FAIL, PASS, UNDECIDED, ask, outcome, policy_for

# TPM 2.0 Part 2, 8.3: fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign; decrypt; the bits with a meaning
SET = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18
DECRYPT = 1 << 17
DEFINED = 0x000F0FF6


def attributes(value: int) -> Forge:
    return Forge(key="p256", attributes=value)


@given(
    st.integers(0, 2**32 - 1)
    | st.lists(st.integers(0, 31), max_size=3).map(lambda bits: SET ^ sum({1 << b for b in bits}))
)
def test_attributes_hold_only_with_all_five_set_and_decrypt_and_reserved_bits_clear(value: int) -> None:
    expected = PASS if value & SET == SET and not value & DECRYPT and not value & ~DEFINED else FAIL
    assert outcome("key.attributes", attributes(value)) is expected


NAMES = {1: "fixedTPM", 4: "fixedParent", 5: "sensitiveDataOrigin", 16: "restricted", 18: "sign"}


def flags(*changes: int) -> tuple[list[str], list[str], str]:
    """What `key.attributes` expects, gets and says of the right attributes with these bits flipped."""
    value = SET
    for bit in changes:
        value ^= 1 << bit
    finding = ask("key.attributes", attributes(value))
    assert finding.outcome is (FAIL if changes else PASS)
    return list(finding.expected), list(finding.got), finding.message


@pytest.mark.parametrize(("bit", "name"), NAMES.items())
def test_an_attribute_that_is_missing_is_named_and_no_other(bit: int, name: str) -> None:
    required = list(NAMES.values())
    assert flags(bit) == (required, [other for other in required if other != name], f"{name} is clear")


def test_an_attribute_too_many_is_named_and_no_other() -> None:
    required = list(NAMES.values())
    set_ = ["fixedTPM", "fixedParent", "sensitiveDataOrigin", "restricted", "decrypt", "sign"]
    assert flags(17) == (required, set_, "decrypt is set")
    assert flags(31) == (required, [*required, "reserved bit 31"], "reserved bits of the attributes are set")
    missing = ["fixedTPM", "fixedParent", "sensitiveDataOrigin", "decrypt", "sign"]
    assert flags(16, 17) == (required, missing, "restricted is clear, decrypt is set")
    assert flags() == (required, required, "holds")


TEMPLATES: dict[str, tuple[dict[str, Any], str]] = {
    "an authPolicy shorter than a digest": ({"auth_policy": bytes(31)}, "authPolicy: 31 bytes"),
    "an authPolicy of another digest": ({"auth_policy": bytes(20), "name_alg": "sha384"}, "authPolicy: 20 bytes"),
    "encryptedDuplication": ({"attributes": SET | 1 << 6 | 1 << 11}, "encryptedDuplication: set"),
    "no authorization": ({"attributes": SET}, "userWithAuth: clear, authPolicy: empty"),
    "a composite exponent": ({"exponent": 65541}, "exponent: 65541"),
}


@pytest.mark.parametrize("what", TEMPLATES)
def test_a_public_area_that_no_tpm_creates_is_refused(what: str) -> None:
    fields, got = TEMPLATES[what]
    finding = ask("key.template", Forge(**fields))
    assert finding.outcome is FAIL
    assert got in finding.got
    assert got in finding.message


@pytest.mark.parametrize(("key", "offset"), [("rsa2048", 10), ("p256", 10), ("p256", 18)])
def test_a_signing_key_with_a_symmetric_algorithm_or_a_kdf_is_refused(key: str, offset: int) -> None:
    """TPMT_PUBLIC.parameters.symmetric is at byte 10, the kdf of a P-256 key at byte 18; TPM_ALG_NULL is 0x0010."""
    instead = "0006 0080 0043" if offset == 10 else "0020 000b"  # AES-128-CFB; KDF1_SP800_56A with SHA-256

    def change(public: bytes) -> bytes:
        assert public[offset : offset + 2] == b"\0\x10"
        return public[:offset] + bytes.fromhex(instead) + public[offset + 2 :]

    result = na.appraise(Forge(key=key).tamper("public", change).response(), policy_for(Forge(key=key)))
    assert result.verdict is na.Verdict.CONTRAINDICATED
    assert result.failed == ("key.template",)
    assert ("TPM_ALG_AES" if offset == 10 else "KDF1_SP800_56A") in str(result.findings)


def test_authorization_by_policy_alone_is_enough() -> None:
    assert outcome("key.template", Forge(attributes=SET | 1 << 7, auth_policy=bytes(32))) is PASS
    assert outcome("key.template", Forge(auth_policy=bytes(48), name_alg="sha384")) is PASS
    assert outcome("key.template", Forge().tamper("key_blob", lambda blob: blob[:-1])) is UNDECIDED


def test_a_policy_cannot_soften_the_rule_on_templates() -> None:
    with pytest.raises(na.PolicyError, match=r"key\.template"):
        policy_for(Forge(), rules={"key.template": "warn"})


STRENGTHS: dict[str, tuple[dict[str, Any], na.Outcome]] = {
    "RSA-1024": ({"key": "rsa1024"}, FAIL),
    "RSA-2032": ({"key": "rsa2032"}, FAIL),
    "RSA-2048": ({"key": "rsa2048"}, PASS),
    "RSA-3072": ({"key": "rsa3072"}, PASS),
    "RSA-4096": ({"key": "rsa4096"}, PASS),
    "e = 3": ({"exponent": 3}, FAIL),
    "e = 17": ({"exponent": 17}, FAIL),
    "e = 65537, written out": ({"exponent_field": 65537}, PASS),
    "e = 65539": ({"exponent": 65539}, PASS),
    "ROCA": ({"roca": True}, FAIL),
    "P-256": ({"key": "p256"}, PASS),
    "P-384": ({"key": "p384"}, PASS),
    "P-521": ({"key": "p521"}, PASS),
    "P-224": ({"key": "p224"}, FAIL),
    "P-192": ({"key": "p192"}, FAIL),
}


@pytest.mark.parametrize("what", STRENGTHS)
def test_a_key_is_strong_or_weak(what: str) -> None:
    fields, expected = STRENGTHS[what]
    assert outcome("key.strength", Forge(**fields)) is expected


@pytest.mark.parametrize(("bits", "strong"), [(2048, True), (2049, False), (3072, False), (16384, False)])
def test_a_policy_may_ask_for_more_bits(bits: int, strong: bool) -> None:
    finding = ask("key.strength", Forge(), {"key": {"rsa_min_bits": bits}})
    assert finding.outcome is (PASS if strong else FAIL)
    assert str(bits) in finding.expected


@pytest.mark.parametrize("key", ["rsa2048", "p256"])
def test_a_key_whose_name_is_a_sha_1_digest_counts_only_where_sha_1_is_allowed(key: str) -> None:
    forge = Forge(key=key, name_alg="sha1")
    assert outcome("key.strength", forge) is FAIL
    assert outcome("key.strength", forge, {"signature": {"hashes": ["sha1", "sha256"]}}) is PASS


@pytest.mark.parametrize("zeros", [1, 2, 256])
def test_a_modulus_with_zeros_in_front_is_no_key_that_a_tpm_writes(zeros: int) -> None:
    def padded(public: bytes) -> bytes:
        size = 256 + zeros
        return public[:-258] + size.to_bytes(2, "big") + bytes(zeros) + public[-256:]

    assert outcome("key.strength", Forge().tamper("public", padded)) is FAIL


def test_the_bits_of_an_rsa_key_do_not_concern_an_ecc_key() -> None:
    assert outcome("key.strength", Forge(key="p256"), {"key": {"rsa_min_bits": 16384}}) is PASS


HIERARCHIES = ("endorsement", "owner", "platform", "null")


@pytest.mark.parametrize("of", HIERARCHIES)
@pytest.mark.parametrize("key", ["rsa2048", "p256"])
@pytest.mark.parametrize("name_alg", ["sha256", "sha384", "sha512", "sha1"])
def test_a_primary_key_is_of_its_hierarchy_and_of_no_other(of: str, key: str, name_alg: str) -> None:
    forge = Forge(key=key, hierarchy=of, name_alg=name_alg)
    for asked in HIERARCHIES:
        finding = ask("key.hierarchy", forge, {"key": {"hierarchy": [asked]}})
        assert (finding.outcome, finding.got) == (PASS if asked == of else FAIL, of)
    others = [one for one in HIERARCHIES if one != of]
    assert outcome("key.hierarchy", forge, {"key": {"hierarchy": others}}) is FAIL
    assert outcome("key.hierarchy", forge, {"key": {"hierarchy": list(HIERARCHIES)}}) is PASS


def test_a_child_of_another_key_is_of_no_hierarchy_that_can_be_told() -> None:
    finding = ask("key.hierarchy", Forge(hierarchy=None), {"key": {"hierarchy": list(HIERARCHIES)}})
    assert finding.outcome is UNDECIDED
    assert outcome("signer.name", Forge(hierarchy=None)) is PASS


def test_the_hierarchy_is_asked_only_where_the_policy_names_one() -> None:
    result = na.appraise(Forge(hierarchy=None).response(), policy_for(Forge(hierarchy=None)))
    assert result.verdict is na.Verdict.AFFIRMING
    assert "key.hierarchy" not in [finding.rule for finding in result.findings]


def test_a_quote_that_names_another_key_as_its_signer_does_not_tell_this_key_s_hierarchy() -> None:
    other = Forge(label="other").build().qualified_signer
    forge = Forge().tamper("qualified_signer", lambda _: other)
    assert outcome("key.hierarchy", forge) is UNDECIDED
    assert outcome("signer.name", forge) is PASS


@pytest.mark.parametrize("octet", range(34))
def test_each_byte_of_the_signer_s_name_counts(octet: int) -> None:
    def change(name: bytes) -> bytes:
        return name[:octet] + bytes([name[octet] ^ 1]) + name[octet + 1 :]

    forge = Forge(key="p256").tamper("qualified_signer", change)
    assert outcome("key.hierarchy", forge) is UNDECIDED
    assert outcome("signer.name", forge) is (FAIL if octet < 2 else PASS)


def test_trust_is_reached_by_the_pinned_key_and_no_other() -> None:
    forge = Forge()
    name, other = forge.build().name.hex(), Forge(label="other").build().name.hex()
    for pinned, trusted in (([name], True), ([other, name], True), ([other], False), ([name[:-2] + "00"], False)):
        finding = ask("key.trust", forge, {"key": {"trust": "pinned_aik", "pinned": pinned}})
        assert finding.outcome is (PASS if trusted else FAIL)
        assert trusted or name in finding.message
        assert outcome("key.trust", forge, {"key": {"trust": "self_asserted", "pinned": pinned}}) is PASS


def test_a_pinned_name_is_that_of_every_bit_of_the_public_area() -> None:
    forge = Forge(key="p256")
    pinned = {"key": {"trust": "pinned_aik", "pinned": [forge.build().name.hex()]}}
    assert outcome("key.trust", forge, pinned) is PASS
    for changes in ({"auth_policy": bytes(32)}, {"attributes": forge.attributes ^ 1 << 6}, {"declared_hash": "sha384"}):
        assert outcome("key.trust", Forge(key="p256", **changes), pinned) is FAIL


def test_the_result_says_pinned_only_where_the_signature_verifies_too() -> None:
    forge = Forge()
    policy = policy_for(forge, key={"pinned": [forge.build().name.hex()]})
    assert na.appraise(forge.response(), policy).trust is na.Trust.PINNED_AIK
    for stage in ("signed", "signature", "quote_blob"):
        tampered = Forge().tamper(stage, lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]))
        assert na.appraise(tampered.response(), policy).trust is na.Trust.SELF_ASSERTED
    # Somebody else's quote with the pinned key beside it.
    quote = Forge(label="other").response()["_metadata"]["tpm_attestation"]
    block = {**quote, "aik_pubkey_b64": forge.response()["_metadata"]["tpm_attestation"]["aik_pubkey_b64"]}
    result = na.appraise(block, policy, payload_id=forge.payload_id)
    assert result.trust is na.Trust.SELF_ASSERTED
    assert "signature.valid" in result.failed
    assert na.appraise("nonsense", policy).trust is na.Trust.SELF_ASSERTED


@pytest.mark.parametrize("size", [0, 2, 4, 33, 35, 50, 66])
def test_a_signer_s_name_of_another_size_is_no_name(size: int) -> None:
    forge = Forge(key="p256").tamper("qualified_signer", lambda name: (name + bytes(66))[:size])
    finding = ask("signer.name", forge)
    assert finding.outcome is FAIL
    assert finding.got == forge.build().qualified_signer
