"""Facts that all evidence of one layout has in common: the same framings, sizes, algorithms, attributes, selection and
PCR values.

A fleet's responses differ in nonce, clock, counters, key and signature, and in nothing else. The layout checks take a
`LayoutFacts` and run once for each layout and policy. The other checks take a `Case` and run for each response.
"""

from __future__ import annotations

from typing import Any

from nomyo_attest.appraisal.selection import SignedSelection, signed_selection
from nomyo_attest.errors import EvidenceError, ParseError
from nomyo_attest.evidence.pcrs import PcrReport
from nomyo_attest.evidence.response import Evidence
from nomyo_attest.policy.model import AppraisalPolicy
from nomyo_attest.tpm.attest import TPMS_ATTEST, TPMS_QUOTE_INFO
from nomyo_attest.tpm.constants import TPM_ALG_ID, TPM_ST
from nomyo_attest.tpm.framing import Framed
from nomyo_attest.tpm.public import TPMT_PUBLIC
from nomyo_attest.tpm.signature import TPMT_SIGNATURE


class LayoutFacts:
    """The facts of one layout under one policy. A fact that is not available is None, with the error beside it.

    Attributes:
        policy: the policy applied.
        available: whether there is evidence; `absence` says why not, `denied` whether the server says so.
        evidence_error: why the evidence could not be read; None if it could.
        report: the PCR values reported.
        attest_error, signature_error, key_error: why a blob does not parse; None if it does, or if there is none.
        attest_framing, signature_framing, key_framing: the structure that was sent; None if it does not parse.
        magic, attest_type, clock_safe: of TPMS_ATTEST.
        signed: what the quote selects; None if it is no quote.
        signature_scheme, signature_hash: of TPMT_SIGNATURE.
        attributes, key_scheme, key_hash: of TPMT_PUBLIC; `key_hash` is None also if the scheme is TPM_ALG_NULL.
    """

    def __init__(
        self,
        policy: AppraisalPolicy,
        evidence: Evidence,
        evidence_error: EvidenceError | None,
        attest: Framed[TPMS_ATTEST] | ParseError | None,
        signature: Framed[TPMT_SIGNATURE] | ParseError | None,
        key: Framed[TPMT_PUBLIC] | ParseError | None,
    ) -> None:
        self.policy = policy
        self.available = evidence.available
        self.absence = evidence.absence
        self.denied = evidence.denied
        self.evidence_error = evidence_error
        self.report: PcrReport = evidence.pcrs
        self.attest_error, self.signature_error, self.key_error = map(_error, (attest, signature, key))
        self.attest_framing, self.signature_framing, self.key_framing = map(_framing, (attest, signature, key))
        self.magic: int | None = None
        self.attest_type: TPM_ST | None = None
        self.clock_safe: bool | None = None
        self.signed: SignedSelection | None = None
        if isinstance(attest, Framed):
            statement = attest.value
            self.magic, self.attest_type, self.clock_safe = statement.magic, statement.type, statement.clock_info.safe
            if isinstance(statement.attested, TPMS_QUOTE_INFO):
                self.signed = signed_selection(statement.attested.pcr_select)
        self.signature_scheme: TPM_ALG_ID | None = None
        self.signature_hash: TPM_ALG_ID | None = None
        if isinstance(signature, Framed):
            self.signature_scheme, self.signature_hash = signature.value.sig_alg, signature.value.signature.hash
        self.attributes: int | None = None
        self.key_scheme: TPM_ALG_ID | None = None
        self.key_hash: TPM_ALG_ID | None = None
        if isinstance(key, Framed):
            scheme = key.value.parameters.scheme
            self.attributes, self.key_scheme = key.value.object_attributes, scheme.scheme
            self.key_hash = scheme.details.hash_alg if scheme.details else None


def _framing(blob: Any) -> str | None:
    return blob.framing if isinstance(blob, Framed) else None


def _error(blob: Any) -> ParseError | None:
    return blob if isinstance(blob, ParseError) else None
