"""A completion → what the client gets: `_metadata` around the evidence; and, once it is sealed, the response."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

NO_STORE: Final = {"Cache-Control": "no-store"}

MEMORY_PROTECTION: Final = {
    "platform": sys.platform,
    "memory_locking": False,
    "secure_zeroing": False,
    "core_dump_prevention": False,
}
"""What this router does to protect memory: nothing that it could promise."""

CUDA_DEVICE: Final = {"available": False}

_PIECE: Final = 256 * 1024


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


class Sealed(Response):
    """A sealed answer, sent in pieces: to encrypt megabytes for TLS at once would keep others waiting."""

    media_type = "application/json"

    def __init__(self, body: bytes) -> None:
        super().__init__(body, headers=NO_STORE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = memoryview(self.body)
        for start in range(0, len(body), _PIECE):
            piece = bytes(body[start : start + _PIECE])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
