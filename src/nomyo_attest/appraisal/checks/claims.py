"""The checks of facts that no PCR covers: the TPM's firmware version, and the server's unsigned claims."""

from __future__ import annotations

from typing import Any

from nomyo_attest.appraisal.case import Case
from nomyo_attest.appraisal.outcome import FAIL, PASS, UNDECIDED, CheckResult
from nomyo_attest.evidence.strict_json import JsonObject, describe_type


def firmware_version(case: Case) -> CheckResult:
    """Does the TPM run firmware that the policy lists?

    `firmwareVersion` is a number that the TPM's manufacturer assigns. A TPM obfuscates it for keys outside the
    endorsement and platform hierarchies, and the hierarchy of a key that is not a primary key is unknown. In both cases
    the rule is undecided.

    Remediation: if the TPM's firmware was updated to a version that you know, add the version to the policy; if not, do
    not rely on the response. If the rule is undecided, have the service make its AIKs primary keys of the endorsement
    hierarchy.
    """
    expected = [f"0x{version:016x}" for version in sorted(case.policy.firmware_versions)]
    if case.attest is None:
        return UNDECIDED, expected, None, "the quote does not parse"
    got = f"0x{case.attest.value.firmware_version:016x}"
    if case.hierarchy is None:
        problem = "the version may be obfuscated, since the AIK's hierarchy is unknown"
        return UNDECIDED, expected, got, problem
    if case.hierarchy not in ("endorsement", "platform"):
        return UNDECIDED, expected, got, f"the version is obfuscated for keys of the {case.hierarchy} hierarchy"
    if case.attest.value.firmware_version in case.policy.firmware_versions:
        return PASS, expected, got, ""
    return FAIL, expected, got, f"the TPM's firmware is {got}"


def claim(case: Case, path: str) -> CheckResult:
    """Does the server's claim have a value that the policy accepts?

    There is one finding for each path in the policy's `[claims]`, such as `claims.security_tier`: the value in the
    response's `_metadata` must equal one of the policy's values and have the same type. Claims are unsigned, so a
    server can claim anything.

    Remediation: if the claim is not what you requested, send the request again or ask the service's operator why. A
    matching claim is not evidence, since it is unsigned.
    """
    expected = list(case.policy.claims[path])
    value: Any = case.evidence.claims
    for key in path.split("."):
        if type(value) not in (dict, JsonObject) or key not in value:
            return UNDECIDED, expected, None, f"the response has no claim {path}"
        if type(value) is JsonObject and key in value.duplicates:
            return FAIL, expected, None, f"the response contains the claim {path} more than once"
        value = value[key]
    # In Python, True equals 1; as claims, they differ.
    if any(type(value) is type(accepted) and value == accepted for accepted in expected):
        return PASS, expected, value, ""
    return FAIL, expected, _scalar_or_type(value), f"the policy does not accept the value of the claim {path}"


def _scalar_or_type(value: object) -> str | int | bool | None:
    """Return a claim as a finding states it: a string, a boolean, null or a small integer; otherwise its type."""
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int and value.bit_length() <= 64:
        return value
    if type(value) is str:
        return value
    return describe_type(value)
