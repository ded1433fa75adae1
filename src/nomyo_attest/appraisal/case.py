"""The facts that the checks examine: those of one response (`Case`), and those of its layout (`LayoutFacts`).

The responses of a fleet differ only in nonce, clock, counters, PCR values, key and signature. A check that depends on
none of these is a layout check: it examines a `LayoutFacts`, and its result is reused for every response of the same
layout and policy. Reuse is safe because a `LayoutFacts` is a function of `Case.layout_key` and the policy:

- the layouts of the three blobs contain every byte that a `LayoutFacts` is read from: framing, magic, type,
  clockInfo.safe, pcrSelect, schemes, hashes, attributes (`tpm.layout`);
- the layout of the report consists of the selection text and the reported PCRs, without their values;
- evidence that cannot be read or does not parse has no layout key, so its results are never reused.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from nomyo_attest.appraisal.soft_tpm import claims_soft_tpm, made_by_soft_tpm
from nomyo_attest.crypto.hashes import HASHERS, payload_nonce
from nomyo_attest.crypto.keys import KeyUnusableError, VerificationKey, key_name, primary_hierarchy, verification_key
from nomyo_attest.errors import EvidenceError, ParseError, without_traceback
from nomyo_attest.evidence.pcrs import PcrLayout, PcrReport
from nomyo_attest.evidence.response import Evidence
from nomyo_attest.policy.model import AppraisalPolicy
from nomyo_attest.tpm.attest import TPMS_ATTEST, TPMS_QUOTE_INFO
from nomyo_attest.tpm.constants import HASH_NAMES, HASH_SIZES, TPM_ALG_ID, TPM_ST
from nomyo_attest.tpm.framing import Framed, parse_attest, parse_public, parse_signature
from nomyo_attest.tpm.pcr import TPML_PCR_SELECTION
from nomyo_attest.tpm.public import TPMT_PUBLIC
from nomyo_attest.tpm.signature import TPMT_SIGNATURE

_DIGESTS_CACHE_SIZE: Final = 512
"""Maximum number of cached digests: one for each report that `evidence.pcrs` interns. Reports are immutable."""

NO_EVIDENCE: Final = Evidence(available=False, absence="the evidence is not well-formed")


class Case:
    """The facts of one appraisal. A fact that is not available is None.

    Attributes:
        policy: the policy.
        evidence: the evidence as read; `NO_EVIDENCE` if it could not be read.
        evidence_error: why the evidence could not be read; None if it could.
        nonce: the expected extraData, in bytes; None if neither a payload id nor a nonce is known.
        payload_id: the payload id from which the nonce was derived; None if there was none.
        passed_payload_id: the payload id that the caller passed; None if it passed none.
        now: the time of the appraisal; None if the caller passed none and the policy does not depend on it.
        report: the reported PCR values.
        attest, signature, key: the parsed blobs with their framing.
        verification_key: the AIK as a key of `cryptography`; None if it cannot be loaded.
        verification_key_error: why it cannot be loaded; empty if it can.
        name: the AIK's Name.
        hierarchy: the hierarchy in which the AIK is a primary key; None if it is unknown.
        claims_soft_tpm: whether the response states that its router runs the soft TPM.
        layout: the facts that all responses of this layout have in common.
    """

    __slots__ = (
        "_errors",
        "attest",
        "claims_soft_tpm",
        "evidence",
        "evidence_error",
        "hierarchy",
        "key",
        "layout",
        "name",
        "nonce",
        "now",
        "passed_payload_id",
        "payload_id",
        "policy",
        "report",
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
        self.report: PcrReport = evidence.pcrs
        self.claims_soft_tpm = claims_soft_tpm(evidence.claims)
        self.passed_payload_id = payload_id
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
            self._errors["attest"] = without_traceback(error)
        try:
            self.signature = parse_signature(evidence.signature)
        except ParseError as error:
            self._errors["signature"] = without_traceback(error)
        try:
            self.key = key = parse_public(evidence.aik_public)
        except ParseError as error:
            self._errors["key"] = without_traceback(error)
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
        """A key that identifies the layout of this evidence; None if a blob has no layout."""
        if self.attest is None or self.signature is None or self.key is None:
            return None
        quote, signature, key = self.attest.layout, self.signature.layout, self.key.layout
        if quote is None or signature is None or key is None:
            return None
        return quote, signature, key, self.report.layout

    def layout_facts(self) -> LayoutFacts:
        """Collect the facts of the layout from this response."""
        attest = self.attest or self._errors.get("attest")
        signature = self.signature or self._errors.get("signature")
        key = self.key or self._errors.get("key")
        return LayoutFacts(self.policy, self.evidence, self.evidence_error, attest, signature, key)

    @property
    def warnings_ended(self) -> bool | None:
        """Whether the policy's time-limited warnings have ended; None if it has none. True if the time is unknown."""
        until = self.policy.unsafe_warn_until
        return None if until is None else self.now is None or self.now >= until

    @property
    def test_key(self) -> bool:
        """Whether the soft TPM, whose private keys anyone can derive, made the evidence."""
        key = self.key.value if self.key else None
        clock = self.attest.value.clock_info if self.attest else None
        return self.claims_soft_tpm or made_by_soft_tpm(key, self.report, clock)


