"""Which rules are the reason why records are not affirmed, and which are undecided only as a consequence of those?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from nomyo_attest.appraisal.rules import RULES
from nomyo_attest.audit.summary import CONSEQUENCE, FAIL, Place, Summary

_ORDER: Final = {rule.id: place for place, rule in enumerate(RULES)}


class Cause(NamedTuple):
    """A rule as the reason for something, in one source or in all together. All of it is about the same records.

    Attributes:
        source: the source; empty for all together.
        rule, requirement: the rule, and what the policy makes of it: ``"required"`` or ``"warn"``.
        outcome: ``"fail"`` or ``"undecided"``.
        records: the number of records.
        first: the first of them; for one source without its time.
        lines: the first few of the records; empty for all together.
        message: the sentence of the first one.
    """

    source: str
    rule: str
    requirement: str
    outcome: str
    records: int
    first: Place
    lines: tuple[int, ...] = ()
    message: str = ""

    @property
    def failed(self) -> bool:
        """Whether the rule does not hold; if not, it is undecided."""
        return self.outcome == FAIL

    @property
    def softened(self) -> bool:
        """Whether the policy makes it a warning."""
        return self.requirement == "warn"

    @property
    def tag(self) -> str:
        """``"FAIL"``, ``"UNDECIDED"`` or ``"WARNING"``, as before a rule of a single result."""
        return "WARNING" if self.softened else "FAIL" if self.failed else "UNDECIDED"


def place_of(rule: str) -> tuple[int, str]:
    """Where a rule is in the table of rules; unknown ones come last."""
    return _ORDER.get("claims.*" if rule.startswith("claims.") else rule, len(_ORDER)), rule


def causes(summary: Summary) -> list[Cause]:
    """The rules that are reasons, over all sources: required ones first, failures before undecided ones."""
    return _sorted(
        Cause("", one.rule, one.requirement, one.outcome, one.records, one.first, message=one.message)
        for one in summary.rules
    )


def causes_by_source(summary: Summary) -> list[Cause]:
    """The rules that are reasons, by source, rule and outcome: required ones first, then in the order read."""
    return _sorted(
        Cause(
            one.source,
            one.rule,
            one.requirement,
            one.outcome,
            one.records,
            Place(one.source, one.lines[0] if one.lines else 0),
            tuple(one.lines),
            one.message,
        )
        for one in summary.places
    )


def _sorted(found: Iterable[Cause]) -> list[Cause]:
    """Without consequences, and without the rules that the policy ignores."""
    kept = [one for one in found if one.outcome != CONSEQUENCE and one.requirement != "ignore"]
    return sorted(kept, key=lambda one: (one.softened, not one.failed))


def waiting(summary: Summary) -> list[str]:
    """Rules that are undecided only as a consequence of others, in the order of the table."""
    reasons = {one.rule for one in causes(summary)}
    found = {one.rule for one in summary.rules if one.requirement != "ignore" and one.rule not in reasons}
    return sorted(found, key=place_of)


def ignored(summary: Summary) -> list[str]:
    """Rules that did not hold or were undecided, and that the policy ignores, in the order of the table."""
    return sorted({one.rule for one in summary.rules if one.requirement == "ignore"}, key=place_of)
