"""Appraisal results of all faults of the forge, as input for reports."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import nomyo_attest as na
from nomyo_attest.testing import FAULTS, Fault


class AppraisedFault(NamedTuple):
    """A fault, its appraisal result, and the policy."""

    fault: Fault
    result: na.AttestationResult
    policy: na.AppraisalPolicy


@cache
def appraised_fault(name: str) -> AppraisedFault:
    """Appraise the fault with this name."""
    (fault,) = (one for one in FAULTS if one.name == name)
    case = fault.case()
    policy = na.AppraisalPolicy.from_dict(case.policy)
    return AppraisedFault(fault, na.appraise(case.response, policy, **case.arguments), policy)


def all_appraised_faults() -> list[AppraisedFault]:
    """Appraise every fault."""
    return [appraised_fault(fault.name) for fault in FAULTS]
