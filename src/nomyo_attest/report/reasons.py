"""Which findings are the reason for a verdict, and which only follow from another one?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from nomyo_attest.appraisal import AttestationResult, Finding, Outcome
from nomyo_attest.policy.model import Requirement

NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "attest.form": ("evidence.available", "evidence.form"),
    "signature.form": ("evidence.available", "evidence.form"),
    "key.form": ("evidence.available", "evidence.form"),
    "evidence.available": ("evidence.form",),
    "evidence.form": ("evidence.available",),
    "attest.magic": ("attest.form",),
    "attest.type": ("attest.form",),
    "key.attributes": ("key.form",),
    "key.template": ("key.form",),
    "key.strength": ("key.form",),
    "key.hierarchy": ("attest.form", "key.form"),
    "key.trust": ("key.form",),
    "signer.name": ("attest.form", "key.form"),
    "signature.scheme": ("signature.form", "key.form"),
    "signature.hash": ("signature.form", "key.form"),
    "signature.valid": ("attest.form", "signature.form", "key.form", "key.strength"),
    "nonce.match": ("attest.form",),
    "clock.safe": ("attest.form",),
    "pcr.selection": ("attest.form", "attest.type"),
    "pcr.digest": ("attest.form", "attest.type", "signature.form", "pcr.selection"),
    "pcr.values": ("attest.form", "attest.type"),
    "firmware.version": ("attest.form", "key.form"),
    "claims.*": ("evidence.form",),
}
"""What a rule cannot be decided without: the rules that must hold first. One without an entry stands by itself."""


class Reasons(msgspec.Struct, frozen=True):
    """The findings that do not simply hold, sorted by what they mean for a reader.

    Attributes:
        failed: required and do not hold.
        open: required, cannot be told, and that is not for another finding's sake.
        softened: do not hold, or cannot be told, and the policy makes it a warning.
        waiting: cannot be told because another rule does not hold.
        ignored: do not hold, or cannot be told, and the policy ignores it.
    """

    failed: tuple[Finding, ...]
    open: tuple[Finding, ...]
    softened: tuple[Finding, ...]
    waiting: tuple[Finding, ...]
    ignored: tuple[Finding, ...]


def reasons(result: AttestationResult) -> Reasons:
    """Sort the findings of `result`, each group in the order of the table."""
    return sort_findings(result.findings)


def sort_findings(findings: Iterable[Finding]) -> Reasons:
    """Sort findings wherever they are from: a result, or the row that an audit made of one."""
    findings = [finding for finding in findings if finding.outcome is not Outcome.PASS]
    by_rule = {finding.rule: finding for finding in findings}

    def waits(finding: Finding) -> bool:
        if finding.outcome is not Outcome.UNDECIDED:
            return False
        needs = NEEDS.get("claims.*" if finding.rule.startswith("claims.") else finding.rule, ())
        return any(_explains(by_rule[rule], finding) for rule in needs if rule in by_rule)

    def of(requirement: Requirement, outcomes: Iterable[Outcome], *, waiting: bool = False) -> tuple[Finding, ...]:
        return tuple(
            f for f in findings if f.requirement is requirement and f.outcome in outcomes and waits(f) is waiting
        )

    undecided, both = (Outcome.UNDECIDED,), (Outcome.FAIL, Outcome.UNDECIDED)
    return Reasons(
        failed=of(Requirement.REQUIRED, (Outcome.FAIL,)),
        open=of(Requirement.REQUIRED, undecided),
        softened=of(Requirement.WARN, both),
        waiting=of(Requirement.REQUIRED, undecided, waiting=True) + of(Requirement.WARN, undecided, waiting=True),
        ignored=of(Requirement.IGNORE, both) + of(Requirement.IGNORE, undecided, waiting=True),
    )


def _explains(reason: Finding, finding: Finding) -> bool:
    """Whether a reader who is shown `reason` need not be shown `finding`: what is ignored is not shown.

    Without evidence, `evidence.available` and `evidence.form` both cannot be told, and the first is the reason.
    """
    if (reason.rule, finding.rule) == ("evidence.form", "evidence.available"):
        return reason.outcome is Outcome.FAIL
    return reason.requirement is not Requirement.IGNORE
