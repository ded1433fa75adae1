"""The checks of PCRs: are the reported values the signed ones, and does the policy accept them?"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from nomyo_attest.appraisal.case import Case, LayoutFacts, SignedSelection, recomputed_digest
from nomyo_attest.appraisal.outcome import FAIL, PASS, UNDECIDED, CheckResult
from nomyo_attest.crypto.hashes import HASHERS
from nomyo_attest.evidence.pcrs import PcrLayout, PcrReport
from nomyo_attest.tpm.attest import TPMS_QUOTE_INFO
from nomyo_attest.tpm.constants import hash_name

_COMPARISONS_CACHE_SIZE: Final = 512
"""Maximum number of cached comparisons: one for each report that `evidence.pcrs` interns. Reports are immutable."""

_NO_QUOTE: Final = "there is no quote that parses"


def pcr_selection(facts: LayoutFacts) -> CheckResult:
    """Are the reported PCRs exactly the ones that were signed?

    The signed selection must select at least one PCR, name each bank once, and select in each bank exactly the indices
    that `pcr_values` reports. Otherwise an unsigned value could look signed, and a duplicate bank could report one
    value and sign another. If a requested bank is not allocated, a TPM leaves it in the selection with no PCR
    (Part 3, TPM2_PCR_Read): that bank adds nothing to the digest, and the report omits it.

    Remediation: do not rely on the response. The reported PCRs are not the signed ones.
    """
    report, signed = facts.report, facts.signed
    if signed is None:
        return UNDECIDED, report.banks or None, None, _NO_QUOTE
    problem = _mismatch(signed, report)
    if problem:
        return FAIL, report.banks, signed.text, problem
    return PASS, report.banks, signed.text, ""


def _mismatch(signed: SignedSelection, report: PcrLayout) -> str:
    """Return why the reported PCRs are not exactly the signed PCRs; empty if they are.

    A bank with no signed PCR adds nothing to the digest and attests no value, so the report omits it.
    """
    banks = [bank for bank, _, _ in signed.banks]
    if len(set(banks)) != len(banks):
        return f"the signed selection lists the bank {max(banks, key=banks.count)} more than once"
    if not any(indices for _, indices, _ in signed.banks):
        return "the signed selection is empty: no PCR is attested"
    if {bank for bank, indices, _ in signed.banks if indices} != report.indices.keys():
        return "the reported banks are not the signed banks"
    if any(indices and set(indices) != set(report.indices[bank]) for bank, indices, _ in signed.banks):
        return "the reported PCRs are not the signed PCRs"
    return ""


def pcr_digest(case: Case) -> CheckResult:
    """Do the reported PCR values hash to the signed digest?

    The values are hashed with the hash of the signature's scheme, in signed order: banks as listed, indices ascending
    (TPM 2.0 Part 3, TPM2_Quote). Each value must have its bank's length.

    Remediation: do not rely on the response. The reported values are not the ones that the TPM signed.
    """
    signed, algorithm = case.layout.signed, case.layout.signature_hash
    if case.attest is None or signed is None:
        return UNDECIDED, None, None, _NO_QUOTE
    quote = case.attest.value.attested
    assert type(quote) is TPMS_QUOTE_INFO  # a selection exists only in a quote
    if algorithm is None:
        return UNDECIDED, quote.pcr_digest, None, "the signature does not parse, so the digest's hash is unknown"
    if algorithm not in HASHERS:
        return UNDECIDED, quote.pcr_digest, None, f"this library cannot compute {hash_name(algorithm)}"
    digest = recomputed_digest(signed, case.report, algorithm)
    if digest == quote.pcr_digest:
        return PASS, quote.pcr_digest, digest, ""
    if digest is None:
        problem = "a signed PCR has no reported value, or one of the wrong length"
        return UNDECIDED, quote.pcr_digest, None, problem
    return FAIL, quote.pcr_digest, digest, "the reported values do not hash to the signed digest"


def pcr_bank(facts: LayoutFacts) -> CheckResult:
    """Do all reference values belong to banks with an allowed hash?

    An attacker can find other measurements that produce a value in a SHA-1 bank. SHA-256, SHA-384 and SHA-512 banks are
    allowed by default; the policy can list others. A SHA-1 bank that is quoted beside them does no harm: no reference
    value depends on it.

    Remediation: pin the values of a SHA-256, SHA-384 or SHA-512 bank. If the service quotes none, ask its operator to
    quote one. A weaker hash under `bank.hashes` would accept values that other measurements can produce.
    """
    policy = facts.policy
    if policy.weak_banks:
        problem = f"the policy has reference values in the {', '.join(policy.weak_banks)} bank"
        return FAIL, policy.bank_hashes, policy.banks_relied_on, problem
    return PASS, policy.bank_hashes, policy.banks_relied_on, ""


def pcr_values(case: Case) -> CheckResult:
    """Is every PCR that the policy names signed, with a value that the policy accepts?

    The check compares the policy's reference values with the reported values, which are the signed ones only if
    `pcr.selection`, `pcr.digest` and `signature.valid` hold.

    Remediation: if the machine was updated and you know what changed, add the new value to the policy, with a label
    (`nomyo-attest policy learn` prints it); if not, do not rely on the response: the server booted something else. A
    PCR that is not signed has no value to add: have the server quote it. Never add a value from a response for which
    another rule does not hold: the TPM may not have signed it.
    """
    return _compare_values(case.layout, case.report)


@lru_cache(maxsize=_COMPARISONS_CACHE_SIZE)
def _compare_values(facts: LayoutFacts, report: PcrReport) -> CheckResult:
    if facts.signed is None:
        return UNDECIDED, None, None, _NO_QUOTE
    values = [(reference, reference.value_in(report)) for reference in facts.references]
    unmet = [
        (reference, value)
        for reference, value in values
        if value is None or (reference.accepted and value not in reference.accepted)
    ]
    expected = {reference.pcr: reference.expected for reference, _ in unmet or values}
    got = {reference.pcr: value for reference, value in unmet or values}
    if not unmet:
        return PASS, expected, got, ""
    names = ", ".join(
        reference.pcr if value is not None else f"{reference.pcr} (not quoted)" for reference, value in unmet
    )
    subject, verb = ("PCRs", "do") if len(unmet) > 1 else ("PCR", "does")
    return FAIL, expected, got, f"{subject} {names} {verb} not match the policy"
