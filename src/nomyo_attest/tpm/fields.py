"""The kinds of fields that TPM 2.0 structures consist of, and the common fields by name."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, Any, Final, NoReturn

from nomyo_attest.errors import ParseError, UnsupportedError
from nomyo_attest.tpm.codec import ReaderSource, Structure
from nomyo_attest.tpm.constants import (
    HASH_NAMES,
    TPM_ALG_ID,
    TPM_ECC_CURVE,
    TPM_ST,
    TPMA_OBJECT_DEFINED,
    specification_name,
)


class Fixed:
    """An integer of fixed size.

    Args:
        code: its `struct` code.
        table: for an enumeration, the values it may have.
        reserved: bits that must be clear.
        allowed: the expected value, as errors state it.
        steers: whether the value is part of the layout (see `tpm.layout`), because the reader or a layout check
            depends on it. Enumerations and fields with reserved bits always are.
    """

    def __init__(
        self,
        code: str,
        table: Mapping[int, object] | None = None,
        *,
        reserved: int = 0,
        allowed: str = "",
        steers: bool = False,
    ) -> None:
        self.code = code
        self.size = struct.calcsize(code)
        self.table = table
        self.reserved = reserved
        self.allowed = allowed
        self.steers = steers or table is not None or reserved != 0

    def write(self, reader: ReaderSource, structure: str, prefix: str, field: str) -> None:
        variable = prefix + field
        offset = reader.add_fixed(variable, self.code, structure, field)
        refuse = (
            f"_refuse({structure!r}, {field!r}, position + {offset}, {self.allowed!r}, {variable}, {2 * self.size})"
        )
        if self.table is not None:
            table = reader.add_constant(self.table)
            reader.after_run += ["try:", f"    {variable} = {table}[{variable}]", "except KeyError:", f"    {refuse}"]
        if self.reserved:
            reader.after_run += [f"if {variable} & {self.reserved}:", f"    {refuse}"]


class Sized:
    """Bytes preceded by their size: a TPM2B (a size of two bytes) or, with `code` "B", a bitmap (a size of one byte).

    Args:
        limit: the largest size in bytes.
        minimum: the smallest.
        code: the `struct` code of the size.
    """

    def __init__(self, limit: int, *, minimum: int = 0, code: str = "H") -> None:
        self.limit = limit
        self.minimum = minimum
        self.code = code
        self.size = struct.calcsize(code)

    def write(self, reader: ReaderSource, structure: str, prefix: str, field: str) -> None:
        variable, size = prefix + field, f"{prefix}{field}_size"
        offset = reader.add_fixed(size, self.code, structure, field)
        allowed = f"a size of {self.minimum} to {self.limit}" if self.minimum else f"a size of at most {self.limit}"
        is_invalid = f"not {self.minimum} <= {size} <= {self.limit}" if self.minimum else f"{size} > {self.limit}"
        reader.after_run += [
            f"if {is_invalid}:",
            f"    _refuse({structure!r}, {field!r}, position + {offset}, {allowed!r}, {size}, 0)",
        ]
        reader.close_run()
        reader.emit(
            f"{variable} = data[position : position + {size}]",
            f"if len({variable}) != {size}:",
            f"    _refuse_truncated({structure!r}, {field!r}, position, {size}, data)",
            f"position += {size}",
        )


class Nested:
    """A nested structure: its fields are read together with those of the outer structure."""

    def __init__(self, kind: type[Structure]) -> None:
        self.kind = kind

    def write(self, reader: ReaderSource, structure: str, prefix: str, field: str) -> None:  # noqa: ARG002 - see `Field`
        member = reader.write_fields(self.kind, f"{prefix}{field}_")
        reader.emit_after_fields(f"{prefix}{field} = {member}")


class Counted:
    """A TPML: a count of four bytes, at most `limit`, then that many structures."""

    def __init__(self, kind: type[Structure], limit: int) -> None:
        self.kind = kind
        self.limit = limit

    def write(self, reader: ReaderSource, structure: str, prefix: str, field: str) -> None:
        variable, count = prefix + field, f"{prefix}{field}_count"
        offset = reader.add_fixed(count, "I", structure, field)
        allowed = f"a count of at most {self.limit}"
        reader.after_run += [
            f"if {count} > {self.limit}:",
            f"    _refuse({structure!r}, {field!r}, position + {offset}, {allowed!r}, {count}, 0)",
        ]
        reader.close_run()
        reader.emit("members = []", f"for _ in range({count}):")
        with reader.indented():
            member = reader.write_fields(self.kind, f"{variable}_")
            reader.close_run()
            reader.emit(f"members.append({member})")
        reader.emit(f"{variable} = tuple(members)")


class Selected:
    """A TPMU: the preceding field `selector` determines the structure.

    An arm of None reads no bytes. A selector without an arm raises `UnsupportedError` if the specification allows it
    here (`others`), otherwise `ParseError`; both name it.
    """

    def __init__(
        self,
        selector: str,
        arms: Mapping[Any, type[Structure] | None],
        *,
        others: frozenset[TPM_ALG_ID] = frozenset(),
    ) -> None:
        self.selector = selector
        self.arms = {key: arm.read_from if arm else None for key, arm in arms.items()}
        self.others = others

    def write(self, reader: ReaderSource, structure: str, prefix: str, field: str) -> None:
        variable, selector = prefix + field, prefix + self.selector
        reader.close_run()
        reader.emit(
            "try:",
            f"    arm = {reader.add_constant(self.arms)}[{selector}]",
            "except KeyError:",
            f"    {reader.add_constant(self.refuse)}({structure!r}, {selector}, {selector}_at)",
            f"{variable} = None",
            "if arm is not None:",
            f"    {variable}, position = arm(data, position)",
        )

    def refuse(self, structure: str, key: IntEnum, position: int) -> NoReturn:
        name = specification_name(key)
        allowed = "one of " + ", ".join(specification_name(known) for known in self.arms)
        if key in self.others:
            got = f"{name}, recognized but not supported"
            raise UnsupportedError(structure, self.selector, position, allowed, got) from None
        raise ParseError(structure, self.selector, position, allowed, name) from None


def _members(enumeration: type[IntEnum]) -> dict[int, IntEnum]:
    return {int(member): member for member in enumeration}


UINT16 = Annotated[int, Fixed("H")]
UINT32 = Annotated[int, Fixed("I")]
UINT64 = Annotated[int, Fixed("Q")]
STEERING_UINT32 = Annotated[int, Fixed("I", steers=True)]
YES_NO = Annotated[bool, Fixed("B", {0: False, 1: True}, allowed="TPMI_YES_NO, 0 or 1")]
ALG_ID = Annotated[TPM_ALG_ID, Fixed("H", _members(TPM_ALG_ID), allowed="a TPM_ALG_ID")]
_HASHES: Final = {int(algorithm): algorithm for algorithm in HASH_NAMES}
HASH_ALG = Annotated[TPM_ALG_ID, Fixed("H", _HASHES, allowed="a hash algorithm (TPMI_ALG_HASH)")]
ST_ATTEST = Annotated[TPM_ST, Fixed("H", _members(TPM_ST), allowed="an attestation's tag (TPMI_ST_ATTEST)")]
ECC_CURVE = Annotated[TPM_ECC_CURVE, Fixed("H", _members(TPM_ECC_CURVE), allowed="a TPM_ECC_CURVE")]
OBJECT_ATTRIBUTES = Annotated[
    int, Fixed("I", reserved=0xFFFFFFFF & ~TPMA_OBJECT_DEFINED, allowed="a TPMA_OBJECT with its reserved bits zero")
]
