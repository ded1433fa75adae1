"""Which rules of one record are undecided only because another rule does not hold?"""

from __future__ import annotations

from collections.abc import Collection

from nomyo_attest.rules import rule_facts


def consequences(undecided: Collection[str], failed: Collection[str], ignored: Collection[str]) -> frozenset[str]:
    """The undecided rules of one record that another rule of that record explains.

    Args:
        undecided, failed: ids of the rules that are undecided and that do not hold, for this one record.
        ignored: ids of the rules that the policy ignores. They explain nothing, since reports do not show them.
    """
    return frozenset(
        rule
        for rule in undecided
        if any(
            (need in undecided or need in failed) and _explains(need, rule, failed, ignored) for need in _needs(rule)
        )
    )


def _needs(rule: str) -> tuple[str, ...]:
    """The rules that must hold before `rule` can be evaluated; none are known for a rule of another version."""
    try:
        return rule_facts(rule).needs
    except KeyError:
        return ()


def _explains(reason: str, rule: str, failed: Collection[str], ignored: Collection[str]) -> bool:
    """Whether a reader who sees `reason` need not see `rule`.

    Without evidence, `evidence.available` and `evidence.form` are both undecided, and the first is the reason.
    """
    if (reason, rule) == ("evidence.form", "evidence.available"):
        return reason in failed
    return reason not in ignored
