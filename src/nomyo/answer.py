"""The plaintext of an answer → the dictionary that users get, once it is known to be the answer to their request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from nomyo import envelope, strict_json
from nomyo.config import TIERS
from nomyo.errors import TIER_NOT_AS_REQUESTED, ResponseError, ResponseNotBoundError, ResponseTooLargeError
from nomyo.memory import SecureBuffer
from nomyo.server_key import ServerKey
from nomyo_attest.evidence.strict_json import TooManyContainersError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

METADATA = "_metadata"


class Opened(msgspec.Struct, frozen=True):
    """An answer, decrypted and read, not yet looked at.

    Attributes:
        completion: the JSON object as the server made it; ``_metadata`` in it is an object.
        processed_at: the field of that name outside the encrypted part, which nothing authenticates; None if absent.
    """

    completion: dict[str, Any]
    processed_at: int | None

    def __repr__(self) -> str:
        return "<Opened>"


def open_answer(package: bytes, key: RSAPrivateKey, *, lock: bool = True) -> Opened:
    """Decrypt and read an answer.

    Args:
        lock: whether to lock the plaintext's memory where the system allows it.

    Raises `ResponseError`, the same one whatever is wrong; but `ResponseTooLargeError` for one that was decrypted and
    has too many objects and arrays. Whoever encrypted it knows that already.
    """
    decrypted = envelope.decrypt(package, key)
    with SecureBuffer(decrypted.plaintext, lock=lock) as plaintext:
        failure: ResponseError | None = None
        completion = None
        try:
            completion = strict_json.decode(plaintext.data)
        except TooManyContainersError as error:
            failure = _too_large(error.found, error.limit)
        except ValueError:
            pass  # what it says is not passed on
    if failure is not None:
        raise failure
    if isinstance(completion, dict) and isinstance(completion.setdefault(METADATA, {}), dict):
        return Opened(completion, decrypted.processed_at)
    raise ResponseError


def _too_large(found: int, limit: int) -> ResponseTooLargeError:
    problem = f"the response has {found} objects and arrays; a response of its length may have {limit}"
    return ResponseTooLargeError(f"{problem}. It was decrypted, and is not released", limit, found)


def check_echoes(opened: Opened, payload_id: str, tier: str | None) -> None:
    """Refuse an answer to another request, or at another tier than the one requested. Raises `ResponseNotBoundError`.

    An answer need not name its request; it must name the tier, where one was requested.
    """
    metadata = opened.completion[METADATA]
    if metadata.get("payload_id", payload_id) != payload_id:
        raise ResponseNotBoundError("the answer names another request than this one; it is not handed over")
    if tier is not None and metadata.get("security_tier") != tier:
        got = metadata.get("security_tier")
        said = repr(got) if got in TIERS else "none" if got is None else "something else"
        problem = f"security_tier: expected {tier!r}, as requested, got {said}; the answer is not handed over"
        raise ResponseNotBoundError(problem, TIER_NOT_AS_REQUESTED)


def hand_over(
    opened: Opened,
    payload_id: str,
    server_key: ServerKey | None,
    attestation_result: dict[str, Any] | None,
    evidence_log: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The answer as users know it, with what was found out on the way.

    What the server puts under the keys that are ours is not theirs to say, and is dropped.
    """
    metadata = opened.completion[METADATA]
    verification: dict[str, Any] = {
        "payload_id_echoed": "payload_id" in metadata,
        "security_tier_echoed": "security_tier" in metadata,
    }
    if server_key is not None:
        verification["server_key"] = server_key.fingerprint
        verification["server_key_pinned"] = server_key.pinned
    for ours in ("attestation_result", "evidence_log", "verification", "transport_processed_at"):
        metadata.pop(ours, None)
    metadata.setdefault("processed_at", opened.processed_at)
    metadata.update(payload_id=payload_id, is_encrypted=True, encryption_algorithm=envelope.ALGORITHM)
    metadata["verification"] = verification
    if opened.processed_at is not None:
        metadata["transport_processed_at"] = opened.processed_at
    if attestation_result is not None:
        metadata["attestation_result"] = attestation_result
    if evidence_log is not None:
        metadata["evidence_log"] = evidence_log
    return opened.completion
