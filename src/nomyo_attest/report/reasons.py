"""Which findings are the reason for a verdict, and which only follow from another one?"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from nomyo_attest.appraisal import AttestationResult, Finding, Outcome
from nomyo_attest.appraisal.rules import consequences
from nomyo_attest.policy.model import Requirement


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
    following = consequences(
        undecided={finding.rule for finding in findings if finding.outcome is Outcome.UNDECIDED},
        failed={finding.rule for finding in findings if finding.outcome is Outcome.FAIL},
        ignored={finding.rule for finding in findings if finding.requirement is Requirement.IGNORE},
    )

    def of(requirement: Requirement, outcomes: Iterable[Outcome], *, waiting: bool = False) -> tuple[Finding, ...]:
        return tuple(
            f
            for f in findings
            if f.requirement is requirement and f.outcome in outcomes and (f.rule in following) is waiting
        )

    undecided, both = (Outcome.UNDECIDED,), (Outcome.FAIL, Outcome.UNDECIDED)
    return Reasons(
        failed=of(Requirement.REQUIRED, (Outcome.FAIL,)),
        open=of(Requirement.REQUIRED, undecided),
        softened=of(Requirement.WARN, both),
        waiting=of(Requirement.REQUIRED, undecided, waiting=True) + of(Requirement.WARN, undecided, waiting=True),
        ignored=of(Requirement.IGNORE, both) + of(Requirement.IGNORE, undecided, waiting=True),
    )
