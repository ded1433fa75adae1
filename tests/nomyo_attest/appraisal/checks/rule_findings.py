"""Asks one rule about what a soft TPM answered."""

from __future__ import annotations

import copy
from typing import Any

import nomyo_attest as na
from nomyo_attest.testing import Forge

PASS, FAIL, UNDECIDED = na.Outcome.PASS, na.Outcome.FAIL, na.Outcome.UNDECIDED


def policy_for(forge: Forge, **changes: Any) -> na.AppraisalPolicy:
    """The policy that the forge satisfies, with some of its keys set."""
    return na.AppraisalPolicy.from_dict({**copy.deepcopy(forge.policy()), **changes})


def ask(
    rule: str, forge: Forge, changes: dict[str, Any] | None = None, response: Any = None, **arguments: Any
) -> na.Finding:
    """What a rule finds in the answer of `forge`, or in another `response`, under the forge's policy with `changes`."""
    given = forge.response() if response is None else response
    result = na.appraise(given, policy_for(forge, **(changes or {})), **arguments)
    (finding,) = (one for one in result.findings if one.rule == rule)
    # Whatever a required rule finds shows in the verdict.
    if finding.outcome is FAIL:
        assert result.verdict is na.Verdict.CONTRAINDICATED
        assert rule in result.failed
    elif finding.outcome is UNDECIDED:
        assert result.verdict in (na.Verdict.NONE, na.Verdict.CONTRAINDICATED)
        assert rule in result.undecided
    return finding


def outcome(rule: str, forge: Forge, changes: dict[str, Any] | None = None, **arguments: Any) -> na.Outcome:
    """The outcome alone."""
    return ask(rule, forge, changes, **arguments).outcome
