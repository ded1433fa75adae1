"""Define faults, their expected appraisal results, and the primitive changes that faults consist of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypedDict

from nomyo_attest.rules import RULE_TABLE
from nomyo_attest.testing.forge import Forge

Tamper = Callable[[Forge], object]
Bytes = Callable[[bytes], bytes]
Policy = dict[str, Any]


def unchanged(_: object) -> None:
    """Leave a forge, or a policy, as it is."""


def at(stage: str, change: Callable[[Any], Any]) -> Tamper:
    """Change the output of one stage of the forge."""
    return lambda forge: forge.tamper(stage, change)


def set_fields(**fields: Any) -> Tamper:
    """Set fields of the forge."""

    def tamper(forge: Forge) -> None:
        for name, value in fields.items():
            setattr(forge, name, value)

    return tamper


def combined(*tampers: Tamper) -> Tamper:
    """Apply several tampers in order."""

    def tamper(forge: Forge) -> None:
        for step in tampers:
            step(forge)

    return tamper


def forge_with(**fields: Any) -> Callable[[], Forge]:
    """Return a factory of valid forges with these fields."""
    return lambda: Forge(**fields)


def always(value: Any) -> Callable[[object], Any]:
    """Replace any input with `value`."""
    return lambda _: value


def put(offset: int, octets: bytes) -> Bytes:
    """Overwrite bytes, starting at `offset`."""
    return lambda blob: blob[:offset] + octets + blob[offset + len(octets) :]


def cut(end: int) -> Bytes:
    """Keep the bytes before `end`; a negative number counts from the end."""
    return lambda blob: blob[:end]


def add(octets: bytes) -> Bytes:
    """Append bytes."""
    return lambda blob: blob + octets


def flip(offset: int) -> Bytes:
    """Flip the lowest bit of the byte at `offset`; a negative number counts from the end."""

    def change(blob: bytes) -> bytes:
        octets = bytearray(blob)
        octets[offset] ^= 1
        return bytes(octets)

    return change


def set_key(key: str, value: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Set one key of a dict."""
    return lambda fields: {**fields, key: value}


