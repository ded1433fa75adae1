"""Names of keys, recomputed from their public areas (TPM 2.0 Part 1, "Names"; Part 2, 10.5)."""

from __future__ import annotations

from typing import Final

from nomyo_attest.crypto.hashes import HASHERS
from nomyo_attest.tpm.constants import TPM_ALG_ID, TPM_RH

HIERARCHY_NAMES: Final[dict[TPM_RH, str]] = {
    TPM_RH.ENDORSEMENT: "endorsement",
    TPM_RH.OWNER: "owner",
    TPM_RH.PLATFORM: "platform",
    TPM_RH.NULL: "null",
}
"""Hierarchies by the name that policies write, the most usual for an AIK first."""

_HANDLES: Final = tuple((handle.to_bytes(4, "big"), name) for handle, name in HIERARCHY_NAMES.items())


def key_name(public_area: bytes, name_alg: TPM_ALG_ID) -> bytes | None:
    """A key's Name: nameAlg ‖ H(TPMT_PUBLIC), over the bytes as received. None if the hash cannot be computed here."""
    hasher = HASHERS.get(name_alg)
    return name_alg.to_bytes(2, "big") + hasher(public_area).digest() if hasher else None


def primary_hierarchy(name: bytes, name_alg: TPM_ALG_ID, qualified_name: bytes) -> str | None:
    """The hierarchy in which a primary key of this `name` has this `qualified_name`; None if there is none.

    The Qualified Name of a primary key is nameAlg ‖ H(handle of the hierarchy ‖ Name) (Part 1, "Qualified Name"). The
    key names its hierarchy no other way, so each is tried. A key that is the child of another matches none.
    """
    hasher = HASHERS[name_alg]
    prefix = name[:2]
    for handle, hierarchy in _HANDLES:
        if prefix + hasher(handle + name).digest() == qualified_name:
            return hierarchy
    return None
