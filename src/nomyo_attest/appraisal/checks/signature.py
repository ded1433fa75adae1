"""The checks of the signature: scheme, hash, and validity over the quote."""

from __future__ import annotations

from nomyo_attest.appraisal.case import Case, LayoutFacts
from nomyo_attest.appraisal.outcome import FAIL, PASS, UNDECIDED, CheckResult
from nomyo_attest.crypto.signatures import UnverifiableError, can_verify, verify_signature
from nomyo_attest.tpm.constants import hash_name, specification_name


def _missing(signature: object, key: object) -> str:
    if signature is None:
        return "the signature does not parse"
    return "the AIK does not parse" if key is None else "the quote does not parse"


def signature_scheme(facts: LayoutFacts) -> CheckResult:
    """Is the signature's scheme the one in the AIK's public area?

    A restricted key has one scheme and cannot produce a signature with a different scheme.

    Remediation: do not rely on the response. The key and the signature do not belong together.
    """
    expected, got = facts.key_scheme, facts.signature_scheme
    if expected is None or got is None:
        return UNDECIDED, expected, got, _missing(got, expected)
    if expected is got:
        return PASS, expected, got, ""
    expected_name, got_name = specification_name(expected), specification_name(got)
    return FAIL, expected_name, got_name, f"the AIK's scheme is {expected_name}, the signature's {got_name}"


def signature_hash(facts: LayoutFacts) -> CheckResult:
    """Is the signature's hash that of the AIK's scheme, and does the policy allow it?

    SHA-256, SHA-384 and SHA-512 are allowed by default, SHA-1 only if the policy lists it.

    Remediation: if the hash is not that of the AIK's scheme, do not rely on the response: the key and the signature do
    not belong together. If the policy does not allow the hash, have the service create AIKs that sign with an allowed
    hash.
    """
    allowed, got = facts.policy.signature_hashes, facts.signature_hash
    if got is None or facts.key_scheme is None:
        return UNDECIDED, allowed, None, _missing(got, facts.key_scheme)
    name = hash_name(got)
    if facts.key_hash is not got:
        expected = hash_name(facts.key_hash) if facts.key_hash else None
        return FAIL, expected, name, f"the AIK's scheme uses {expected or 'no hash'}, the signature {name}"
    if name in allowed:
        return PASS, allowed, name, ""
    return FAIL, allowed, name, f"the policy does not allow {name} signatures"


def signature_valid(case: Case) -> CheckResult:
    """Does the AIK verify the signature over the quote, as received?

    RSASSA is PKCS#1 v1.5; an RSAPSS salt may be as long as the digest or as the key allows; ECDSA is FIPS 186-5.

    Remediation: do not rely on the response. The quote was altered, or another key signed it.
    """
    if case.signature is None or case.key is None or case.attest is None:
        return UNDECIDED, "valid", None, _missing(case.signature, case.key)
    signature = case.signature.value
    if not can_verify(signature):
        return UNDECIDED, "valid", None, f"this library cannot compute {hash_name(signature.signature.hash)}"
    if case.verification_key is None:
        return UNDECIDED, "valid", None, f"the AIK cannot be used: {case.verification_key_error}"
    try:
        valid = verify_signature(case.verification_key, signature, case.attest.inner)
    except UnverifiableError as error:
        return UNDECIDED, "valid", None, f"the signature cannot be verified: {error}"
    if valid:
        return PASS, "valid", "valid", ""
    return FAIL, "valid", "invalid", "the signature does not verify over the quote with the AIK"
