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

WARNING_PERIOD_MAX: Final = timedelta(days=90)
"""The maximum warning period that `lint` accepts: three months are enough to see every machine of a fleet update."""


_RENEW: Final = (
    "if you confirm its values, write a later valid_until; nomyo-attest policy learn writes a new policy from responses"
)


class Weight(Enum):
    """How serious a remark is: a warning if the policy is weaker than it looks, otherwise a note."""

    WARNING = "warning"
    NOTE = "note"


class Remark(msgspec.Struct, frozen=True):
    """One remark on a policy.

    Attributes:
        weight: warning or note.
        where: place in the policy, e.g. ``"pcrs.sha256.16"``.
        problem: the remark, as a sentence.
        hint: the next action; empty if none is needed.
    """

    weight: Weight
    where: str
    problem: str
    hint: str


def lint(policy: AppraisalPolicy, now: datetime) -> tuple[Remark, ...]:
    """Return the remarks on `policy` as of `now`: warnings first, each weight in the order of a policy file."""
    remarks = [
        *_check_period(policy, now),
        *_check_unsafe_keys(policy),
        *_check_warning_period(policy, now),
        *_check_reference_values(policy),
        *_check_coverage(policy),
        *_check_key(policy),
        *_check_hashes(policy),
        *_check_values(policy),
        *_check_softened_rules(policy, now),
    ]
    return tuple(sorted(remarks, key=lambda remark: remark.weight is Weight.NOTE))


def validity(policy: AppraisalPolicy, now: datetime) -> str:
    """Return the state of a policy that loads, as of `now`: ``"usable"``, ``"expired"`` or ``"not valid yet"``."""
    if policy.valid_until and now > policy.valid_until:
        return "expired"
    return "not valid yet" if policy.valid_from and now < policy.valid_from else "usable"


def _warning(where: str, problem: str, hint: str = "") -> Remark:
    return Remark(Weight.WARNING, where, problem, hint)


def _note(where: str, problem: str, hint: str = "") -> Remark:
    return Remark(Weight.NOTE, where, problem, hint)


def _check_period(policy: AppraisalPolicy, now: datetime) -> Iterator[Remark]:
    state = validity(policy, now)
    if state == "expired":
        yield _warning("valid_until", "the policy has expired and no longer affirms any evidence", _RENEW)
    elif state == "not valid yet":
        yield _warning("valid_from", "the policy is not valid yet and affirms no evidence until then")


def _check_warning_period(policy: AppraisalPolicy, now: datetime) -> Iterator[Remark]:
    until = policy.unsafe_warn_until
    if until is None:
        return
    where, rules = "unsafe_warn_until", ", ".join(policy.warned)
    if not rules:
        yield _warning(where, 'no rule is set to "warn", so this date has no effect', "remove it")
    elif now >= until:
        yield _warning(
            where, f"this date has passed: {rules} is required again", 'remove it and the "warn" of these rules'
        )
    else:
        yield _warning(
            where, f"evidence for which {rules} does not hold is accepted until this date", "keep the period short"
        )
        if until - now > WARNING_PERIOD_MAX:
            yield _warning(where, f"this date is more than {WARNING_PERIOD_MAX.days} days away", "set an earlier date")


def _check_unsafe_keys(policy: AppraisalPolicy) -> Iterator[Remark]:
    if policy.unsafe_any_nonce:
        yield _warning(
            "unsafe_any_nonce",
            "a quote that was made for another request, at any time, is accepted",
            "remove it, and pass the payload id with --payload-id if the response does not contain it",
        )
    if policy.unsafe_accept_any_pcrs:
        pinned = any(pcr.values for pcr in policy.pcrs)
        problem = (
            "it has no effect, because this policy has reference values"
            if pinned
            else "every machine state is accepted"
        )
        yield _warning("unsafe_accept_any_pcrs", problem, "remove it" if pinned else "pin PCR values and remove it")


def _check_reference_values(policy: AppraisalPolicy) -> Iterator[Remark]:
    initial = [pcr for pcr in policy.pcrs if any(never_extended(reference.value) for reference in pcr.values)]
    if initial:
        yield _warning(
            _places(initial),
            "a reference value is the initial value of a PCR, which says nothing about the machine",
            "replace it with a value from a machine whose firmware measures into this PCR",
        )
    for reason in dict.fromkeys(reset_by(pcr.index) for pcr in policy.pcrs if pcr.values):
        if reason:
            resettable = [pcr for pcr in policy.pcrs if pcr.values and reset_by(pcr.index) == reason]
            yield _warning(_places(resettable), f"the value proves little, because {reason}", "rely on PCRs 0 to 15")
    unlabeled = [pcr for pcr in policy.pcrs if any(not reference.label for reference in pcr.values)]
    if unlabeled:
        yield _note(
            _places(unlabeled),
            "a value has no label that names its source",
            'write { value = "…", label = "…" }',
        )


