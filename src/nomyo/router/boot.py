"""The measured boot that software TPMs are put through: what a machine of this kind would have in its PCRs.

A software TPM measures nothing by itself. These events stand for what firmware and kernel extend (TCG PC Client
Platform Firmware Profile, 3.3.4): PCR 0 firmware, PCR 7 Secure Boot, PCR 10 what IMA saw, which begins with a digest
over the PCRs before it and so follows a change of firmware.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRMWARE: Final = "1.0"
OTHER_FIRMWARE: Final = "1.1, of unknown origin"

DYNAMIC: Final = frozenset(range(17, 23))
"""The PCRs of a dynamic launch, which begin with ones; all others begin with zeros."""


def boot(measure: Callable[[int, bytes], object], firmware: str = FIRMWARE) -> None:
    """Extend the PCRs of a TPM that was just started; `measure` takes a PCR and an event."""
    measure(0, f"firmware {firmware}".encode())
    measure(7, b"Secure Boot on")
    measure(10, f"boot aggregate of firmware {firmware}".encode())
    measure(10, b"nomyo reference router")
