"""Compute digests by TPM_ALG_ID."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nomyo_attest.tpm.constants import HASH_TABLE, TPM_ALG_ID

if TYPE_CHECKING:
    from hashlib import _Hash

HASHERS: Final[dict[TPM_ALG_ID, Callable[[bytes], _Hash]]] = {
    row.algorithm: getattr(hashlib, row.name) for row in HASH_TABLE if row.computed
}


def payload_nonce(payload_id: str) -> bytes:
    """Compute the nonce of a request: the first 16 bytes of SHA-256 over its payload id as UTF-8."""
    return hashlib.sha256(payload_id.encode("utf-8")).digest()[:16]
