"""PCR selections as a TPM signs them: TPMS_PCR_SELECTION and TPML_PCR_SELECTION."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Final

from nomyo_attest.tpm.codec import Structure, declared
from nomyo_attest.tpm.constants import hash_name
from nomyo_attest.tpm.fields import HASH_ALG, Counted, Sized

PCR_SELECT_MIN: Final = 3
"""Bytes of the smallest bitmap: 24 PCRs (Part 2, 10.6.1, with the PC Client profile's PCR count)."""

PCR_SELECT_MAX: Final = 4
"""Bytes of the largest bitmap the TSS defines: 32 PCRs."""

SELECTIONS_MAX: Final = 16
"""Banks in one selection: more than any TPM has hash algorithms (HASH_COUNT, Part 2, 10.9.7)."""


@lru_cache(maxsize=256)  # a fleet quotes few different selections
def _indices(bitmap: bytes) -> tuple[int, ...]:
    """Bit n of byte m stands for PCR 8m + n (Part 2, 10.6.1)."""
    return tuple(8 * m + n for m, byte in enumerate(bitmap) for n in range(8) if byte >> n & 1)


@declared
class TPMS_PCR_SELECTION(Structure, frozen=True):
    """TPMS_PCR_SELECTION (Part 2, 10.6.2): some PCRs of one bank."""

    hash: HASH_ALG
    pcr_select: Annotated[bytes, Sized(PCR_SELECT_MAX, minimum=PCR_SELECT_MIN, code="B")]

    @property
    def indices(self) -> tuple[int, ...]:
        """The selected PCRs, ascending."""
        return _indices(self.pcr_select)


@declared
class TPML_PCR_SELECTION(Structure, frozen=True):
    """TPML_PCR_SELECTION (Part 2, 10.9.7): selections in the order in which their PCRs enter the digest."""

    pcr_selections: Annotated[tuple[TPMS_PCR_SELECTION, ...], Counted(TPMS_PCR_SELECTION, SELECTIONS_MAX)]

    def __str__(self) -> str:
        """As tpm2-tools and `pcr_banks` write it: ``sha1:0,7+sha256:0,7,10``."""
        return "+".join(f"{hash_name(one.hash)}:{','.join(map(str, one.indices))}" for one in self.pcr_selections)