def drop_key(key: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Remove one key from a dict."""
    return lambda fields: {name: value for name, value in fields.items() if name != key}


def change_key(key: str, change: Callable[[Any], Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Change the value of one key of a dict."""
    return lambda fields: {**fields, key: change(fields[key])}


def block(change: Callable[[Any], Any]) -> Tamper:
    """Change the `tpm_attestation` object."""
    return at("tpm_attestation", change)


def metadata(change: Callable[[Any], Any]) -> Tamper:
    """Change the `_metadata` object."""
    return at("_metadata", change)


def duplicate_key(key: str, first: str) -> Tamper:
    """Insert a duplicate of a key before it in the text, with the JSON value `first`."""
    return at("text", lambda text: text.replace(f'"{key}": ', f'"{key}": {first}, "{key}": ', 1))


def without_hierarchy(policy: Policy) -> None:
    """Remove the policy's requirement on the key's hierarchy."""
    policy.pop("key", None)


def pins_only(indices: str) -> Callable[[Policy], None]:
    """Keep only the reference values of these SHA-256 PCRs, e.g. ``"0 7"``; with ``""``, accept any PCR values."""

    def change(policy: Policy) -> None:
        if indices:
            policy["pcrs"] = {"sha256": {index: policy["pcrs"]["sha256"][index] for index in indices.split()}}
        else:
            del policy["pcrs"]
            policy["unsafe_accept_any_pcrs"] = True

    return change


def accept_any_pcr_10(policy: Policy) -> None:
    """Accept any signed value of PCR 10."""
    policy["pcrs"]["sha256"]["10"] = "any"


RULES: Final = tuple(row.id for row in RULE_TABLE if row.id != "claims.*")
"""The rules that can detect a fault, except those of claims, which are named ``claims.`` and a path."""

# The rules that are undecided if another rule fails, because their input is missing or does not parse. This
# repeats the `needs` of the table on purpose, so that the vectors test the table. `Fault.expect` omits rules that the
# policy does not enable; pcr.bank and policy.period depend only on the policy.
_PCR_RULES: Final = ("pcr.selection", "pcr.digest", "pcr.values")
_SIGNER_RULES: Final = ("key.hierarchy", "signer.name", "firmware.version")
_KEY_RULES: Final = ("key.attributes", "key.template", "key.strength", "key.trust", *_SIGNER_RULES)
_ATTEST_RULES: Final = (
    "attest.magic",
    "attest.type",
    "nonce.match",
    "clock.safe",
    *_PCR_RULES,
    *_SIGNER_RULES,
    "signature.valid",
)
_SIGNATURE_RULES: Final = ("signature.scheme", "signature.hash", "signature.valid")
_EVIDENCE_RULES: Final = ("attest.form", "signature.form", "key.form", *_KEY_RULES, *_ATTEST_RULES, *_SIGNATURE_RULES)

DEPENDENT_RULES: Final[Mapping[str, tuple[str, ...]]] = {
    "evidence.available": ("evidence.form", *_EVIDENCE_RULES),
    "evidence.form": ("evidence.available", *_EVIDENCE_RULES),
    "attest.form": _ATTEST_RULES,
    "signature.form": (*_SIGNATURE_RULES, "pcr.digest"),
    "key.form": (*_KEY_RULES, *_SIGNATURE_RULES),
    "attest.type": _PCR_RULES,
}
"""Rule → the rules that are undecided if it fails."""


class Arguments(TypedDict, total=False):
    """Keyword arguments of `appraise`."""

    payload_id: str
    nonce: bytes
    now: datetime


@dataclass(frozen=True)
class Case:
    """The input of one appraisal.

    Attributes:
        policy: dict for `AppraisalPolicy.from_dict`.
        response: a dict, or JSON text for a fault that a dict cannot represent, such as a duplicate key.
        arguments: keyword arguments of `appraise`, usually empty.
    """

    policy: dict[str, Any]
    response: Any
    arguments: Arguments


@dataclass(frozen=True)
class Fault:
    """Evidence or a policy that is wrong in exactly one way.

    Attributes:
        name: a slug; the vector's file is named after it.
        rule: the only rule that rejects it.
        reason: one sentence: what is wrong, and the consequence of accepting it.
        tamper: changes a fresh forge.
        base: creates the valid forge to which the fault is applied.
        policy: changes the policy that the valid forge satisfies.
        undecided: whether the rule is undecided instead of failing.
        also_failed: rules that fail too, because they examine the same bytes.
        also_undecided: rules that are undecided because of this fault, in addition to those in `DEPENDENT_RULES`.
        arguments: see `Case`.
        as_text: whether to appraise the JSON text instead of a dict.
    """

    name: str
    rule: str
    reason: str
    tamper: Tamper = unchanged
    base: Callable[[], Forge] = Forge
    policy: Callable[[Policy], object] = unchanged
    undecided: bool = False
    also_failed: tuple[str, ...] = ()
    also_undecided: tuple[str, ...] = ()
    arguments: Arguments = field(default_factory=Arguments)
    as_text: bool = False

    def case(self) -> Case:
        """Build the case: apply the fault to a fresh forge."""
        forge = self.base()
        policy = self._policy(forge)
        self.tamper(forge)
        built = forge.build()
        return Case(policy, built.text if self.as_text else built.response, self.arguments)

    def expect(self) -> dict[str, Any]:
        """Return the expected verdict, failed rules and undecided rules, from this table and not from a Verifier."""
        policy = self._policy(self.base())
        dependent = {rule for rule in DEPENDENT_RULES.get(self.rule, ()) if is_enabled(rule, policy)}
        failed = {*self.also_failed} if self.undecided else {self.rule, *self.also_failed}
        undecided = {*dependent, *self.also_undecided} | ({self.rule} if self.undecided else set())
        return {
            "verdict": "contraindicated" if failed else "none",
            "failed": _in_table_order(failed),
            "undecided": _in_table_order(undecided - failed),
        }

    def _policy(self, forge: Forge) -> Policy:
        policy = forge.policy()
        self.policy(policy)
        return policy


def is_enabled(rule: str, policy: Mapping[str, Any]) -> bool:
    """Whether a policy enables this rule."""
    if rule == "key.hierarchy":
        return "hierarchy" in policy.get("key", {})
    if rule == "firmware.version":
        return "firmware" in policy
    return True


def _in_table_order(rules: set[str]) -> list[str]:
    """Sort rule ids in the order of `RULES`, claims last."""
    return sorted(rules, key=lambda rule: (RULES.index(rule) if rule in RULES else len(RULES), rule))
