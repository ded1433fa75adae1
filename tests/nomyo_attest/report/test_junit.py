"""JUnit XML, read back by a reader that is not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import junitparser
import msgspec
import pytest

from nomyo_attest.audit.summary import Counts, RulePlace, SourceSummary, Summary
from nomyo_attest.report.junit import NONE_FAILED, RULES_MAXIMUM, junit_xml
from tests.nomyo_attest.report.audit_hostile import hostile
from tests.nomyo_attest.report.audit_samples import summary

SOURCE = "recorded/2026-11.jsonl.gz"


def read_back(whole: Summary, tmp_path: Path) -> junitparser.JUnitXml:
    path = tmp_path / "report.xml"
    path.write_text(junit_xml(whole), encoding="utf-8")
    return junitparser.JUnitXml.fromfile(str(path))


def cases(report: junitparser.JUnitXml) -> dict[tuple[str, str], Any]:
    """Suite and case → the case."""
    found = {}
    for suite in report:
        for case in suite:
            assert (suite.name, case.name) not in found, "some CI systems drop the second case of a name"
            found[suite.name, case.name] = case
    return found


def passed(**changes: Any) -> Summary:
    """An audit of two sources in which all is well."""
    sources = [
        SourceSummary(name=name, kind="jsonl", size=9, sha256="ab" * 32, counts=Counts(affirming=6, warning=1))
        for name in ("a.jsonl", "b.jsonl")
    ]
    nothing: dict[str, Any] = {name: [] for name in ("rules", "places", "failures", "cross_record")}
    rules = [
        msgspec.structs.replace(one, findings=0, records=0, outcome="held") for one in summary().cross_record_rules
    ]
    return summary(
        **nothing
        | {"sources": sources, "cross_record_rules": rules, "places_total": 0, "status": 0, "status_reason": ""}
        | changes
    )


@pytest.mark.parametrize("whole", [summary(), passed(), hostile()], ids=["failed", "passed", "hostile"])
def test_the_counts_written_are_those_of_the_elements(whole: Summary, tmp_path: Path) -> None:
    report = read_back(whole, tmp_path)
    told = [(one.tests, one.failures, one.errors, one.skipped) for one in (report, *report)]
    report.update_statistics()  # type: ignore[no-untyped-call] # junitparser gives types to some of its methods
    assert told == [(one.tests, one.failures, one.errors, one.skipped) for one in (report, *report)]
    assert report.tests == len(cases(report))


def test_rules_that_do_not_hold_are_a_failure_with_lines_values_and_what_to_do(tmp_path: Path) -> None:
    (failure,) = cases(read_back(summary(), tmp_path))[SOURCE, NONE_FAILED].result
    assert isinstance(failure, junitparser.Failure)
    assert failure.message == "75 contraindicated, 146 none: pcr.values, evidence.available"
    assert failure.type == "pcr.values"
    lines = failure.text.split("\n")
    assert lines[0] == "pcr.values: 75 records: PCR sha256:7 does not match the policy."
    assert lines[1].startswith(f"{SOURCE}: lines 7609, 7610")
    assert lines[2:4] == ["expected    sha256:7 c6cf0b83…3530", "got         sha256:7 006b7583…31aa"]
    assert lines[4].startswith("Remediation: If the machine was updated")
    assert lines[5] == ""
    assert lines[6].startswith("evidence.available (undecided): ")


def test_a_record_is_counted_once_however_many_rules_refuse_it(tmp_path: Path) -> None:
    source = SourceSummary(name="a.jsonl", kind="jsonl", counts=Counts(affirming=1, contraindicated=1))
    places = [
        RulePlace(
            source="a.jsonl", rule=rule, requirement="required", outcome="fail", records=1, lines=[2], message="no"
        )
        for rule in ("nonce.match", "pcr.digest", "pcr.values", "signature.valid")
    ]
    whole = passed(sources=[source], places=places, status=1, status_reason="1 record failed: 1 contraindicated")
    report = read_back(whole, tmp_path)
    assert (report.failures, report.errors) == (1, 0)
    (failure,) = cases(report)["a.jsonl", NONE_FAILED].result
    assert failure.message == "1 contraindicated: nonce.match, pcr.digest, pcr.values, signature.valid"
    (skipped,) = cases(report)["nomyo-attest audit", "exit status"].result
    assert isinstance(skipped, junitparser.Skipped)
    assert skipped.message == "exit status 1"


def test_an_unreadable_record_is_counted_once(tmp_path: Path) -> None:
    source = SourceSummary(name="a.jsonl", kind="jsonl", counts=Counts(unreadable=1), problem="cut off")
    whole = passed(sources=[source], status=2, status_reason="1 source could not be read completely")
    report = read_back(whole, tmp_path)
    assert (report.failures, report.errors) == (0, 1)


def test_failures_and_undecided_records_of_one_rule_are_told_apart(tmp_path: Path) -> None:
    places = summary().places
    both = [*places, msgspec.structs.replace(places[0], outcome="undecided", lines=[9], message="there is no quote")]
    (failure,) = cases(read_back(summary(places=both), tmp_path))[SOURCE, NONE_FAILED].result
    heads = [line.partition(":")[0] for line in failure.text.split("\n")]
    assert "pcr.values" in heads
    assert "pcr.values (undecided)" in heads


def test_a_softened_rule_passes_and_says_what_it_warns_of(tmp_path: Path) -> None:
    case = cases(read_back(summary(), tmp_path))[SOURCE, NONE_FAILED]
    assert "WARNING: clock.safe: 50 records: The clock may have gone back.\n" in case.system_out
    assert "clock.safe" not in case.result[0].text
    source = SourceSummary(name=SOURCE, kind="jsonl", counts=Counts(affirming=1, warning=50))
    softened = [one for one in summary().places if one.requirement == "warn"]
    case = cases(read_back(passed(sources=[source], places=softened), tmp_path))[SOURCE, NONE_FAILED]
    assert case.result == []
    assert case.system_out.startswith("1 affirming, 50 warning\n\nWARNING: clock.safe: ")


def test_a_source_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (error,) = cases(read_back(summary(), tmp_path))["recorded/2026-11-16.jsonl.zst", "can be read"].result
    assert isinstance(error, junitparser.Error)
    assert error.message == "the archive is cut off at byte 1048576"
    assert error.text.startswith("recorded/2026-11-16.jsonl.zst: line 412\n")


def test_every_rule_across_records_is_a_case_that_fails_or_passes(tmp_path: Path) -> None:
    found = {
        name: case for (suite, name), case in cases(read_back(summary(), tmp_path)).items() if suite == "across records"
    }
    assert [(name, len(case.result)) for name, case in found.items()] == [
        ("duplicate.quote", 1),
        ("duplicate.payload_id", 1),
        ("reused.aik", 0),
        ("rollback.clock", 0),
    ]
    assert f"  {SOURCE}:6121, 2026-11-09 13:42:01Z\n" in found["duplicate.quote"].result[0].text


def test_a_passed_audit_has_cases_that_pass_and_none_that_does_not(tmp_path: Path) -> None:
    found = cases(read_back(passed(), tmp_path))
    assert not any(case.result for case in found.values())
    assert {
        ("nomyo-attest audit", "exit status"),
        ("a.jsonl", "can be read"),
        ("b.jsonl", NONE_FAILED),
    } <= set(found)
    assert found["a.jsonl", NONE_FAILED].system_out == "6 affirming, 1 warning"


def test_the_exit_status_is_a_case(tmp_path: Path) -> None:
    whole = passed(status=1, status_reason="7 warnings, and none may be")
    (failure,) = cases(read_back(whole, tmp_path))["nomyo-attest audit", "exit status"].result
    assert failure.text == "7 warnings, and none may be."


def test_a_source_without_records_affirms_nothing(tmp_path: Path) -> None:
    (skipped,) = cases(read_back(summary(), tmp_path))["recorded/empty.json", NONE_FAILED].result
    assert isinstance(skipped, junitparser.Skipped)


def test_without_records_no_rule_across_them_passes(tmp_path: Path) -> None:
    found = cases(read_back(passed(counts=Counts(), sources=[]), tmp_path))
    assert [type(found["across records", one.rule].result[0]) for one in summary().cross_record_rules] == [
        junitparser.Skipped
    ] * 4


def test_records_that_are_refused_fail_their_source_also_where_no_rule_is_listed(tmp_path: Path) -> None:
    source = SourceSummary(name="a.jsonl", kind="jsonl", counts=Counts(affirming=1, contraindicated=4))
    (failure,) = cases(read_back(passed(sources=[source]), tmp_path))["a.jsonl", NONE_FAILED].result
    assert failure.message == "4 contraindicated"


def test_text_that_xml_does_not_have_is_written_as_an_escape() -> None:
    text = junit_xml(hostile())
    ET.fromstring(text)
    assert r"\ud800 \ufffe 50%" in text
    assert all(char.isprintable() or char == "\n" for char in text)


def test_the_report_of_a_million_records_is_a_few_megabytes_and_counts_what_is_cut(tmp_path: Path) -> None:
    places = [
        RulePlace(
            source=f"recorded/{number:05}.jsonl",
            rule=rule,
            requirement="required",
            outcome="fail",
            records=40,
            lines=[*range(10)],
            message="x" * 300,
        )
        for number in range(5000)
        for rule in ("pcr.values", "nonce.match", "pcr.digest", "signature.valid", "key.trust")
    ]
    whole = summary(places=places, places_total=1_000_000)
    assert len(junit_xml(whole)) < 4_000_000
    report = read_back(whole, tmp_path)
    (failure,) = cases(report)["not listed", "rules in sources"].result
    assert failure.message == f"{1_000_000 - RULES_MAXIMUM:,} more failures of a rule in a source"


def test_the_policy_and_the_inputs_are_properties(tmp_path: Path) -> None:
    (suite, *_) = read_back(summary(), tmp_path)
    found = {one.name: one.value for one in suite.properties()}  # type: ignore[no-untyped-call] # as above
    assert found["policy digest"] == summary().policy.digest
    assert found["inputs digest"] == summary().inputs_digest


def test_a_passed_audit_says_in_its_properties_how_far_its_verdicts_reach(tmp_path: Path) -> None:
    (suite, *_) = read_back(summary(status=0, status_reason=""), tmp_path)
    found = {one.name: one.value for one in suite.properties()}  # type: ignore[no-untyped-call] # as above
    assert found["AIK trust"].startswith("self_asserted: ")
    assert found["not established"].startswith(summary().not_established[0].partition(":")[0][1:12], 1)
    assert found["not established"].count("; ") == len(summary().not_established) - 1
