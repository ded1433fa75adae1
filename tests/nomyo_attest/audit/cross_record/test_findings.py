from __future__ import annotations

from pathlib import Path
from typing import Any

from nomyo_attest.audit.cross_record.model import CrossRecordFinding
from nomyo_attest.audit.place import Place
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import CROSS_RECORD_LISTED
from tests.nomyo_attest.audit.stores import cross_record_findings, digest, facts_of, fill, name, summary_of

AIK: dict[str, Any] = {"aik_name": name(1), "aik_pinned": True, "clock": 5000, "reset_count": 7, "restart_count": 2}


def clock(at: int | None, value: int, **fields: Any) -> dict[str, Any]:
    return {**AIK, "processed_at": at, "clock": value, **fields}


def counters(at: int, resets: int, restarts: int, **fields: Any) -> dict[str, Any]:
    # The clock goes on, so that no other rule has anything to say.
    return {**AIK, "processed_at": at, "clock": 10 * at, "reset_count": resets, "restart_count": restarts, **fields}


def test_a_duplicate_quote_is_found_with_its_places_and_whether_the_payload_ids_differ(tmp_path: Path) -> None:
    (found,) = cross_record_findings(
        tmp_path,
        {"quote": digest(1), "payload_id": "a", "processed_at": 9},
        {"quote": digest(2), "payload_id": "b", "processed_at": 5},
        {"quote": digest(1), "payload_id": "c", "processed_at": 3},
    )
    assert found == CrossRecordFinding(
        rule="duplicate.quote",
        key=digest(1).hex(),
        records=2,
        first=Place("a.jsonl", 3, 3),
        last=Place("a.jsonl", 1, 9),
        places=[Place("a.jsonl", 3, 3), Place("a.jsonl", 1, 9)],
        message="2 records have the same quote, but different payload ids",
        detail="different",
    )


def test_a_duplicate_payload_id_is_found_and_missing_ones_are_not(tmp_path: Path) -> None:
    (found,) = cross_record_findings(
        tmp_path, {"payload_id": "é'\""}, {}, {}, {"payload_id": "é'\""}, {"payload_id": "e"}
    )
    assert (found.rule, found.key, found.records) == ("duplicate.payload_id", "é'\"", 2)
    assert found.message == "2 records have the same payload id"


def test_a_pinned_aik_may_be_reused_and_another_may_not(tmp_path: Path) -> None:
    other = {**AIK, "aik_name": name(2), "aik_pinned": False}
    (found,) = cross_record_findings(tmp_path, AIK, AIK, other, other, {**other, "aik_name": name(3)})
    assert (found.rule, found.key, found.records) == ("reused.aik", name(2).hex(), 2)


def test_a_clock_back_by_a_millisecond_is_found_and_the_message_says_so(tmp_path: Path) -> None:
    (found,) = cross_record_findings(tmp_path, clock(1, 5000), clock(2, 4999))
    assert (found.rule, found.key, found.records) == ("rollback.clock", name(1).hex(), 1)
    assert found.places == [Place("a.jsonl", 2, 2)]
    assert found.message == "the clock goes back by 1 ms, from 5000 to 4999"


def test_a_clock_that_stays_the_same_or_increases_is_not_a_finding(tmp_path: Path) -> None:
    assert cross_record_findings(tmp_path, clock(1, 5000), clock(2, 5000), clock(3, 5001)) == []


def test_records_of_one_second_are_not_compared(tmp_path: Path) -> None:
    assert cross_record_findings(tmp_path, clock(1, 5000), clock(1, 4000), clock(1, 4500), clock(2, 5000)) == []


def test_a_clock_is_compared_with_the_largest_of_all_seconds_before(tmp_path: Path) -> None:
    (found,) = cross_record_findings(
        tmp_path, clock(1, 9000), clock(1, 100), clock(3, 5000), clock(2, 8000), clock(4, 9000), clock(5, 8999)
    )
    assert found.places == [Place("a.jsonl", 4, 2), Place("a.jsonl", 3, 3), Place("a.jsonl", 6, 5)]
    assert (
        found.message == "the clock goes back by 1,000 ms, from 9000 to 8000, and 2 more records have an earlier clock"
    )


