"""Blobs that come with or without their TPM2B size: which of the two readings makes sense?

The service's documentation calls its quote a TPMS_ATTEST in one place and a TPM2B_ATTEST in another, and tools write public
keys both ways. A blob is read in the one way in which it parses to its last byte; if both ways or none do, it is refused.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from nomyo_attest.errors import ParseError
from nomyo_attest.tpm.attest import TPMS_ATTEST
from nomyo_attest.tpm.codec import Structure
from nomyo_attest.tpm.constants import TPM_ALG_ID, TPM_ST
from nomyo_attest.tpm.public import TPMT_PUBLIC

S = TypeVar("S", bound=Structure)


class Framed(msgspec.Struct, Generic[S], frozen=True):
    """A structure with the bytes it was read from.

    Attributes:
        value: the structure.
        inner: its bytes as received, without a TPM2B size. For a quote these are the signed bytes, for a key those its Name covers.
        framing: the structure that was sent, e.g. ``"TPMS_ATTEST"`` or ``"TPM2B_ATTEST"``.
    """

    value: S
    inner: bytes
    framing: str


def _framed(data: bytes, kind: type[S], with_size: str, tag: slice, tags: frozenset[bytes]) -> Framed[S]:
    """Read `data` bare or behind its size. A bare structure has one of `tags` at `tag`, so most blobs need one attempt only."""
    sized = len(data) >= 2 and data[0] << 8 | data[1] == len(data) - 2
    if not sized:
        return Framed(kind.parse(data), data, kind.__name__)
    if data[tag] not in tags:
        return Framed(kind.parse(data, 2), data[2:], with_size)
    try:
        bare = kind.parse(data)
    except ParseError:
        return Framed(kind.parse(data, 2), data[2:], with_size)
    try:
        kind.parse(data, 2)
    except ParseError:
        return Framed(bare, data, kind.__name__)
    raise ParseError(with_size, "", 0, f"a {kind.__name__} or a {with_size}", "bytes that are both")


_ATTEST_TAG = slice(4, 6)
_ATTEST_TAGS = frozenset(tag.to_bytes(2, "big") for tag in TPM_ST)
_PUBLIC_TAG = slice(0, 2)
_PUBLIC_TAGS = frozenset(algorithm.to_bytes(2, "big") for algorithm in TPM_ALG_ID)


def parse_attest(data: bytes) -> Framed[TPMS_ATTEST]:
    """Parse a TPMS_ATTEST or TPM2B_ATTEST (Part 2, 10.12.12 and 10.12.13) to its last byte. Raises `ParseError`."""
    return _framed(data, TPMS_ATTEST, "TPM2B_ATTEST", _ATTEST_TAG, _ATTEST_TAGS)


def parse_public(data: bytes) -> Framed[TPMT_PUBLIC]:
    """Parse a TPM2B_PUBLIC or TPMT_PUBLIC (Part 2, 12.2.5 and 12.2.4) to its last byte. Raises `ParseError`."""
    return _framed(data, TPMT_PUBLIC, "TPM2B_PUBLIC", _PUBLIC_TAG, _PUBLIC_TAGS)
