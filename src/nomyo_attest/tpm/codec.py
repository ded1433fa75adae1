"""Read TPM 2.0 structures that are declared once, field by field in wire order.

A structure is a frozen `msgspec.Struct` whose annotations declare the encoding of each field (Part 1,
"Marshaling": big-endian integers, TPM2B buffers behind a two-byte size, lists behind a four-byte count)::

    @declared
    class TPMS_CLOCK_INFO(Structure, frozen=True):
        clock: UINT64
        reset_count: UINT32
        restart_count: UINT32
        safe: YES_NO

`declared` generates the function that reads them, as `dataclasses` generates `__init__`: one statement for each run of
fixed-size fields, and a few for each field of variable size. An appraisal parses three structures, and a loop over the
fields at run time would cost more than half as much as verifying the signature. `Structure.source` is the generated
source code.

Every limit is checked before the bytes after it are read, and every error names the structure, the field and the byte.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn, Protocol, Self, TypeVar, get_type_hints

import msgspec

from nomyo_attest.errors import ParseError


class Structure(msgspec.Struct, frozen=True):
    """The base of every declared TPM structure."""

    declaration: ClassVar[dict[str, Field]]
    """How each field is encoded, in wire order."""
    read_from: ClassVar[Callable[[bytes, int], tuple[Any, int]]]
    """Read one structure at a position in bytes; return it and the position after it. Raises `ParseError`."""
    source: ClassVar[str]
    """The source code of `read_from`."""

    @classmethod
    def parse(cls, data: bytes, position: int = 0) -> Self:
        """Read `data` from `position` to its last byte as one structure.

        Raises `ParseError`, also for leftover bytes.
        """
        value: Self
        value, end = cls.read_from(data, position)
        if end != len(data):
            raise ParseError(cls.__name__, "", end, "the end of the data", f"{_bytes(len(data) - end)} more")
        return value


class Field(Protocol):
    """The encoding of one field. It generates the statements that read the field into a local variable."""

    def write(self, reader: ReaderSource, structure: str, prefix: str, field: str) -> None:
        """Add the statements to `reader`. Errors name `structure` and `field`; the variable is `prefix` + `field`."""


class ReaderSource:
    """The source code of one structure's reader, while it is being generated."""

    def __init__(self) -> None:
        self.after_run: list[str] = []
        self._lines: list[str] = []
        self._indent = ""
        self._constants: dict[str, object] = {}
        self._run: list[tuple[str, str, str, str]] = []
        self._run_size = 0

    def add_constant(self, value: object) -> str:
        """Add a constant; return its name in the source code."""
        name = f"_constant_{len(self._constants)}"
        self._constants[name] = value
        return name

    def emit(self, *lines: str) -> None:
        """Add lines to the source code."""
        self._lines += [self._indent + line for line in lines]

    @contextmanager
    def indented(self) -> Iterator[None]:
        """Indent the lines that are emitted in this context by one level."""
        outer, self._indent = self._indent, self._indent + "    "
        yield
        self._indent = outer

    def emit_after_fields(self, line: str) -> None:
        """Add a line that uses the fields added so far, including those of the open run."""
        if self._run:
            self.after_run.append(line)
        else:
            self.emit(line)

    def add_fixed(self, variable: str, code: str, structure: str, field: str) -> int:
        """Add an integer to the open run of fixed-size fields; return its offset in the run."""
        offset = self._run_size
        self._run.append((variable, code, structure, field))
        self._run_size += struct.calcsize(code)
        return offset

    def close_run(self) -> None:
        """Write the statements that read the open run and check its values."""
        if self._run:
            variables, codes, structures, fields = zip(*self._run, strict=True)
            unpack = self.add_constant(struct.Struct(">" + "".join(codes)).unpack_from)
            names_and_sizes = self.add_constant([*zip(structures, fields, map(struct.calcsize, codes), strict=True)])
            self.emit(
                "try:",
                f"    {', '.join(variables)}, = {unpack}(data, position)",
                "except _struct_error:",
                f"    _refuse_truncated_run({names_and_sizes}, data, position)",
                *self.after_run,
                f"position += {self._run_size}",
            )
        self._run, self._run_size, self.after_run = [], 0, []

    def write_fields(self, kind: type[Structure], prefix: str) -> str:
        """Write the statements that read all fields of `kind`; return the expression that builds the structure."""
        selectors = {getattr(field, "selector", None) for field in kind.declaration.values()}
        for name, field in kind.declaration.items():
            offset = self._run_size
            field.write(self, kind.__name__, prefix, name)
            if name in selectors:
                self.after_run.append(f"{prefix}{name}_at = position + {offset}")
        return f"{self.add_constant(kind)}({', '.join(prefix + name for name in kind.declaration)})"

    def compile(self, kind: type[Structure]) -> tuple[str, Callable[[bytes, int], tuple[Any, int]]]:
        """Return the source code of the reader of `kind`, and the function that it defines."""
        structure = self.write_fields(kind, "")
        self.close_run()
        self.emit(f"return {structure}, position")
        source = "def read_from(data, position):\n" + "".join(f"    {line}\n" for line in self._lines)
        names = {
            **self._constants,
            "_struct_error": struct.error,
            "_refuse": _refuse,
            "_refuse_truncated": _refuse_truncated,
            "_refuse_truncated_run": _refuse_truncated_run,
        }
        exec(compile(source, f"<declared {kind.__name__}>", "exec"), names)  # noqa: S102 - from declarations, not input
        return source, names["read_from"]  # type: ignore[return-value]  # the source defines it


def _refuse(structure: str, field: str, offset: int, expected: str, value: int, width: int) -> NoReturn:
    got = f"0x{value:0{width}x}" if width else str(value)
    raise ParseError(structure, field, offset, expected, got, value) from None


def _refuse_truncated(structure: str, field: str, offset: int, size: int, data: bytes) -> NoReturn:
    got = f"only {_bytes(max(len(data) - offset, 0))} left"
    raise ParseError(structure, field, offset, _bytes(size), got) from None


def _refuse_truncated_run(names_and_sizes: list[tuple[str, str, int]], data: bytes, offset: int) -> NoReturn:
    """Refuse the first field of a run that extends past the end of the data."""
    for structure, field, size in names_and_sizes[:-1]:
        if offset + size > len(data):
            _refuse_truncated(structure, field, offset, size, data)
        offset += size
    structure, field, size = names_and_sizes[-1]
    _refuse_truncated(structure, field, offset, size, data)


S = TypeVar("S", bound=Structure)


def declared(cls: type[S]) -> type[S]:
    """Class decorator: generate the reader that the annotations of a `Structure` declare."""
    hints = get_type_hints(cls, include_extras=True)
    cls.declaration = {name: hints[name].__metadata__[0] for name in cls.__struct_fields__}
    source, read_from = ReaderSource().compile(cls)
    cls.source = source
    cls.read_from = staticmethod(read_from)
    return cls


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"
