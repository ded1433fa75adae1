"""Lint a policy that loads: report where it is weaker than it looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

import msgspec

from nomyo_attest.policy.model import STRONG_HASHES, AppraisalPolicy, PcrReference, Requirement, Trust
from nomyo_attest.policy.pcr_meanings import MEANINGS, QUOTED, never_extended, reset_by
from nomyo_attest.policy.toml import toml_path
from nomyo_attest.rules import rule_facts

WARN_FOR: Final = timedelta(days=90)
"""How long rules may be warnings before `lint` objects: a quarter is enough to see every machine of a fleet update."""


class Weight(Enum):
    """How serious a remark is: the policy is weaker than it looks, or something is good to know."""

    WARNING = "warning"
    NOTE = "note"


class Remark(msgspec.Struct, frozen=True):
    """One remark on a policy.

    Attributes:
        weight: warning or note.
        where: place in the policy, e.g. ``"pcrs.sha256.16"``.
        problem: what the policy's owner should know, a sentence.
        hint: what to do about it; empty if nothing has to be done.
    """

    weight: Weight
    where: str
    problem: str
    hint: str


def lint(policy: AppraisalPolicy, now: datetime) -> tuple[Remark, ...]:
    """Return the remarks on `policy` as of `now`: warnings first, each weight in the order of a policy file."""
    remarks = [
        *_period(policy, now),
        *_unsafe(policy),
        *_warned(policy, now),
        *_reference_values(policy),
        *_coverage(policy),
        *_key(policy),
        *_hashes(policy),
        *_asked(policy),
        *_softened(policy, now),
    ]
    return tuple(sorted(remarks, key=lambda remark: remark.weight is Weight.NOTE))


def _warning(where: str, problem: str, hint: str = "") -> Remark:
    return Remark(Weight.WARNING, where, problem, hint)


def _note(where: str, problem: str, hint: str = "") -> Remark:
    return Remark(Weight.NOTE, where, problem, hint)


def _period(policy: AppraisalPolicy, now: datetime) -> Iterator[Remark]:
    if policy.valid_until and now > policy.valid_until:
        yield _warning(
            "valid_until", "the policy's period is over: nothing is affirmed by it any more", "write a new policy"
        )
    if policy.valid_from and now < policy.valid_from:
        yield _warning("valid_from", "the policy's period has not begun: nothing is affirmed by it yet")


def _warned(policy: AppraisalPolicy, now: datetime) -> Iterator[Remark]:
    until = policy.unsafe_warn_until
    if until is None:
        return
    where, rules = "unsafe_warn_until", ", ".join(policy.warned)
    if not rules:
        yield _warning(where, "it makes no rule a warning", "remove it")
    elif now >= until:
        yield _warning(
            where, f"the period is over: {rules} is required again", 'remove it, and the "warn" of these rules'
        )
    else:
        yield _warning(
            where, f"until then, evidence for which {rules} does not hold is accepted", "keep the period short"
        )
        if until - now > WARN_FOR:
            yield _warning(where, f"the end is more than {WARN_FOR.days} days away", "set an earlier date")


def _unsafe(policy: AppraisalPolicy) -> Iterator[Remark]:
    if policy.unsafe_any_nonce:
        yield _warning(
            "unsafe_any_nonce",
            "a quote made for any other request, at any time, is accepted",
            "remove it, and give the payload id with --payload-id where it is not recorded",
        )
    if policy.unsafe_accept_any_pcrs:
        pinned = any(pcr.values for pcr in policy.pcrs)
        problem = (
            "it permits a policy without reference values, which this one has"
            if pinned
            else "every machine state is accepted"
        )
        yield _warning("unsafe_accept_any_pcrs", problem, "remove it" if pinned else "pin PCR values, and remove it")


def _reference_values(policy: AppraisalPolicy) -> Iterator[Remark]:
    fresh = [pcr for pcr in policy.pcrs if any(never_extended(one.value) for one in pcr.values)]
    if fresh:
        yield _warning(
            _where(fresh),
            "a reference value is that of a PCR that was never extended: it says nothing about the machine",
            "pin a value of a machine whose firmware measures into this PCR, and remove this one",
        )
    for reason in dict.fromkeys(reset_by(pcr.index) for pcr in policy.pcrs if pcr.values):
        if reason:
            resettable = [pcr for pcr in policy.pcrs if pcr.values and reset_by(pcr.index) == reason]
            yield _warning(_where(resettable), f"the value proves little: {reason}", "rely on PCRs 0 to 15")
    unlabelled = [pcr for pcr in policy.pcrs if any(not one.label for one in pcr.values)]
    if unlabelled:
        yield _note(_where(unlabelled), "no label says where a value comes from", 'write { value = "…", label = "…" }')


def _where(pcrs: list[PcrReference]) -> str:
    """Places in the policy: ``"pcrs.sha256.0, pcrs.sha256.7"``."""
    return ", ".join(f"pcrs.{pcr.bank}.{pcr.index}" for pcr in pcrs)


def _coverage(policy: AppraisalPolicy) -> Iterator[Remark]:
    pinned = {pcr.index for pcr in policy.pcrs if pcr.values}
    free = [pcr for pcr in policy.pcrs if pcr.index in QUOTED and pcr.index not in pinned]
    for pcr in free:
        yield _warning(
            toml_path("pcrs", pcr.bank, str(pcr.index)),
            f'PCR {pcr.index} is "any": every value is accepted ({MEANINGS[pcr.index]})',
            "pin its values; nomyo-attest policy learn prints those of a recorded response",
        )
    if not pinned:
        return  # _unsafe reports this
    if pinned <= {10}:
        yield _warning(
            "pcrs",
            "only PCR 10 has reference values: what measured it, firmware, boot loader and kernel, is not checked",
            "pin PCR 0 and PCR 7 too",
        )
        return
    for index, measured in ((0, "firmware"), (7, "Secure Boot")):
        if index not in pinned and index not in {pcr.index for pcr in free}:
            yield _note(
                "pcrs",
                f"PCR {index} has no reference value: {measured} is not checked",
                f"pin PCR {index}, if the service quotes it",
            )


def _key(policy: AppraisalPolicy) -> Iterator[Remark]:
    if not policy.hierarchies:
        yield _warning(
            "key.hierarchy",
            "no hierarchy is asked for, so nothing ties the AIK's public area, its attributes included, to the quote",
            'write hierarchy = ["endorsement"], or what nomyo-attest inspect shows',
        )
    if policy.trust is Trust.SELF_ASSERTED:
        yield _note(
            "key.trust",
            "self_asserted: the AIK has no certificate, and software can write such evidence",
            "pin AIKs that persist, if the service has any",
        )
        if policy.pinned:
            yield _note("key.pinned", "AIKs that are not pinned pass too", 'write trust = "pinned_aik" to refuse them')
    yield from _aik_labels(policy)


def _aik_labels(policy: AppraisalPolicy) -> Iterator[Remark]:
    labels = Counter(policy.pinned_labels.values())
    shared = [label for label, names in labels.items() if names > 1]
    if shared:
        named = ", ".join(sorted(repr(label) for label in shared))
        hint = "give each AIK a label of its own"
        yield _warning(
            "key.pinned", f"several AIKs have the same label, so reports do not tell them apart: {named}", hint
        )
    if labels and len(policy.pinned_labels) < len(policy.pinned):
        without = len(policy.pinned) - len(policy.pinned_labels)
        problem = f"{without} of {len(policy.pinned)} AIKs have no label: reports show their Names"
        yield _note("key.pinned", problem, 'write { name = "000b…", label = "…" }')


def _hashes(policy: AppraisalPolicy) -> Iterator[Remark]:
    if "sha1" in policy.signature_hashes:
        yield _warning(
            "signature.hashes", "SHA-1 signatures are accepted: collisions are found in practice", "remove sha1"
        )
    if "sha1" in policy.banks_relied_on and "sha1" in policy.bank_hashes:
        yield _warning("bank.hashes", "the policy has reference values in a SHA-1 bank", "pin those of a stronger bank")
    refused = policy.weak_banks
    if refused and policy.rules.get("pcr.bank", Requirement.REQUIRED) is Requirement.REQUIRED:
        yield _warning(
            "bank.hashes",
            f"it has reference values in the {', '.join(refused)} bank, which is not allowed: nothing is affirmed",
            f"pin values of another bank, one of {', '.join(STRONG_HASHES)}",
        )


def _asked(policy: AppraisalPolicy) -> Iterator[Remark]:
    if policy.firmware_versions and not {"endorsement", "platform"}.issuperset(policy.hierarchies or ("owner",)):
        yield _warning(
            "firmware.versions",
            "TPMs obfuscate it for keys outside the endorsement and platform hierarchies, which are then not affirmed",
            "ask for one of these hierarchies only, or remove it",
        )
    if policy.claims:
        yield _note("claims", "nothing signs the server's claims: a server that lies passes")


def _softened(policy: AppraisalPolicy, now: datetime) -> Iterator[Remark]:
    ended = policy.warned if policy.unsafe_warn_until and now >= policy.unsafe_warn_until else ()
    for rule, requirement in sorted(policy.rules.items()):
        where = toml_path("rules", rule)
        if not policy.asks(rule):
            hint = f"write {' or '.join(rule_facts(rule).asked_with)}"
            yield _warning(where, "the rule is not asked: it has nothing to compare with", hint)
        elif requirement is Requirement.REQUIRED or rule in ended:
            continue  # _warned reports rules whose time as a warning is over
        elif rule == "clock.safe":
            yield _note(where, "where the rule does not hold, quotes cannot be put in order by their clock")
        elif requirement is Requirement.WARN:
            yield _warning(
                where,
                "evidence for which the rule does not hold passes with a warning",
                "remove it when it is not needed",
            )
        else:
            yield _warning(
                where, "evidence for which the rule does not hold passes without a warning", "remove the rule here"
            )
