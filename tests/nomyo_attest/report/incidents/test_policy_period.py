from __future__ import annotations

from typing import Any

import msgspec
import pytest

from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import CauseFinding, RuleSummary, Summary
from nomyo_attest.report.incidents import Incident, Kind, incidents
from tests.nomyo_attest.report.audit_samples import summary

FROM, UNTIL = "2026-10-01T00:00:00+00:00", "2026-11-01T00:00:00+00:00"
AFTER, BEFORE = "2026-12-01T09:30:00.123456+00:00", "2026-09-01T00:00:00+00:00"


def outside(at: str | None = AFTER, requirement: str = "required", **document: Any) -> Summary:
    """The sample, appraised at `at` by a policy with a period."""
    whole = summary()
    finding = CauseFinding(
        rule="policy.period", requirement=requirement, outcome="undecided", expected=[FROM, UNTIL], got=at, message="no"
    )
    rule = RuleSummary(
        rule="policy.period", requirement=requirement, outcome="undecided", records=whole.counts.total,
        first=Place("a.jsonl", 3, 1), message="the policy is no longer valid",
    )  # fmt: skip
    only = msgspec.structs.replace(whole.cause_groups[0], findings=[finding], records=9)
    groups = [msgspec.structs.replace(one, findings=[*one.findings, finding]) for one in whole.cause_groups]
    whole.policy.document |= {"valid_from": FROM, "valid_until": UNTIL} | document
    whole.run.at = at
    return msgspec.structs.replace(whole, rules=[*whole.rules, rule], cause_groups=[only, *groups])


def about_period(changed: Summary) -> list[Incident]:
    return [one for one in incidents(changed) if "policy.period" in one.rules]


def test_an_expired_policy_is_the_first_incident_and_no_part_of_another() -> None:
    changed = outside()
    first = incidents(changed)[0]
    assert [first] == about_period(changed)
    assert first.title.startswith("The policy expired on 1 November 2026: none of ")
    assert (first.kind, first.machine, first.changes) == (Kind.PERIOD, "", ())
    assert "--at" in first.remediation
    assert first.first == Place("a.jsonl", 3)  # a place for SARIF, without the time of a record, which says nothing
    others = [one for one in incidents(summary()) if one.kind is not Kind.PERIOD]
    assert incidents(changed)[1:] == others


def test_a_policy_that_is_not_valid_yet_is_named_so() -> None:
    (one,) = about_period(outside(BEFORE))
    assert one.title.startswith("The policy is not valid until 1 October 2026: none of ")


def test_a_period_that_is_a_warning_does_not_say_that_nothing_is_affirmed() -> None:
    (one,) = about_period(outside(requirement="warn"))
    assert (one.kind, "none of" in one.title) == (Kind.WARNING, False)


@pytest.mark.parametrize(
    ("at", "document"),
    [
        (None, {}),
        ("2026-10-02T00:00:00+00:00", {}),
        (AFTER, {"valid_until": "soon"}),
        (AFTER, {"valid_until": ["x"]}),
        (AFTER, {"valid_until": "2026-11-01T00:00:00"}),
    ],
)
def test_without_usable_times_the_rule_remains_with_the_records(at: str | None, document: dict[str, Any]) -> None:
    changed = outside(at, **document)
    found = about_period(changed)
    assert found
    assert Kind.PERIOD not in {one.kind for one in found}
