"""The small changes that faults are put together from: of a forge (a *tamper*), of bytes, of a dict, of a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nomyo_attest.testing.forge import Forge

Tamper = Callable[[Forge], object]
Bytes = Callable[[bytes], bytes]
Policy = dict[str, Any]


def nothing(_: object) -> None:
    """Leave a forge, or a policy, as it is."""


def at(stage: str, change: Callable[[Any], Any]) -> Tamper:
    """Change what one stage of the forge makes."""
    return lambda forge: forge.tamper(stage, change)


def with_(**fields: Any) -> Tamper:
    """Set fields of the forge."""

    def tamper(forge: Forge) -> None:
        for name, value in fields.items():
            setattr(forge, name, value)

    return tamper


def both(*tampers: Tamper) -> Tamper:
    """One tamper after the other."""

    def tamper(forge: Forge) -> None:
        for one in tampers:
            one(forge)

    return tamper


def world(**fields: Any) -> Callable[[], Forge]:
    """A world in which all is right, other than the default one."""
    return lambda: Forge(**fields)


def always(value: Any) -> Callable[[object], Any]:
    """Put `value` in the place of anything."""
    return lambda _: value


def put(offset: int, octets: bytes) -> Bytes:
    """Overwrite bytes from `offset` on."""
    return lambda blob: blob[:offset] + octets + blob[offset + len(octets) :]


def cut(end: int) -> Bytes:
    """Keep the bytes before `end`, which counts from the end if it is negative."""
    return lambda blob: blob[:end]


def add(octets: bytes) -> Bytes:
    """Put bytes behind the end."""
    return lambda blob: blob + octets


def flip(offset: int) -> Bytes:
    """Change the lowest bit of the byte at `offset`, which counts from the end if it is negative."""

    def change(blob: bytes) -> bytes:
        octets = bytearray(blob)
        octets[offset] ^= 1
        return bytes(octets)

    return change


def set_key(key: str, value: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Set one key of a dict."""
    return lambda holder: {**holder, key: value}


def drop_key(key: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Take one key out of a dict."""
    return lambda holder: {other: value for other, value in holder.items() if other != key}


def change_key(key: str, change: Callable[[Any], Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Change the value of one key of a dict."""
    return lambda holder: {**holder, key: change(holder[key])}


def block(change: Callable[[Any], Any]) -> Tamper:
    """Change the `tpm_attestation` object."""
    return at("tpm_attestation", change)


def metadata(change: Callable[[Any], Any]) -> Tamper:
    """Change the `_metadata` object."""
    return at("_metadata", change)


def twice(key: str, first: str) -> Tamper:
    """Let a key stand twice in the text, with some other JSON value the first time."""
    return at("text", lambda text: text.replace(f'"{key}": ', f'"{key}": {first}, "{key}": ', 1))


def without_hierarchy(policy: Policy) -> None:
    """Whichever hierarchy the key is in."""
    policy.pop("key", None)


def pins_only(indices: str) -> Callable[[Policy], None]:
    """Reference values for these SHA-256 PCRs alone, such as ``"0 7"``; for none, the policy says so aloud."""

    def change(policy: Policy) -> None:
        if indices:
            policy["pcrs"] = {"sha256": {index: policy["pcrs"]["sha256"][index] for index in indices.split()}}
        else:
            del policy["pcrs"]
            policy["unsafe_accept_any_pcrs"] = True

    return change


def any_ten(policy: Policy) -> None:
    """PCR 10 must be signed, whatever its value."""
    policy["pcrs"]["sha256"]["10"] = "any"
