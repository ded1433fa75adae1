"""Faults of the PCRs: reported PCRs that were not signed, or signed PCRs that the policy does not accept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from nomyo_attest.testing import keys, writer
from nomyo_attest.testing.faults.model import (
    Fault,
    Policy,
    Tamper,
    accept_any_pcr_10,
    add,
    always,
    at,
    change_key,
    combined,
    cut,
    forge_with,
    pins_only,
    set_fields,
    set_key,
    unchanged,
)
from nomyo_attest.testing.forge import Forge

Selections = list[tuple[str | int, list[int]]]


def selection(name: str, reason: str, signed: Selections, *, pins: str = "", **options: Any) -> Fault:
    """A signed selection that differs from the reported one, with a policy that pins only PCRs in both."""
    tamper = at("selections", always(signed))
    return Fault(f"selection-{name}", "pcr.selection", reason, tamper, policy=pins_only(pins), **options)


def selections() -> Iterator[Fault]:
    """Signed selections that do not match the reported values, which are SHA-256 PCRs 0, 7 and 10."""
    right: tuple[str, list[int]] = ("sha256", [0, 7, 10])
    yield selection("fewer", "PCR 10 is reported but was not signed.", [("sha256", [0, 7])], pins="0 7")
    yield selection("none", "No PCR was signed: the digest of no values is the same for every machine.", [])
    yield selection("empty-bank", "The selection names a bank without PCRs.", [("sha256", [])])
    repeated = "The selection names the same bank twice, "
    yield selection("bank-duplicate", repeated + "with different PCRs.", [("sha256", [0, 7]), ("sha256", [10])])
    yield selection("bank-duplicate-same", repeated + "with the same PCRs.", [right, right])
    yield selection("bank-duplicate-empty", repeated + "once without PCRs.", [right, ("sha256", [])])
    three_entries: Selections = [("sha256", [0]), ("sha256", [7]), ("sha256", [10])]
    yield selection("bank-three-times", "The selection names the same bank three times.", three_entries)
    yield selection(
        "empty-bank-reported",
        "A value is reported for a bank without signed PCRs.",
        [right, ("sha384", [])],
        pins="0 7 10",
        base=forge_with(selection="sha256:0,7,10+sha384:0"),
    )
    yield selection("empty-banks", "The selection names two banks without PCRs.", [("sha256", []), ("sha384", [])])
    yield selection(
        "fewer-banks",
        "A second bank is reported but was not signed.",
        [("sha256", [0, 7])],
        pins="0 7",
        base=forge_with(selection="sha256:0,7+sha384:0"),
    )


def unreported() -> Iterator[Fault]:
    """Signed selections with PCRs that are not reported, so that the digest cannot be computed either."""
    right: tuple[str, list[int]] = ("sha256", [0, 7, 10])
    cases: tuple[tuple[str, str, Selections, str], ...] = (
        ("more", "PCR 4 was signed but is not reported.", [("sha256", [0, 4, 7, 10])], "0 7 10"),
        ("other", "PCR 11 was signed, but PCR 10 is reported.", [("sha256", [0, 7, 11])], "0 7"),
        ("other-bank", "SHA-1 values were signed, but SHA-256 values are reported.", [("sha1", [0, 7, 10])], ""),
        ("more-banks", "A second bank was signed but is not reported.", [right, ("sha384", [0])], "0 7 10"),
        (
            "bank-sm3",
            "A second bank, of SM3, was signed but is not reported.",
            [right, (writer.ALG_SM3_256, [0])],
            "0 7 10",
        ),
        ("index-24", "PCR 24 was signed, which PC platforms do not have.", [("sha256", [0, 7, 10, 24])], "0 7 10"),
        ("index-31", "PCR 31 was signed, which PC platforms do not have.", [("sha256", [0, 7, 10, 31])], "0 7 10"),
    )
    for name, reason, signed, pins in cases:
        yield selection(name, reason, signed, pins=pins, also_undecided=("pcr.digest",))
    for bank in ("sha3_256", "sm3_256"):
        yield Fault(
            f"selection-bank-as-{bank}",
            "pcr.selection",
            f"The signed SHA-256 values are reported as those of a {bank} bank.",
            combined(at("pcr_banks", always(f"{bank}:0,7,10")), at("pcr_values", _renamed(bank))),
            policy=pins_only(""),
            also_undecided=("pcr.digest",),
        )


def reported() -> Iterator[Fault]:
    """Values that do not hash to the signed digest, although the policy accepts each of them."""

    def values(name: str, reason: str, tamper: Tamper, **options: Any) -> Fault:
        return Fault(f"digest-{name}", "pcr.digest", reason, tamper, **options)

    reason = "The values of PCR 0 and PCR 7 are swapped."
    swapped = at("pcr_values", change_key("sha256", _swapped))
    yield values("swapped-indices", reason, swapped, policy=_accept_every_listed_value)
    two_banks = forge_with(selection="sha256:0,7+sha384:0,7")
    reason = "The values of PCR 0 and PCR 7 are swapped in the second of two banks."
    swapped = at("pcr_values", change_key("sha384", _swapped))
    yield values("swapped-in-second-bank", reason, swapped, policy=_accept_every_listed_value, base=two_banks)
    last_bit = at("pcr_values", change_key("sha256", change_key("10", _last_bit)))
    yield values(
        "last-bit", "One bit of a reported value differs from the signed one.", last_bit, policy=accept_any_pcr_10
    )
    zeros = at("pcr_values", change_key("sha256", set_key("10", "00" * 32)))
    yield values("zeros", "A PCR is reported with its initial value.", zeros, policy=accept_any_pcr_10)
    reason = "The values are those of a good machine, but the quote is from another machine."
    yield values("another-machine", reason, _other_machine)


def digests() -> Iterator[Fault]:
    """Digests of something other than the values, or not computed as specified."""

    def digest(name: str, reason: str, change: Callable[[bytes], bytes], **options: Any) -> Fault:
        return Fault(f"digest-{name}", "pcr.digest", reason, at("pcr_digest", change), **options)

    values = [Forge().pcrs["sha256"][index] for index in (0, 7, 10)]
    joined = b"".join(values)
    for name in ("sha1", "sha384", "sha512"):
        reason = f"The digest is computed with {name} instead of the hash of the signature."
        yield digest(f"with-{name}", reason, always(keys.digest(name, joined)))
    descending = keys.digest("sha256", b"".join(reversed(values)))
    yield digest("descending", "The digest covers the values in descending order of PCR index.", always(descending))
    yield digest(
        "of-hex",
        "The digest is that of the hexadecimal text of the values.",
        always(keys.digest("sha256", joined.hex().encode())),
    )
    yield digest("of-nothing", "The digest is that of an empty string.", always(keys.digest("sha256", b"")))
    yield digest("hashed-twice", "The digest was hashed again.", lambda value: keys.digest("sha256", value))
    yield digest("empty", "The digest is empty.", always(b""))
    yield digest("cut", "The digest lacks its last byte.", cut(-1))
    yield digest("longer", "A byte follows the digest.", add(b"\0"))
    of_bank = keys.digest("sha384", b"".join(Forge().pcrs["sha384"][index] for index in (0, 7, 10)))
    reason = "The digest is computed with the hash of the bank instead of the hash of the signature."
    yield digest("with-bank-hash", reason, always(of_bank), base=forge_with(selection="sha384:0,7,10"))
    pcrs = Forge().pcrs
    other_order = keys.digest("sha256", pcrs["sha384"][0] + pcrs["sha256"][0] + pcrs["sha256"][7])
    reason = "The digest covers the banks in a different order from the signed selection."
    yield digest("bank-order", reason, always(other_order), base=forge_with(selection="sha256:0,7+sha384:0"))


def _renamed(bank: str) -> Callable[[dict[str, object]], dict[str, object]]:
    return lambda banks: {bank: banks["sha256"]}


def _accept_every_listed_value(policy: Policy) -> None:
    """Accept each reference value of a bank for every PCR of that bank, so that only the digest detects a swap."""
    for bank, values in policy["pcrs"].items():
        known = sorted({value for accepted in values.values() for value in accepted})
        policy["pcrs"][bank] = dict.fromkeys(values, known)


def _swapped(bank: dict[str, str]) -> dict[str, str]:
    return {**bank, "0": bank["7"], "7": bank["0"]}


def _last_bit(value: str) -> str:
    return f"{int(value, 16) ^ 1:064x}"


def _other_machine(forge: Forge) -> None:
    good = forge.response()["_metadata"]["tpm_attestation"]["pcr_values"]
    forge.measure(0, b"firmware 2.5").tamper("pcr_values", always(good))


def reference_banks() -> Iterator[Fault]:
    """Reference values in banks that are not allowed."""

    def bank(name: str, reason: str, policy: Callable[[Policy], object], selection: str) -> Fault:
        return Fault(f"bank-{name}", "pcr.bank", reason, policy=policy, base=forge_with(selection=selection))

    reason = "The policy has reference values in a SHA-1 bank but does not allow SHA-1."
    yield bank("sha1", reason, _default_banks, "sha1:0,7,10")
    reason = "The policy has reference values in a SHA-1 and a SHA-256 bank but does not allow SHA-1."
    yield bank("sha1-beside", reason, _default_banks, "sha256:0,7+sha1:10")
    reason = "The policy has reference values in a SHA-256 bank but allows only SHA-384 banks."
    yield bank("not-listed", reason, lambda policy: policy.update(bank={"hashes": ["sha384"]}), "sha256:0,7,10")


def reference_values() -> Iterator[Fault]:
    """PCRs with values that the policy does not accept, or that were not signed."""

    def value(name: str, reason: str, tamper: Tamper, **options: Any) -> Fault:
        return Fault(f"values-{name}", "pcr.values", reason, tamper, **options)

    reason = "The machine booted different firmware."
    yield value("other-firmware", reason, lambda forge: forge.measure(0, b"firmware 2.5"))
    reason = "The machine runs a different application."
    yield value("other-application", reason, lambda forge: forge.measure(10, b"another application"))
    yield value(
        "unextended", "PCR 7 was never extended: nothing measured Secure Boot.", _set_pcr("sha256", 7, bytes(32))
    )
    reason = "PCR 7 has the reference value of PCR 0."
    yield value("of-another-pcr", reason, _set_pcr("sha256", 7, Forge().pcrs["sha256"][0]))
    reason = "The policy names a PCR that is neither signed nor reported."
    yield value("not-signed", reason, set_fields(selection="sha256:0,10"))
    reason = "The policy accepts any value of a PCR that is not signed."
    yield value("any-not-signed", reason, set_fields(selection="sha256:0,7"), policy=accept_any_pcr_10)
    reason = "The policy's reference values are in a bank that is not signed."
    yield value("other-bank", reason, set_fields(selection="sha384:0,7,10"))
    yield value(
        "unallocated-bank",
        "The policy names a PCR of a bank that the TPM has not allocated, so the signed selection contains none of it.",
        combined(set_fields(selection="sha256:0,7"), at("selections", lambda signed: [*signed, ("sha384", [])])),
        base=forge_with(selection="sha256:0,7+sha384:0"),
    )
    reason = "The reference value of PCR 7 is in PCR 23, which any program can reset and extend."
    yield value("resettable-pcr", reason, _in_pcr_23, policy=pins_only("0 7"))
    two_banks = forge_with(selection="sha256:0,7+sha384:0,7")
    other = _set_pcr("sha384", 0, keys.digest("sha384", b"other firmware"))
    yield value("one-of-two-banks", "One bank matches the policy, the other does not.", other, base=two_banks)
    reason = "The policy has different reference values."
    yield value("other-policy", reason, unchanged, policy=_other_values)


def _default_banks(policy: Policy) -> None:
    policy.pop("bank", None)


def _other_values(policy: Policy) -> None:
    policy["pcrs"]["sha256"]["7"] = ["5a" * 32, "a5" * 32]


def _set_pcr(bank: str, index: int, value: bytes) -> Tamper:
    def tamper(forge: Forge) -> None:
        forge.pcrs[bank][index] = value

    return tamper


def _in_pcr_23(forge: Forge) -> None:
    forge.pcrs["sha256"][23] = forge.pcrs["sha256"][7]
    forge.selection = "sha256:0,23"


FAULTS = (*selections(), *unreported(), *reported(), *digests(), *reference_banks(), *reference_values())
