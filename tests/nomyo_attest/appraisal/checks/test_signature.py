"""Did the AIK sign these bytes, in a way that counts?"""

from __future__ import annotations

from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.testing import Forge
from tests.nomyo_attest.appraisal.checks.rule_findings import FAIL, PASS, UNDECIDED, ask, outcome, policy_for

HASHES = ("sha1", "sha256", "sha384", "sha512")
RSA, ECC = ("rsassa", "rsapss"), ("ecdsa",)


@pytest.mark.parametrize("signed", RSA)
@pytest.mark.parametrize("declared", [*RSA, "null"])
def test_the_scheme_of_the_signature_is_the_one_of_the_key(signed: str, declared: str) -> None:
    finding = ask("signature.scheme", Forge(scheme=signed, declared_scheme=declared))
    assert finding.outcome is (PASS if signed == declared else FAIL)


def test_an_ecdsa_signature_needs_a_key_made_for_ecdsa() -> None:
    assert outcome("signature.scheme", Forge(key="p256")) is PASS
    assert outcome("signature.scheme", Forge(key="p256", declared_scheme="null")) is FAIL


@pytest.mark.parametrize("signed", HASHES)
@pytest.mark.parametrize("declared", HASHES)
@pytest.mark.parametrize("key", ["rsa2048", "p256"])
def test_the_hash_of_the_signature_is_the_one_of_the_key(signed: str, declared: str, key: str) -> None:
    forge = Forge(key=key, hash_alg=signed, declared_hash=declared)
    finding = ask("signature.hash", forge, {"signature": {"hashes": list(HASHES)}})
    assert finding.outcome is (PASS if signed == declared else FAIL)
    assert outcome("signature.valid", forge) is PASS, "the signature itself is right"


@pytest.mark.parametrize("used", HASHES)
@pytest.mark.parametrize("allowed", [["sha1"], ["sha256"], ["sha384", "sha512"], list(HASHES), None])
def test_a_hash_counts_only_where_the_policy_allows_it_and_sha_1_only_where_it_says_so(
    used: str, allowed: list[str] | None
) -> None:
    forge = Forge(key="p256", hash_alg=used)
    policy = {**forge.policy()}
    policy.pop("signature", None)
    if allowed is not None:
        policy["signature"] = {"hashes": allowed}
    result = na.appraise(forge.response(), na.AppraisalPolicy.from_dict(policy))
    fine = used in (allowed if allowed is not None else ("sha256", "sha384", "sha512"))
    assert result.failed == (() if fine else ("signature.hash",))


WORLDS: dict[str, dict[str, Any]] = {
    "rsassa": {},
    "rsapss": {"scheme": "rsapss"},
    "p256": {"key": "p256"},
    "p384": {"key": "p384", "hash_alg": "sha384"},
    "p521": {"key": "p521", "hash_alg": "sha512"},
}


@pytest.mark.parametrize("world", WORLDS)
def test_a_signature_counts_for_the_bytes_received_and_no_others(world: str) -> None:
    forge = Forge(**WORLDS[world])
    assert outcome("signature.valid", forge) is PASS
    for other in (
        lambda signed: signed + b"\0",
        lambda signed: signed[:-1],
        lambda signed: signed[::-1],
        lambda _: b"",
    ):
        assert outcome("signature.valid", Forge(**WORLDS[world]).tamper("signed", other)) is FAIL
    sized = Forge(**WORLDS[world], sized_quote=True)
    assert outcome("signature.valid", sized) is PASS
    # Signed with its TPM2B size in front: not what a TPM signs.
    sized.tamper("signed", lambda signed: len(signed).to_bytes(2, "big") + signed)
    assert outcome("signature.valid", sized) is FAIL


@pytest.mark.parametrize("world", WORLDS)
def test_a_signature_counts_for_the_key_sent_and_no_other(world: str) -> None:
    fields = WORLDS[world]
    other = Forge(**fields, label="other").build().key_blob
    assert outcome("signature.valid", Forge(**fields).tamper("key_blob", lambda _: other)) is FAIL


