"""PCR selections as people write them: ``sha256:0,7,10``, several banks joined by ``+``."""

from __future__ import annotations

from typing import Final

from nomyo_attest.errors import EvidenceError
from nomyo_attest.tpm.constants import HASH_ALGORITHMS, PCR_COUNT

INDICES: Final = {str(index): index for index in range(PCR_COUNT)}
"""The only spellings of a PCR index: ``"0"`` to ``"23"`` in plain ASCII decimal."""


def parse_selection(text: str, where: str = "pcr_banks") -> dict[str, tuple[int, ...]]:
    """Parse a selection text into bank → indices, both in the order written.

    Raises `EvidenceError` for an unknown bank, an index outside 0 to 23 or written otherwise, a bank or an index
    twice, or a bank without an index. `where` is the place named in the error.
    """
    selection: dict[str, tuple[int, ...]] = {}
    for part in text.split("+"):
        bank, _, listed = part.partition(":")
        if bank not in HASH_ALGORITHMS:
            raise EvidenceError(where, "a bank: one of " + ", ".join(HASH_ALGORITHMS), repr(bank[:20]))
        if bank in selection:
            raise EvidenceError(where, "each bank once", f"{bank} twice")
        if not listed:
            expected = f"at least one PCR of bank {bank}; a bank without any is left out of pcr_banks and pcr_values"
            raise EvidenceError(where, expected, f"{bank} without a PCR")
        indices = []
        for word in listed.split(","):
            index = INDICES.get(word)
            if index is None:
                raise EvidenceError(where, f"a PCR index from 0 to {PCR_COUNT - 1} in bank {bank}", repr(word[:20]))
            if index in indices:
                raise EvidenceError(where, f"each index once in bank {bank}", f"{index} twice")
            indices.append(index)
        selection[bank] = tuple(indices)
    return selection
