"""Return the finding of one rule for a response of the soft TPM."""

from __future__ import annotations

import copy
from typing import Any

import nomyo_attest as na
from nomyo_attest.testing import Forge

PASS, FAIL, UNDECIDED = na.Outcome.PASS, na.Outcome.FAIL, na.Outcome.UNDECIDED


def policy_for(forge: Forge, **changes: Any) -> na.AppraisalPolicy:
    """Return the policy that the forge satisfies, with changed keys."""
    return na.AppraisalPolicy.from_dict({**copy.deepcopy(forge.policy()), **changes})


def ask(
    rule: str, forge: Forge, changes: dict[str, Any] | None = None, response: Any = None, **arguments: Any
) -> na.Finding:
    """Return the finding of a rule for `response`, by default that of `forge`, under its policy with `changes`."""
    appraised = forge.response() if response is None else response
    result = na.appraise(appraised, policy_for(forge, **(changes or {})), **arguments)
    (finding,) = (one for one in result.findings if one.rule == rule)
    # The verdict reflects the finding of a required rule.
    if finding.outcome is FAIL:
        assert result.verdict is na.Verdict.CONTRAINDICATED
        assert rule in result.failed
    elif finding.outcome is UNDECIDED:
        assert result.verdict in (na.Verdict.NONE, na.Verdict.CONTRAINDICATED)
        assert rule in result.undecided
    return finding


def outcome(rule: str, forge: Forge, changes: dict[str, Any] | None = None, **arguments: Any) -> na.Outcome:
    """Return only the outcome."""
    return ask(rule, forge, changes, **arguments).outcome
