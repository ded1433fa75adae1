"""The rules: each row of the table of rules, with the check that evaluates it.

A rule that a policy does not mention is required. A core rule cannot be softened. A rule with `enabled_by` is evaluated
only if the policy has one of those keys, and otherwise has no finding.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import asdict
from functools import cache
from operator import attrgetter
from typing import Any, Final

from nomyo_attest.appraisal import checks
from nomyo_attest.appraisal.outcome import CheckResult
from nomyo_attest.policy.model import AppraisalPolicy, Requirement
from nomyo_attest.rules import RULE_TABLE, RuleFacts, rule_facts


class Rule(RuleFacts):
    """One rule: the facts of its row in the table, its check, and the documentation in the check's docstring.

    Attributes:
        id: the name that policies, results and reports use.
        check_name: module and name of its check in `nomyo_attest.appraisal.checks`.
        field: the structure field or the key in the response that the rule examines.
        failure: what is wrong if the rule does not hold: a main clause without a period, as in the title of an
            incident.
        core: whether the rule is required by every policy; a policy may soften the others.
        layout_only: whether its check depends only on the policy and the layout of the evidence.
        needs: ids of the rules that must hold before this one can be evaluated.
        enabled_by: the policy's keys that enable the rule; empty for a rule that every policy evaluates.
        temporary_warning: whether a policy may make it a warning only until `unsafe_warn_until`, and never ignore it.
        unique_values: whether its values differ from record to record, so that audits do not group records by them.
        style: how its values are displayed.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the rule as its id."""
        return find_rule, (self.id,)

    @property
    def check(self) -> Callable[..., CheckResult]:
        """The check's function. Its argument is a `LayoutFacts` if the rule is `layout_only`, otherwise a `Case`; the
        check of ``claims.*`` has a second argument, the path.
        """
        check: Callable[..., CheckResult] = attrgetter(self.check_name)(checks)
        return check

    @property
    def question(self) -> str:
        """The question that the rule answers."""
        return _paragraphs(self.check)[0]

    @property
    def explanation(self) -> str:
        """How the rule is evaluated and why, in a few sentences."""
        return "\n\n".join(_paragraphs(self.check)[1:-1])

    @property
    def remediation(self) -> str:
        """What to do if the rule does not hold."""
        return _paragraphs(self.check)[-1].removeprefix("Remediation: ")


@cache
def _paragraphs(check: Callable[..., CheckResult]) -> list[str]:
    """Return the paragraphs of a check's docstring, each on one line."""
    return [" ".join(part.split()) for part in inspect.cleandoc(check.__doc__ or "").split("\n\n")]


RULES: Final = tuple(Rule(**asdict(row)) for row in RULE_TABLE)
"""All rules, in the order of evaluation."""

_RULES: Final = {rule.id: rule for rule in RULES}


def find_rule(rule_id: str) -> Rule:
    """Find a rule by its id. Raises `KeyError`.

    The id of any claim, such as ``claims.security_tier``, finds ``claims.*``.
    """
    return _RULES[rule_facts(rule_id).id]


def requirement_of(rule_id: str, policy: AppraisalPolicy) -> Requirement:
    """Return what `policy` requires of a rule: required by default; an entry for one claim overrides ``claims.*``."""
    if find_rule(rule_id).core:
        return Requirement.REQUIRED
    fallback = (
        policy.rules.get("claims.*", Requirement.REQUIRED) if rule_id.startswith("claims.") else Requirement.REQUIRED
    )
    return policy.rules.get(rule_id, fallback)


def consequences(undecided: Collection[str], failed: Collection[str], ignored: Collection[str]) -> frozenset[str]:
    """Return the undecided rules of a record that are undecided because of another rule.

    Args:
        undecided, failed: ids of the rules that are undecided and that fail for this record.
        ignored: ids of the rules that the policy ignores. Reports omit them, so they cannot explain another rule.
    """
    return frozenset(
        rule
        for rule in undecided
        if any(
            (need in undecided or need in failed) and _explains(need, rule, failed, ignored) for need in _needs(rule)
        )
    )


def _needs(rule: str) -> tuple[str, ...]:
    """Return the rules that must hold before `rule` can be evaluated; empty for a rule of a later version."""
    try:
        return rule_facts(rule).needs
    except KeyError:
        return ()


def _explains(reason: str, rule: str, failed: Collection[str], ignored: Collection[str]) -> bool:
    """Whether a report that shows `reason` can omit `rule`.

    Without evidence, `evidence.available` and `evidence.form` are both undecided, because of `evidence.available`.
    """
    if (reason, rule) == ("evidence.form", "evidence.available"):
        return reason in failed
    return reason not in ignored
