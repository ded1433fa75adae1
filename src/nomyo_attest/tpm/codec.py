"""Read TPM 2.0 structures that are declared once, field by field in wire order.

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
fields at run time costs more than half as much as the signature itself. `Structure.source` is the generated text.

Every limit is checked before the bytes after it are read, and every error names structure, field and byte.
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
    """How one field is encoded. It writes the statements that read it into a variable of the reader."""

    def write(self, reader: ReaderSource, structure: str, prefix: str, field: str) -> None:
        """Write the statements. `structure` and `field` are for errors; `prefix` + `field` is the variable."""


class ReaderSource:
    """The text of one structure's reader while it is being written."""

    def __init__(self) -> None:
        self.after_run: list[str] = []
        self._lines: list[str] = []
        self._indent = ""
        self._constants: dict[str, object] = {}
        self._run: list[tuple[str, str, str, str]] = []
        self._run_size = 0

    def constant(self, value: object) -> str:
        """Return the name of `value` in the text."""
        name = f"_constant_{len(self._constants)}"
        self._constants[name] = value
        return name

    def emit(self, *lines: str) -> None:
        """Add lines to the text."""
        self._lines += [self._indent + line for line in lines]

    @contextmanager
    def indented(self) -> Iterator[None]:
        """Indent what is emitted inside by one level."""
        outer, self._indent = self._indent, self._indent + "    "
        yield
        self._indent = outer

    def when_read(self, line: str) -> None:
        """Add a line that uses the fields added so far, including those of the open run."""
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
        """Write the statements that read the open run and check its values."""
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
        """Write the statements that read all fields of `kind`; return the expression that builds the structure."""
        selectors = {getattr(field, "selector", None) for field in kind.declaration.values()}
        for name, field in kind.declaration.items():
            at = self._run_size
            field.write(self, kind.__name__, prefix, name)
            if name in selectors:
                self.after_run.append(f"{prefix}{name}_at = position + {at}")
        return f"{self.constant(kind)}({', '.join(prefix + name for name in kind.declaration)})"

    def compile(self, kind: type[Structure]) -> tuple[str, Callable[[bytes, int], tuple[Any, int]]]:
        """Return the text of the reader of `kind`, and the function that it defines."""
        built = self.write_fields(kind, "")
        self.close_run()
        self.emit(f"return {built}, position")
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


def _refuse(structure: str, field: str, at: int, expected: str, value: int, width: int) -> NoReturn:
    got = f"0x{value:0{width}x}" if width else str(value)
    raise ParseError(structure, field, at, expected, got, value) from None


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


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"
