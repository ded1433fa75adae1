"""The meaning of each PCR: its content, and when its value changes.

PCRs 0 to 7 follow the TCG PC Client Platform Firmware Profile, 3.3.4 "PCR Usage"; higher ones follow the conventions of
boot loaders, Linux and systemd.
"""

from __future__ import annotations

from typing import Final

MEANINGS: Final = {
    0: "firmware code; changes when the firmware is updated",
    1: "firmware settings; changes with the firmware setup, and on some machines with the boot order",
    2: "option ROMs and drivers; changes when cards are added or removed",
    3: "settings of option ROMs",
    4: "boot loader; changes when the boot loader or the kernel that it starts is updated",
    5: "boot loader settings and partition table",
    6: "reserved for the machine's manufacturer",
    7: "Secure Boot state and keys; changes when its key databases (db, dbx) are updated",
    8: "boot loader commands; GRUB: its commands and the kernel command line",
    9: "files that the boot loader read; changes when the kernel or initrd is updated",
    10: "files measured by Linux IMA, including the application; changes when the application is updated",
    11: "systemd: unified kernel image; changes when the image is updated",
    12: "systemd: kernel command line and credentials",
    13: "systemd: system extensions",
    14: "shim: machine owner keys",
    15: "systemd: machine identity and file systems",
    16: "debugging; any program can reset it",
    23: "application support; any program can reset it",
    **dict.fromkeys(range(17, 23), "dynamic launch (DRTM), which resets this PCR"),
}
"""PCR index → its meaning."""

QUOTED: Final = (0, 7, 10)
"""The PCRs that the service quotes, in its SHA-256 bank."""

FIRST_RESETTABLE: Final = 16
"""PCRs from this index on can be reset without a reboot (PC Client Platform TPM Profile, "PCR attributes")."""


def never_extended(value: bytes) -> bool:
    """Whether a value is an initial value of a PCR: all zeros, or for PCRs 17 to 22 all ones."""
    return not any(value) or all(byte == 0xFF for byte in value)


def reset_by(index: int) -> str:
    """Describe what can reset the PCR `index`, as a clause; empty if only a reboot can."""
    if index < FIRST_RESETTABLE:
        return ""
    if 17 <= index <= 22:
        return "a dynamic launch can reset the PCR and extend it again"
    return "any program on the machine can reset the PCR and extend it again"
