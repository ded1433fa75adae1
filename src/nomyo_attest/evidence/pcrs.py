"""Read the PCR values that a server reports, and PCR selections such as ``sha256:0,7,10+sha384:0``.

A report consists of a layout and values. The layout (the selection text, and the PCRs in the order reported) is the
same in all responses of a fleet; the values may differ in each response. Both are interned: equal reports are the same
object, so that results that depend only on the report can be cached under it.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.strict_json import JsonObject, describe_type, require_object
from nomyo_attest.tpm.constants import HASH_ALGORITHMS, HASH_SIZES, PCR_COUNT

INDICES: Final = {str(index): index for index in range(PCR_COUNT)}
"""The only spellings of a PCR index: ``"0"`` to ``"23"`` in plain ASCII decimal."""

BANKS_TEXT_MAX: Final = 1024
"""Maximum characters of a selection text: eight banks of 24 indices need fewer than 650."""

_REPORTS_CACHE_SIZE: Final = 512
"""Maximum number of interned reports. The largest contains eight banks of 24 values and takes 16 kB."""

_LAYOUTS_CACHE_SIZE: Final = 256
"""Maximum number of interned layouts: a fleet has a few."""

_HEX_DIGITS: Final = {bank: 2 * HASH_SIZES[algorithm] for bank, algorithm in HASH_ALGORITHMS.items()}
_HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")


class PcrLayout:
    """The part of a report that does not contain values: the selection text and the PCRs. Compared by identity.

    Attributes:
        banks: the selection text, e.g. ``"sha256:0,7,10"``.
        indices: bank → indices of its PCRs, both in the order reported. Read-only.
        value_sizes: (bank, indices, size of each value in bytes) for each bank.
    """

    __slots__ = ("banks", "indices", "value_sizes")

    def __init__(self, banks: str, indices: Mapping[str, tuple[int, ...]]) -> None:
        self.banks = banks
        self.indices = MappingProxyType(dict(indices))
        self.value_sizes = [
            (bank, selected, [_HEX_DIGITS[bank] // 2] * len(selected)) for bank, selected in indices.items()
        ]


class PcrReport:
    """Reported PCR values; `read_report` reads them. Compared by identity. The mapping passed in is not copied.

    Attributes:
        layout: everything but the values.
        values: bank → PCR index → value. Read-only. In a report from `read_report`, the size of each value is the
            digest size of its bank, and the PCRs are those of `layout`.
    """

    __slots__ = ("layout", "values")

    def __init__(self, layout: PcrLayout, values: Mapping[str, Mapping[int, bytes]]) -> None:
        self.layout = layout
        self.values = MappingProxyType(values)

    @property
    def banks(self) -> str:
        """The selection text, e.g. ``"sha256:0,7,10"``."""
        return self.layout.banks

    def __repr__(self) -> str:
        return f"<PcrReport {self.banks}>"


NO_PCRS: Final = PcrReport(PcrLayout("", {}), {})


def parse_selection(text: str, where: str = "pcr_banks") -> dict[str, tuple[int, ...]]:
    """Parse a selection text into bank → indices; both keep the order of the text.

    Args:
        text: banks with their indices, for example ``"sha256:0,7,10+sha384:0"``.
        where: the field that an error names.

    Raises:
        EvidenceError: for an unknown bank, an index that is not a plain decimal number from 0 to 23, a duplicate bank
            or index, or a bank without an index.
    """
    selection: dict[str, tuple[int, ...]] = {}
    for part in text.split("+"):
        bank, _, listed = part.partition(":")
        if bank not in HASH_ALGORITHMS:
            raise EvidenceError(where, "a bank: one of " + ", ".join(HASH_ALGORITHMS), repr(bank[:20]))
        if bank in selection:
            raise EvidenceError(where, "each bank once", f"the duplicate bank {bank}")
        if not listed:
            raise EvidenceError(where, _at_least_one_pcr(bank), f"{bank} without a PCR")
        indices = []
        for index_text in listed.split(","):
            index = INDICES.get(index_text)
            if index is None:
                raise EvidenceError(
                    where, f"a PCR index from 0 to {PCR_COUNT - 1} in bank {bank}", repr(index_text[:20])
                )
            if index in indices:
                raise EvidenceError(where, f"each index once in bank {bank}", f"the duplicate index {index}")
            indices.append(index)
        selection[bank] = tuple(indices)
    return selection


def read_report(banks: object, values: object, path: str) -> PcrReport:
    """Read `pcr_banks` and `pcr_values`, which must name the same PCRs.

    Args:
        banks: the value of `pcr_banks`.
        values: the value of `pcr_values`.
        path: the path of the block that contains both, with a dot at the end; empty for a bare block.

    Raises:
        EvidenceError: the values are not well-formed, or do not match the selection.
    """
    if type(banks) is not str or len(banks) > BANKS_TEXT_MAX:
        raise EvidenceError(f"{path}pcr_banks", "a selection text such as sha256:0,7,10", describe_type(banks))
    tables = require_object(values, f"{path}pcr_values")
    _refuse_duplicates(tables, path)
    items = []
    for bank, table in tables.items():
        if type(bank) is not str or bank not in _HEX_DIGITS:
            got = repr(bank)[:24] if type(bank) is str else describe_type(bank)
            raise EvidenceError(f"{path}pcr_values", "a bank: one of " + ", ".join(HASH_ALGORITHMS), got)
        require_object(table, f"{path}pcr_values.{bank}")
        _refuse_duplicates(table, path)
        for key, text in table.items():  # a cache key may contain only str, because 1 and True are equal
            if type(key) is not str:
                raise EvidenceError(f"{path}pcr_values.{bank}", 'a PCR index from "0" to "23"', describe_type(key))
            if type(text) is not str:
                where = f"{path}pcr_values.{bank}.{key:.20}"
                raise EvidenceError(where, f"{_HEX_DIGITS[bank]} hexadecimal digits", describe_type(text))
        items.append((bank, *table.items()))
    return _report(banks, tuple(items), path)


def _refuse_duplicates(table: dict[Any, Any], path: str) -> None:
    if type(table) is JsonObject:
        duplicate = repr(min(table.duplicates))[:24]
        raise EvidenceError(f"{path}pcr_values", "unique keys", f"the duplicate key {duplicate}")


@lru_cache(maxsize=_REPORTS_CACHE_SIZE)
def _report(banks: str, items: tuple[tuple[Any, ...], ...], path: str) -> PcrReport:
    """Build the report of `items`: for each bank its name, then (index, value) pairs. Raises `EvidenceError`."""
    layout = _layout(banks, tuple([(bank, *[key for key, _ in pairs]) for bank, *pairs in items]), path)
    values = {}
    for (bank, indices, sizes), (_, *pairs) in zip(layout.value_sizes, items, strict=True):
        texts = [text for _, text in pairs]
        try:
            decoded = list(map(binascii.unhexlify, texts))  # not bytes.fromhex, which skips spaces
        except ValueError:
            decoded = []
        if list(map(len, decoded)) != sizes:
            raise _invalid_value(bank, zip(indices, texts, strict=True), path)
        values[bank] = MappingProxyType(dict(zip(indices, decoded, strict=True)))
    return PcrReport(layout, values)


@lru_cache(maxsize=_LAYOUTS_CACHE_SIZE)
def _layout(banks: str, names: tuple[tuple[str, ...], ...], path: str) -> PcrLayout:
    """Build the layout of a report. Raises `EvidenceError` if its PCRs are not those of the text `banks`.

    `names` contains, for each bank, its name and then the keys of its values.
    """
    selection = parse_selection(banks, f"{path}pcr_banks")
    reported = {}
    for bank, *keys in names:
        for key in keys:
            if key not in INDICES:
                raise EvidenceError(f"{path}pcr_values.{bank}", 'a PCR index from "0" to "23"', repr(key)[:24])
        if not keys and bank not in selection:
            raise EvidenceError(f"{path}pcr_values.{bank}", _at_least_one_pcr(bank), "an empty object")
        reported[bank] = tuple(INDICES[key] for key in keys)
    if selection.keys() != reported.keys() or any(
        set(selection[bank]) != set(indices) for bank, indices in reported.items()
    ):
        got = "+".join(f"{bank}:{','.join(map(str, sorted(indices)))}" for bank, indices in reported.items())
        expected = f"values for exactly pcr_banks, {banks}, which names the PCRs that were signed"
        raise EvidenceError(f"{path}pcr_values", expected, got or "none")
    return PcrLayout(banks, reported)


def _at_least_one_pcr(bank: str) -> str:
    return f"at least one PCR of bank {bank}; omit a bank without any from pcr_banks and pcr_values"


def _invalid_value(bank: str, reported: Iterable[tuple[int, str]], path: str) -> EvidenceError:
    """Build the error for the first value of a bank that is not a hexadecimal digest of the bank's size."""
    digits = _HEX_DIGITS[bank]
    for index, text in reported:
        stray = next(((number, digit) for number, digit in enumerate(text, 1) if digit not in _HEXADECIMAL), None)
        if len(text) != digits:
            got = f"{len(text)} characters"
        elif stray is not None:
            got = f"{stray[1]!r} as character {stray[0]}"
        else:
            continue
        return EvidenceError(f"{path}pcr_values.{bank}.{index}", f"{digits} hexadecimal digits", got)
    raise AssertionError(bank)