def test_clocks_across_a_reset_are_not_compared(tmp_path: Path) -> None:
    assert cross_record_findings(tmp_path, clock(1, 5000), clock(2, 4000, reset_count=8)) == []


def test_a_clock_of_another_aik_is_not_compared(tmp_path: Path) -> None:
    assert cross_record_findings(tmp_path, clock(1, 5000), clock(2, 4000, aik_name=name(2))) == []


def test_only_records_with_a_valid_signature_and_a_time_are_compared(tmp_path: Path) -> None:
    assert cross_record_findings(
        tmp_path,
        clock(1, 9000, signature_valid=False, reset_count=9),
        clock(1, 9000, signature_valid=None),
        clock(2, 5000),
        clock(3, 1, signature_valid=False, reset_count=1),
        clock(None, 1, reset_count=1),
        clock(None, 9999, reset_count=9),
    ) == []  # fmt: skip


def test_the_largest_clocks_and_times_are_compared_exactly(tmp_path: Path) -> None:
    (found,) = cross_record_findings(tmp_path, clock(-(2**53) + 1, 2**63 - 1), clock(2**53 - 1, 0))
    assert found.message == f"the clock goes back by {2**63 - 1:,} ms, from {2**63 - 1} to 0"


def test_reset_count_going_back_is_found(tmp_path: Path) -> None:
    (found,) = cross_record_findings(tmp_path, counters(1, 7, 2), counters(2, 8, 0), counters(3, 6, 5))
    assert (found.rule, found.records, found.first) == ("rollback.counters", 1, Place("a.jsonl", 3, 3))
    assert found.message == "resetCount goes back by 2, from 8 to 6"


def test_restart_count_going_back_is_found_while_reset_count_is_the_same(tmp_path: Path) -> None:
    (found,) = cross_record_findings(
        tmp_path, counters(1, 7, 2), counters(2, 7, 1), counters(3, 8, 0), counters(4, 8, 0)
    )
    assert (found.rule, found.records) == ("rollback.counters", 1)
    assert found.message == "restartCount goes back by 1, from 2 to 1"


def test_a_record_both_of_whose_counters_go_back_counts_once(tmp_path: Path) -> None:
    found = cross_record_findings(tmp_path, counters(1, 7, 5), counters(2, 8, 0), counters(3, 7, 4))
    assert [(one.rule, one.records, one.message) for one in found] == [
        ("rollback.counters", 1, "resetCount goes back by 1, from 8 to 7")
    ]


def test_counters_of_one_second_have_no_order(tmp_path: Path) -> None:
    assert cross_record_findings(tmp_path, counters(1, 8, 0), counters(1, 7, 3), counters(1, 7, 1)) == []


def test_a_gap_is_found_if_it_is_longer_than_the_limit(tmp_path: Path) -> None:
    records = [{"processed_at": at} for at in (100, 0, None, 40, 100, 99)]
    (found,) = cross_record_findings(tmp_path, *records, max_gap=58)
    assert found == CrossRecordFinding(
        rule="gap.records",
        key="1970-01-01T00:00:40Z/1970-01-01T00:01:39Z",
        records=2,
        first=Place("a.jsonl", 4, 40),
        last=Place("a.jsonl", 6, 99),
        places=[Place("a.jsonl", 4, 40), Place("a.jsonl", 6, 99)],
        message="no record for 59 s",
    )
    (tmp_path / "store.sqlite").unlink()
    assert cross_record_findings(tmp_path, *records, max_gap=59) == []


