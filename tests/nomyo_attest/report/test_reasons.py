"""The reason comes first: what only follows from it does not bury it."""

from __future__ import annotations

import msgspec

import nomyo_attest as na
from nomyo_attest.appraisal import RULES
from nomyo_attest.report.reasons import reasons, sort_findings
from nomyo_attest.testing import FAULTS, Forge
from tests.nomyo_attest.report.faulty import everything, judged


def test_every_fault_is_explained_by_its_own_rule_and_those_that_fail_with_it() -> None:
    for fault, result, _ in everything():
        found = reasons(result)
        explained = [finding.rule for finding in found.failed] or [finding.rule for finding in found.open]
        assert set(explained) <= {fault.rule, *fault.also_failed}, fault.name
        assert fault.rule in explained, fault.name


def test_every_finding_that_is_no_pass_stands_in_one_group() -> None:
    for fault, result, _ in everything():
        found = reasons(result)
        grouped = [
            one.rule
            for group in (found.failed, found.open, found.softened, found.waiting, found.ignored)
            for one in group
        ]
        assert sorted(grouped) == sorted((*result.failed, *result.undecided)), fault.name


def test_what_a_rule_needs_are_rules() -> None:
    ids = {rule.id for rule in RULES}
    assert {need for rule in RULES for need in rule.needs} <= ids


def test_the_reason_for_no_evidence_is_that_there_is_none() -> None:
    found = reasons(judged("absent-no-tpm").result)
    assert [finding.rule for finding in found.open] == ["evidence.available"]
    assert len(found.waiting) > 15
    assert found.failed == ()


def test_softened_and_ignored_rules_have_groups_of_their_own() -> None:
    forge = Forge(safe=0)
    document = forge.policy() | {"claims": {"region": ["EU"]}}
    for word, group in (("warn", "softened"), ("ignore", "ignored")):
        document["rules"] = {"clock.safe": word, "claims.region": word}
        found = reasons(na.appraise(forge.response(), na.AppraisalPolicy.from_dict(document)))
        assert [finding.rule for finding in getattr(found, group)] == ["clock.safe", "claims.region"]
        assert found.failed == found.open == found.waiting == ()


def test_what_follows_from_a_warning_waits_for_it() -> None:
    fault, _, _ = judged("weak-point-off-curve")
    case = fault.case()
    document = case.policy | {"rules": {"key.strength": "warn"}, "unsafe_warn_until": "9999-01-01"}
    result = na.appraise(case.response, na.AppraisalPolicy.from_dict(document))
    assert result.verdict is na.Verdict.NONE
    assert [finding.rule for finding in reasons(result).waiting] == ["signature.valid"]


def test_what_follows_from_an_ignored_rule_is_shown_in_full_itself() -> None:
    fault, result, _ = judged("weak-point-off-curve")
    findings = [
        msgspec.structs.replace(one, requirement=na.Requirement.IGNORE) if one.rule == "key.strength" else one
        for one in result.findings
    ]
    assert fault.rule == "key.strength"
    assert [finding.rule for finding in sort_findings(findings).open] == ["signature.valid"]


def test_there_are_faults_to_explain() -> None:
    assert len(FAULTS) > 100
