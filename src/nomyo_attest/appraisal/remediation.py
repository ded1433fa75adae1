"""Choose the action that a finding recommends.

The docstring of a check states the general action, which the list of rules and audit summaries show. If different
causes require different actions, a finding states the action for its own cause.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from nomyo_attest.appraisal.outcome import FAIL, PASS, UNDECIDED, CheckResult
from nomyo_attest.crypto.hashes import HASHERS
from nomyo_attest.policy.model import RSA_BITS_MINIMUM, STRONG_HASHES
from nomyo_attest.tpm.constants import HASH_ALGORITHMS

_HAVE_PCRS_QUOTED: Final = (
    "have the server quote these PCRs: a PCR that is not signed has no value to compare or to add to the policy. Until "
    "then, do not rely on the response"
)
_ADD_VALUE: Final = (
    "if the machine was updated and you know what changed, add the new value to the policy, with a label "
    "(`nomyo-attest policy learn` prints it); if not, do not rely on the response: the server booted something else"
)
_DO_NOT_ADD_VALUES: Final = (
    "do not rely on the response, and do not add these values to the policy: pcr.selection, pcr.digest or "
    "signature.valid does not hold, so the TPM did not sign them"
)
SIGNED_VALUE_RULES: Final = ("pcr.selection", "pcr.digest", "signature.valid")
"""The rules that must hold for the reported PCR values to be the signed values."""

NOT_JSON: Final = ("JSON", "JSON in UTF-8")
"""The expected values of findings for input that is not JSON; see `nomyo_attest.evidence.strict_json`."""

NOT_AN_OBJECT: Final = "the input is not a JSON object"
"""How the message begins for JSON that is not an object."""

_SMALL_CURVES: Final = ("TPM_ECC_NIST_P192", "TPM_ECC_NIST_P224")


def _pcr_values(check_result: CheckResult) -> str:
    outcome, _, got, _ = check_result
    if outcome is not FAIL or not isinstance(got, dict):
        return ""
    unsigned = [value is None for value in got.values()]
    if all(unsigned):
        return f"{_HAVE_PCRS_QUOTED}."
    return f"{_ADD_VALUE}. For PCRs that are not signed: {_HAVE_PCRS_QUOTED}." if any(unsigned) else f"{_ADD_VALUE}."


def _signature_hash(check_result: CheckResult) -> str:
    outcome, expected, got, _ = check_result
    if outcome is not FAIL:
        return ""
    if not isinstance(expected, tuple):
        return "do not rely on the response. The key and the signature do not belong together."
    text = f"have the service create AIKs that sign with one of {', '.join(STRONG_HASHES)}"
    if HASH_ALGORITHMS.get(got) not in HASHERS:
        return f"{text}. This library cannot verify signatures with {got}, whatever the policy allows."
    return f"{text}, or with another hash that the policy's owner considers secure and lists in `signature.hashes`."


def _key_strength(check_result: CheckResult) -> str:
    outcome, expected, got, _ = check_result
    if outcome is not FAIL or not isinstance(got, str):
        return ""
    if got in HASH_ALGORITHMS:
        return f"have the service create AIKs with a nameAlg of {', '.join(STRONG_HASHES)}."
    bits = got.removeprefix("RSA-")
    if bits != got and int(bits) >= RSA_BITS_MINIMUM:
        return f"have the service create AIKs as the policy requires: {expected}."
    if got.startswith("TPM_ECC_") and got not in _SMALL_CURVES:
        reason = "This library does not verify signatures on this curve."
        return f"have the service create AIKs on P-256, P-384 or P-521. {reason}"
    if got.startswith("not a point on") or "keyBits says" in got:
        return "do not rely on the response. A TPM never creates a public area like this."
    return ""


def _firmware_version(check_result: CheckResult) -> str:
    outcome, _, got, _ = check_result
    if outcome is not UNDECIDED or got is None:
        return ""
    return "have the service make its AIKs primary keys of the endorsement hierarchy: their quotes state the version."


def _evidence_form(check_result: CheckResult) -> str:
    _, expected, _, message = check_result
    if expected in NOT_JSON or message.startswith(NOT_AN_OBJECT):
        return "pass a complete response, as the service sent it: a response is a single JSON object."
    return ""


def _evidence_available(check_result: CheckResult) -> str:
    _, _, got, _ = check_result
    if got is False:
        return ""
    return "appraise the whole response, as the service sent it: the evidence is its `_metadata.tpm_attestation`."


_BY_RULE: Final[Mapping[str, Callable[[CheckResult], str]]] = {
    "evidence.available": _evidence_available,
    "evidence.form": _evidence_form,
    "key.strength": _key_strength,
    "signature.hash": _signature_hash,
    "pcr.values": _pcr_values,
    "firmware.version": _firmware_version,
}


def remediation(rule: str, check_result: CheckResult, general: str, *, values_signed: bool = True) -> str:
    """Return the action for one finding: the action for its own cause, or else `general`; empty if the rule holds.

    Args:
        rule: the finding's rule.
        check_result: the result of its check.
        general: the action in the check's docstring.
        values_signed: whether the rules `SIGNED_VALUE_RULES` hold, so that the reported PCR values are the signed ones.
    """
    if check_result[0] is PASS:
        return ""
    if rule == "pcr.values" and check_result[0] is FAIL and not values_signed:
        return f"{_DO_NOT_ADD_VALUES}."
    choose = _BY_RULE.get(rule)
    return (choose(check_result) if choose else "") or general
