"""Parse a request (headers, client's key, encrypted payload), and build its response around a completion."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from nomyo import envelope, keys, strict_json
from nomyo.config import PAYLOAD_ID_MAX, TIERS
from nomyo.errors import ResponseError, ServerKeyError
from nomyo.memory import wipe
from nomyo.router.errors import Refusal
from nomyo.serving.requests import PiecewiseResponse
from nomyo_attest.evidence.strict_json import TooManyContainersError

PACKAGE_MAX: Final = 16 * 1024 * 1024
"""Maximum size of a package in bytes: a plaintext of 10 MiB, a client's maximum, takes about 13.4 MiB encrypted."""

CLIENT_KEY_MINIMUM: Final = 2048
"""Minimum size of a client's key in bits."""

MEDIA_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """The headers of a request, which are not authenticated.

    Attributes:
        payload_id: id of the request.
        client_key: the key to which the response is encrypted.
        tier: the requested security tier; None if the request names none.
    """

    payload_id: str
    client_key: RSAPublicKey
    tier: str | None


def read_headers(headers: Mapping[str, str]) -> RequestHeaders:
    """Parse the headers of a request, whose names are in lower case. Raises `Refusal`."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != MEDIA_TYPE:
        raise Refusal(400, f"Content-Type must be {MEDIA_TYPE}")
    payload_id = headers.get("x-payload-id", "")
    if not (0 < len(payload_id) <= PAYLOAD_ID_MAX and payload_id.isascii() and payload_id.isprintable()):
        raise Refusal(400, f"X-Payload-ID must be 1 to {PAYLOAD_ID_MAX} printable ASCII characters")
    tier = headers.get("x-security-tier")
    if tier is not None and tier not in TIERS:
        raise Refusal(400, f"X-Security-Tier must be one of {', '.join(TIERS)}")
    return RequestHeaders(payload_id, _load_client_key(headers.get("x-public-key", "")), tier)


def _load_client_key(text: str) -> RSAPublicKey:
    """Load a percent-encoded PEM key. ``/`` may be unencoded (Python's quote) or encoded (encodeURIComponent)."""
    try:
        return keys.load_server_key(unquote(text).encode(), CLIENT_KEY_MINIMUM)
    except ServerKeyError:
        raise Refusal(
            400, f"X-Public-Key must be a percent-encoded PEM public key, RSA of at least {CLIENT_KEY_MINIMUM} bits"
        ) from None


def decrypt_payload(package: bytes, key: RSAPrivateKey) -> dict[str, Any]:
    """Decrypt and check a payload. The tag may be in its own field or at the end of the ciphertext.

    Raises `Refusal`. The refusal is the same for every package that cannot be decrypted, since a reason would help an
    attacker.
    """
    try:
        plaintext = envelope.decrypt(package, key, tag_inside=True).plaintext
    except ResponseError:
        raise Refusal(400, "The package cannot be decrypted; /pki/public_key may serve a different key now") from None
    try:
        payload = strict_json.decode(plaintext)
    except TooManyContainersError as error:
        raise Refusal(
            400,
            f"The payload has {error.found} objects and arrays; a payload of its length may have {error.limit}",
        ) from None
    except ValueError:
        raise Refusal(400, "The payload must be a JSON object") from None
    finally:
        wipe(plaintext)
    return _check_payload(payload)


def _check_payload(payload: object) -> dict[str, Any]:
    """Check a payload and return it. Raises `Refusal`, which may name keys of the payload but never quotes a value."""
    if not isinstance(payload, dict):
        raise Refusal(400, "The payload must be a JSON object")
    model, messages = payload.get("model"), payload.get("messages")
    if not isinstance(model, str) or not model:
        raise Refusal(400, "model must be a non-empty string")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise Refusal(400, "messages must be a non-empty list of objects")
    if payload.get("stream"):
        raise Refusal(400, "Streaming is not supported for encrypted inference")
    return payload


NO_STORE: Final = {"Cache-Control": "no-store"}

MEMORY_PROTECTION: Final = {
    "platform": sys.platform,
    "memory_locking": False,
    "secure_zeroing": False,
    "core_dump_prevention": False,
}
"""The memory protection that this router claims: none, since it can guarantee none."""

CUDA_DEVICE: Final = {"available": False}


def add_metadata(
    completion: Mapping[str, Any], evidence: Mapping[str, Any], *, payload_id: str, tier: str, tpm_kind: str
) -> dict[str, Any]:
    """Add `_metadata` to a completion, and replace a `_metadata` that the model server sent.

    Args:
        evidence: the `tpm_attestation` block.
        payload_id: id of the request.
        tier: the security tier of the response.
        tpm_kind: the kind of the evidence, in words (`evidence.Source.claim`).
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


class EncryptedResponse(PiecewiseResponse):
    """An encrypted response."""

    media_type = "application/json"

    def __init__(self, body: bytes) -> None:
        super().__init__(body, headers=NO_STORE)