def test_records_without_a_time_come_first_then_by_time_source_and_line(tmp_path: Path) -> None:
    quote = {"quote": digest(1)}
    (found,) = cross_record_findings(
        tmp_path,
        {**quote, "source": 0, "line": 2, "processed_at": 5},
        {**quote, "source": 0, "line": 10, "processed_at": 5},
        {**quote, "source": 0, "line": 11},
        {**quote, "source": 1, "line": 1, "processed_at": 5},
        {**quote, "source": 1, "line": 2, "processed_at": -1},
        {**quote, "source": 1, "line": 3},
        {**quote, "source": 1, "line": 4, "processed_at": 6},
        names=("z.jsonl", "B.jsonl"),
    )
    assert found.places == [
        Place("B.jsonl", 3, None), Place("z.jsonl", 11, None), Place("B.jsonl", 2, -1), Place("B.jsonl", 1, 5),
        Place("z.jsonl", 2, 5),
    ]  # fmt: skip
    assert found.last == Place("B.jsonl", 4, 6)
    assert found.records == 7


def test_findings_of_a_rule_are_in_the_order_of_their_first_record(tmp_path: Path) -> None:
    records = [
        {"quote": digest(key), "processed_at": at} for key, at in ((1, 9), (2, 5), (3, 7), (3, 8), (2, 9), (1, 1))
    ]
    assert [found.key for found in cross_record_findings(tmp_path, *records)] == [
        digest(key).hex() for key in (1, 2, 3)
    ]


def test_each_rule_has_its_share_of_the_list_and_totals_are_exact(tmp_path: Path) -> None:
    quotes = [{"quote": digest(number // 2)} for number in range(4 * CROSS_RECORD_LISTED)]
    names = [{**AIK, "aik_name": name(number // 2), "aik_pinned": False} for number in range(20)]
    seen: list[CrossRecordFinding] = []
    with Store.open(tmp_path / "s") as store:
        fill(store, facts_of(*quotes, *names), at_once=500)
        summary = summary_of(store, on_finding=seen.append)
        again = summary_of(store)
    assert len(summary.cross_record) == CROSS_RECORD_LISTED
    assert [one.rule for one in summary.cross_record].count("reused.aik") == 10
    totals = {one.rule: (one.findings, one.records) for one in summary.cross_record_rules}
    assert totals["duplicate.quote"] == (2 * CROSS_RECORD_LISTED, 4 * CROSS_RECORD_LISTED)
    assert totals["reused.aik"] == (10, 20)
    assert len(seen) == 2 * CROSS_RECORD_LISTED + 10
    assert (again.cross_record, again.cross_record_rules) == (summary.cross_record, summary.cross_record_rules)


def test_any_number_of_copies_cannot_hide_one_replay(tmp_path: Path) -> None:
    copies = [
        {"quote": digest(number // 2), "payload_id": str(number // 2), "processed_at": number // 2}
        for number in range(2 * CROSS_RECORD_LISTED + 2)
    ]
    late = 10 * CROSS_RECORD_LISTED
    replay = [{"quote": digest(10**6), "payload_id": "replayed", "processed_at": at} for at in (late, late + 60)]
    with Store.open(tmp_path / "s") as store:
        fill(store, facts_of(*copies, *replay), at_once=500)
        found = summary_of(store).cross_record
    assert len(found) == CROSS_RECORD_LISTED
    by_rule = {rule: [one for one in found if one.rule == rule] for rule in ("duplicate.quote", "duplicate.payload_id")}
    for listed in by_rule.values():
        assert [one.may_be_copies for one in listed] == [False] + [True] * (CROSS_RECORD_LISTED // 2 - 1)


def test_a_server_cannot_hide_a_gap_of_a_ledger_by_a_date_in_it(tmp_path: Path) -> None:
    records = [{"recorded_at": 100, "processed_at": 100}, {"recorded_at": 100, "processed_at": 150}]
    later = {"recorded_at": 200, "processed_at": 200}
    (found,) = cross_record_findings(tmp_path, *records, later, max_gap=60)
    assert (found.rule, found.key) == ("gap.records", "1970-01-01T00:01:40Z/1970-01-01T00:03:20Z")
    assert found.message == "no record for 100 s"
    assert found.places == [Place("a.jsonl", 2, 100), Place("a.jsonl", 3, 200)]
