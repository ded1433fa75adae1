"""Parse whole blobs, with or without their TPM2B size.

The service's documentation calls its quote a TPMS_ATTEST in one place and a TPM2B_ATTEST in another, and tools write
public keys both ways. A blob is read in whichever form parses to its last byte; if both forms parse, or neither does,
it is rejected.
"""

from __future__ import annotations

from threading import Lock
from typing import Final, Generic, TypeVar

import msgspec

from nomyo_attest.errors import ParseError
from nomyo_attest.tpm.attest import TPMS_ATTEST
from nomyo_attest.tpm.codec import Structure
from nomyo_attest.tpm.layout import Layout
from nomyo_attest.tpm.public import TPMT_PUBLIC
from nomyo_attest.tpm.signature import TPMT_SIGNATURE

S = TypeVar("S", bound=Structure)


class Framed(msgspec.Struct, Generic[S], frozen=True):
    """A structure with the bytes it was read from.

    Attributes:
        value: the structure.
        inner: its bytes as received, without a TPM2B size. For a quote these are the signed bytes, for a key those
            its Name covers.
        framing: the structure that was sent, e.g. ``"TPMS_ATTEST"`` or ``"TPM2B_ATTEST"``.
        layout: the reader of blobs with the same layout; None if the contents determine which form was sent.
    """

    value: S
    inner: bytes
    framing: str
    layout: Layout[S] | None


class BlobReader(Generic[S]):
    """Parse blobs of one structure, bare or, if `with_size` names a TPM2B structure, after its size."""

    def __init__(self, kind: type[S], with_size: str = "") -> None:
        self.kind = kind
        self.with_size = with_size
        self._layouts: dict[int, tuple[Layout[S], ...]] = {}
        self._learning = Lock()

    def __call__(self, data: bytes) -> Framed[S]:
        """Parse `data` to its last byte. Raises `ParseError`."""
        for layout in self._layouts.get(len(data), ()):
            value = layout.match(data)
            if value is not None:
                return Framed(value, data[layout.start :], layout.framing, layout)
        return self._parse_and_learn(data)

    def _parse_and_learn(self, data: bytes) -> Framed[S]:
        name = self.kind.__name__
        if not self.with_size or len(data) < 2 or data[0] << 8 | data[1] != len(data) - 2:
            return self._learn_layout(name, data, 0, self.kind.parse(data))
        try:
            bare = self.kind.parse(data)
        except ParseError as error:
            value = self.kind.parse(data, 2)
            # No blob of this layout may parse bare, so the layout must compare the bytes that make the bare form fail.
            if error.offset + _FIELD_BYTES_MAX <= _STEERING_HEAD:
                return self._learn_layout(self.with_size, data, 2, value)
            return Framed(value, data[2:], self.with_size, None)
        try:
            self.kind.parse(data, 2)
        except ParseError:
            return Framed(bare, data, name, None)
        raise ParseError(self.with_size, "", 0, f"a {name} or a {self.with_size}", "bytes that parse as both")

    def _learn_layout(self, framing: str, data: bytes, start: int, value: S) -> Framed[S]:
        layout = Layout(framing, data, start, value)
        with self._learning:  # readers take no lock: they see the old tuple or the new one
            same_length = self._layouts.get(len(data), ())
            self._layouts[len(data)] = (*same_length[1 - _LAYOUTS_PER_LENGTH_MAX :], layout)
            if len(self._layouts) > _LENGTHS_MAX:
                del self._layouts[next(iter(self._layouts))]
        return Framed(value, data[start:], framing, layout)


_LENGTHS_MAX: Final = 64
_LAYOUTS_PER_LENGTH_MAX: Final = 8
"""Maximum number of cached blob lengths, and of cached layouts for each length: genuine evidence has few."""

_STEERING_HEAD: Final = 10
"""Bytes at the start that determine how the rest is read: the size, magic, type and next size of TPM2B_ATTEST; the
size, type, nameAlg and attributes of TPM2B_PUBLIC.
"""

_FIELD_BYTES_MAX: Final = 4
"""The size in bytes of the largest field at the start of TPMS_ATTEST and TPMT_PUBLIC."""

parse_attest: Final = BlobReader(TPMS_ATTEST, "TPM2B_ATTEST")
"""Parse a TPMS_ATTEST or TPM2B_ATTEST (Part 2, 10.12.12 and 10.12.13) to its last byte. Raises `ParseError`."""

parse_public: Final = BlobReader(TPMT_PUBLIC, "TPM2B_PUBLIC")
"""Parse a TPM2B_PUBLIC or TPMT_PUBLIC (Part 2, 12.2.5 and 12.2.4) to its last byte. Raises `ParseError`."""

parse_signature: Final = BlobReader(TPMT_SIGNATURE)
"""Parse a TPMT_SIGNATURE (Part 2, 11.3.4) to its last byte. Raises `ParseError`."""
