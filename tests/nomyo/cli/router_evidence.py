"""What routers of these tests serve, and what they were sent."""

from __future__ import annotations

from typing import Any

from nomyo_attest.testing import Forge
from tests.nomyo.wire.plain_router import PlainRouter

PROMPT = "prompt-6c1f4b2d8e0a9357"


def evidence(payload_id: str, event: bytes = b"") -> dict[str, Any]:
    """Good evidence for a payload id; with an event, of a machine that measured that besides."""
    forge = Forge(payload_id=payload_id)
    if event:
        forge.measure(7, event)
    block: dict[str, Any] = forge.response()["_metadata"]["tpm_attestation"]
    return block


def received_payload(router: PlainRouter) -> dict[str, Any]:
    """The one payload that the router was sent."""
    (post,) = router.posts
    assert post.plaintext is not None
    return post.plaintext
