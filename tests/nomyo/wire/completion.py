"""The completion of the test router: an echo in OpenAI's format (wire protocol, sections 5 to 7)."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import rsa

if TYPE_CHECKING:
    from tests.nomyo.wire.plain_router import Recorded


def echo(payload: dict[str, Any], payload_id: str) -> dict[str, Any]:
    """Return a completion that repeats the last message of the payload."""
    messages = payload.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else {}
    content = last.get("content", "") if isinstance(last, dict) else ""
    words = len(str(content).split())
    message = {"role": "assistant", "content": content if isinstance(content, str) else json.dumps(content)}
    choices = [{"index": n, "message": message, "finish_reason": "stop"} for n in range(payload.get("n") or 1)]
    return {
        "id": f"chatcmpl-{uuid.uuid4()}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": payload.get("model"),
        "choices": choices,
        "usage": {"prompt_tokens": words, "completion_tokens": words, "total_tokens": 2 * words},
    }


def metadata(payload_id: str, tier: str | None, processed_at: int, evidence: dict[str, Any] | None) -> dict[str, Any]:
    """Return the inner `_metadata`; the default tier is standard."""
    return {
        "payload_id": payload_id,
        "processed_at": processed_at,
        "is_encrypted": True,
        "response_status": "success",
        "security_tier": tier or "standard",
        "memory_protection": {
            "platform": "linux",
            "memory_locking": True,
            "secure_zeroing": True,
            "core_dump_prevention": True,
        },
        "cuda_device": {"available": False, "device_hash": None},
        "tpm_attestation": {"is_available": False} if evidence is None else evidence,
    }


def encode(answer: object) -> bytes:
    """Return the plaintext of a response."""
    return json.dumps(answer).encode()


def client_key(request: Recorded) -> rsa.RSAPublicKey:
    """Return the key in the request's header."""
    assert request.key is not None
    return request.key
