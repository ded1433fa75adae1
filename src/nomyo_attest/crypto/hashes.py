"""Digests by TPM_ALG_ID."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nomyo_attest.tpm.constants import TPM_ALG_ID

if TYPE_CHECKING:
    from hashlib import _Hash

HASHERS: Final[dict[TPM_ALG_ID, Callable[[bytes], _Hash]]] = {
    TPM_ALG_ID.SHA1: hashlib.sha1,
    TPM_ALG_ID.SHA256: hashlib.sha256,
    TPM_ALG_ID.SHA384: hashlib.sha384,
    TPM_ALG_ID.SHA512: hashlib.sha512,
    TPM_ALG_ID.SHA3_256: hashlib.sha3_256,
    TPM_ALG_ID.SHA3_384: hashlib.sha3_384,
    TPM_ALG_ID.SHA3_512: hashlib.sha3_512,
}
"""Hashes that can be computed here. SM3-256 is known by name only: not every build of Python has it."""


def payload_nonce(payload_id: str) -> bytes:
    """The nonce of an answer: the first 16 bytes of SHA-256 over the payload id as UTF-8."""
    return hashlib.sha256(payload_id.encode("utf-8")).digest()[:16]
