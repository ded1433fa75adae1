from __future__ import annotations

import re
from typing import Any

import pytest

from nomyo_attest.audit.cross_record.model import CrossRecordFinding, CrossRecordRuleSummary
from nomyo_attest.audit.cross_record.rules import CROSS_RECORD_RULES
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.summary import Boot, CauseFinding, CauseGroup, RuleSummary, Summary
from nomyo_attest.report.incidents import Incident, Kind, Severity, incidents
from nomyo_attest.report.incidents.cross_record import SEPARATE_MAXIMUM
from tests.nomyo_attest.report.audit_samples import START, digest, summary

DAY = 86_400


def place(line: int, day: float | None = 0) -> Place:
    return Place("a.jsonl", line, None if day is None else START + int(day * DAY))


def group(rule: str = "pcr.values", records: int = 25, **fields: Any) -> CauseGroup:
    """Failing records of one inferred boot, on two days."""
    got: Any = {"sha256:0": digest("x")} if rule == "pcr.values" else "x"
    expected: Any = {"sha256:0": [digest("firmware 2.4")]} if rule == "pcr.values" else "y"
    found = CauseFinding(rule=rule, requirement="required", outcome="fail", expected=expected, got=got, message="no")
    first, last = place(1), place(9, 2)
    boot = Boot(aik="", reset_count=7, clock_epoch=0, records=records, first=first, last=last)
    given: dict[str, Any] = {
        "findings": [found], "values": 1, "records": records, "first": first, "last": last, "boots": [boot],
        "boots_total": 1, "boots_inferred": 1, "machines_inferred": 1, "pinned_aiks": 0, "without_boot": 0,
    }  # fmt: skip
    return CauseGroup(**{**given, **fields})


def found(rule: str, key: str, *places: Place, **fields: Any) -> CrossRecordFinding:
    given: dict[str, Any] = {"records": len(places), "message": "found", "places": list(places)}
    return CrossRecordFinding(rule=rule, key=key, first=places[0], last=places[-1], **{**given, **fields})


def of(**changes: Any) -> list[Incident]:
    """The incidents of an audit in which nothing happened but `changes`."""
    lists = ("cause_groups", "rules", "places", "cross_record", "cross_record_rules", "failures")
    nothing: dict[str, Any] = {name: [] for name in lists}
    sources = [one for one in summary().sources if not one.problem]
    return incidents(summary(**{**nothing, "sources": sources, "sources_unreadable": 0, **changes}))


def test_a_machine_that_booted_unlisted_firmware_is_one_sentence_with_what_changed() -> None:
    (one,) = of(cause_groups=[group()])
    assert (one.kind, one.severity, one.records, one.rules) == (Kind.BOOT, Severity.HIGH, 25, ("pcr.values",))
    assert re.match(r"One machine \(inferred\) booted firmware .*: 25 responses between 2 and 4 November", one.title)
    (change,) = one.changes
    assert (change.what, change.before, change.labels) == ("sha256:0", (digest("firmware 2.4"),), ("firmware 2.4",))
    assert change.after == digest("x")
    assert change.meaning
    assert "inferred" in one.machine
    assert (one.first, one.last) == (place(1), place(9, 2))
    assert one.remediation


def test_a_machine_is_named_by_an_aik_that_the_policy_pins_and_is_not_inferred() -> None:
    boot = Boot(aik="000b" + "1f" * 32, reset_count=7, clock_epoch=0, records=25, first=place(1), last=place(9, 2))
    (one,) = of(cause_groups=[group(boots=[boot], boots_inferred=0, machines_inferred=0, pinned_aiks=1)])
    assert (one.aik, "inferred" in one.title, "inferred" in one.machine) == (boot.aik, False, False)
    assert "000b1f1f" in one.title


@pytest.mark.parametrize("fields", [
    {"boots": [], "boots_total": 0, "boots_inferred": 0, "without_boot": 25},
    {"boots_total": 25, "boots_inferred": 25, "machines_inferred": 25},
    {"boots_total": 1, "without_boot": 3},
])  # fmt: skip
def test_no_number_of_machines_is_claimed_where_boots_are_not_known(fields: dict[str, Any]) -> None:
    (one,) = of(cause_groups=[group(**fields)])
    assert not re.search(r"one machine|\d machine", one.title, re.IGNORECASE)
    assert "unknown" in one.machine


def test_the_findings_about_one_duplicate_are_one_incident() -> None:
    pair = place(3), place(8, 12)
    (one,) = of(cross_record=[
        found("duplicate.quote", "q", *pair, detail="same"), found("duplicate.payload_id", "p", *pair, detail="same"),
        found("reused.aik", "000b" + "22" * 32, *pair, detail="same"),
    ])  # fmt: skip
    assert one.title == "One response of 2 November 2026 was replayed on 14 November 2026"
    assert (one.kind, one.records, one.keys[:2]) == (Kind.REPLAY, 2, ("q", "p"))
    assert one.rules == ("duplicate.quote", "duplicate.payload_id", "reused.aik")
    assert "quote and payload id, but dates 12 days apart" in one.problem
    assert "000b2222" in one.machine
    assert "the later record" in one.remediation


def test_a_quote_under_another_payload_id_makes_no_date_the_right_one() -> None:
    (one,) = of(cross_record=[found("duplicate.quote", "q", place(3), place(8, 12), detail="different")])
    assert (one.kind, one.machine) == (Kind.REPLAY, "")
    assert "dates" not in one.problem
    assert "later" not in one.remediation
    assert "not rely on these responses" in one.remediation


