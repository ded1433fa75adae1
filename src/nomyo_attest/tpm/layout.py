"""Read a structure quickly if it differs from an earlier one only in its contents.

The AIKs of a fleet differ in their modulus, and its quotes in nonce, clock and digest, but all have the same sizes,
counts, selectors and enumerations. The steps of a reader depend only on these steering bytes. Once a blob has been
parsed, its `Layout` reads the next blob of the same length in one step: it compares the steering bytes and copies all
other bytes. A blob that differs in any steering byte is parsed normally. Therefore two blobs of one layout have the
same steering bytes; `appraisal.case` relies on that.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from nomyo_attest.tpm.codec import Structure
from nomyo_attest.tpm.fields import Counted, Fixed, Nested, Selected, Sized

S = TypeVar("S", bound=Structure)


class Layout(Generic[S]):
    """A fast reader for the blobs of one layout. Compared by identity.

    Attributes:
        framing: the structure as received: ``"TPMS_ATTEST"``, ``"TPM2B_ATTEST"`` …
        start: the offset of the structure in the blob: 2 after a TPM2B size, otherwise 0.
        match: reads the structure from a blob of the same length; returns None if the blob has a different layout.
        source: the source code of `match`.
    """

    def __init__(self, framing: str, data: bytes, start: int, value: S) -> None:
        """Build the reader from `value`, which was parsed from `data` at `start`."""
        kind = type(value)
        outline = _Outline(data, data[:start])
        expression, _ = outline.add_structure(kind, start, value)
        outline.add_test()
        self.framing = framing
        self.start = start
        self.source = "\n".join(
            (
                "def match(data):",
                f"    {', '.join(outline.variables)}, = unpack(data)",
                f"    if {' or '.join(outline.tests) or 'False'}:",
                "        return None",
                f"    return {expression}",
            )
        )
        names: dict[str, object] = {**outline.constants, "unpack": struct.Struct(">" + "".join(outline.codes)).unpack}
        exec(compile(self.source, f"<layout {kind.__name__}>", "exec"), names)  # noqa: S102 - the source contains no input bytes
        self.match: Callable[[bytes], S | None] = names["match"]  # type: ignore[assignment]  # the source defines it


class _Outline:
    """Walk a parsed blob field by field, and record the bytes that steered the reader."""

    def __init__(self, data: bytes, steering: bytes) -> None:
        self.data = data
        self.codes: list[str] = []
        self.variables: list[str] = []
        self.tests: list[str] = []
        self.constants: dict[str, object] = {}
        self._steering = steering

    def add_structure(self, kind: type[Structure], position: int, value: Any) -> tuple[str, int]:
        """Record the fields of `value`; return the expression that rebuilds it, and the position after it."""
        parts, variables_before = [], len(self.variables)
        for name, field in kind.declaration.items():
            part, position = self._add_field(field, position, getattr(value, name))
            parts.append(part)
        if len(self.variables) == variables_before:
            return self._add_constant(value), position  # no field varies, so the object is reused
        return f"{self._add_constant(kind)}({', '.join(parts)})", position

    def _add_field(self, field: object, position: int, value: Any) -> tuple[str, int]:
        if isinstance(field, Fixed):
            end = position + field.size
            if field.steers:
                self._steering += self.data[position:end]
                return self._add_constant(value), end
            return self._add_variable(field.code), end
        if isinstance(field, Sized):
            start = position + field.size
            self._steering += self.data[position:start]
            return self._add_variable(f"{len(value)}s"), start + len(value)
        if isinstance(field, Nested):
            return self.add_structure(field.kind, position, value)
        if isinstance(field, Counted):
            start = position
            position += 4
            for member in value:
                position = _end_of(field.kind, position, member)
            self._steering += self.data[start:position]
            return self._add_constant(value), position
        assert isinstance(field, Selected)
        return ("None", position) if value is None else self.add_structure(type(value), position, value)

    def _add_variable(self, code: str) -> str:
        self.add_test()
        self.codes.append(code)
        self.variables.append(f"v{len(self.variables)}")
        return self.variables[-1]

    def add_test(self) -> None:
        """Add a test that compares the steering bytes recorded since the last one."""
        if self._steering:
            steering, self._steering = self._steering, b""
            self.tests.append(f"{self._add_variable(f'{len(steering)}s')} != {self._add_constant(steering)}")

    def _add_constant(self, value: object) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name


def _end_of(kind: type[Structure], position: int, value: Any) -> int:
    """Return the position after `value`, whose fields are all `Fixed` or `Sized`."""
    for name, field in kind.declaration.items():
        assert isinstance(field, (Fixed, Sized))
        position += field.size + (len(getattr(value, name)) if isinstance(field, Sized) else 0)
    return position
