"""Evidence as this library holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec

from nomyo_attest.evidence.pcrs import NO_PCRS, PcrReport


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One answer's `tpm_attestation` with what belongs to it, decoded but not yet parsed or judged.

    Get one from `from_response`, which checks what it reads.

    Attributes:
        available: whether there is evidence at all; if not, the blobs are empty and `absence` says why.
        quote: TPMS_ATTEST or TPM2B_ATTEST, as received.
        signature: TPMT_SIGNATURE, as received.
        aik_public: TPM2B_PUBLIC or TPMT_PUBLIC of the key that signed, as received.
        pcrs: the PCR values reported, with their selection text.
        payload_id: the `payload_id` of the response's `_metadata`; None if what was given holds none.
        claims: the response's `_metadata`: the server's words, which nothing signs. Empty for a bare block.
        absence: why there is no evidence; empty if there is.
        denied: whether the server says that there is none (`is_available` false).
    """

    available: bool
    quote: bytes = b""
    signature: bytes = b""
    aik_public: bytes = b""
    pcrs: PcrReport = NO_PCRS
    payload_id: str | None = None
    claims: Mapping[str, Any] = {}
    absence: str = ""
    denied: bool = False

    def __repr__(self) -> str:
        """Without the claims: where the block stood at the top, they are the whole response."""
        state = self.pcrs.banks if self.available else self.absence
        return f"<Evidence {state}, payload id {self.payload_id!r}>"

    @classmethod
    def from_response(cls, response: object) -> Self:
        """Read a whole response, its `_metadata` or the bare `tpm_attestation` block; dict, str or bytes.

        Raises `EvidenceError` for evidence that is not well-formed, and `MisplacedEvidenceError`, which is one, for a
        record with evidence that is not at the top level; a response without any gives `available` False.
        """
        from nomyo_attest.evidence.response import read_evidence  # the reader builds on this model

        evidence = read_evidence(response)
        assert isinstance(evidence, cls)
        return evidence
