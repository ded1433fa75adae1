"""PCRs of a TPM: which there are, what they hold, and, for tests, extending them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from nomyo_attest.attester._tss import ESYS_TR, TPM2_CAP, TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA
from nomyo_attest.attester.connection import Connection
from nomyo_attest.attester.errors import UnsupportedByTPMError
from nomyo_attest.attester.selection import Selection, selection_structure, selection_text, structure_selection
from nomyo_attest.errors import AttesterError
from nomyo_attest.tpm.constants import HASH_ALGORITHMS, HASH_SIZES, PCR_COUNT

ATTEMPTS: Final = 8
"""How often values, or values and quote, are taken when PCRs change in between, as PCR 10 does while IMA measures."""


def banks(connection: Connection) -> Selection:
    """The PCR banks the TPM keeps, with their indices. Raises `AttesterError`."""
    with connection.command("TPM2_GetCapability"):
        _, capability = connection.esapi.get_capability(TPM2_CAP.PCRS, 0, 1)
    return tuple((bank, indices) for bank, indices in structure_selection(capability.data.assignedPCR) if indices)


def require_pcrs(connection: Connection, selection: Selection) -> None:
    """Raise `UnsupportedByTPMError` for banks and PCRs the TPM does not have: TPM2_Quote leaves them out in silence."""
    present = dict(banks(connection))
    for bank, indices in selection:
        if bank not in present:
            raise UnsupportedByTPMError(f"this TPM keeps no {bank} bank, it has {', '.join(present)}")
        missing = [index for index in indices if index not in present[bank]]
        if missing:
            raise UnsupportedByTPMError(f"the {bank} bank of this TPM has no PCR {', '.join(map(str, missing))}")


def read_pcrs(connection: Connection, selection: Selection) -> dict[str, dict[int, bytes]]:
    """Values of the selected PCRs, all from one moment as far as the TPM's update counter tells.

    Raises:
        UnsupportedByTPMError: a PCR is not there.
        AttesterError: the TPM refuses, or the PCRs changed `ATTEMPTS` times in a row.
    """
    for _ in range(ATTEMPTS):
        values: dict[str, dict[int, bytes]] = {bank: {} for bank, _ in selection}
        counters = set()
        missing = selection
        while missing:
            with connection.command("TPM2_PCR_Read"):  # at most 8 digests a call (TPML_DIGEST, Part 2, 10.9.5)
                counter, got, digests = connection.esapi.pcr_read(selection_structure(missing))
            counters.add(counter)
            places = [(bank, index) for bank, indices in structure_selection(got) for index in indices]
            if not places:
                raise UnsupportedByTPMError(f"this TPM has no PCRs {selection_text(missing)}")
            for (bank, index), digest in zip(places, digests, strict=True):
                values[bank][index] = bytes(digest)
            rest = [(bank, tuple(index for index in indices if index not in values[bank])) for bank, indices in missing]
            missing = tuple((bank, indices) for bank, indices in rest if indices)
        if len(counters) <= 1:
            return values
    raise AttesterError(f"PCRs {selection_text(selection)} changed while they were read, {ATTEMPTS} times in a row")


def extend(connection: Connection, pcr: int, digests: Mapping[str, bytes]) -> None:
    """TPM2_PCR_Extend with `digests` by bank; other banks stay as they are. Raises `AttesterError`."""
    if pcr not in range(PCR_COUNT):
        raise AttesterError(f"PCR index: expected 0 to {PCR_COUNT - 1}, got {pcr}")
    values = []
    for bank, digest in digests.items():
        size = HASH_SIZES[HASH_ALGORITHMS[bank]] if bank in HASH_ALGORITHMS else None
        if size != len(digest):
            expected = f"{size} bytes" if size else f"a bank of {', '.join(HASH_ALGORITHMS)}"
            raise AttesterError(f"extending PCR {pcr}: expected {expected}, got {len(digest)} bytes for {bank}")
        values.append(TPMT_HA(hashAlg=int(HASH_ALGORITHMS[bank]), digest=TPMU_HA(**{bank: digest})))
    with connection.command(f"TPM2_PCR_Extend of PCR {pcr}"):
        connection.esapi.pcr_extend(ESYS_TR(pcr), TPML_DIGEST_VALUES(values))


def measure(connection: Connection, pcr: int, event: bytes) -> None:
    """Extend each SHA-1 and SHA-2 bank with its own hash of an event, as firmware does. Raises `AttesterError`."""
    known = [bank for bank, _ in banks(connection) if bank in {"sha1", "sha256", "sha384", "sha512"}]
    extend(connection, pcr, {bank: hashlib.new(bank, event).digest() for bank in known})
