"""Findings: the outcome of each rule, as a result reports it."""

from __future__ import annotations

from copy import deepcopy
from enum import Enum, IntEnum
from typing import Any

import msgspec

from nomyo_attest.appraisal.outcome import PASS, CheckResult, Outcome, Value
from nomyo_attest.appraisal.remediation import remediation
from nomyo_attest.appraisal.rules import Rule
from nomyo_attest.policy.model import Requirement
from nomyo_attest.tpm.constants import specification_name


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one rule, with the values compared and what to do.

    Attributes:
        rule: the rule's id, such as ``"pcr.digest"``.
        outcome: whether the rule passes, fails or is undecided.
        requirement: what the policy requires of the rule.
        field: the structure field or the key in the response that the rule examines.
        expected, got: the values compared; bytes, numbers, text, or lists and dicts of them.
        message: why the rule does not hold, as a sentence; ``"holds"`` if it does.
        remediation: what to do; empty if the rule holds.
    """

    rule: str
    outcome: Outcome
    requirement: Requirement
    field: str
    expected: Value
    got: Value
    message: str
    remediation: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; bytes are in hexadecimal."""
        return {
            "rule": self.rule,
            "outcome": self.outcome.value,
            "requirement": self.requirement.value,
            "field": self.field,
            "expected": _to_json(self.expected),
            "got": _to_json(self.got),
            "message": self.message,
            "remediation": self.remediation,
        }


class PlannedRule(msgspec.Struct, frozen=True):
    """A rule as one policy applies it: the id of its finding, and the policy's requirement.

    `warned_until` is the policy's `unsafe_warn_until`, for a rule that was a warning until then; empty for all others.
    """

    id: str
    rule: Rule
    requirement: Requirement
    warned_until: str = ""


def finding_of(planned: PlannedRule, check_result: CheckResult, *, values_signed: bool = True) -> Finding:
    """Build the finding of a rule from its check's result; `values_signed` is passed to `remediation`."""
    outcome, expected, got, message = check_result
    if planned.warned_until and outcome is not PASS:
        message += f"; the rule was a warning until {planned.warned_until} (unsafe_warn_until)"
    return Finding(
        rule=planned.id,
        outcome=outcome,
        requirement=planned.requirement,
        field=planned.rule.field,
        expected=deepcopy(expected),  # results of one layout share the values of its layout checks
        got=deepcopy(got),
        message=message or "holds",
        remediation=remediation(planned.id, check_result, planned.rule.remediation, values_signed=values_signed),
    )


def _to_json(value: Value) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, IntEnum):
        return specification_name(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _to_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(inner) for inner in value]
    return value
