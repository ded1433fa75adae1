"""Are the reported PCR values the signed ones, and those the policy knows?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nomyo_attest.appraisal.answer import FAIL, PASS, UNDECIDED, Answer
from nomyo_attest.appraisal.case import Case
from nomyo_attest.crypto.hashes import HASHERS
from nomyo_attest.tpm.constants import hash_name

_NO_QUOTE = "there is no quote that parses"


def _text(selection: Mapping[str, Iterable[int]]) -> str:
    return "+".join(f"{bank}:{','.join(map(str, sorted(indices)))}" for bank, indices in selection.items())


def pcr_selection(case: Case) -> Answer:
    """Are the reported PCRs exactly the ones that were signed?

    The signed selection must not be empty, name each bank once, and select in each bank just the indices that `pcr_values` reports. An
    unsigned value beside signed ones would look as good as they do; a bank listed twice could report one value and sign another.

    What to do: do not rely on the answer. What is reported is not what was signed.
    """
    quote = case.quote
    if quote is None:
        return UNDECIDED, None, None, _NO_QUOTE
    reported = case.evidence.pcr_values
    signed: dict[str, tuple[int, ...]] = {}
    for bank, indices, _ in case.signed:
        if bank in signed:
            return FAIL, _text(reported), str(quote.pcr_select), f"the signed selection lists the bank {bank} twice"
        signed[bank] = indices
    if not any(signed.values()):
        return FAIL, _text(reported), str(quote.pcr_select), "the signed selection is empty: no PCR is attested"
    if signed.keys() == reported.keys():
        for bank, indices in signed.items():
            # A bitmap selects an index once and `reported` holds it once, so equal sizes and members are equal sets.
            of_bank = reported[bank]
            if len(indices) != len(of_bank) or not all(index in of_bank for index in indices):
                break
        else:
            return PASS, case.evidence.pcr_banks, case.evidence.pcr_banks, ""
    return FAIL, _text(reported), str(quote.pcr_select), "the PCRs reported are not the PCRs signed"


def pcr_digest(case: Case) -> Answer:
    """Do the reported values give the digest that was signed?

    The values are hashed with the hash of the signature's scheme, in signed order: banks as listed, indices rising (TPM 2.0 Part 3,
    TPM2_Quote). Each value must have its bank's length.

    What to do: do not rely on the answer. The values reported are not those the TPM signed.
    """
    quote = case.quote
    if quote is None:
        return UNDECIDED, None, None, _NO_QUOTE
    if case.signature is None:
        return UNDECIDED, quote.pcr_digest, None, "the signature does not parse, so the digest's hash is not known"
    algorithm = case.signature.signature.hash
    hasher = HASHERS.get(algorithm)
    if hasher is None:
        return UNDECIDED, quote.pcr_digest, None, f"{hash_name(algorithm)} cannot be computed here"
    values = []
    for bank, indices, size in case.signed:
        of_bank = case.evidence.pcr_values.get(bank, {})
        for index in indices:
            value = of_bank.get(index)
            if value is None:
                return UNDECIDED, quote.pcr_digest, None, f"no value is reported for {bank}:{index}, which was signed"
            if len(value) != size:
                return FAIL, f"{size} bytes", f"{len(value)} bytes", f"the value of {bank}:{index} is not one of its bank"
            values.append(value)
    digest = hasher(b"".join(values)).digest()
    if digest == quote.pcr_digest:
        return PASS, quote.pcr_digest, digest, ""
    return FAIL, quote.pcr_digest, digest, "the values reported do not give the signed digest"


def pcr_bank(case: Case) -> Answer:
    """Do reference values stand in banks with an allowed hash only?

    Values in a SHA-1 bank can be reached by other measurements than the ones they stand for. SHA-256, SHA-384 and SHA-512 banks are
    allowed, and the hashes the policy lists. A SHA-1 bank that is quoted beside them does no harm: no reference value relies on it.

    What to do: pin the values of a stronger bank; if the service quotes none, list the hash in the policy's `bank.hashes`.
    """
    allowed = list(case.policy.bank_hashes)
    relied_on = sorted({bank for bank, _, accepted in case.policy.accepted if accepted})
    weak = [bank for bank in relied_on if bank not in allowed]
    if weak:
        return FAIL, allowed, relied_on, f"reference values stand in the {', '.join(weak)} bank"
    return PASS, allowed, relied_on, ""


def pcr_values(case: Case) -> Answer:
    """Is each PCR that the policy names signed, with one of its reference values?

    The policy's reference values are compared with the reported ones, which count only because `pcr.selection` and `pcr.digest`
    hold too.

    What to do: if the machine was updated and you know to what, add the new value to the policy, with a label (`nomyo-attest policy learn`
    prints it); if not, do not rely on the answer: the server booted something else.
    """
    if case.quote is None:
        return UNDECIDED, None, None, _NO_QUOTE
    reported = case.evidence.pcr_values
    wrong = []
    for bank, index, accepted in case.policy.accepted:
        value = reported.get(bank, {}).get(index)
        if not any(bank == signed and index in indices for signed, indices, _ in case.signed):
            value = None
        if value is None or (accepted and value not in accepted):
            wrong.append((f"{bank}:{index}", accepted, value))
    if not wrong:
        return PASS, "reference values", "reference values", ""
    expected = {place: sorted(accepted) or "any" for place, accepted, _ in wrong}
    got = {place: value for place, _, value in wrong}
    places = ", ".join(place if value is not None else f"{place} (not signed)" for place, _, value in wrong)
    return FAIL, expected, got, f"not as the policy has it: {places}"
