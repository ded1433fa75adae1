"""Select and read the PCRs of a TPM, and extend them for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from nomyo_attest.attester._tss import (
    ESYS_TR,
    TPM2_CAP,
    TPML_DIGEST_VALUES,
    TPML_PCR_SELECTION,
    TPMS_PCR_SELECTION,
    TPMT_HA,
    TPMU_HA,
    UnsupportedByTPMError,
)
from nomyo_attest.attester.connection import Connection
from nomyo_attest.errors import AttesterError, EvidenceError
from nomyo_attest.evidence.pcrs import parse_selection
from nomyo_attest.tpm.constants import HASH_ALGORITHMS, HASH_SIZES, PCR_COUNT, TPM_ALG_ID, hash_name

Selection: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]
"""Banks with their PCR indices, in the order of the selection. A genuine quote has no duplicate bank."""

PcrValues: TypeAlias = Mapping[str, Mapping[int, bytes]]
"""Bank → PCR index → value."""


def parse_quote_selection(text: str) -> Selection:
    """Parse a selection such as ``"sha256:0,7,10+sha384:0"``: each bank once, each index once, in decimal.

    The returned indices are in ascending order, in which a TPM signs them. Raises `AttesterError`.
    """
    try:
        return tuple((bank, tuple(sorted(indices))) for bank, indices in parse_selection(text).items())
    except EvidenceError as error:
        raise AttesterError(f"PCR selection {text!r}: expected {error.expected}, got {error.got}") from error


def selection_text(selection: Selection) -> str:
    """Return a selection in the format of `pcr_banks`."""
    return "+".join(f"{bank}:{','.join(map(str, indices))}" for bank, indices in selection)


def selection_structure(selection: Selection) -> TPML_PCR_SELECTION:
    """Build the TPML_PCR_SELECTION (Part 2, 10.9.7) of a selection, with bitmaps of three bytes."""
    banks = []
    for bank, indices in selection:
        selected = TPMS_PCR_SELECTION(hash=int(HASH_ALGORITHMS[bank]), pcrs=list(indices))
        selected.sizeofSelect = 3  # tpm2-pytss sets 0 if no PCR is selected
        banks.append(selected)
    return TPML_PCR_SELECTION(banks)


def structure_selection(structure: TPML_PCR_SELECTION) -> Selection:
    """Return the selection in a TPML_PCR_SELECTION from a TPM, without banks of unknown hashes."""
    selection = []
    for bank in structure:
        if int(bank.hash) in HASH_ALGORITHMS.values():
            bitmap = int.from_bytes(bytes(bank.pcrSelect)[: bank.sizeofSelect], "little")
            indices = tuple(index for index in range(8 * bank.sizeofSelect) if bitmap >> index & 1)
            selection.append((hash_name(TPM_ALG_ID(int(bank.hash))), indices))
    return tuple(selection)


def pcr_digest(selection: Selection, values: PcrValues, algorithm: str) -> bytes:
    """Compute the digest of TPM2_Quote: `algorithm` over the values in the order of the selection (Part 3, 18.4.1)."""
    return hashlib.new(algorithm, b"".join(values[bank][index] for bank, index in _pcrs(selection))).digest()


def _pcrs(selection: Selection) -> Iterable[tuple[str, int]]:
    return ((bank, index) for bank, indices in selection for index in indices)


ATTEMPTS: Final = 8
"""Maximum attempts to read values, or values and a quote, without a PCR changing in between, as PCR 10 does while IMA
measures.
"""


def banks(connection: Connection) -> Selection:
    """Return the allocated PCR banks of the TPM, with their indices. Raises `AttesterError`."""
    with connection.command("TPM2_GetCapability"):
        _, capability = connection.esapi.get_capability(TPM2_CAP.PCRS, 0, 1)
    return tuple((bank, indices) for bank, indices in structure_selection(capability.data.assignedPCR) if indices)


def require_pcrs(connection: Connection, selection: Selection) -> None:
    """Raise `UnsupportedByTPMError` for banks and PCRs that the TPM does not have: TPM2_Quote ignores them silently."""
    allocated = dict(banks(connection))
    for bank, indices in selection:
        if bank not in allocated:
            raise UnsupportedByTPMError(f"this TPM has no {bank} bank; its banks are {', '.join(allocated)}")
        missing = [index for index in indices if index not in allocated[bank]]
        if missing:
            raise UnsupportedByTPMError(f"the {bank} bank of this TPM has no PCR {', '.join(map(str, missing))}")


def read_pcrs(connection: Connection, selection: Selection) -> dict[str, dict[int, bytes]]:
    """Read the selected PCRs, and check with the TPM's update counter that none changed while they were read.

    Raises:
        UnsupportedByTPMError: the TPM does not have one of the PCRs.
        AttesterError: a TPM command failed, or the PCRs changed in each of `ATTEMPTS` attempts.
    """
    for _ in range(ATTEMPTS):
        values: dict[str, dict[int, bytes]] = {bank: {} for bank, _ in selection}
        counters = set()
        remaining = selection
        while remaining:
            with connection.command("TPM2_PCR_Read"):  # returns at most 8 digests (TPML_DIGEST, Part 2, 10.9.5)
                counter, returned, digests = connection.esapi.pcr_read(selection_structure(remaining))
            counters.add(counter)
            pcrs = list(_pcrs(structure_selection(returned)))
            if not pcrs:
                raise UnsupportedByTPMError(f"this TPM has no PCRs {selection_text(remaining)}")
            for (bank, index), digest in zip(pcrs, digests, strict=True):
                values[bank][index] = bytes(digest)
            unread = [
                (bank, tuple(index for index in indices if index not in values[bank])) for bank, indices in remaining
            ]
            remaining = tuple((bank, indices) for bank, indices in unread if indices)
        if len(counters) <= 1:
            return values
    raise AttesterError(f"PCRs {selection_text(selection)} changed while they were read, in {ATTEMPTS} attempts")


def extend(connection: Connection, pcr: int, digests: Mapping[str, bytes]) -> None:
    """Extend one PCR in each bank of `digests`; other banks do not change. Raises `AttesterError`."""
    if pcr not in range(PCR_COUNT):
        raise AttesterError(f"PCR index: expected 0 to {PCR_COUNT - 1}, got {pcr}")
    values = []
    for bank, digest in digests.items():
        if bank not in HASH_ALGORITHMS:
            expected = f"expected one of the banks {', '.join(HASH_ALGORITHMS)}"
            raise AttesterError(f"extending PCR {pcr}: {expected}, got {bank!r}")
        size = HASH_SIZES[HASH_ALGORITHMS[bank]]
        if size != len(digest):
            raise AttesterError(f"extending PCR {pcr}: expected {size} bytes, got {len(digest)} bytes for {bank}")
        values.append(TPMT_HA(hashAlg=int(HASH_ALGORITHMS[bank]), digest=TPMU_HA(**{bank: digest})))
    with connection.command(f"TPM2_PCR_Extend of PCR {pcr}"):
        connection.esapi.pcr_extend(ESYS_TR(pcr), TPML_DIGEST_VALUES(values))


def measure(connection: Connection, pcr: int, event: bytes) -> None:
    """Extend a PCR in each SHA-1 and SHA-2 bank with the bank's hash of an event, as firmware does.

    Raises `AttesterError`.
    """
    allocated = [bank for bank, _ in banks(connection) if bank in {"sha1", "sha256", "sha384", "sha512"}]
    extend(connection, pcr, {bank: hashlib.new(bank, event).digest() for bank in allocated})
