"""Reads TPM 2.0 structures that are declared once, field by field in wire order.

A structure is a frozen `msgspec.Struct` whose annotations say how each field is written on the wire (Part 1,
"Marshaling": big-endian integers, TPM2B buffers behind a two-byte size, lists behind a four-byte count)::

    @declared
    class TPMS_CLOCK_INFO(Structure, frozen=True):
        clock: UINT64
        reset_count: UINT32
        restart_count: UINT32
        safe: YES_NO

`declared` writes the function that reads them, as `dataclasses` writes `__init__`: one statement for each run of
fixed-size fields, a few for each other field. Appraising a quote takes three such structures, and a loop over the
fields at run time costs more than half as much as the signature itself. `Structure.source` holds the text, for the
curious.

Every limit is checked before the bytes behind it are touched, and every failure says structure, field and byte.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import Annotated, Any, ClassVar, Final, NoReturn, Protocol, Self, TypeVar, get_type_hints

import msgspec

from nomyo_attest.errors import ParseError, UnsupportedError
from nomyo_attest.tpm.constants import HASH_NAMES, TPM_ALG_ID, TPM_ECC_CURVE, TPM_ST, TPMA_OBJECT_DEFINED


class Structure(msgspec.Struct, frozen=True):
    """The base of every declared TPM structure."""

    declaration: ClassVar[dict[str, Field]]
    """How each field stands on the wire, in wire order."""
    read_from: ClassVar[Callable[[bytes, int], tuple[Any, int]]]
    """Reads one structure at a position in bytes; returns it with the position behind it. Raises `ParseError`."""
    source: ClassVar[str]
    """The text of `read_from`."""

    @classmethod
    def parse(cls, data: bytes, position: int = 0) -> Self:
        """Read `data` from `position` to its last byte as one structure. Raises `ParseError`, also for leftover
        bytes.
        """
        value: Self
        value, end = cls.read_from(data, position)
        if end != len(data):
            raise ParseError(cls.__name__, "", end, "the end of the data", f"{_bytes(len(data) - end)} more")
        return value


class Field(Protocol):
    """How one field stands on the wire: writes the statements that read it into a variable of the reader."""

    def write(self, reader: ReaderSource, structure: str, prefix: str, field: str) -> None:
        """`structure` and `field` are for errors; `prefix` and `field` together are the variable."""


class Fixed:
    """An integer of fixed size: its `struct` code; the values it may have, if it is an enumeration; the bits it may
    not.

    A field `steers` if the reader, or what is made of the structure whatever its contents, depends on it (see
    `tpm.template`).
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
        at = reader.add_fixed(variable, self.code, structure, field)
        width = 2 * self.size
        got = f"f'0x{{{variable}:0{width}x}}'"
        refuse = f"_refuse({structure!r}, {field!r}, position + {at}, {self.allowed!r}, {got})"
        if self.table is not None:
            table = reader.constant(self.table)
            reader.after_run += ["try:", f"    {variable} = {table}[{variable}]", "except KeyError:", f"    {refuse}"]
        if self.reserved:
            reader.after_run += [f"if {variable} & {self.reserved}:", f"    {refuse}"]


class Sized:
    """Bytes behind their size: a TPM2B (a size of two bytes), or with `code` "B" a bitmap (a size of one byte)."""

    def __init__(self, limit: int, *, least: int = 0, code: str = "H") -> None:
        self.limit = limit
        self.least = least
        self.code = code
        self.size = struct.calcsize(code)

    def write(self, reader: ReaderSource, structure: str, prefix: str, field: str) -> None:
        variable, size = prefix + field, f"{prefix}{field}_size"
        at = reader.add_fixed(size, self.code, structure, field)
        span = f"a size of {self.least} to {self.limit}" if self.least else f"a size of {self.limit} at the most"
        wrong = f"not {self.least} <= {size} <= {self.limit}" if self.least else f"{size} > {self.limit}"
        reader.after_run += [
            f"if {wrong}:",
            f"    _refuse({structure!r}, {field!r}, position + {at}, {span!r}, str({size}))",
        ]
        reader.close_run()
        reader.emit(
            f"{variable} = data[position : position + {size}]",
            f"if len({variable}) != {size}:",
            f"    _short({structure!r}, {field!r}, position, {size}, data)",
            f"position += {size}",
        )


