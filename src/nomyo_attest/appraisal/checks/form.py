"""The checks of form: is there evidence, does it parse, and is the signed structure a quote?"""

from __future__ import annotations

from nomyo_attest.appraisal.case import LayoutFacts
from nomyo_attest.appraisal.outcome import FAIL, PASS, UNDECIDED, CheckResult
from nomyo_attest.appraisal.remediation import NOT_AN_OBJECT, NOT_JSON
from nomyo_attest.errors import EvidenceError, MisplacedEvidenceError, ParseError, UnsupportedError
from nomyo_attest.tpm.constants import TPM_GENERATED_VALUE, TPM_ST, specification_name


def evidence_available(facts: LayoutFacts) -> CheckResult:
    """Is there evidence?

    A server without a TPM reports `is_available: false` at the tiers standard and high. Its responses are not affirmed.

    Remediation: if the server says that it has no evidence, request `security_tier="maximum"`, which only servers with
    a TPM may process. If the response says nothing about evidence, appraise the whole response, as the service sent it.
    """
    if facts.available:
        return PASS, True, True, ""
    return UNDECIDED, True, False if facts.declared_absent else None, facts.absence


def evidence_form(facts: LayoutFacts) -> CheckResult:
    """Is the evidence complete and well-formed?

    Every field of the `tpm_attestation` block must be present exactly once, of the right type, in canonical base64 or
    hexadecimal of exactly the right length, under bank and index names that exist; `pcr_banks` and the keys of
    `pcr_values` must agree.

    Remediation: if the message says where the evidence is instead, appraise the response as it was received.
    Otherwise compare it with `nomyo-attest schema evidence`: it was changed after the server sent it, or the server
    does not implement the protocol.
    """
    error = facts.evidence_error
    if isinstance(error, MisplacedEvidenceError):
        return FAIL, error.expected, error.got, str(error)
    if error is not None:
        return FAIL, error.expected, error.got, _problem(error)
    if facts.available:
        return PASS, "well-formed", "well-formed", ""
    return UNDECIDED, "well-formed", None, "there is no evidence"


def _problem(error: EvidenceError) -> str:
    if error.where != "response":
        return f"{error.where} is invalid"
    if error.expected in NOT_JSON:
        return "the input is not JSON"
    if error.expected == "a JSON object":
        return f"{NOT_AN_OBJECT}, but {error.got}"
    return "the response is invalid"


def _parsed(facts: LayoutFacts, error: ParseError | None, framing: str | None) -> CheckResult:
    if not facts.available:
        return UNDECIDED, "parses to its last byte", None, "there is no evidence"
    if error is None:
        return PASS, "parses to its last byte", framing, ""
    outcome = UNDECIDED if isinstance(error, UnsupportedError) else FAIL
    return outcome, error.expected, error.got, f"{error.where} at byte {error.offset} is invalid"


def attest_form(facts: LayoutFacts) -> CheckResult:
    """Does the quote parse as TPMS_ATTEST or TPM2B_ATTEST, to its last byte?

    Sizes and counts must fit the available bytes, booleans must be 0 or 1, algorithms must be known, and no bytes may
    be left over. The framing is reported.

    Remediation: the quote is truncated, padded or altered. Get the response again from where it was recorded.
    """
    return _parsed(facts, facts.attest_error, facts.attest_framing)


def signature_form(facts: LayoutFacts) -> CheckResult:
    """Does the signature parse as TPMT_SIGNATURE, to its last byte?

    RSASSA, RSAPSS and ECDSA are supported. For other schemes of the specification the rule is undecided.

    Remediation: the signature is truncated, padded or altered, or of a scheme that is not supported. Get the response
    again from where it was recorded.
    """
    return _parsed(facts, facts.signature_error, facts.signature_framing)


def key_form(facts: LayoutFacts) -> CheckResult:
    """Does the AIK parse as TPM2B_PUBLIC or TPMT_PUBLIC, to its last byte?

    RSA and ECC keys are supported. For other types the rule is undecided. The framing is reported.

    Remediation: the public area is truncated, padded or altered, or of a type that is not supported. Get the response
    again from where it was recorded.
    """
    return _parsed(facts, facts.key_error, facts.key_framing)


def attest_magic(facts: LayoutFacts) -> CheckResult:
    """Does the signed structure begin with TPM_GENERATED_VALUE?

    A restricted key signs external data only if it does not begin with this value. Without it, anyone may have chosen
    the signed bytes.

    Remediation: do not rely on the response. A TPM did not generate the signed bytes.
    """
    expected = f"0x{TPM_GENERATED_VALUE:08x}"
    if facts.magic is None:
        return UNDECIDED, expected, None, "the quote does not parse"
    got = f"0x{facts.magic:08x}"
    if facts.magic == TPM_GENERATED_VALUE:
        return PASS, expected, got, ""
    return FAIL, expected, got, f"the signed bytes begin with {got}: a TPM did not generate them"


def attest_type(facts: LayoutFacts) -> CheckResult:
    """Is the signed structure a quote?

    A TPM signs other structures with the same key and the same extraData: certifications, times, creation data, NV
    contents. None of them contains PCR values.

    Remediation: do not rely on the response. A different signed structure was presented as a quote.
    """
    expected = "TPM_ST_ATTEST_QUOTE"
    kind = facts.attest_type
    if kind is None:
        return UNDECIDED, expected, None, "the quote does not parse"
    if kind is TPM_ST.ATTEST_QUOTE:
        return PASS, expected, expected, ""
    return FAIL, expected, specification_name(kind), f"the TPM signed a {specification_name(kind)}, not a quote"
