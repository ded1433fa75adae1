"""What a finding says should be done fits its own reason, not only its rule."""

from __future__ import annotations

from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest.testing import Forge
from tests.nomyo_attest.appraisal.checks.rule_findings import ask, policy_for

SELECTION = "sha256:0,7,10"


def mend(rule: str, forge: Forge, changes: dict[str, Any] | None = None, **arguments: Any) -> str:
    return ask(rule, forge, changes, **arguments).remediation


def pcrs(**values: Any) -> dict[str, Any]:
    return {"pcrs": {"sha256": {index.removeprefix("p"): value for index, value in values.items()}}}


def test_a_pcr_that_is_not_signed_is_to_be_quoted_and_not_added() -> None:
    known, other = Forge().pcrs["sha256"][0].hex(), "11" * 32
    unsigned = mend("pcr.values", Forge(), pcrs(p0=[known], p1=[other]))
    assert unsigned.startswith("have the server quote these PCRs")
    assert "add the new value" not in unsigned
    changed = mend("pcr.values", Forge(), pcrs(p0=[other]))
    assert "add the new value to the policy" in changed
    assert "quote" not in changed
    both = mend("pcr.values", Forge(), pcrs(p0=[other], p1=[other]))
    assert "add the new value to the policy" in both
    assert "have the server quote these PCRs" in both


def wrong_value(values: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    return {bank: of | {"0": "ab" * 32} for bank, of in values.items()}


@pytest.mark.parametrize(
    ("rule", "forge"),
    [
        ("pcr.digest", Forge().tamper("pcr_values", wrong_value)),
        ("signature.valid", Forge().measure(0, b"other firmware").tamper("signed", lambda attest: attest + b"x")),
        ("pcr.selection", Forge().measure(0, b"other firmware").tamper("selections", lambda _: [("sha256", [0])])),
    ],
)
def test_a_value_that_the_tpm_did_not_sign_is_not_to_be_added(rule: str, forge: Forge) -> None:
    result = na.appraise(forge.response(), na.AppraisalPolicy.from_dict(Forge().policy()))
    assert {rule, "pcr.values"} <= {*result.failed}
    (advice,) = (finding.remediation for finding in result.findings if finding.rule == "pcr.values")
    assert "do not add these values to the policy" in advice
    assert "add the new value" not in advice


def test_a_hash_that_the_policy_does_not_allow_is_to_be_replaced_by_the_service() -> None:
    weak = mend("signature.hash", Forge(hash_alg="sha1"), {"signature": {"hashes": ["sha256"]}})
    assert weak.startswith("have the service create AIKs that sign with one of sha256, sha384, sha512")
    other = mend("signature.hash", Forge(declared_hash="sha384"))
    assert other == "do not rely on the response. The key and the signature do not belong together."


@pytest.mark.parametrize(
    ("fields", "changes", "part"),
    [
        ({"key": "rsa1024"}, {}, "an attacker may have computed its private key"),
        ({"roca": True}, {}, "an attacker may have computed its private key"),
        ({"key": "p192"}, {}, "an attacker may have computed its private key"),
        ({"key": "rsa2048"}, {"key": {"rsa_min_bits": 3072}}, "create AIKs as the policy requires: RSA of 3072 bits"),
        ({"key": "p256", "name_alg": "sha1"}, {}, "create AIKs with a nameAlg of sha256, sha384, sha512"),
    ],
)
def test_a_key_that_is_refused_without_being_weak_gets_other_advice(
    fields: dict[str, Any], changes: dict[str, Any], part: str
) -> None:
    said = mend("key.strength", Forge(**fields), changes)
    assert part in said
    if "create AIKs as" in part or "nameAlg" in part:
        assert "private key" not in said


@pytest.mark.parametrize("curve", [0x0010, 0x0020])
def test_a_curve_that_is_not_verified_is_not_called_broken(curve: int) -> None:
    def change(public: bytes) -> bytes:
        return public[:16] + curve.to_bytes(2, "big") + public[18:]  # TPMS_ECC_PARMS.curveID

    said = mend("key.strength", Forge(key="p256").tamper("public", change))
    assert "create AIKs on P-256, P-384 or P-521" in said
    assert "private key" not in said


def test_a_point_off_its_curve_is_no_public_area_of_a_tpm() -> None:
    said = mend("key.strength", Forge(key="p256").tamper("public", lambda public: public[:-1] + b"\0"))
    assert said == "do not rely on the response. A TPM never creates a public area like this."


@pytest.mark.parametrize(
    ("hierarchy", "message"), [(None, "unknown"), ("owner", "obfuscated for keys of the owner hierarchy")]
)
def test_a_version_that_is_obfuscated_or_may_be_is_not_to_be_added(hierarchy: str | None, message: str) -> None:
    finding = ask("firmware.version", Forge(hierarchy=hierarchy), {"firmware": {"versions": ["0x1"]}})
    assert finding.outcome is na.Outcome.UNDECIDED
    assert message in finding.message
    assert ("obfuscated for" in finding.message) is (hierarchy is not None)
    assert "add the version" not in finding.remediation
    assert "endorsement" in finding.remediation


def test_a_response_that_says_nothing_of_evidence_is_not_said_to_deny_it() -> None:
    policy = policy_for(Forge())
    for response, got, part in (
        ({}, None, "appraise the whole response"),
        ({"_metadata": {}}, None, "appraise the whole response"),
        ({"_metadata": {"tpm_attestation": {"is_available": False}}}, False, "security_tier"),
        ({"is_available": False}, False, "security_tier"),
    ):
        finding = na.appraise(response, policy).findings[0]
        assert (finding.rule, finding.got) == ("evidence.available", got)
        assert part in finding.remediation


def test_an_error_names_the_cause_and_counts_what_follows_from_it() -> None:
    policy = policy_for(Forge())
    with pytest.raises(na.AttestationError) as caught:
        na.appraise({}, policy).require()
    message = str(caught.value)
    assert message.count(": there is no evidence") == 0
    assert message.startswith("the evidence is not affirmed (none): evidence.available: there is no _metadata")
    others = len(caught.value.result.undecided) - 1
    assert others >= 20
    assert message.endswith(f"; undecided because of this: {others} other rules")
    forge = Forge().tamper("quote_blob", lambda blob: blob[:-1])
    with pytest.raises(na.AttestationError) as caught:
        na.appraise(forge.response(), policy).require()
    assert "attest.form: " in str(caught.value)
    assert "nonce.match" not in str(caught.value)
