"""What each PCR measures, and when it changes.

TCG PC Client Platform Firmware Profile, 3.3.4 "PCR Usage", up to 7; above, as boot loaders, Linux and systemd use them.
"""

from __future__ import annotations

from typing import Final

MEANINGS: Final = {
    0: "firmware code; changes when the firmware is updated",
    1: "firmware settings; changes with the set-up menu, on some machines with the boot order",
    2: "option ROMs and drivers; changes with the cards in the machine",
    3: "settings of option ROMs",
    4: "boot loader; changes when it, or the kernel it starts, is updated",
    5: "settings of the boot loader, partition table",
    6: "left to the machine's maker",
    7: "Secure Boot: on or off, and its keys; changes when those (db, dbx) are updated",
    8: "what the boot loader was told; GRUB: its commands and the kernel's command line",
    9: "files the boot loader read; changes with kernel and initrd",
    10: "what Linux IMA measured, the application among it; changes when the application is updated",
    11: "systemd: the unified kernel image; changes when it is updated",
    12: "systemd: kernel command line and credentials",
    13: "systemd: system extensions",
    14: "shim: machine owner keys",
    15: "systemd: machine identity and file systems",
    16: "debugging; any program can reset it",
    23: "application support; any program can reset it",
    **dict.fromkeys(range(17, 23), "a dynamic launch (DRTM), which resets it"),
}
"""PCR index → its meaning, in a few words."""

QUOTED: Final = (0, 7, 10)
"""The PCRs that the service quotes, in its SHA-256 bank."""

FIRST_RESETTABLE: Final = 16
"""From here on a PCR can be reset without a reboot (PC Client Platform TPM Profile, "PCR attributes")."""


def never_extended(value: bytes) -> bool:
    """Whether a PCR value is one that a PCR starts with: zeros, or for PCRs 17 to 22 ones."""
    return not any(value) or all(byte == 0xFF for byte in value)


def reset_by(index: int) -> str:
    """Describe what can reset the PCR `index`, as a clause; empty if only a reboot can."""
    if index < FIRST_RESETTABLE:
        return ""
    if 17 <= index <= 22:
        return "a dynamic launch resets it and extends it anew"
    return "any program on the machine can reset it and extend it anew"
