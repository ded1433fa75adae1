"""Which records a cross-record check compared, and that it holds only where nothing was left out."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.audit.chunk import Fact
from nomyo_attest.audit.cross_record.findings import Coverage
from nomyo_attest.audit.cross_record.model import CrossRecordRuleSummary
from nomyo_attest.audit.cross_record.rules import evaluated_rules, find_cross_record_rule
from nomyo_attest.audit.cross_record.stored import StoredRecords
from nomyo_attest.audit.row import UNREADABLE, VERDICTS
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summarize import summarize
from nomyo_attest.audit.summary import Run, Summary
from nomyo_attest.audit.totals import SourceOrder
from tests.nomyo_attest.audit.cross_record.test_stored import NAMES, facts
from tests.nomyo_attest.audit.stores import NOTHING, digest, facts_of, fill, name

POLICY = na.AppraisalPolicy(id="any", unsafe_accept_any_pcrs=True)


def good(number: int, **fields: Any) -> dict[str, Any]:
    """One of many complete records, all of one AIK that the policy pins."""
    return {
        "payload_id": f"id-{number}", "quote": digest(number), "aik_name": name(1), "aik_pinned": True,
        "processed_at": 100 + number, "clock": 1000 * number, "reset_count": 1, "restart_count": 1, **fields,
    }  # fmt: skip


def alone(number: int, **fields: Any) -> dict[str, Any]:
    """One of many complete records, each of an AIK of its own."""
    return good(number, aik_name=name(number), aik_pinned=False, **fields)


def summary_of(folder: Path, *records: dict[str, Any], **arguments: Any) -> Summary:
    given: dict[str, Any] = {"policy": POLICY, "fail_on": {"cross-record"}, **arguments}
    with Store.open(folder / "s") as store:
        fill(store, facts_of(*records))
        return summarize(store, run=Run(version="1", command=[]), **given)


def checks(summary: Summary) -> dict[str, CrossRecordRuleSummary]:
    return {one.rule.partition(".")[2]: one for one in summary.cross_record_rules}


def outcomes(summary: Summary) -> set[str]:
    return {one.outcome for one in summary.cross_record_rules}


def test_an_audit_of_complete_records_holds_and_passes(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, good(1), good(2), good(3), max_gap=5)
    assert outcomes(summary) == {"held"}
    assert {one.remark for one in summary.cross_record_rules} == {""}
    assert (summary.status, summary.status_reason) == (0, "none of 3 records failed")


def test_an_audit_of_one_record_holds_and_reports_that_nothing_was_compared(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, good(1, processed_at=None), max_gap=5)
    assert (outcomes(summary), summary.status) == ({"held"}, 0)
    assert all("fewer than two records" in one.remark for one in summary.cross_record_rules)


def test_records_without_a_time_whose_aiks_sign_once_need_none(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, alone(1, processed_at=None), alone(2, processed_at=None))
    assert (outcomes(summary), summary.status) == ({"held"}, 0)
    assert checks(summary)["clock"].remark == "nothing to compare: no AIK signed quotes at different times"


def test_records_of_one_aik_without_a_time_are_not_evaluated_and_fail(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, good(1, processed_at=None), good(2, processed_at=None))
    clock = checks(summary)["clock"]
    assert (clock.outcome, clock.undated, clock.compared, clock.accepted) == ("not_evaluated", 2, 0, False)
    assert clock.remark == ("2 records have no usable processed_at, so the order is unknown; 0 records were compared")
    assert checks(summary)["counters"].outcome == "not_evaluated"
    assert checks(summary)["quote"].outcome == "held"
    assert (summary.status, summary.status_reason) == (1, "2 cross-record checks not evaluated")


def test_one_record_without_a_time_among_others_of_its_aik_is_enough(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, good(1), good(2), good(3), good(4, processed_at=None))
    clock = checks(summary)["clock"]
    assert (clock.outcome, clock.usable, clock.undated, clock.compared) == ("not_evaluated", 4, 1, 2)
    assert clock.remark == "1 record has no usable processed_at, so the order is unknown; 2 records were compared"
    assert summary.status == 1


def test_a_record_without_a_time_hides_no_finding(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, good(1, clock=9000), good(2), good(3, processed_at=None))
    clock = checks(summary)["clock"]
    assert (clock.outcome, clock.findings, clock.undated) == ("found", 1, 1)
    assert (summary.status, summary.status_reason) == (
        1,
        "1 finding across records; 1 cross-record check not evaluated",
    )


def test_allow_undated_accepts_what_lacks_times_and_still_reports_it(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, good(1), good(2, processed_at=None), allow_undated=True)
    clock = checks(summary)["clock"]
    assert (clock.outcome, clock.accepted, summary.status) == ("not_evaluated", True, 0)


def test_allow_undated_does_not_accept_a_finding(tmp_path: Path) -> None:
    records = (good(1, clock=9000), good(2), good(3, processed_at=None))
    assert summary_of(tmp_path, *records, allow_undated=True).status == 1


def test_a_check_that_was_not_evaluated_fails_only_for_cross_record(tmp_path: Path) -> None:
    records = (good(1, processed_at=None), good(2, processed_at=None))
    assert summary_of(tmp_path, *records, fail_on={"contraindicated"}).status == 0


@pytest.mark.parametrize(
    ("missing", "lacking"),
    [
        ({"payload_id": None}, {"payload_id"}),
        ({"quote": None}, {"quote"}),
        ({"aik_name": None}, {"aik", "clock", "counters"}),
        ({"clock": None}, {"clock", "counters"}),
        ({"signature_valid": False}, {"clock", "counters"}),
        ({"signature_valid": None}, {"clock", "counters"}),
    ],
)
def test_a_check_for_which_no_record_has_what_it_compares_is_not_evaluated(
    tmp_path: Path, missing: dict[str, Any], lacking: set[str]
) -> None:
    summary = summary_of(tmp_path, good(1, **missing), good(2, **missing), allow_undated=True)
    found = {rule for rule, one in checks(summary).items() if one.outcome == "not_evaluated"}
    assert found == lacking
    assert all(checks(summary)[rule].remark.startswith("no record has a") for rule in lacking)
    assert summary.status == 1


def test_a_check_that_compares_some_records_says_how_many(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, good(1), good(2), good(3, payload_id=None))
    found = checks(summary)["payload_id"]
    assert (found.outcome, found.appraised, found.usable, found.compared) == ("held", 3, 2, 2)
    assert found.remark == "2 of 3 records have a payload id"
    (tmp_path / "again").mkdir()
    one_left = checks(summary_of(tmp_path / "again", good(1), good(2, payload_id=None)))["payload_id"]
    assert (one_left.outcome, one_left.remark) == ("held", "nothing to compare: 1 of 2 records has a payload id")


def test_a_policy_that_needs_no_payload_ids_accepts_that_they_are_not_compared(tmp_path: Path) -> None:
    policy = na.AppraisalPolicy(id="any", unsafe_accept_any_pcrs=True, unsafe_any_nonce=True)
    summary = summary_of(tmp_path, good(1, payload_id=None), good(2, payload_id=None), policy=policy)
    found = checks(summary)["payload_id"]
    assert (found.outcome, found.accepted, summary.status) == ("not_evaluated", True, 0)


def test_records_without_evidence_are_accepted_where_an_option_accepts_them(tmp_path: Path) -> None:
    absent = {"available": False, "payload_id": "x", "signature_valid": None}
    records = ({**absent}, {**absent, "payload_id": "y"})
    assert summary_of(tmp_path, *records).status == 1
    (tmp_path / "again").mkdir()
    accepted = summary_of(tmp_path / "again", *records, allow_no_evidence=True)
    assert (checks(accepted)["quote"].outcome, accepted.status) == ("not_evaluated", 0)


def test_a_gap_is_not_evaluated_where_fewer_than_two_records_have_a_time(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, alone(1), alone(2, processed_at=None), max_gap=5)
    assert checks(summary)["records"].outcome == "not_evaluated"
    (tmp_path / "again").mkdir()
    more = summary_of(tmp_path / "again", alone(1), alone(2), alone(3, processed_at=None), max_gap=5)
    assert (checks(more)["records"].outcome, checks(more)["records"].undated) == ("held", 1)


def test_unreadable_records_are_not_counted_by_a_check(tmp_path: Path) -> None:
    unreadable = {"verdict": VERDICTS.index(UNREADABLE), "available": None, "signature_valid": None}
    summary = summary_of(tmp_path, good(1), good(2), unreadable)
    assert (checks(summary)["quote"].appraised, checks(summary)["quote"].remark) == (2, "")


def vouched_for(fact: Fact) -> bool:
    return fact.signature_valid is True and None not in (fact.aik_name, fact.clock)


def ordered(records: list[Fact], key: Callable[[Fact], Hashable]) -> Coverage:
    groups: dict[Hashable, list[Fact]] = defaultdict(list)
    for fact in filter(vouched_for, records):
        groups[key(fact)].append(fact)
    undated = compared = 0
    for group in groups.values():
        times = [fact.processed_at for fact in group if fact.processed_at is not None]
        if len(group) > 1:
            undated += len(group) - len(times)
        compared += sum(time > min(times) for time in times)
    return Coverage(len(records), sum(map(vouched_for, records)), undated, compared)


def repeated(records: list[Fact], column: str) -> Coverage:
    usable = sum(getattr(fact, column) is not None for fact in records)
    return Coverage(len(records), usable, 0, usable if usable > 1 else 0)


@settings(max_examples=40)
@given(facts(), st.booleans())
def test_the_records_that_are_compared_are_those_of_a_model(records: list[Fact], some_alone: bool) -> None:
    if some_alone:  # so many that the store looks at those of shared AIKs only
        records = records + [
            NOTHING._replace(
                source=3, line=100 + one, aik_name=name(1000 + one), clock=1, reset_count=1, restart_count=1
            )
            for one in range(9 * len(records))
        ]
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "s") as store:
        fill(store, records, NAMES)
        stored = StoredRecords(store, SourceOrder(store))
        found = {rule.id: stored.coverage(rule) for rule in evaluated_rules(5)}
    dated = sum(fact.processed_at is not None for fact in records)
    assert found == {
        "duplicate.quote": repeated(records, "quote"),
        "duplicate.payload_id": repeated(records, "payload_id"),
        "reused.aik": repeated(records, "aik_name"),
        "rollback.clock": ordered(records, lambda one: (one.aik_name, one.reset_count)),
        "rollback.counters": ordered(records, lambda one: one.aik_name),
        "gap.records": Coverage(len(records), len(records), len(records) - dated, dated if dated > 1 else 0),
    }


def test_every_rule_says_what_it_needs() -> None:
    assert all(find_cross_record_rule(rule.id).needs.startswith(("a ", "an ")) for rule in evaluated_rules(5))
