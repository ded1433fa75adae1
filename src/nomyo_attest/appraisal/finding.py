"""The finding of one rule, as a result reports it."""

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
    """The result of one rule.

    Attributes:
        rule: the rule's id, such as ``"pcr.digest"``.
        outcome: whether the rule holds, does not, or is undecided.
        requirement: what the policy requires of the rule.
        field: the structure field or the key in the response that the rule examines.
        expected, got: the values compared; bytes, numbers, text, or lists and dicts of them.
        message: a sentence; ``"holds"`` if the rule holds.
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
            "expected": _jsonable(self.expected),
            "got": _jsonable(self.got),
            "message": self.message,
            "remediation": self.remediation,
        }


class PlannedRule(msgspec.Struct, frozen=True):
    """A rule as one policy applies it: the id of its finding, and the policy's requirement.

    `warned_until` is when the policy's `unsafe_warn_until` ended, for a rule that was a warning until then.
    """

    id: str
    rule: Rule
    requirement: Requirement
    warned_until: str = ""


def finding_of(planned: PlannedRule, checked: CheckResult, *, values_signed: bool = True) -> Finding:
    """Build the finding of a rule from its check's result; `values_signed` is passed to `remediation`."""
    outcome, expected, got, message = checked
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
        remediation=remediation(planned.id, checked, planned.rule.remediation, values_signed=values_signed),
    )


def _jsonable(value: Value) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, IntEnum):
        return specification_name(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(inner) for inner in value]
    return value
