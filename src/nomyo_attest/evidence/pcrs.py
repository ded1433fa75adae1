"""The PCR values that a server reports, with the selection text beside them.

A fleet reports the same values over and over, so reports are interned: the second one with the same text is the same
object, and what was worked out for the first (its digest, how it compares with a policy) need not be worked out
again.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.selection import INDICES, parse_selection
from nomyo_attest.evidence.text import JsonObject, kind_of, the_object
from nomyo_attest.tpm.constants import HASH_ALGORITHMS, HASH_SIZES

BANKS_TEXT_MAX: Final = 1024
"""Characters of the longest selection text: eight banks of 24 indices take fewer than 650."""

_REPORTS_KEPT: Final = 256
"""Interned reports; the largest has eight banks of 24 values, 16 kB."""

_HEX_DIGITS: Final = {bank: 2 * HASH_SIZES[algorithm] for bank, algorithm in HASH_ALGORITHMS.items()}


class PcrReport:
    """Reported PCR values. Equal by identity: see `read_report`.

    Attributes:
        banks: the selection text, e.g. ``"sha256:0,7,10"``.
        values: bank → PCR index → value; each value has its bank's digest size in bytes. Read-only.
    """

    __slots__ = ("__weakref__", "banks", "values")

    def __init__(self, banks: str, values: Mapping[str, Mapping[int, bytes]]) -> None:
        self.banks = banks
        self.values = MappingProxyType({bank: MappingProxyType(dict(of_bank)) for bank, of_bank in values.items()})

    def __repr__(self) -> str:
        return f"<PcrReport {self.banks}>"


NO_PCRS: Final = PcrReport("", {})

_HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")

Items = tuple[tuple[Any, ...], ...]
"""`pcr_values` as tuples, in the order of the JSON objects: for each bank, its name and then (index, value) pairs."""


def read_report(banks: object, given: object, path: str) -> PcrReport:
    """Read `pcr_banks` and `pcr_values`, which must say the same. Raises `EvidenceError`.

    `path` is that of the block they stand in.
    """
    if type(banks) is not str or len(banks) > BANKS_TEXT_MAX:
        raise EvidenceError(f"{path}pcr_banks", "a selection text such as sha256:0,7,10", kind_of(banks))
    tables = the_object(given, path, "pcr_values")
    _refuse_twice(tables, path)
    items = []
    for bank, of_bank in tables.items():
        if type(bank) is not str or bank not in _HEX_DIGITS:
            got = repr(bank)[:24] if type(bank) is str else kind_of(bank)
            raise EvidenceError(f"{path}pcr_values", "a bank: one of " + ", ".join(HASH_ALGORITHMS), got)
        if not isinstance(of_bank, dict):
            raise EvidenceError(f"{path}pcr_values.{bank}", "a JSON object", kind_of(of_bank))
        _refuse_twice(of_bank, path)
        for key, text in of_bank.items():  # text alone may be a key of the cache: 1 and True are equal
            if type(key) is not str:
                raise EvidenceError(f"{path}pcr_values.{bank}", 'a PCR index from "0" to "23"', kind_of(key))
            if type(text) is not str:
                where = f"{path}pcr_values.{bank}.{key:.20}"
                raise EvidenceError(where, f"{_HEX_DIGITS[bank]} hexadecimal digits", kind_of(text))
        items.append((bank, *of_bank.items()))
    return _interned(banks, tuple(items), path)


def _refuse_twice(table: dict[Any, Any], path: str) -> None:
    if type(table) is JsonObject:
        twice = repr(min(table.duplicates))[:24]
        raise EvidenceError(f"{path}pcr_values", "each key once", f"{twice} twice or more")


@lru_cache(maxsize=_REPORTS_KEPT)
def _interned(banks: str, items: Items, path: str) -> PcrReport:
    selection = parse_selection(banks, f"{path}pcr_banks")
    values = {bank: _values(of_bank, f"{path}pcr_values.{bank}", bank) for bank, *of_bank in items}
    for bank, of_bank in values.items():
        if not of_bank and bank not in selection:
            expected = f"at least one PCR of bank {bank}; a bank without any is left out of pcr_banks and pcr_values"
            raise EvidenceError(f"{path}pcr_values.{bank}", expected, "an empty object")
    if selection.keys() != values.keys() or any(set(selection[bank]) != values[bank].keys() for bank in values):
        reported = "+".join(f"{bank}:{','.join(map(str, sorted(of_bank)))}" for bank, of_bank in values.items())
        expected = f"values for exactly pcr_banks, {banks}, which names the PCRs that were signed"
        raise EvidenceError(f"{path}pcr_values", expected, reported or "none")
    return PcrReport(banks, values)


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
            # Not bytes.fromhex: that one skips blanks.
            values[index] = binascii.unhexlify(text)
            continue
        at, wrong = next((at, one) for at, one in enumerate(text, 1) if one not in _HEXADECIMAL)
        raise EvidenceError(f"{where}.{key}", f"{digits} hexadecimal digits", f"{wrong!r} as character {at}")
    return values
