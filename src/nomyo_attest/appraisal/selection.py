"""What a signed PCR selection and a report of values have to do with each other.

All of this depends on things that a fleet repeats from answer to answer: which PCRs, which values, which policy. The
layout checks run once for each layout of evidence; the digest, which a check needs for each answer, is remembered here.
What is new in each quote, its own digest and its signature, is never looked up.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from nomyo_attest.crypto.hashes import HASHERS
from nomyo_attest.evidence.pcrs import PcrReport
from nomyo_attest.policy.model import AppraisalPolicy
from nomyo_attest.tpm.constants import HASH_NAMES, HASH_SIZES, TPM_ALG_ID
from nomyo_attest.tpm.pcr import TPML_PCR_SELECTION

_KEPT: Final = 256
_NO_VALUES: Final[Mapping[int, bytes]] = {}


class SignedSelection:
    """A TPML_PCR_SELECTION in words. Equal by identity: see `signed_selection`.

    Attributes:
        banks: in signed order: bank, indices, digest size in bytes. A bank stands in it as often as it was signed.
        text: as `pcr_banks` would write it.
    """

    __slots__ = ("__weakref__", "banks", "text")

    def __init__(self, select: TPML_PCR_SELECTION) -> None:
        self.banks = tuple((HASH_NAMES[one.hash], one.indices, HASH_SIZES[one.hash]) for one in select.pcr_selections)
        self.text = str(select)


@lru_cache(maxsize=_KEPT)
def signed_selection(select: TPML_PCR_SELECTION) -> SignedSelection:
    """The one `SignedSelection` of `select`."""
    return SignedSelection(select)


def mismatch(signed: SignedSelection, report: PcrReport) -> str:
    """Why the PCRs reported are not exactly the PCRs signed; empty if they are.

    A bank of which no PCR is signed adds nothing to the digest and vouches for no value, so the report leaves it out.
    """
    banks = [bank for bank, _, _ in signed.banks]
    if len(set(banks)) != len(banks):
        return f"the signed selection lists the bank {max(banks, key=banks.count)} more than once"
    if not any(indices for _, indices, _ in signed.banks):
        return "the signed selection is empty: no PCR is attested"
    if {bank for bank, indices, _ in signed.banks if indices} != report.values.keys():
        return "the banks reported are not the banks signed"
    if any(indices and set(indices) != report.values[bank].keys() for bank, indices, _ in signed.banks):
        return "the PCRs reported are not the PCRs signed"
    return ""


@lru_cache(maxsize=_KEPT)
def recomputed_digest(signed: SignedSelection, report: PcrReport, algorithm: TPM_ALG_ID) -> bytes | None:
    """H(values in signed order: banks as listed, indices rising); None if a value is missing or not of its bank's
    length.
    """
    values = []
    for bank, indices, size in signed.banks:
        of_bank = report.values.get(bank, _NO_VALUES)
        for index in indices:
            value = of_bank.get(index)
            if value is None or len(value) != size:
                return None
            values.append(value)
    return HASHERS[algorithm](b"".join(values)).digest()


class Compared(NamedTuple):
    """A PCR the policy names: the values it may have (none for any), and the one it has; None if it is not signed."""

    place: str
    accepted: frozenset[bytes]
    value: bytes | None


def compare_references(policy: AppraisalPolicy, signed: SignedSelection, report: PcrReport) -> list[Compared]:
    """The PCRs that `policy` names, in its order, beside what was signed and reported of them."""
    is_signed = {(bank, index) for bank, indices, _ in signed.banks for index in indices}
    compared = []
    for bank, index, accepted in policy.accepted:
        value = report.values.get(bank, _NO_VALUES).get(index) if (bank, index) in is_signed else None
        compared.append(Compared(f"{bank}:{index}", accepted, value))
    return compared
