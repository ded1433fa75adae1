"""Faults of what only a policy asks: the TPM's firmware version, and what the server says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from nomyo_attest.testing.faults.changes import (
    Policy,
    Tamper,
    change_key,
    drop_key,
    metadata,
    set_key,
    twice,
    with_,
    world,
)
from nomyo_attest.testing.faults.model import Fault

FIRMWARE: Final = "0x2024012500120000"
"""The firmware version of the soft TPM, as a policy lists it."""

_Values = tuple[tuple[str, Any], ...]


def firmware() -> Iterator[Fault]:
    """Firmware versions of the TPM itself."""

    def version(name: str, reason: str, **more: Any) -> Fault:
        return Fault(f"firmware-{name}", "firmware.version", reason, policy=_firmware, **more)

    reason = "The TPM's firmware is one that the policy does not list."
    yield version("other", reason, tamper=with_(firmware_version=0x2024012500120001))
    reason = "The halves of the firmware version have changed places."
    yield version("swapped", reason, tamper=with_(firmware_version=0x0012000020240125))
    for hierarchy in ("owner", "null"):
        reason = f"The key is of the {hierarchy} hierarchy, for which a TPM obfuscates its firmware version."
        yield version(hierarchy, reason, world=world(hierarchy=hierarchy), undecided=True)
    reason = "The key is a child of another: whether the version is obfuscated is not known."
    yield version("child", reason, world=world(hierarchy=None), undecided=True)


def tier() -> Iterator[Fault]:
    """Claims of a security tier other than the one the policy asks for, which is high."""

    def claim(name: str, reason: str, tamper: Tamper, **more: Any) -> Fault:
        policy = _claims("security_tier", "high")
        return Fault(f"claims-tier-{name}", "claims.security_tier", reason, tamper, policy=policy, **more)

    values: _Values = (
        ("lower", "standard"),
        ("upper-case", "HIGH"),
        ("blank", "high "),
        ("list", ["high"]),
        ("null", None),
    )
    for name, value in values:
        reason = f"The server claims the tier {value!r} where the policy asks for 'high'."
        yield claim(name, reason, metadata(set_key("security_tier", value)))
    reason = "The server claims two tiers: readers differ in which they take."
    yield claim("twice", reason, twice("security_tier", '"standard"'), as_text=True)
    yield claim("missing", "The server claims no tier.", metadata(drop_key("security_tier")), undecided=True)


def locking() -> Iterator[Fault]:
    """Claims on memory_locking other than the one the policy asks for, which is true."""
    path = "memory_protection.memory_locking"

    def claim(name: str, reason: str, tamper: Tamper, **more: Any) -> Fault:
        return Fault(f"claims-locking-{name}", f"claims.{path}", reason, tamper, policy=_claims(path, True), **more)

    values: _Values = (("false", False), ("one", 1), ("string", "true"), ("float", 1.0), ("list", [True]))
    for name, value in values:
        reason = f"The server claims memory_locking {value!r} where the policy asks for true."
        yield claim(name, reason, metadata(change_key("memory_protection", set_key("memory_locking", value))))
    reason = "The server speaks twice of its memory protection."
    yield claim("twice-above", reason, twice("memory_protection", "{}"), as_text=True)
    reason = "The server says nothing of memory_locking."
    tamper = metadata(change_key("memory_protection", drop_key("memory_locking")))
    yield claim("missing", reason, tamper, undecided=True)
    reason = "The server's word on its memory protection has no parts."
    yield claim("no-object", reason, metadata(set_key("memory_protection", "memory_locking")), undecided=True)


def _firmware(policy: Policy) -> None:
    policy["firmware"] = {"versions": [FIRMWARE]}


def _claims(path: str, value: Any) -> Callable[[Policy], None]:
    return lambda policy: policy.update(claims={path: [value]})


FAULTS = (*firmware(), *tier(), *locking())