@pytest.mark.parametrize(
    ("places", "back", "overtaken", "shared_key"),
    [(1, 59_999, True, False), (2, 59_999, True, True), (1, 60_000, False, True)],
)
def test_the_remediation_of_a_rollback_depends_on_how_far_the_clock_went_back(
    places: int, back: int, overtaken: bool, shared_key: bool
) -> None:
    """Of several records, only the first has a known difference, so the remediation is that of the rule."""
    at = [place(5 + number, 3) for number in range(places)]
    (one,) = of(
        cross_record=[found("rollback.clock", "000b" + "33" * 32, *at, detail="clock", high=10**9, low=10**9 - back)],
        cross_record_rules=[
            CrossRecordRuleSummary(
                rule=rule.id, question=rule.question, remediation=rule.remediation, findings=1, records=places
            )
            for rule in CROSS_RECORD_RULES
            if rule.id == "rollback.clock"
        ],
    )
    assert ("overtook" in one.remediation, "share a key" in one.remediation) == (overtaken, shared_key)


def test_an_aik_that_signed_more_than_a_duplicate_is_an_incident_of_its_own() -> None:
    pair = place(3), place(8, 12)
    kinds = [one.kind for one in of(cross_record=[
        found("duplicate.quote", "q", *pair), found("reused.aik", "000b" + "22" * 32, *pair, place(9, 12)),
    ])]  # fmt: skip
    assert kinds == [Kind.REPLAY, Kind.REUSED_KEY]


def test_responses_recorded_twice_are_one_incident_that_is_less_urgent() -> None:
    copies = [found("duplicate.quote", f"q{at}", place(at), place(100 + at), detail="same") for at in range(1, 4)]
    (one,) = of(cross_record=copies)
    assert (one.kind, one.severity, one.records) == (Kind.DUPLICATE, Severity.MEDIUM, 6)


def test_an_aik_with_one_quote_is_a_duplicate_also_if_the_finding_about_the_quote_is_not_listed() -> None:
    key = "000b" + "22" * 32
    for day, kind in ((0, Kind.DUPLICATE), (3, Kind.REPLAY)):
        (one,) = of(cross_record=[found("reused.aik", key, place(3), place(8, day), detail="same")])
        assert one.kind is kind


def test_many_replays_are_one_incident() -> None:
    replays = [
        found("duplicate.quote", f"q{at}", place(at), place(100 + at, 3)) for at in range(1, SEPARATE_MAXIMUM + 2)
    ]
    assert len(of(cross_record=replays[:SEPARATE_MAXIMUM])) == SEPARATE_MAXIMUM
    (one,) = of(cross_record=replays)
    assert (one.kind, one.records, one.places_total) == (
        Kind.REPLAY,
        2 * (SEPARATE_MAXIMUM + 1),
        SEPARATE_MAXIMUM,
    )


def test_the_findings_about_one_aik_that_went_back_are_one_incident() -> None:
    key = "000b" + "33" * 32
    back = place(5, 3)
    (one,) = of(
        cross_record=[
            found("rollback.clock", key, back, place(6, 4), detail="clock", high=9_209_986_838, low=8_954_220_504),
            found("rollback.counters", key, back, place(7, 4), detail="reset_count", high=16, low=15),
        ]
    )
    assert one.title == "The clock of AIK 000b33333333…3333 went back 2.96 days on 5 November 2026"
    assert (one.kind, one.aik, one.rules) == (Kind.ROLLBACK, key, ("rollback.clock", "rollback.counters"))
    assert [(change.what, change.before, change.after) for change in one.changes] == [
        ("clock", ("106 d 14:19:46.838",), "103 d 15:17:00.504"), ("resetCount", ("16",), "15"),
    ]  # fmt: skip
    assert one.problem == "the clock goes back by 2.96 days, and 1 more record has an earlier clock"


def rule(name: str, records: int, outcome: str = "fail", requirement: str = "required") -> RuleSummary:
    return RuleSummary(
        rule=name, requirement=requirement, outcome=outcome, records=records, first=place(1), message="no"
    )


def test_records_of_groups_that_are_not_listed_are_counted_by_an_incident_of_their_rule() -> None:
    listed, other = of(cause_groups=[group(records=25)], rules=[rule("pcr.values", 30)])
    assert (listed.records, other.records, other.rules, other.first) == (25, 5, ("pcr.values",), None)
    assert "5 more" in other.title


def test_consequences_and_ignored_rules_are_no_incident() -> None:
    assert of(rules=[rule("nonce.match", 5, "consequence"), rule("clock.safe", 5, requirement="ignore")]) == []


def test_incidents_are_sorted_by_urgency_and_missing_evidence_is_last() -> None:
    missing = CauseFinding(
        rule="evidence.available", requirement="required", outcome="undecided", expected=True, got=False, message="no"
    )
    groups = [
        group(findings=[missing], records=900), group("clock.safe", 30), group(records=25), group("signature.valid", 2),
    ]  # fmt: skip
    found = of(cause_groups=groups)
    assert [one.kind for one in found] == [Kind.EVIDENCE, Kind.BOOT, Kind.POLICY, Kind.MISSING_EVIDENCE]
    assert found[-1].severity is Severity.LOW


def test_what_could_not_be_read_is_the_least_urgent_incident() -> None:
    last = incidents(summary())[-1]
    assert (last.kind, last.severity, last.records) == (Kind.UNREADABLE, Severity.LOW, 1)


def test_the_sample_counts_each_failing_record_in_one_incident_of_each_rule() -> None:
    sample: Summary = summary()
    for one in sample.rules:
        listed = [incident for incident in incidents(sample) if one.rule in incident.rules]
        assert sum(incident.records for incident in listed) == one.records