def _places(pcrs: list[PcrReference]) -> str:
    """Places in the policy: ``"pcrs.sha256.0, pcrs.sha256.7"``."""
    return ", ".join(f"pcrs.{pcr.bank}.{pcr.index}" for pcr in pcrs)


def _check_coverage(policy: AppraisalPolicy) -> Iterator[Remark]:
    pinned = {pcr.index for pcr in policy.pcrs if pcr.values}
    unpinned = [pcr for pcr in policy.pcrs if pcr.index in QUOTED and pcr.index not in pinned]
    for pcr in unpinned:
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
            "only PCR 10 has reference values: the firmware, boot loader and kernel that measured it are not checked",
            "pin PCR 0 and PCR 7 too",
        )
        return
    for index, measured in ((0, "firmware"), (7, "Secure Boot")):
        if index not in pinned and index not in {pcr.index for pcr in unpinned}:
            yield _note(
                "pcrs",
                f"PCR {index} has no reference value: {measured} is not checked",
                f"pin PCR {index} if the service quotes it",
            )


def _check_key(policy: AppraisalPolicy) -> Iterator[Remark]:
    if not policy.hierarchies:
        yield _warning(
            "key.hierarchy",
            "no hierarchy is required, so nothing ties the AIK's public area, including its attributes, to the quote",
            'write hierarchy = ["endorsement"], or the hierarchy that nomyo-attest inspect prints',
        )
    if policy.trust is Trust.SELF_ASSERTED:
        yield _note(
            "key.trust",
            "self_asserted: the AIK has no certificate, and software can forge such evidence",
            "pin the AIKs if the service has persistent ones",
        )
        if policy.pinned:
            yield _note(
                "key.pinned", "AIKs that are not pinned are accepted too", 'write trust = "pinned_aik" to reject them'
            )
    yield from _check_aik_labels(policy)


def _check_aik_labels(policy: AppraisalPolicy) -> Iterator[Remark]:
    labels = Counter(policy.pinned_labels.values())
    shared = [label for label, names in labels.items() if names > 1]
    if shared:
        quoted_labels = ", ".join(sorted(repr(label) for label in shared))
        hint = "give each AIK a different label"
        yield _warning(
            "key.pinned", f"several AIKs have the same label, which makes reports ambiguous: {quoted_labels}", hint
        )
    if labels and len(policy.pinned_labels) < len(policy.pinned):
        without = len(policy.pinned) - len(policy.pinned_labels)
        problem = f"{without} of {len(policy.pinned)} AIKs have no label: reports show their Names"
        yield _note("key.pinned", problem, 'write { name = "000b…", label = "…" }')


def _check_hashes(policy: AppraisalPolicy) -> Iterator[Remark]:
    if "sha1" in policy.signature_hashes:
        yield _warning(
            "signature.hashes", "SHA-1 signatures are accepted, but SHA-1 collisions are practical", "remove sha1"
        )
    if "sha1" in policy.banks_relied_on and "sha1" in policy.bank_hashes:
        yield _warning(
            "bank.hashes", "the policy has reference values in a SHA-1 bank", "pin values of a stronger bank"
        )
    refused = policy.weak_banks
    if refused and policy.rules.get("pcr.bank", Requirement.REQUIRED) is Requirement.REQUIRED:
        yield _warning(
            "bank.hashes",
            f"reference values are in the {', '.join(refused)} bank, which is not allowed, so no evidence is affirmed",
            f"pin values of another bank, one of {', '.join(STRONG_HASHES)}",
        )


def _check_values(policy: AppraisalPolicy) -> Iterator[Remark]:
    if policy.firmware_versions and not {"endorsement", "platform"}.issuperset(policy.hierarchies or ("owner",)):
        yield _warning(
            "firmware.versions",
            "TPMs obfuscate the version for keys outside the endorsement and platform hierarchies",
            "list only these two under key.hierarchy, or remove firmware.versions",
        )
    if policy.claims:
        yield _note("claims", "claims are unsigned: a server can claim anything")


def _check_softened_rules(policy: AppraisalPolicy, now: datetime) -> Iterator[Remark]:
    ended = policy.warned if policy.unsafe_warn_until and now >= policy.unsafe_warn_until else ()
    for rule, requirement in sorted(policy.rules.items()):
        where = toml_path("rules", rule)
        if not policy.enables(rule):
            hint = f"write {' or '.join(rule_facts(rule).enabled_by)}"
            yield _warning(where, "the rule is not evaluated: the policy has no value for it to compare with", hint)
        elif requirement is Requirement.REQUIRED or rule in ended:
            continue  # `_check_warning_period` reports rules whose warning period has ended
        elif rule == "clock.safe":
            yield _note(where, "quotes for which the rule does not hold cannot be ordered by their clock")
        elif requirement is Requirement.WARN:
            yield _warning(
                where,
                "evidence for which the rule does not hold passes with a warning",
                "remove it when it is no longer needed",
            )
        else:
            yield _warning(
                where, "evidence for which the rule does not hold passes without a warning", "remove the rule here"
            )
