"""Which rules are the reason why records are not affirmed, and which could only not be told because of those?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from nomyo_attest.appraisal.rules import RULES
from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.reasons import NEEDS

_ORDER: Final = {rule.id: place for place, rule in enumerate(RULES)}


class Tallied(NamedTuple):
    """Records of which a rule does not hold, or cannot be told, and what the policy makes of it."""

    requirement: str
    failed: int
    undecided: int


class Cause(NamedTuple):
    """A rule as the reason for something: in one source, or in all together.

    Attributes:
        source: the source; empty for all together.
        rule, requirement: the rule, and what the policy makes of it: ``"required"`` or ``"warn"``.
        failed: records that it does not hold for.
        undecided: records of which it cannot be told, and that is not for another rule's sake.
        lines: the first few of the records; empty for all together.
        message: the first one's sentence, of those that it does not hold for if there are any.
    """

    source: str
    rule: str
    requirement: str
    failed: int
    undecided: int
    lines: tuple[int, ...] = ()
    message: str = ""

    @property
    def records(self) -> int:
        """How many records it is the reason for."""
        return self.failed + self.undecided

    @property
    def softened(self) -> bool:
        """Whether the policy makes it a warning."""
        return self.requirement == "warn"

    @property
    def tag(self) -> str:
        """``"FAIL"``, ``"UNDECIDED"`` or ``"WARNING"``, as before a rule of a single result."""
        return "WARNING" if self.softened else "FAIL" if self.failed else "UNDECIDED"


def own_undecided(tallies: Mapping[str, Tallied]) -> dict[str, int]:
    """Rule → records of which it cannot be told, less those that rules it stands on account for.

    Without evidence twenty rules cannot be told, and one of them is the reason. The counts alone do not say which
    records two rules share; those of the rules stood on are added up, so a record with two reasons may hide a third.
    """
    own: dict[str, int] = {}
    for rule in sorted(tallies, key=place_of):
        explained = sum(
            tallies[one].failed + (0 if rule == "evidence.available" else own.get(one, 0))
            for one in _stands_on(rule)
            if one in tallies and tallies[one].requirement != "ignore"
        )
        own[rule] = max(0, tallies[rule].undecided - explained)
    return own


def _stands_on(rule: str) -> set[str]:
    """Every rule that must hold before `rule` can be told, directly or not."""
    found: set[str] = set()
    ahead = [*NEEDS.get(_row_of(rule), ())]
    while ahead:
        one = ahead.pop()
        if one not in found and one != rule:
            found.add(one)
            ahead += NEEDS.get(one, ())
    return found


def _row_of(rule: str) -> str:
    return "claims.*" if rule.startswith("claims.") else rule


def place_of(rule: str) -> tuple[int, str]:
    """Where a rule stands in the table of rules; unknown ones come last."""
    return _ORDER.get(_row_of(rule), len(_ORDER)), rule


def causes(summary: Summary) -> list[Cause]:
    """The rules that are reasons, over all sources: required ones first, failures before what cannot be told."""
    tallies = {one.rule: Tallied(one.requirement, one.failed, one.undecided) for one in summary.rules}
    own = own_undecided(tallies)
    messages: dict[str, str] = {}
    for place in sorted(summary.places, key=lambda one: not one.failed):
        messages.setdefault(place.rule, place.message)
    found = [
        Cause("", rule, one.requirement, one.failed, own[rule], message=messages.get(rule, ""))
        for rule, one in tallies.items()
    ]
    return _sorted(found)


def causes_by_source(summary: Summary) -> list[Cause]:
    """The rules that are reasons, one for each source and rule: required ones first, then in the order read."""
    requirement = {one.rule: one.requirement for one in summary.rules}
    by_source: dict[str, dict[str, Tallied]] = {}
    for place in summary.places:
        tallied = Tallied(requirement.get(place.rule, "required"), place.failed, place.undecided)
        by_source.setdefault(place.source, {})[place.rule] = tallied
    own = {source: own_undecided(tallies) for source, tallies in by_source.items()}
    found = [
        Cause(
            place.source,
            place.rule,
            by_source[place.source][place.rule].requirement,
            place.failed,
            own[place.source][place.rule],
            tuple(place.lines),
            place.message,
        )
        for place in summary.places
    ]
    return _sorted(found)


def _sorted(found: Iterable[Cause]) -> list[Cause]:
    """Without those that are no reason for anything, and those that the policy ignores."""
    kept = [one for one in found if one.records and one.requirement != "ignore"]
    return sorted(kept, key=lambda one: (one.softened, not one.failed))


def waiting(summary: Summary) -> list[str]:
    """Rules that could not be told for the sake of others alone, in the order of the table."""
    reasons = {one.rule for one in causes(summary)}
    found = [one.rule for one in summary.rules if one.requirement != "ignore" and one.rule not in reasons]
    return sorted(found, key=place_of)


def ignored(summary: Summary) -> list[str]:
    """Rules that did not hold or could not be told, and that the policy ignores, in the order of the table."""
    return sorted((one.rule for one in summary.rules if one.requirement == "ignore"), key=place_of)
