"""The evidence that test routers serve, and the payload that they received."""

from __future__ import annotations

from typing import Any

from nomyo_attest.testing import Forge
from tests.nomyo.wire.plain_router import PlainRouter

PROMPT = "prompt-6c1f4b2d8e0a9357"


def evidence(payload_id: str, event: bytes = b"") -> dict[str, Any]:
    """Return valid evidence for a payload id, of a machine that also measured `event`, if any."""
    forge = Forge(payload_id=payload_id)
    if event:
        forge.measure(7, event)
    block: dict[str, Any] = forge.response()["_metadata"]["tpm_attestation"]
    return block


def received_payload(router: PlainRouter) -> dict[str, Any]:
    """Return the only payload that the router received."""
    (post,) = router.posts
    assert post.plaintext is not None
    return post.plaintext
