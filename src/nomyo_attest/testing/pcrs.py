"""The PCRs of the soft TPM: what a machine that booted has in them, and how a selection of them is spelt."""

from __future__ import annotations

import functools
import hashlib

from nomyo_attest.testing.errors import ForgeError
from nomyo_attest.testing.writer import HASHES

Banks = dict[str, dict[int, bytes]]
"""Bank name → PCR index → value."""

# What the machine measured as it booted; after TCG PC Client Platform Firmware Profile, 3.3.4, "PCR usage".
_EVENTS: dict[int, tuple[bytes, ...]] = {
    0: (b"firmware 2.4",),
    1: (b"set-up data",),
    2: (b"option ROM",),
    3: (b"option ROM data",),
    4: (b"boot loader",),
    5: (b"partition table",),
    6: (b"maker",),
    7: (b"Secure Boot on", b"db 2026-10"),
    10: (b"boot aggregate", b"application"),
}


def extend(bank: str, value: bytes, event: bytes) -> bytes:
    """The value of a PCR after TPM2_PCR_Event: H(old value, H(event)) with the hash of the bank."""
    return hashlib.new(bank, value + hashlib.new(bank, event).digest()).digest()


def booted() -> Banks:
    """The PCRs of every bank, 0 to 23, of one machine that booted; 17 to 22 hold ones, as before a dynamic launch."""
    return {bank: dict(values) for bank, values in _booted().items()}


@functools.cache
def _booted() -> Banks:
    banks: Banks = {}
    for bank in HASHES:
        size = hashlib.new(bank).digest_size
        values = {index: (b"\xff" if 17 <= index <= 22 else b"\x00") * size for index in range(24)}
        for index, events in _EVENTS.items():
            for event in events:
                values[index] = extend(bank, values[index], event)
        banks[bank] = values
    return banks


def parse_selection(selection: str) -> list[tuple[str, list[int]]]:
    """Read ``"sha256:0,7+sha384:0"`` as ``[("sha256", [0, 7]), ("sha384", [0])]``. Raises `ForgeError`."""
    banks = []
    for part in selection.split("+"):
        bank, _, indices = part.partition(":")
        if bank not in HASHES or not all(one.isdecimal() and int(one) < 24 for one in indices.split(",")):
            raise ForgeError("selection", "banks and PCR indices as in sha256:0,7+sha384:0", repr(selection))
        banks.append((bank, [int(one) for one in indices.split(",")]))
    return banks
