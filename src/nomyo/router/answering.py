"""A completion → what the client gets: `_metadata` around the evidence, sealed to the client's key."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

MEMORY_PROTECTION: Final = {
    "platform": sys.platform,
    "memory_locking": False,
    "secure_zeroing": False,
    "core_dump_prevention": False,
}
"""What this router does to protect memory: nothing that it could promise."""

CUDA_DEVICE: Final = {"available": False}


def with_metadata(
    completion: Mapping[str, Any], evidence: Mapping[str, Any], *, payload_id: str, tier: str, tpm_kind: str
) -> dict[str, Any]:
    """The completion with everything a client expects beside it; what the model itself called `_metadata` is dropped.

    Args:
        evidence: the `tpm_attestation` block.
        payload_id: id of the request, given back.
        tier: the security tier it was answered at.
        tpm_kind: what the evidence is worth, in words (`attesting.Source.claim`).
    """
    metadata = {
        "payload_id": payload_id,
        "processed_at": int(time.time()),
        "is_encrypted": True,
        "response_status": "success",
        "security_tier": tier,
        "memory_protection": dict(MEMORY_PROTECTION),
        "cuda_device": dict(CUDA_DEVICE),
        "tpm_kind": tpm_kind,
        "tpm_attestation": dict(evidence),
    }
    return {**completion, "_metadata": metadata}
