"""Whole blobs, with or without their TPM2B size: which of the two readings makes sense?

The service's documentation calls its quote a TPMS_ATTEST in one place and a TPM2B_ATTEST in another, and tools write
public keys both ways. A blob is read in the one way in which it parses to its last byte; if both ways or none do, it
is refused.
"""

from __future__ import annotations

from threading import Lock
from typing import Final, Generic, TypeVar

import msgspec

from nomyo_attest.errors import ParseError
from nomyo_attest.tpm.attest import TPMS_ATTEST
from nomyo_attest.tpm.codec import Structure
from nomyo_attest.tpm.public import TPMT_PUBLIC
from nomyo_attest.tpm.signature import TPMT_SIGNATURE
from nomyo_attest.tpm.template import Template

S = TypeVar("S", bound=Structure)


class Framed(msgspec.Struct, Generic[S], frozen=True):
    """A structure with the bytes it was read from.

    Attributes:
        value: the structure.
        inner: its bytes as received, without a TPM2B size. For a quote these are the signed bytes, for a key those
            its Name covers.
        framing: the structure that was sent, e.g. ``"TPMS_ATTEST"`` or ``"TPM2B_ATTEST"``.
        template: what it has in common with others of its make; None for one whose reading hangs on its contents.
    """

    value: S
    inner: bytes
    framing: str
    template: Template[S] | None


class BlobReader(Generic[S]):
    """Reads blobs of one kind, bare or, if `with_size` names such a structure, behind a TPM2B size."""

    def __init__(self, kind: type[S], with_size: str = "") -> None:
        self.kind = kind
        self.with_size = with_size
        self._templates: dict[int, tuple[Template[S], ...]] = {}
        self._learning = Lock()

    def __call__(self, data: bytes) -> Framed[S]:
        """Parse `data` to its last byte. Raises `ParseError`."""
        for template in self._templates.get(len(data), ()):
            value = template.match(data)
            if value is not None:
                return Framed(value, data[template.start :], template.framing, template)
        return self._from_scratch(data)

    def _from_scratch(self, data: bytes) -> Framed[S]:
        name = self.kind.__name__
        if not self.with_size or len(data) < 2 or data[0] << 8 | data[1] != len(data) - 2:
            return self._learned(name, data, 0, self.kind.parse(data))
        try:
            bare = self.kind.parse(data)
        except ParseError as error:
            value = self.kind.parse(data, 2)
            # A template must stand for blobs that cannot be read bare either, so what tampers that reading must steer
            # this one.
            if error.offset + _FIELD_BYTES_MAX <= _STEERING_HEAD:
                return self._learned(self.with_size, data, 2, value)
            return Framed(value, data[2:], self.with_size, None)
        try:
            self.kind.parse(data, 2)
        except ParseError:
            return Framed(bare, data, name, None)
        raise ParseError(self.with_size, "", 0, f"a {name} or a {self.with_size}", "bytes that are both")

    def _learned(self, framing: str, data: bytes, start: int, value: S) -> Framed[S]:
        template = Template(framing, data, start, value)
        with self._learning:  # readers take no lock: they see a list as it was or as it is
            of_length = self._templates.get(len(data), ())
            self._templates[len(data)] = (*of_length[1 - _TEMPLATES_KEPT :], template)
            if len(self._templates) > _LENGTHS_KEPT:
                del self._templates[next(iter(self._templates))]
        return Framed(value, data[start:], framing, template)


_LENGTHS_KEPT: Final = 64
_TEMPLATES_KEPT: Final = 8
"""Lengths of blob, and templates for each: honest evidence has a handful. The oldest make room."""

_STEERING_HEAD: Final = 10
"""Bytes at the start of TPM2B_ATTEST and TPM2B_PUBLIC that all steer their reading: size, magic, type, a size; size,
type, nameAlg, attributes.
"""

_FIELD_BYTES_MAX: Final = 4
"""Bytes of the largest field among the first of TPMS_ATTEST and TPMT_PUBLIC."""

parse_attest: Final = BlobReader(TPMS_ATTEST, "TPM2B_ATTEST")
"""Parse a TPMS_ATTEST or TPM2B_ATTEST (Part 2, 10.12.12 and 10.12.13) to its last byte. Raises `ParseError`."""

parse_public: Final = BlobReader(TPMT_PUBLIC, "TPM2B_PUBLIC")
"""Parse a TPM2B_PUBLIC or TPMT_PUBLIC (Part 2, 12.2.5 and 12.2.4) to its last byte. Raises `ParseError`."""

parse_signature: Final = BlobReader(TPMT_SIGNATURE)
"""Parse a TPMT_SIGNATURE (Part 2, 11.3.4) to its last byte. Raises `ParseError`."""
