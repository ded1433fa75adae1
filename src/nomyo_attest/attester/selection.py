"""Which PCRs to quote: the text of `pcr_banks` and the TPML_PCR_SELECTION it stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from nomyo_attest.attester._tss import TPML_PCR_SELECTION, TPMS_PCR_SELECTION
from nomyo_attest.errors import AttesterError, EvidenceError
from nomyo_attest.evidence.pcrs import parse_selection as parse_text
from nomyo_attest.tpm.constants import HASH_ALGORITHMS, TPM_ALG_ID, hash_name

Selection: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]
"""Banks with their PCR indices, in the order of the selection. A bank could stand twice; no honest quote has that."""

PcrValues: TypeAlias = Mapping[str, Mapping[int, bytes]]
"""Bank → PCR index → value."""


def parse_selection(text: str) -> Selection:
    """Read ``"sha256:0,7,10"``, several banks joined by ``+``: each bank once, each index once, in plain decimal.

    Indices come back rising, as the TPM will list them. Raises `AttesterError`.
    """
    try:
        return tuple((bank, tuple(sorted(indices))) for bank, indices in parse_text(text).items())
    except EvidenceError as error:
        raise AttesterError(f"PCR selection {text!r}: expected {error.expected}, got {error.got}") from error


def selection_text(selection: Selection) -> str:
    """The text of a selection, as `pcr_banks` has it."""
    return "+".join(f"{bank}:{','.join(map(str, indices))}" for bank, indices in selection)


def selection_structure(selection: Selection) -> TPML_PCR_SELECTION:
    """The TPML_PCR_SELECTION (Part 2, 10.9.7) of a selection, bitmaps three bytes long."""
    banks = []
    for bank, indices in selection:
        one = TPMS_PCR_SELECTION(hash=int(HASH_ALGORITHMS[bank]), pcrs=list(indices))
        one.sizeofSelect = 3  # tpm2-pytss leaves 0 when no PCR is chosen
        banks.append(one)
    return TPML_PCR_SELECTION(banks)


def structure_selection(structure: TPML_PCR_SELECTION) -> Selection:
    """What a TPML_PCR_SELECTION from a TPM selects; banks whose hash this project has no name for are left out."""
    selection = []
    for one in structure:
        if int(one.hash) in HASH_ALGORITHMS.values():
            bitmap = int.from_bytes(bytes(one.pcrSelect)[: one.sizeofSelect], "little")
            indices = tuple(index for index in range(8 * one.sizeofSelect) if bitmap >> index & 1)
            selection.append((hash_name(TPM_ALG_ID(int(one.hash))), indices))
    return tuple(selection)


def pcr_digest(selection: Selection, values: PcrValues, algorithm: str) -> bytes:
    """The digest TPM2_Quote takes: `algorithm` over the values in the order of the selection (Part 3, 18.4.1)."""
    return hashlib.new(algorithm, b"".join(values[bank][index] for bank, index in _places(selection))).digest()


def _places(selection: Selection) -> Iterable[tuple[str, int]]:
    return ((bank, index) for bank, indices in selection for index in indices)