@pytest.mark.parametrize("size", [0, 1, 16, 20, 31, 33, 48, 64, 221])
def test_an_rsapss_salt_of_another_length_does_not_count(size: int) -> None:
    assert outcome("signature.valid", Forge(scheme="rsapss", salt_size=size)) is FAIL


@pytest.mark.parametrize("size", [32, 222, None])
def test_an_rsapss_salt_of_either_length_that_tpms_use_counts(size: int | None) -> None:
    forge = Forge(scheme="rsapss", salt_size=size)
    assert na.appraise(forge.response(), policy_for(forge)).verdict is na.Verdict.AFFIRMING


@pytest.mark.parametrize("key", ["p256", "p384", "p521"])
@pytest.mark.parametrize("short", ["r", "s"])
@pytest.mark.parametrize("stripped", [False, True])
def test_ecdsa_numbers_count_padded_and_stripped(key: str, short: str, stripped: bool) -> None:
    forge = Forge(key=key, short_number=short, stripped=stripped)
    assert na.appraise(forge.response(), policy_for(forge)).verdict is na.Verdict.AFFIRMING


def test_a_signature_of_a_hash_that_cannot_be_computed_cannot_be_told() -> None:
    forge = Forge(key="p256").tamper("signature", lambda blob: blob[:2] + b"\0\x12" + blob[4:])  # SM3-256
    for rule in ("signature.valid", "pcr.digest"):
        finding = ask(rule, forge)
        assert finding.outcome is UNDECIDED
        assert "sm3_256" in finding.message
    assert outcome("signature.hash", forge) is FAIL


@pytest.mark.parametrize("hash_id", [0x27, 0x28, 0x29], ids=["sha3_256", "sha3_384", "sha3_512"])
@pytest.mark.parametrize("world", WORLDS)
def test_a_signature_under_another_hash_s_name_does_not_count(world: str, hash_id: int) -> None:
    forge = Forge(**WORLDS[world]).tamper("signature", lambda blob: blob[:2] + hash_id.to_bytes(2, "big") + blob[4:])
    assert outcome("signature.valid", forge) is FAIL
    assert outcome("signature.hash", forge) is FAIL


def test_a_key_that_is_none_cannot_tell_whether_the_signature_holds() -> None:
    forge = Forge(key="p256").tamper("public", lambda public: public[:-32] + bytes(32))
    assert outcome("signature.valid", forge) is UNDECIDED
    assert outcome("key.strength", forge) is FAIL


@pytest.mark.parametrize(("key", "size"), [("p256", 32), ("p384", 48)])
def test_an_rsa_signature_as_long_as_the_curve_of_the_aik_is_invalid(key: str, size: int) -> None:
    rsassa = bytes.fromhex("0014000b") + size.to_bytes(2, "big") + bytes(size)
    finding = ask("signature.valid", Forge(key=key).tamper("signature", lambda _: rsassa))
    assert (finding.outcome, finding.got) == (FAIL, "invalid")


BLOBS = {"signature": "the signature does not parse", "key_blob": "the AIK does not parse"}


@pytest.mark.parametrize("blob", BLOBS)
@pytest.mark.parametrize("rule", ["signature.scheme", "signature.hash", "signature.valid"])
def test_an_undecided_rule_names_the_blob_that_does_not_parse(rule: str, blob: str) -> None:
    finding = ask(rule, Forge().tamper(blob, lambda octets: octets[:-1]))
    assert (finding.outcome, finding.message) == (UNDECIDED, BLOBS[blob])


def test_a_signature_without_a_quote_that_parses_is_undecided_because_of_the_quote() -> None:
    finding = ask("signature.valid", Forge().tamper("quote_blob", lambda octets: octets[:-1]))
    assert (finding.outcome, finding.message) == (UNDECIDED, "the quote does not parse")


def test_where_neither_signature_nor_key_parse_the_signature_is_named() -> None:
    forge = Forge().tamper("signature", lambda octets: octets[:-1]).tamper("key_blob", lambda octets: octets[:-1])
    assert ask("signature.valid", forge).message == "the signature does not parse"
