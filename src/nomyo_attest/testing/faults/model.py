"""What a fault is, and what an appraisal must say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypedDict

from nomyo_attest.testing.faults.changes import Policy, Tamper, nothing
from nomyo_attest.testing.forge import Forge

RULES: Final = (
    "evidence.available",
    "evidence.form",
    "attest.form",
    "signature.form",
    "key.form",
    "attest.magic",
    "attest.type",
    "key.attributes",
    "key.template",
    "key.strength",
    "key.hierarchy",
    "key.trust",
    "signer.name",
    "signature.scheme",
    "signature.hash",
    "signature.valid",
    "nonce.match",
    "clock.safe",
    "pcr.selection",
    "pcr.digest",
    "pcr.bank",
    "pcr.values",
    "firmware.version",
    "policy.period",
)
"""The rules that a fault can be caught by; besides these, ``claims.`` and the path of a claim."""

# Which rules cannot be told once another does not hold, because what they look at is missing or does not parse. Those
# that the policy does not ask are left out by `Fault.expect`. pcr.bank and policy.period look at the policy alone.
_OF_PCRS: Final = ("pcr.selection", "pcr.digest", "pcr.values")
_OF_SIGNER: Final = ("key.hierarchy", "signer.name", "firmware.version")
_OF_KEY: Final = ("key.attributes", "key.template", "key.strength", "key.trust", *_OF_SIGNER)
_OF_ATTEST: Final = (
    "attest.magic",
    "attest.type",
    "nonce.match",
    "clock.safe",
    *_OF_PCRS,
    *_OF_SIGNER,
    "signature.valid",
)
_OF_SIGNATURE: Final = ("signature.scheme", "signature.hash", "signature.valid")
_OF_EVIDENCE: Final = ("attest.form", "signature.form", "key.form", *_OF_KEY, *_OF_ATTEST, *_OF_SIGNATURE)

WAITS_ON: Final[Mapping[str, tuple[str, ...]]] = {
    "evidence.available": ("evidence.form", *_OF_EVIDENCE),
    "evidence.form": ("evidence.available", *_OF_EVIDENCE),
    "attest.form": _OF_ATTEST,
    "signature.form": (*_OF_SIGNATURE, "pcr.digest"),
    "key.form": (*_OF_KEY, *_OF_SIGNATURE),
    "attest.type": _OF_PCRS,
}
"""Rule → the rules that stay undecided where it does not hold."""


class Arguments(TypedDict, total=False):
    """Keyword arguments of `appraise`."""

    payload_id: str
    nonce: bytes
    now: datetime


@dataclass(frozen=True)
class Case:
    """Something to appraise: the answer, the policy, and how.

    Attributes:
        policy: dict for `AppraisalPolicy.from_dict`.
        response: a dict, or JSON text where a dict could not show what is particular.
        arguments: keyword arguments of `appraise`; mostly none.
    """

    policy: dict[str, Any]
    response: Any
    arguments: Arguments


@dataclass(frozen=True)
class Fault:
    """Evidence, or a policy, wrong in exactly one way.

    Attributes:
        name: a slug; the vector's file is named after it.
        rule: the one rule that must catch it. Were it not there, nothing else would fail.
        reason: one sentence: what is wrong and what would follow from taking it.
        tamper: changes a fresh forge.
        world: makes the forge before the fault, a world in which all is right.
        policy: changes the policy of that world.
        undecided: the rule cannot tell, instead of failing.
        also_failed: rules that must fail along with it, as they look at the same bytes.
        also_undecided: rules that cannot be told because of this fault, besides those in `WAITS_ON`.
        arguments: see `Case`.
        as_text: hand over the JSON text.
    """

    name: str
    rule: str
    reason: str
    tamper: Tamper = nothing
    world: Callable[[], Forge] = Forge
    policy: Callable[[Policy], object] = nothing
    undecided: bool = False
    also_failed: tuple[str, ...] = ()
    also_undecided: tuple[str, ...] = ()
    arguments: Arguments = field(default_factory=Arguments)
    as_text: bool = False

    def case(self) -> Case:
        """Act the fault out."""
        forge = self.world()
        policy = self._policy(forge)
        self.tamper(forge)
        answer = forge.answer()
        return Case(policy, answer.text if self.as_text else answer.response, self.arguments)

    def expect(self) -> dict[str, Any]:
        """What an appraisal must say of it: verdict, failed rules, undecided rules; from this table, not a Verifier."""
        policy = self._policy(self.world())
        waiting = {rule for rule in WAITS_ON.get(self.rule, ()) if asked(rule, policy)}
        failed = {*self.also_failed} if self.undecided else {self.rule, *self.also_failed}
        undecided = {*waiting, *self.also_undecided} | ({self.rule} if self.undecided else set())
        return {
            "verdict": "contraindicated" if failed else "none",
            "failed": _in_order(failed),
            "undecided": _in_order(undecided - failed),
        }

    def _policy(self, forge: Forge) -> Policy:
        policy = forge.policy()
        self.policy(policy)
        return policy


def asked(rule: str, policy: Mapping[str, Any]) -> bool:
    """Whether a policy makes an appraisal answer this rule at all."""
    if rule == "key.hierarchy":
        return "hierarchy" in policy.get("key", {})
    if rule == "firmware.version":
        return "firmware" in policy
    return True


def _in_order(rules: set[str]) -> list[str]:
    """Rule ids in the order of `RULES`, claims last."""
    return sorted(rules, key=lambda rule: (RULES.index(rule) if rule in RULES else len(RULES), rule))