class Nested:
    """Another structure in place: its fields are read among those of the outer one."""

    def __init__(self, kind: type[Structure]) -> None:
        self.kind = kind

    def write(self, reader: ReaderSource, structure: str, prefix: str, field: str) -> None:  # noqa: ARG002 - a `Field`
        made = reader.write_fields(self.kind, f"{prefix}{field}_")
        reader.when_read(f"{prefix}{field} = {made}")


class Counted:
    """A TPML: a count of four bytes, `limit` at the most, then that many structures."""

    def __init__(self, kind: type[Structure], limit: int) -> None:
        self.kind = kind
        self.limit = limit

    def write(self, reader: ReaderSource, structure: str, prefix: str, field: str) -> None:
        variable, count = prefix + field, f"{prefix}{field}_count"
        at = reader.add_fixed(count, "I", structure, field)
        most = f"a count of {self.limit} at the most"
        reader.after_run += [
            f"if {count} > {self.limit}:",
            f"    _refuse({structure!r}, {field!r}, position + {at}, {most!r}, str({count}))",
        ]
        reader.close_run()
        reader.emit("members = []", f"for _ in range({count}):")
        with reader.indented():
            made = reader.write_fields(self.kind, f"{variable}_")
            reader.close_run()
            reader.emit(f"members.append({made})")
        reader.emit(f"{variable} = tuple(members)")


class Selected:
    """A TPMU: what stands here depends on the field `selector` before it.

    An arm of None is empty. A selector without an arm is refused by its name: with `UnsupportedError` where the
    specification allows it here (`others`), with `ParseError` where it may not stand here at all.
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
            f"    arm = {reader.constant(self.arms)}[{selector}]",
            "except KeyError:",
            f"    {reader.constant(self.refuse)}({structure!r}, {selector}, position)",
            f"{variable} = None",
            "if arm is not None:",
            f"    {variable}, position = arm(data, position)",
        )

    def refuse(self, structure: str, key: IntEnum, position: int) -> NoReturn:
        name = specification_name(key)
        allowed = "one of " + ", ".join(specification_name(known) for known in self.arms)
        if key in self.others:
            got = f"{name}, recognised but not supported"
            raise UnsupportedError(structure, self.selector, position, allowed, got) from None
        raise ParseError(structure, self.selector, position, allowed, name) from None


class ReaderSource:
    """The text of one structure's reader as it grows."""

    def __init__(self) -> None:
        self.after_run: list[str] = []
        self._lines: list[str] = []
        self._indent = ""
        self._constants: dict[str, object] = {}
        self._run: list[tuple[str, str, str, str]] = []
        self._run_size = 0

    def constant(self, value: object) -> str:
        """A name for `value` in the text."""
        name = f"_constant_{len(self._constants)}"
        self._constants[name] = value
        return name

    def emit(self, *lines: str) -> None:
        """Add lines to the text."""
        self._lines += [self._indent + line for line in lines]

    @contextmanager
    def indented(self) -> Iterator[None]:
        """What is emitted inside stands in a block."""
        outer, self._indent = self._indent, self._indent + "    "
        yield
        self._indent = outer

    def when_read(self, line: str) -> None:
        """Add a line that needs the fields added so far, open run included."""
        if self._run:
            self.after_run.append(line)
        else:
            self.emit(line)

    def add_fixed(self, variable: str, code: str, structure: str, field: str) -> int:
        """Add an integer to the open run of fixed-size fields; returns its offset from the run's start."""
        at = self._run_size
        self._run.append((variable, code, structure, field))
        self._run_size += struct.calcsize(code)
        return at

    def close_run(self) -> None:
        """Write the statements that read the open run and judge its values."""
        if self._run:
            variables, codes, structures, fields = zip(*self._run, strict=True)
            unpack = self.constant(struct.Struct(">" + "".join(codes)).unpack_from)
            places = self.constant([*zip(structures, fields, map(struct.calcsize, codes), strict=True)])
            self.emit(
                "try:",
                f"    {', '.join(variables)}, = {unpack}(data, position)",
                "except _struct_error:",
                f"    _short_run({places}, data, position)",
                *self.after_run,
                f"position += {self._run_size}",
            )
        self._run, self._run_size, self.after_run = [], 0, []

    def write_fields(self, kind: type[Structure], prefix: str) -> str:
        """Write the reading of all fields of `kind`; returns the expression that makes the structure of them."""
        for name, field in kind.declaration.items():
            field.write(self, kind.__name__, prefix, name)
        return f"{self.constant(kind)}({', '.join(prefix + name for name in kind.declaration)})"

    def compile(self, kind: type[Structure]) -> tuple[str, Callable[[bytes, int], tuple[Any, int]]]:
        """The whole text of the reader of `kind`, and the function it defines."""
        made = self.write_fields(kind, "")
        self.close_run()
        self.emit(f"return {made}, position")
        source = "def read_from(data, position):\n" + "".join(f"    {line}\n" for line in self._lines)
        names = {
            **self._constants,
            "_struct_error": struct.error,
            "_refuse": _refuse,
            "_short": _short,
            "_short_run": _short_run,
        }
        exec(compile(source, f"<declared {kind.__name__}>", "exec"), names)  # noqa: S102 - made of declarations, not input
        return source, names["read_from"]  # type: ignore[return-value]  # the text defines it


