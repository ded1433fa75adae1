"""Faults against the reference values: what is signed and reported is not what the policy knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from nomyo_attest.testing import keys
from nomyo_attest.testing.faults.changes import Policy, Tamper, any_ten, at, both, nothing, pins_only, with_, world
from nomyo_attest.testing.faults.model import Fault
from nomyo_attest.testing.forge import Forge


def banks() -> Iterator[Fault]:
    """Reference values in banks that are not to be relied on."""

    def bank(name: str, reason: str, policy: Callable[[Policy], object], selection: str) -> Fault:
        return Fault(f"bank-{name}", "pcr.bank", reason, policy=policy, world=world(selection=selection))

    reason = "The policy relies on a SHA-1 bank and does not allow SHA-1."
    yield bank("sha1", reason, _default_banks, "sha1:0,7,10")
    reason = "The policy relies on a SHA-1 bank besides a SHA-256 bank, and does not allow SHA-1."
    yield bank("sha1-beside", reason, _default_banks, "sha256:0,7+sha1:10")
    reason = "The policy relies on a SHA-256 bank and allows SHA-384 banks alone."
    yield bank("not-listed", reason, lambda policy: policy.update(bank={"hashes": ["sha384"]}), "sha256:0,7,10")


def values() -> Iterator[Fault]:
    """PCRs that do not hold what the policy knows, or were not signed."""

    def value(name: str, reason: str, tamper: Tamper, **more: Any) -> Fault:
        return Fault(f"values-{name}", "pcr.values", reason, tamper, **more)

    reason = "The machine booted other firmware."
    yield value("other-firmware", reason, lambda forge: forge.measure(0, b"firmware 2.5"))
    reason = "The machine runs another application."
    yield value("other-application", reason, lambda forge: forge.measure(10, b"another application"))
    yield value("unextended", "PCR 7 was never extended: nothing measured Secure Boot.", _holds("sha256", 7, bytes(32)))
    reason = "PCR 7 holds the value that is known for PCR 0."
    yield value("of-another-pcr", reason, _holds("sha256", 7, Forge().pcrs["sha256"][0]))
    reason = "The policy names a PCR that is neither signed nor reported."
    yield value("not-signed", reason, with_(selection="sha256:0,10"))
    reason = "The policy wants a PCR signed, whatever its value, and it is not."
    yield value("any-not-signed", reason, with_(selection="sha256:0,7"), policy=any_ten)
    reason = "The policy's values are of a bank that is not signed."
    yield value("other-bank", reason, with_(selection="sha384:0,7,10"))
    yield value(
        "unallocated-bank",
        "The policy names a PCR of a bank that the TPM does not have: it was signed with no PCR in it.",
        both(with_(selection="sha256:0,7"), at("selections", lambda signed: [*signed, ("sha384", [])])),
        world=world(selection="sha256:0,7+sha384:0"),
    )
    reason = "The known value of PCR 7 is in PCR 23, which anybody can reset and extend."
    yield value("resettable-pcr", reason, _in_twenty_three, policy=pins_only("0 7"))
    two_banks = world(selection="sha256:0,7+sha384:0,7")
    other = _holds("sha384", 0, keys.digest("sha384", b"other firmware"))
    yield value("one-of-two-banks", "One bank is as known, the other is not.", other, world=two_banks)
    reason = "The policy knows other values."
    yield value("other-policy", reason, nothing, policy=_other_values)


def _default_banks(policy: Policy) -> None:
    policy.pop("bank", None)


def _other_values(policy: Policy) -> None:
    policy["pcrs"]["sha256"]["7"] = ["5a" * 32, "a5" * 32]


def _holds(bank: str, index: int, value: bytes) -> Tamper:
    def tamper(forge: Forge) -> None:
        forge.pcrs[bank][index] = value

    return tamper


def _in_twenty_three(forge: Forge) -> None:
    forge.pcrs["sha256"][23] = forge.pcrs["sha256"][7]
    forge.selection = "sha256:0,23"


FAULTS = (*banks(), *values())
