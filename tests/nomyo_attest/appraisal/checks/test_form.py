"""Is there evidence, is it whole, does it say it is a quote?"""

from __future__ import annotations

import json
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.testing import Forge
from tests.nomyo_attest.appraisal.checks.rule_findings import FAIL, PASS, UNDECIDED, ask, policy_for

BLOBS = {"attest.form": "quote_blob", "signature.form": "signature", "key.form": "key_blob"}


@pytest.mark.parametrize(
    "response",
    [{}, {"_metadata": {}}, {"is_available": False}, {"_metadata": {"tpm_attestation": {"is_available": False}}}, "{}"],
    ids=json.dumps,
)
def test_without_evidence_nothing_can_be_told_and_nothing_is_contraindicated(response: Any) -> None:
    result = na.appraise(response, policy_for(Forge()))
    assert result.verdict is na.Verdict.NONE
    assert result.failed == ()
    about_the_policy = {"pcr.bank"}
    assert set(result.undecided) == {finding.rule for finding in result.findings} - about_the_policy
    assert ask("evidence.available", Forge(), response=response).message


def test_malformed_evidence_is_contraindicated_at_its_place() -> None:
    forge = Forge().tamper("tpm_attestation", lambda block: {**block, "quote_b64": "!"})
    finding = ask("evidence.form", forge)
    assert finding.outcome is FAIL
    assert "_metadata.tpm_attestation.quote_b64" in finding.message
    assert finding.expected != finding.got


@pytest.mark.parametrize("rule", BLOBS)
@pytest.mark.parametrize("how", ["longer", "shorter", "one byte", "half"])
def test_a_blob_that_does_not_parse_is_refused_with_structure_field_and_byte(rule: str, how: str) -> None:
    change = {
        "longer": lambda blob: blob + b"\0",
        "shorter": lambda blob: blob[:-1],
        "one byte": lambda blob: blob[:1],
        "half": lambda blob: blob[: len(blob) // 2],
    }[how]
    finding = ask(rule, Forge().tamper(BLOBS[rule], change))
    assert finding.outcome is FAIL
    assert "TPM" in finding.message
    assert " at byte " in finding.message
    assert finding.expected
    assert finding.got


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("signature.form", lambda blob: b"\0\x05" + blob[2:]),  # HMAC
        ("signature.form", lambda blob: b"\0\x1a" + blob[2:]),  # ECDAA
        ("key.form", lambda blob: blob[:2] + b"\0\x08" + blob[4:]),  # KEYEDHASH behind a TPM2B size
        ("key.form", lambda blob: blob[:2] + b"\0\x25" + blob[4:]),  # SYMCIPHER
    ],
)
def test_what_is_valid_but_not_supported_cannot_be_told_and_is_named(rule: str, change: Any) -> None:
    finding = ask(rule, Forge().tamper(BLOBS[rule], change))
    assert finding.outcome is UNDECIDED
    assert "recognized but not supported" in finding.got


def test_the_framing_that_came_is_said() -> None:
    for sized, quote, key in ((False, "TPMS_ATTEST", "TPMT_PUBLIC"), (True, "TPM2B_ATTEST", "TPM2B_PUBLIC")):
        forge = Forge(sized_quote=sized, sized_key=sized)
        assert (ask("attest.form", forge).got, ask("key.form", forge).got) == (quote, key)
        assert ask("signature.form", forge).got == "TPMT_SIGNATURE"


@pytest.mark.parametrize("bit", range(32))
def test_each_bit_of_the_magic_counts(bit: int) -> None:
    forge = Forge(key="p256", magic=0xFF544347 ^ 1 << bit)
    finding = ask("attest.magic", forge)
    assert finding.outcome is FAIL
    assert f"0x{forge.magic:08x}" in finding.message
    assert na.appraise(forge.response(), policy_for(forge)).failed == ("attest.magic",)


def test_every_rule_that_can_run_runs_beside_a_blob_that_does_not_parse() -> None:
    forge = Forge(safe=0).tamper("signature", lambda blob: blob[:-1])
    result = na.appraise(forge.response(), policy_for(forge, key={"hierarchy": ["owner"]}))
    assert result.failed == ("signature.form", "key.hierarchy", "clock.safe")
    assert ask("pcr.values", forge).outcome is PASS
    forge = Forge().tamper("key_blob", lambda blob: blob[:-1])
    result = na.appraise(forge.response(), policy_for(forge))
    assert {"nonce.match", "pcr.digest", "pcr.values", "attest.magic"}.isdisjoint((*result.failed, *result.undecided))
