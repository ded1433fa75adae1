from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nomyo_attest.audit.cross_record.model import Affected, AffectedKey, AffectedRecord
from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.summary import CROSS_RECORD_LISTED, Summary
from tests.nomyo_attest.audit.stores import digest, facts_of, fill, name, summary_of

FAILED = VERDICTS.index("contraindicated")
PINNED: dict[str, Any] = {"aik_name": name(1), "aik_pinned": True, "signature_valid": True, "restart_count": 0}


def summarized(*records: dict[str, Any], names: tuple[str, ...] = ("a",), **arguments: Any) -> Summary:
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "s") as store:
        fill(store, facts_of(*records), names)
        return summary_of(store, **arguments)


def affected(*records: dict[str, Any], **arguments: Any) -> Affected:
    counted = summarized(*records, **arguments).affected
    assert counted is not None
    return counted


def test_without_findings_no_record_is_affected() -> None:
    assert affected({"quote": digest(1)}, {"quote": digest(2)}) == Affected()


def test_a_record_in_several_findings_counts_once() -> None:
    replayed = {"quote": digest(1), "payload_id": "a", "aik_name": name(2), "aik_pinned": False}
    counted = affected(replayed, {**replayed, "verdict": FAILED}, {"payload_id": "b"})
    assert (counted.records, counted.affirming) == (2, 1)
    assert sorted((one.family, one.records, one.affirming) for one in counted.by_key) == [
        ("duplicate", 2, 1), ("duplicate", 2, 1), ("reused", 2, 1),
    ]  # fmt: skip


def test_records_of_an_aik_whose_clock_and_counters_went_back_are_the_union_of_both_findings() -> None:
    """The third record has an earlier clock but no lower counter, and the fourth the other way round."""
    clocks = [(1, 50, 7), (2, 90, 8), (3, 40, 8), (4, 60, 7)]
    records = [{**PINNED, "processed_at": at, "clock": clock, "reset_count": resets} for at, clock, resets in clocks]
    counted = affected(*records)
    assert counted == Affected(
        records=2, affirming=2, by_key=[AffectedKey(family="rollback", key=name(1).hex(), records=2, affirming=2)]
    )


def test_the_records_beside_a_gap_are_not_affected() -> None:
    summary = summarized({"processed_at": 1}, {"processed_at": 100}, max_gap=5)
    assert [one.rule for one in summary.cross_record] == ["gap.records"]
    assert summary.affected == Affected()


def test_findings_beyond_the_list_count_too() -> None:
    records = [{"quote": digest(number // 3)} for number in range(3 * CROSS_RECORD_LISTED + 30)]
    counted = affected(*records)
    assert (counted.records, len(counted.by_key)) == (len(records), CROSS_RECORD_LISTED)


def test_the_records_of_a_finding_are_written_by_time_and_with_the_names_of_their_sources() -> None:
    written: list[AffectedRecord] = []
    records = [{"quote": digest(1), "processed_at": 40 - at, "source": at % 2} for at in range(20)]
    summarized(*records, {"quote": digest(2)}, names=("b", "a"), on_affected=written.append)
    assert [one.processed_at for one in written] == sorted(range(21, 41))
    assert [one.source for one in written] == ["a", "b"] * 10
    assert {(one.rule, one.key, one.verdict) for one in written} == {("duplicate.quote", digest(1).hex(), "affirming")}


RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "quote": st.sampled_from([None, *map(digest, range(4))]),
            "payload_id": st.sampled_from([None, "a", "b", "c"]),
            "aik_name": st.sampled_from(list(map(name, range(3)))),
            "verdict": st.sampled_from([0, FAILED]),
            "processed_at": st.integers(1, 6),
            "clock": st.integers(0, 3),
            "reset_count": st.integers(0, 2),
        }
    ),
    max_size=12,
)


@given(RECORDS, st.booleans(), st.data())
@settings(max_examples=60, deadline=None)
def test_the_count_is_that_of_a_direct_comparison_in_any_order_of_sources(
    given_records: list[dict[str, Any]], pinned: bool, data: st.DataObject
) -> None:
    records = [{**PINNED, **record, "aik_pinned": pinned} for record in given_records]
    expected = {index for index in range(len(records)) if is_affected(records, index)}
    affirmed = sum(records[index]["verdict"] == 0 for index in expected)
    order = data.draw(st.permutations(range(len(records))))
    placed = [{**records[index], "source": place % 2} for place, index in enumerate(order)]
    for sources in (placed, sorted(placed, key=lambda record: record["source"])):
        counted = affected(*sources, names=("b", "a"))
        assert (counted.records, counted.affirming) == (len(expected), affirmed)


def is_affected(records: list[dict[str, Any]], index: int) -> bool:
    """Whether any cross-record rule has a finding with this record, by comparing it with each of the others."""
    record = records[index]
    for place, other in enumerate(records):
        same = {key for key in ("quote", "payload_id", "aik_name", "reset_count") if record[key] == other[key]}
        if place != index and (
            ("quote" in same and record["quote"] is not None)
            or ("payload_id" in same and record["payload_id"] is not None)
            or ("aik_name" in same and not record["aik_pinned"])
        ):
            return True
        if "aik_name" in same and other["processed_at"] < record["processed_at"]:
            if other["reset_count"] > record["reset_count"]:
                return True
            if "reset_count" in same and other["clock"] > record["clock"]:
                return True
    return False
