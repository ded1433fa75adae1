"""The checks of freshness: was the quote made for this request, is its clock safe, and is the policy valid now?"""

from __future__ import annotations

from nomyo_attest.appraisal.case import Case, LayoutFacts
from nomyo_attest.appraisal.outcome import FAIL, PASS, UNDECIDED, CheckResult


def nonce_match(case: Case) -> CheckResult:
    """Was the quote made for this payload id?

    extraData must be exactly the first 16 bytes of SHA-256 over the payload id, or the nonce that was passed. If a
    payload id was passed and the response contains one too, the two must be equal.

    Remediation: if you typed the payload id or the nonce, check it. If not, do not rely on the response: its quote was
    made for another request. If the response does not contain its payload id, pass the payload id of the request.
    """
    if case.attest is None:
        return UNDECIDED, case.nonce, None, "the quote does not parse"
    got = case.attest.value.extra_data
    if case.nonce is None:
        if case.policy.unsafe_any_nonce:
            return PASS, "any (unsafe_any_nonce)", got, ""
        return UNDECIDED, None, got, "the response contains no payload id, and none was passed"
    if got != case.nonce:
        return FAIL, case.nonce, got, "the quote was made for another payload id or nonce"
    passed, recorded = case.passed_payload_id, case.evidence.payload_id
    if passed is not None and recorded is not None and passed != recorded:
        return FAIL, passed, recorded, "the payload id in the response is not the one that was passed"
    return PASS, case.nonce, got, ""


def clock_safe(facts: LayoutFacts) -> CheckResult:
    """Does the TPM report that its clock did not go back?

    `safe` is clear after a power cut until the clock passes the last value that it may have reported, by default for
    at most 70 minutes. Until then, quotes cannot be ordered by their clocks.

    Remediation: wait, then send a new request. If you do not order quotes by their clock, the policy may make this rule
    a warning: `"clock.safe" = "warn"`.
    """
    if facts.clock_safe is None:
        return UNDECIDED, True, None, "the quote does not parse"
    if facts.clock_safe:
        return PASS, True, True, ""
    return FAIL, True, False, "the TPM lost power and may have reported a later clock before"


def policy_period(case: Case) -> CheckResult:
    """Is the policy valid at the time of the appraisal?

    The time of the appraisal must be between the policy's `valid_from` and `valid_until`. Outside that period,
    reference values may be outdated, so the rule is undecided.

    Remediation: get the current policy from its owner.
    """
    policy = case.policy
    expected = [bound and bound.isoformat() for bound in (policy.valid_from, policy.valid_until)]
    if case.now is None:
        return UNDECIDED, expected, None, "the time of the appraisal is unknown"
    got = case.now.isoformat()
    if policy.valid_from and case.now < policy.valid_from:
        return UNDECIDED, expected, got, "the policy is not valid yet"
    if policy.valid_until and case.now > policy.valid_until:
        return UNDECIDED, expected, got, "the policy is no longer valid"
    return PASS, expected, got, ""
