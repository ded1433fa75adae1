"""Read the PCR values that a server reports, and PCR selections such as ``sha256:0,7,10+sha384:0``.

A fleet reports the same values again and again, so reports are interned: the same text returns the same object, and
results that depend on the report alone (its digest, the comparison with a policy) can be reused.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.strict_json import JsonObject, describe_type, require_object
from nomyo_attest.tpm.constants import HASH_ALGORITHMS, HASH_SIZES, PCR_COUNT

INDICES: Final = {str(index): index for index in range(PCR_COUNT)}
"""The only spellings of a PCR index: ``"0"`` to ``"23"`` in plain ASCII decimal."""

BANKS_TEXT_MAX: Final = 1024
"""Characters of the longest selection text: eight banks of 24 indices take fewer than 650."""

_REPORTS_MAX: Final = 256
"""Interned reports; the largest has eight banks of 24 values, 16 kB."""

_HEX_DIGITS: Final = {bank: 2 * HASH_SIZES[algorithm] for bank, algorithm in HASH_ALGORITHMS.items()}
_HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")

Items = tuple[tuple[Any, ...], ...]
"""`pcr_values` as tuples, in the order of the JSON objects: for each bank, its name and then (index, value) pairs."""


class PcrReport:
    """Reported PCR values. Compared by identity; see `read_report`.

    Attributes:
        banks: the selection text, for example ``"sha256:0,7,10"``.
        values: bank → PCR index → value; each value has its bank's digest size in bytes. Read-only.
    """

    __slots__ = ("__weakref__", "banks", "values")

    def __init__(self, banks: str, values: Mapping[str, Mapping[int, bytes]]) -> None:
        self.banks = banks
        self.values = MappingProxyType({bank: MappingProxyType(dict(of_bank)) for bank, of_bank in values.items()})

    def __repr__(self) -> str:
        return f"<PcrReport {self.banks}>"


NO_PCRS: Final = PcrReport("", {})


def parse_selection(text: str, where: str = "pcr_banks") -> dict[str, tuple[int, ...]]:
    """Parse a selection text into bank → indices, both in the order written.

    Args:
        text: banks with their indices, for example ``"sha256:0,7,10+sha384:0"``.
        where: the field that an error names.

    Raises:
        EvidenceError: for an unknown bank, an index outside 0 to 23 or in another spelling, a duplicate bank or index,
            or a bank without an index.
    """
    selection: dict[str, tuple[int, ...]] = {}
    for part in text.split("+"):
        bank, _, listed = part.partition(":")
        if bank not in HASH_ALGORITHMS:
            raise EvidenceError(where, "a bank: one of " + ", ".join(HASH_ALGORITHMS), repr(bank[:20]))
        if bank in selection:
            raise EvidenceError(where, "each bank once", f"{bank} twice")
        if not listed:
            raise EvidenceError(where, _at_least_one_pcr(bank), f"{bank} without a PCR")
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


def read_report(banks: object, given: object, path: str) -> PcrReport:
    """Read `pcr_banks` and `pcr_values`, which must name the same PCRs.

    Args:
        banks: the value of `pcr_banks`.
        given: the value of `pcr_values`.
        path: the path of the block that contains both, with a dot at the end; empty for a bare block.

    Raises:
        EvidenceError: for values that are not well-formed, or do not match the selection.
    """
    if type(banks) is not str or len(banks) > BANKS_TEXT_MAX:
        raise EvidenceError(f"{path}pcr_banks", "a selection text such as sha256:0,7,10", describe_type(banks))
    tables = require_object(given, f"{path}pcr_values")
    _refuse_duplicates(tables, path)
    items = []
    for bank, of_bank in tables.items():
        if type(bank) is not str or bank not in _HEX_DIGITS:
            got = repr(bank)[:24] if type(bank) is str else describe_type(bank)
            raise EvidenceError(f"{path}pcr_values", "a bank: one of " + ", ".join(HASH_ALGORITHMS), got)
        require_object(of_bank, f"{path}pcr_values.{bank}")
        _refuse_duplicates(of_bank, path)
        for key, text in of_bank.items():  # only str may be a key of the cache: 1 and True are equal
            if type(key) is not str:
                raise EvidenceError(f"{path}pcr_values.{bank}", 'a PCR index from "0" to "23"', describe_type(key))
            if type(text) is not str:
                where = f"{path}pcr_values.{bank}.{key:.20}"
                raise EvidenceError(where, f"{_HEX_DIGITS[bank]} hexadecimal digits", describe_type(text))
        items.append((bank, *of_bank.items()))
    return _interned(banks, tuple(items), path)


def _refuse_duplicates(table: dict[Any, Any], path: str) -> None:
    if type(table) is JsonObject:
        duplicate = repr(min(table.duplicates))[:24]
        raise EvidenceError(f"{path}pcr_values", "each key once", f"{duplicate} twice or more")


@lru_cache(maxsize=_REPORTS_MAX)
def _interned(banks: str, items: Items, path: str) -> PcrReport:
    selection = parse_selection(banks, f"{path}pcr_banks")
    values = {bank: _values(of_bank, f"{path}pcr_values.{bank}", bank) for bank, *of_bank in items}
    for bank, of_bank in values.items():
        if not of_bank and bank not in selection:
            raise EvidenceError(f"{path}pcr_values.{bank}", _at_least_one_pcr(bank), "an empty object")
    if selection.keys() != values.keys() or any(set(selection[bank]) != values[bank].keys() for bank in values):
        reported = "+".join(f"{bank}:{','.join(map(str, sorted(of_bank)))}" for bank, of_bank in values.items())
        expected = f"values for exactly pcr_banks, {banks}, which names the PCRs that were signed"
        raise EvidenceError(f"{path}pcr_values", expected, reported or "none")
    return PcrReport(banks, values)


def _at_least_one_pcr(bank: str) -> str:
    return f"at least one PCR of bank {bank}; a bank without any is left out of pcr_banks and pcr_values"


def _values(items: list[tuple[str, str]], where: str, bank: str) -> dict[int, bytes]:
    digits = _HEX_DIGITS[bank]
    values: dict[int, bytes] = {}
    for key, text in items:
        index = INDICES.get(key)
        if index is None:
            raise EvidenceError(where, 'a PCR index from "0" to "23"', repr(key)[:24])
        if len(text) != digits:
            raise EvidenceError(f"{where}.{key}", f"{digits} hexadecimal digits", f"{len(text)} characters")
        with suppress(ValueError):
            # Not bytes.fromhex, which skips blanks.
            values[index] = binascii.unhexlify(text)
            continue
        at, wrong = next((at, one) for at, one in enumerate(text, 1) if one not in _HEXADECIMAL)
        raise EvidenceError(f"{where}.{key}", f"{digits} hexadecimal digits", f"{wrong!r} as character {at}")
    return values
