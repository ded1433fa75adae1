"""Evidence in the service's form: the `tpm_attestation` block, and a whole response around it."""

from __future__ import annotations

import base64
import hashlib
import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, TypedDict

from nomyo_attest.attester.selection import PcrValues, Selection, selection_text
from nomyo_attest.errors import AttesterError, EvidenceError
from nomyo_attest.evidence.response import check_payload_id

NONCE_BYTES: Final = 16
"""Size of the quote's extraData: the first half of a SHA-256."""


class TpmAttestation(TypedDict):
    """The `tpm_attestation` block of a response whose server has a TPM.

    Attributes:
        is_available: True.
        pcr_banks: the selection as text, ``"sha256:0,7,10"``.
        pcr_values: bank → index → value in lower-case hex.
        quote_b64: base64 of the TPMS_ATTEST.
        signature_b64: base64 of the TPMT_SIGNATURE.
        aik_pubkey_b64: base64 of the TPM2B_PUBLIC.
    """

    is_available: bool
    pcr_banks: str
    pcr_values: dict[str, dict[str, str]]
    quote_b64: str
    signature_b64: str
    aik_pubkey_b64: str


def qualifying_data(payload_id: str) -> bytes:
    """What a quote for this request carries as extraData: SHA-256(payload_id as UTF-8)[:16]. Raises `AttesterError`."""
    try:
        check_payload_id(payload_id, "")
    except EvidenceError as error:
        raise AttesterError(f"payload id: expected {error.expected}, got {error.got}") from error
    return hashlib.sha256(payload_id.encode()).digest()[:NONCE_BYTES]


def evidence_block(
    selection: Selection, values: PcrValues, quoted: bytes, signature: bytes, public: bytes
) -> TpmAttestation:
    """The block for a selection, its values, a TPMS_ATTEST, a TPMT_SIGNATURE and a TPM2B_PUBLIC. Nothing is checked."""
    return {
        "is_available": True,
        "pcr_banks": selection_text(selection),
        "pcr_values": {
            bank: {str(index): value.hex() for index, value in sorted(of_bank.items())}
            for bank, of_bank in values.items()
        },
        "quote_b64": base64.b64encode(quoted).decode(),
        "signature_b64": base64.b64encode(signature).decode(),
        "aik_pubkey_b64": base64.b64encode(public).decode(),
    }


def response(
    block: Mapping[str, Any],
    payload_id: str,
    *,
    model: str = "none",
    content: str = "",
    security_tier: str = "standard",
    claims: Mapping[str, Any] | None = None,
    created: int | None = None,
) -> dict[str, Any]:
    """A chat completion with `block` as its `_metadata.tpm_attestation`, as a client holds it after decryption.

    Args:
        block: from `Attester.attest`, for this payload id.
        payload_id: id of the request.
        model: name of the model that "answered".
        content: what it said.
        security_tier: ``"standard"``, ``"high"`` or ``"maximum"``; the server's word, unsigned.
        claims: unsigned claims for `_metadata`, in place of the defaults: no memory protection, no GPU.
        created: Unix time in seconds; None for now.
    """
    moment = int(time.time()) if created is None else created
    metadata: dict[str, Any] = {
        "payload_id": payload_id,
        "processed_at": moment,
        "is_encrypted": True,
        "response_status": "success",
        "security_tier": security_tier,
        "memory_protection": {
            "platform": sys.platform,
            "memory_locking": False,
            "secure_zeroing": False,
            "core_dump_prevention": False,
        },
        "cuda_device": {"available": False},
        **(claims or {}),
        "tpm_attestation": dict(block),
    }
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": moment,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        "_metadata": metadata,
    }