class LayoutFacts:
    """The facts of one layout under one policy. A fact that is not available is None.

    Attributes:
        policy: the policy.
        available: whether there is evidence.
        absence: why there is no evidence; empty if there is.
        declared_absent: whether the server states that it has no evidence.
        evidence_error: why the evidence could not be read; None if it could.
        report: the reported PCRs, without their values.
        attest_error, signature_error, key_error: why a blob does not parse; None if it parses or is absent.
        attest_framing, signature_framing, key_framing: the structure that was received; None if it does not parse.
        magic, attest_type, clock_safe: fields of TPMS_ATTEST.
        signed: the PCRs that the quote selects; None if it is not a quote.
        references: the PCRs that the policy names, in its order; empty if it is not a quote.
        signature_scheme, signature_hash: fields of TPMT_SIGNATURE.
        attributes, key_scheme, key_hash: fields of TPMT_PUBLIC; `key_hash` is also None if the scheme is TPM_ALG_NULL.
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
        self.absence = "" if evidence.available else evidence.absence
        self.declared_absent = not evidence.available and evidence.declared_absent
        self.evidence_error = evidence_error
        self.report: PcrLayout = evidence.pcrs.layout
        self.attest_error, self.signature_error, self.key_error = map(_error_of, (attest, signature, key))
        self.attest_framing, self.signature_framing, self.key_framing = map(_framing_of, (attest, signature, key))
        self.magic: int | None = None
        self.attest_type: TPM_ST | None = None
        self.clock_safe: bool | None = None
        self.signed: SignedSelection | None = None
        self.references: tuple[Reference, ...] = ()
        if isinstance(attest, Framed):
            signed = attest.value
            self.magic, self.attest_type, self.clock_safe = signed.magic, signed.type, signed.clock_info.safe
            if isinstance(signed.attested, TPMS_QUOTE_INFO):
                self.signed = SignedSelection(signed.attested.pcr_select)
                self.references = _references(policy, self.signed, self.report)
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


def _framing_of(blob: Any) -> str | None:
    return blob.framing if isinstance(blob, Framed) else None


def _error_of(blob: Any) -> ParseError | None:
    return blob if isinstance(blob, ParseError) else None


class SignedSelection:
    """A TPML_PCR_SELECTION with the bank names of policies. Compared by identity.

    Attributes:
        banks: (bank, indices, digest size in bytes) in signed order, including duplicate banks.
        text: the selection in the format of `pcr_banks`.
    """

    __slots__ = ("banks", "text")

    def __init__(self, selection: TPML_PCR_SELECTION) -> None:
        self.banks = tuple(
            (HASH_NAMES[bank.hash], bank.indices, HASH_SIZES[bank.hash]) for bank in selection.pcr_selections
        )
        self.text = str(selection)


@lru_cache(maxsize=_DIGESTS_CACHE_SIZE)
def recomputed_digest(signed: SignedSelection, report: PcrReport, algorithm: TPM_ALG_ID) -> bytes | None:
    """Hash the reported values in signed order: banks as listed, indices ascending.

    Returns None if a value is missing or does not have the length of its bank's digests.
    """
    values = []
    for bank, indices, size in signed.banks:
        bank_values = report.values.get(bank, {})
        for index in indices:
            value = bank_values.get(index)
            if value is None or len(value) != size:
                return None
            values.append(value)
    return HASHERS[algorithm](b"".join(values)).digest()


class Reference(NamedTuple):
    """A PCR that the policy names.

    Attributes:
        pcr: bank and index, such as ``"sha256:7"``.
        accepted: the accepted values; empty for any value.
        expected: the accepted values as a finding states them.
        reported_pcr: bank and index of the PCR in the report; None if it is not both signed and reported.
    """

    pcr: str
    accepted: frozenset[bytes]
    expected: list[bytes] | str
    reported_pcr: tuple[str, int] | None

    def value_in(self, report: PcrReport) -> bytes | None:
        """Return the value that was signed and reported; None if there is none."""
        if self.reported_pcr is None:
            return None
        bank, index = self.reported_pcr
        return report.values.get(bank, {}).get(index)


def _references(policy: AppraisalPolicy, signed: SignedSelection, report: PcrLayout) -> tuple[Reference, ...]:
    signed_and_reported = {
        (bank, index) for bank, indices, _ in signed.banks for index in indices if index in report.indices.get(bank, ())
    }
    references = []
    for bank, index, accepted in policy.accepted:
        reported_pcr = (bank, index) if (bank, index) in signed_and_reported else None
        references.append(Reference(f"{bank}:{index}", accepted, sorted(accepted) or "any", reported_pcr))
    return tuple(references)
