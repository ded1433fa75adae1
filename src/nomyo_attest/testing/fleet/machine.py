"""One machine of the fleet: its key, its firmware, and what its TPM's clock and PCRs say at any time."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final, NamedTuple

from nomyo_attest.testing.forge import Forge
from nomyo_attest.testing.pcrs import booted, extend

DAY: Final = 86_400_000
"""Milliseconds."""


class Firmware(NamedTuple):
    """What a firmware is known by: the label in the policy, what it measures into PCR 0, firmwareVersion."""

    label: str
    event: bytes
    version: int


OLD: Final = Firmware("firmware 2.4", b"firmware 2.4", 0x2024012500120000)
NEW: Final = Firmware("firmware 2.5", b"firmware 2.5", 0x2026010800130000)


class State(NamedTuple):
    """A machine at one time: its TPM's clock in milliseconds, resetCount, and the firmware it booted."""

    clock: int
    reset_count: int
    firmware: Firmware


class Restored(NamedTuple):
    """A machine put back to what it was: when the snapshot was taken, and when it was brought back (milliseconds)."""

    taken: int
    brought_back: int


@dataclass(frozen=True)
class Machine:
    """A machine; times are milliseconds since the record begins.

    Attributes:
        name: what it is told apart by here; nothing in its answers says it.
        key: the kind of its AIK, as `Forge.key`.
        pinned: whether it has one AIK for all its answers, which the policy names, or a new one for each.
        clock, resets: its TPM's clock and resetCount when the record begins.
        boots: when it boots anew, rising; `update` is among them.
        update: when it boots with the new firmware.
        restored: the snapshot it is put back to, if any.
    """

    name: str
    key: str
    pinned: bool
    clock: int
    resets: int
    boots: tuple[int, ...]
    update: int
    restored: Restored | None = None

    def at(self, time: int) -> State:
        """What its TPM says at a time."""
        ran, boots = time, [boot for boot in self.boots if boot <= time]
        if self.restored and time >= self.restored.brought_back:
            taken, brought_back = self.restored
            ran = taken + (time - brought_back)
            boots = [boot for boot in boots if boot <= taken or boot > brought_back]
        firmware = NEW if self.update in boots else OLD
        return State(self.clock + ran, self.resets + len(boots), firmware)

    def forge(self, time: int, answer: int) -> Forge:
        """The soft TPM that makes one answer, whose number gives an AIK that is used once its label."""
        state = self.at(time)
        return Forge(
            key=self.key,
            label=f"fleet {self.name}" if self.pinned else f"fleet {self.name} answer {answer}",
            pcrs={"sha256": dict(_pcrs(state.firmware, self.name, state.reset_count))},
            clock=state.clock,
            reset_count=state.reset_count,
            firmware_version=state.firmware.version,
            device=f"GPU of {self.name}",
        )


def firmware_pcr(firmware: Firmware) -> bytes:
    """PCR 0 of the SHA-256 bank after a boot with `firmware`."""
    return extend("sha256", bytes(32), firmware.event)


def secure_boot_pcr(*, on: bool) -> bytes:
    """PCR 7 of the SHA-256 bank after a boot with Secure Boot on or off."""
    if on:
        return booted()["sha256"][7]
    return extend("sha256", extend("sha256", bytes(32), b"Secure Boot off"), b"db 2026-10")


@functools.lru_cache(maxsize=1024)
def _pcrs(firmware: Firmware, name: str, reset_count: int) -> dict[int, bytes]:
    """The SHA-256 bank after a boot. PCR 10, what was run, is another one after each."""
    values = booted()["sha256"]
    measured = extend("sha256", values[10], f"{name} boot {reset_count}".encode())
    return {**values, 0: firmware_pcr(firmware), 10: measured}
