"""A parsed TPM structure as plain data: every field, in the order of the wire."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from nomyo_attest.tpm.codec import Structure
from nomyo_attest.tpm.constants import attribute_names, specification_name
from nomyo_attest.tpm.pcr import TPMS_PCR_SELECTION

_IN_HEX: Final = {"magic": 8, "firmware_version": 16}
"""Numbers that people write in hexadecimal, with their digits; others are decimal."""

_SPELLED: Final = {"curve_id": "curveID"}
"""Field names of Part 2 that are no mechanical camelCase."""


def decoded(structure: Structure) -> dict[str, Any]:
    """The fields of `structure` in JSON's types: bytes in hex, constants by their names in the specification.

    The key ``"structure"`` holds the structure's name. A TPMS_PCR_SELECTION also has the indices its bitmap selects.
    """
    fields: dict[str, Any] = {"structure": type(structure).__name__}
    for name in structure.__struct_fields__:
        fields[name] = _plain(name, getattr(structure, name))
    if isinstance(structure, TPMS_PCR_SELECTION):
        fields["indices"] = list(structure.indices)
    return fields


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Structure):
        return decoded(value)
    if isinstance(value, IntEnum):
        return specification_name(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(name, one) for one in value]
    if name == "object_attributes":
        return {"value": f"0x{value:08x}", "set": attribute_names(value)}
    if _IN_HEX.get(name):
        return f"0x{value:0{_IN_HEX[name]}x}"
    return value


def spelled(field: str) -> str:
    """A field's name as Part 2 spells it: ``"extra_data"`` → ``"extraData"``."""
    first, *rest = field.split("_")
    return _SPELLED.get(field) or first + "".join(word.title() for word in rest)
