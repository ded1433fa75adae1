"""One answer's appraisal in progress: the facts that the checks look at, each worked out once."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from nomyo_attest.appraisal.layout import LayoutFacts
from nomyo_attest.appraisal.soft_tpm import made_by_soft_tpm, says_soft
from nomyo_attest.crypto.hashes import payload_nonce
from nomyo_attest.crypto.keys import KeyUnusableError, VerificationKey, verification_key
from nomyo_attest.crypto.names import key_name, primary_hierarchy
from nomyo_attest.errors import EvidenceError, ParseError, detached
from nomyo_attest.evidence.response import Evidence
from nomyo_attest.policy.model import AppraisalPolicy
from nomyo_attest.tpm.attest import TPMS_ATTEST
from nomyo_attest.tpm.framing import Framed, parse_attest, parse_public, parse_signature
from nomyo_attest.tpm.public import TPMT_PUBLIC
from nomyo_attest.tpm.signature import TPMT_SIGNATURE

NO_EVIDENCE: Final = Evidence(available=False, absence="the evidence is not well-formed")


class Case:
    """The facts of one appraisal. A fact that could not be had is None.

    Attributes:
        policy: the policy applied.
        evidence: as read; `NO_EVIDENCE` where `evidence_error` says why it could not be.
        nonce: the extraData expected, in bytes; None if neither a payload id nor a nonce is known.
        payload_id: the payload id the nonce was derived from; None if there was none.
        given_payload_id: the payload id the caller gave; None if it gave none.
        now: the time of the appraisal; None unless given or asked for by the policy.
        attest, signature, key: the parsed blobs with their framing.
        verification_key: the AIK as a key that verifies; `verification_key_error` says why it is none.
        name: the AIK's Name; hierarchy: the one whose primary key it is, None if none.
        says_soft: whether the response says that its router runs the soft TPM.
        layout: the facts that this response shares with all others of its layout.
    """

    __slots__ = (
        "_errors",
        "attest",
        "evidence",
        "evidence_error",
        "given_payload_id",
        "hierarchy",
        "key",
        "layout",
        "name",
        "nonce",
        "now",
        "payload_id",
        "policy",
        "says_soft",
        "signature",
        "verification_key",
        "verification_key_error",
    )

    layout: LayoutFacts

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
        self.says_soft = says_soft(evidence.claims)
        self.given_payload_id = payload_id
        self.payload_id = payload_id if payload_id is not None or nonce is not None else evidence.payload_id
        self.nonce = payload_nonce(self.payload_id) if self.payload_id is not None else nonce
        self.verification_key: VerificationKey | None = None
        self.verification_key_error = ""
        self.name: bytes | None = None
        self.hierarchy: str | None = None
        self.attest: Framed[TPMS_ATTEST] | None = None
        self.signature: Framed[TPMT_SIGNATURE] | None = None
        self.key: Framed[TPMT_PUBLIC] | None = None
        self._errors: dict[str, ParseError] = {}
        if evidence.available:
            self._parse(evidence)

    def _parse(self, evidence: Evidence) -> None:
        try:
            self.attest = parse_attest(evidence.quote)
        except ParseError as error:
            self._errors["attest"] = detached(error)
        try:
            self.signature = parse_signature(evidence.signature)
        except ParseError as error:
            self._errors["signature"] = detached(error)
        try:
            self.key = key = parse_public(evidence.aik_public)
        except ParseError as error:
            self._errors["key"] = detached(error)
            return
        name_alg = key.value.name_alg
        self.name = name = key_name(key.inner, name_alg)
        if name is not None and self.attest is not None:
            self.hierarchy = primary_hierarchy(name, name_alg, self.attest.value.qualified_signer)
        try:
            self.verification_key = verification_key(key.value)
        except KeyUnusableError as error:
            self.verification_key_error = str(error)

    @property
    def layout_key(self) -> tuple[object, ...] | None:
        """The key that identifies the layout of this evidence; None if a blob has no layout."""
        if self.attest is None or self.signature is None or self.key is None:
            return None
        quote, signature, key = self.attest.layout, self.signature.layout, self.key.layout
        if quote is None or signature is None or key is None:
            return None
        return quote, signature, key, self.evidence.pcrs

    @property
    def warnings_ended(self) -> bool | None:
        """Whether the policy's time-limited warnings have ended; None if it has none. They end if no time is known."""
        until = self.policy.unsafe_warn_until
        return None if until is None else self.now is None or self.now >= until

    @property
    def test_key(self) -> bool:
        """Whether the soft TPM, whose private keys everybody can make again, made the evidence."""
        key = self.key.value if self.key else None
        clock = self.attest.value.clock_info if self.attest else None
        return self.says_soft or made_by_soft_tpm(key, self.layout.report, clock)

    def layout_facts(self) -> LayoutFacts:
        """Collect the facts of the layout from this response."""
        attest = self.attest or self._errors.get("attest")
        signature = self.signature or self._errors.get("signature")
        key = self.key or self._errors.get("key")
        return LayoutFacts(self.policy, self.evidence, self.evidence_error, attest, signature, key)
