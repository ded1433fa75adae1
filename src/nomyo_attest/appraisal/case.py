"""One appraisal in progress: the facts that the checks look at, each worked out once."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from nomyo_attest.appraisal.selection import SignedSelection, signed_selection
from nomyo_attest.crypto.hashes import payload_nonce
from nomyo_attest.crypto.keys import KeyUnusable, VerificationKey, verification_key
from nomyo_attest.crypto.names import key_name, primary_hierarchy
from nomyo_attest.errors import EvidenceError, ParseError
from nomyo_attest.evidence.model import Evidence
from nomyo_attest.policy.model import AppraisalPolicy
from nomyo_attest.tpm.attest import TPMS_ATTEST, TPMS_QUOTE_INFO
from nomyo_attest.tpm.framing import Framed, parse_attest, parse_public
from nomyo_attest.tpm.public import TPMT_PUBLIC
from nomyo_attest.tpm.signature import TPMT_SIGNATURE

NO_EVIDENCE: Final = Evidence(available=False, absence="the evidence is not well-formed")


class Case:
    """The facts of one appraisal. A fact that could not be had is None, with the error beside it.

    Attributes:
        evidence: as read; `NO_EVIDENCE` where `evidence_error` says why it could not be.
        policy: the policy applied.
        nonce: the extraData expected, in bytes; None if neither a payload id nor a nonce is known.
        payload_id: the payload id the nonce was derived from; None if there was none.
        now: the time of the appraisal; None unless given or asked for by the policy.
        attest, signature, key: the parsed blobs with their framing; `attest_error` … where they do not parse.
        quote: what the quote attests; None if it is no quote.
        signed: what the quote selects; None if it is no quote.
        verification_key: the AIK as a key that verifies; `verification_key_error` where it is none.
        name: the AIK's Name; hierarchy: the one whose primary key it is, None if none.
    """

    __slots__ = (
        "attest",
        "attest_error",
        "evidence",
        "evidence_error",
        "given_payload_id",
        "hierarchy",
        "key",
        "key_error",
        "name",
        "nonce",
        "now",
        "payload_id",
        "policy",
        "quote",
        "signature",
        "signature_error",
        "signed",
        "verification_key",
        "verification_key_error",
    )

    def __init__(
        self,
        evidence: Evidence | EvidenceError,
        policy: AppraisalPolicy,
        payload_id: str | None,
        nonce: bytes | None,
        now: datetime | None,
    ) -> None:
        self.policy = policy
        self.now = now
        self.evidence_error: EvidenceError | None = None
        if isinstance(evidence, EvidenceError):
            self.evidence_error, evidence = evidence, NO_EVIDENCE
        self.evidence = evidence
        self.given_payload_id = payload_id
        self.payload_id = payload_id if payload_id is not None or nonce is not None else evidence.payload_id
        self.nonce = payload_nonce(self.payload_id) if self.payload_id is not None else nonce
        self.attest: Framed[TPMS_ATTEST] | None = None
        self.attest_error: ParseError | None = None
        self.signature: TPMT_SIGNATURE | None = None
        self.signature_error: ParseError | None = None
        self.key: Framed[TPMT_PUBLIC] | None = None
        self.key_error: ParseError | None = None
        self.quote: TPMS_QUOTE_INFO | None = None
        self.signed: SignedSelection | None = None
        self.verification_key: VerificationKey | None = None
        self.verification_key_error = ""
        self.name: bytes | None = None
        self.hierarchy: str | None = None
        if evidence.available:
            self._parse(evidence)

    def _parse(self, evidence: Evidence) -> None:
        try:
            self.signature = TPMT_SIGNATURE.parse(evidence.signature)
        except ParseError as error:
            self.signature_error = error
        try:
            self.attest = attest = parse_attest(evidence.quote)
            if type(attest.value.attested) is TPMS_QUOTE_INFO:
                self.quote = quote = attest.value.attested
                self.signed = signed_selection(quote.pcr_select)
        except ParseError as error:
            attest = None
            self.attest_error = error
        try:
            self.key = key = parse_public(evidence.aik_public)
        except ParseError as error:
            self.key_error = error
        else:
            try:
                self.verification_key = verification_key(key.value)
            except KeyUnusable as error:
                self.verification_key_error = str(error)
            name_alg = key.value.name_alg
            self.name = name = key_name(key.inner, name_alg)
            if attest is not None and name is not None:
                self.hierarchy = primary_hierarchy(name, name_alg, attest.value.qualified_signer)
