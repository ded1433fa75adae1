"""The answer around the evidence: a chat completion in the service's response form."""

from __future__ import annotations

import hashlib
from typing import Any, Final

CREATED: Final = 1767225600
"""When a forged answer was made, unless it says otherwise, in seconds since 1970: 2026-01-01T00:00:00Z."""


def nonce_of(payload_id: str) -> bytes:
    """What the service has its TPM sign along: the first 16 bytes of SHA-256 over the payload id."""
    return hashlib.sha256(payload_id.encode()).digest()[:16]


def metadata_around(
    block: Any, payload_id: str, security_tier: str, *, processed_at: int = CREATED, device: str = "some GPU"
) -> dict[str, Any]:
    """The `_metadata` object around a `tpm_attestation` object, with what a server says of itself."""
    return {
        "payload_id": payload_id,
        "processed_at": processed_at,
        "is_encrypted": True,
        "response_status": "success",
        "security_tier": security_tier,
        "memory_protection": {
            "platform": "linux",
            "memory_locking": True,
            "secure_zeroing": True,
            "core_dump_prevention": True,
        },
        "cuda_device": {"available": True, "device_hash": hashlib.sha256(device.encode()).hexdigest()},
        "tpm_attestation": block,
    }


def response_around(metadata: Any, payload_id: str, *, created: int = CREATED) -> dict[str, Any]:
    """The whole response around a `_metadata` object."""
    return {
        "id": f"chatcmpl-{hashlib.sha256(payload_id.encode()).hexdigest()[:12]}",
        "object": "chat.completion",
        "created": created,
        "model": "forge/echo-1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "_metadata": metadata,
    }
