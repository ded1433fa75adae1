"""Is there evidence, is it whole, and does it say it is a quote?"""

from __future__ import annotations

from nomyo_attest.appraisal.case import LayoutFacts
from nomyo_attest.appraisal.outcome import FAIL, PASS, UNDECIDED, CheckResult
from nomyo_attest.errors import MisplacedEvidenceError, ParseError, UnsupportedError
from nomyo_attest.tpm.constants import TPM_GENERATED_VALUE, TPM_ST, specification_name


def evidence_available(facts: LayoutFacts) -> CheckResult:
    """Is there evidence?

    A server without a TPM says so with `is_available: false`, at the tiers standard and high. That proves nothing
    either way, so nothing is affirmed.

    What to do: where the server says that it has no evidence, ask for `security_tier="maximum"`, which only servers
    with a TPM may answer. Where the response says nothing, appraise the whole response, as the service sent it.
    """
    if facts.available:
        return PASS, True, True, ""
    return UNDECIDED, True, False if facts.denied else None, facts.absence


def evidence_form(facts: LayoutFacts) -> CheckResult:
    """Is the evidence whole and well-formed?

    Every field of the `tpm_attestation` block must be there once, of the right type, in canonical base64 or
    hexadecimal of exactly the right length, under bank and index names that exist; `pcr_banks` and the keys of
    `pcr_values` must say the same.

    What to do: where the problem says that the evidence is in another place, appraise the response as it was received.
    Otherwise compare it with `nomyo-attest schema evidence`: something between the server and this file changed it, or
    the server does not speak the protocol.
    """
    error = facts.evidence_error
    if isinstance(error, MisplacedEvidenceError):
        return FAIL, error.expected, error.got, str(error)
    if error is not None:
        return FAIL, error.expected, error.got, f"{error.where} is not as it must be"
    if facts.available:
        return PASS, "well-formed", "well-formed", ""
    return UNDECIDED, "well-formed", None, "there is no evidence to look at"


def _parsed(facts: LayoutFacts, error: ParseError | None, framing: str | None) -> CheckResult:
    if not facts.available:
        return UNDECIDED, "parses to its last byte", None, "there is no evidence to look at"
    if error is None:
        return PASS, "parses to its last byte", framing, ""
    outcome = UNDECIDED if isinstance(error, UnsupportedError) else FAIL
    return outcome, error.expected, error.got, f"{error.where} at byte {error.offset} is not as it must be"


def attest_form(facts: LayoutFacts) -> CheckResult:
    """Does the quote parse as TPMS_ATTEST or TPM2B_ATTEST, to its last byte?

    Sizes and counts must fit the bytes that are there, booleans be 0 or 1, algorithms be known, and no byte be left
    over. The framing in which it came is reported.

    What to do: the quote is cut, padded or altered. Take the response again from where it was recorded.
    """
    return _parsed(facts, facts.attest_error, facts.attest_framing)


def signature_form(facts: LayoutFacts) -> CheckResult:
    """Does the signature parse as TPMT_SIGNATURE, to its last byte?

    RSASSA, RSAPSS and ECDSA are read. Other schemes of the specification are named and left undecided.

    What to do: the signature is cut, padded or altered, or of a scheme that is not supported. Take the response again
    from where it was recorded.
    """
    return _parsed(facts, facts.signature_error, facts.signature_framing)


def key_form(facts: LayoutFacts) -> CheckResult:
    """Does the AIK parse as TPM2B_PUBLIC or TPMT_PUBLIC, to its last byte?

    RSA and ECC keys are read. Other types are named and left undecided. The framing in which it came is reported.

    What to do: the public area is cut, padded or altered, or of a type that is not supported. Take the response again
    from where it was recorded.
    """
    return _parsed(facts, facts.key_error, facts.key_framing)


def attest_magic(facts: LayoutFacts) -> CheckResult:
    """Does the signed structure begin with TPM_GENERATED_VALUE?

    A restricted key signs data from outside only if it does not begin so. Without this value, somebody else's bytes
    were signed, which may say anything.

    What to do: do not rely on the response. The signed bytes were not made by a TPM.
    """
    expected = f"0x{TPM_GENERATED_VALUE:08x}"
    if facts.magic is None:
        return UNDECIDED, expected, None, "the quote does not parse"
    got = f"0x{facts.magic:08x}"
    if facts.magic == TPM_GENERATED_VALUE:
        return PASS, expected, got, ""
    return FAIL, expected, got, f"the signed bytes begin with {got}: no TPM made them"


def attest_type(facts: LayoutFacts) -> CheckResult:
    """Is the signed structure a quote?

    A TPM signs other structures with the same key and the same extraData: certifications, times, creation data, NV
    contents. None of them says anything about PCRs.

    What to do: do not rely on the response. Something else was passed off as a quote.
    """
    expected = "TPM_ST_ATTEST_QUOTE"
    kind = facts.attest_type
    if kind is None:
        return UNDECIDED, expected, None, "the quote does not parse"
    if kind is TPM_ST.ATTEST_QUOTE:
        return PASS, expected, expected, ""
    return FAIL, expected, specification_name(kind), f"the TPM signed a {specification_name(kind)}, not a quote"
