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
"""Bytes of the largest bitmap that the TSS defines: 32 PCRs."""

SELECTIONS_MAX: Final = 16
"""Maximum banks in one selection: more hash algorithms than any TPM has (HASH_COUNT, Part 2, 10.9.7)."""


@lru_cache(maxsize=256)  # a fleet quotes a few different selections
def _indices(bitmap: bytes) -> tuple[int, ...]:
    """Return the PCRs in a bitmap: bit n of byte m selects PCR 8m + n (Part 2, 10.6.1)."""
    return tuple(8 * m + n for m, byte in enumerate(bitmap) for n in range(8) if byte >> n & 1)


@declared
class TPMS_PCR_SELECTION(Structure, frozen=True):
    """TPMS_PCR_SELECTION (Part 2, 10.6.2): selected PCRs of one bank."""

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
        """Return the format of tpm2-tools and `pcr_banks`: ``sha1:0,7+sha256:0,7,10``."""
        return "+".join(f"{hash_name(bank.hash)}:{','.join(map(str, bank.indices))}" for bank in self.pcr_selections)
