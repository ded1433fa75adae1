"""Results of every fault of the forge, for reports to be tried on."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import nomyo_attest as na
from nomyo_attest.testing import FAULTS, Fault


class AppraisedFault(NamedTuple):
    """A fault that was acted out, what was said of it, and by which policy."""

    fault: Fault
    result: na.AttestationResult
    policy: na.AppraisalPolicy


@cache
def appraised_fault(name: str) -> AppraisedFault:
    """The fault of this name, appraised."""
    (fault,) = (one for one in FAULTS if one.name == name)
    case = fault.case()
    policy = na.AppraisalPolicy.from_dict(case.policy)
    return AppraisedFault(fault, na.appraise(case.response, policy, **case.arguments), policy)


def all_appraised_faults() -> list[AppraisedFault]:
    """Every fault, appraised."""
    return [appraised_fault(fault.name) for fault in FAULTS]