def _refuse(structure: str, field: str, at: int, expected: str, got: str) -> NoReturn:
    raise ParseError(structure, field, at, expected, got) from None


def _short(structure: str, field: str, at: int, size: int, data: bytes) -> NoReturn:
    raise ParseError(structure, field, at, _bytes(size), f"only {_bytes(max(len(data) - at, 0))} left") from None


def _short_run(places: list[tuple[str, str, int]], data: bytes, at: int) -> NoReturn:
    """Refuse the first field of a run that does not fit."""
    for structure, field, size in places[:-1]:
        if at + size > len(data):
            _short(structure, field, at, size, data)
        at += size
    structure, field, size = places[-1]
    _short(structure, field, at, size, data)


S = TypeVar("S", bound=Structure)


def declared(cls: type[S]) -> type[S]:
    """Class decorator: write the reader that the annotations of a `Structure` declare."""
    hints = get_type_hints(cls, include_extras=True)
    cls.declaration = {name: hints[name].__metadata__[0] for name in cls.__struct_fields__}
    source, read_from = ReaderSource().compile(cls)
    cls.source = source
    cls.read_from = staticmethod(read_from)
    return cls


def specification_name(member: IntEnum) -> str:
    """A constant as Part 2 writes it: ``"TPM_ALG_RSASSA"``, ``"TPM_ST_ATTEST_QUOTE"``, ``"TPM_ECC_NIST_P256"``."""
    prefix = {"TPM_ALG_ID": "TPM_ALG", "TPM_ECC_CURVE": "TPM_ECC"}.get(type(member).__name__, type(member).__name__)
    return f"{prefix}_{member.name}"


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def _members(enumeration: type[IntEnum]) -> dict[int, IntEnum]:
    return {int(member): member for member in enumeration}


UINT16 = Annotated[int, Fixed("H")]
UINT32 = Annotated[int, Fixed("I")]
UINT64 = Annotated[int, Fixed("Q")]
STEERING_UINT16 = Annotated[int, Fixed("H", steers=True)]
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
