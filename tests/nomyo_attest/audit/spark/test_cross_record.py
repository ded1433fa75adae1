"""What shows across records shows on a cluster as it does in the store of an audit on one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nomyo_attest.audit.chunk import Chunk, RawRecord, SourceEnd
from nomyo_attest.audit.cross_record.model import CrossRecordFinding
from nomyo_attest.audit.cross_record.rules import CROSS_RECORD_RULES
from nomyo_attest.audit.cross_record.stored import StoredRecords
from nomyo_attest.audit.store import Store
from nomyo_attest.audit.totals import SourceOrder
from nomyo_attest.audit.worker import Worker, WorkOrder
from tests.nomyo_attest.audit.mixed_bag import POLICY, mixed_records
from tests.nomyo_attest.audit.stores import summary_of

pytestmark = pytest.mark.spark

MAX_GAP = 3600


class Bag(Chunk):
    """The mixed bag as one machine reads it: its sources last name first, which is not the order of their names."""

    number = 0
    progress = 0
    names = tuple(sorted({one.source for one in mixed_records()}, reverse=True))

    def records(self) -> Iterator[RawRecord]:
        for one in mixed_records():
            yield RawRecord(
                self.names.index(one.source), one.source, one.line, one.text, "null" if one.text is None else ""
            )

    def source_ends(self) -> tuple[SourceEnd, ...]:
        found = enumerate(self.names)
        return tuple(SourceEnd(source=number, name=name, kind="jsonl", size=0, sha256=None) for number, name in found)


def on_one_machine(path: Path) -> list[CrossRecordFinding]:
    with Store.open(path) as store:
        store.add(Worker(WorkOrder(policy=POLICY)).appraise(Bag()))
        store.checkpoint()
        return list(StoredRecords(store, SourceOrder(store)).findings(MAX_GAP))


def told(found: list[Any]) -> list[bytes]:
    return sorted(msgspec.json.encode(one, order="sorted") for one in found)


def test_every_cross_record_rule_finds_the_same_as_on_one_machine(table_of: Callable[..., Any], tmp_path: Path) -> None:
    from nomyo_attest.audit import spark as audit

    verdicts = audit.appraise(table_of(mixed_records()), POLICY).persist()
    found = [one.asDict(recursive=True) for one in audit.cross_record(verdicts, max_gap=MAX_GAP).collect()]
    verdicts.unpersist()

    assert {one["rule"] for one in found} == {rule.id for rule in CROSS_RECORD_RULES}, "a rule that finds nothing"
    assert told(found) == told(on_one_machine(tmp_path / "store"))


def test_without_a_limit_no_gap_is_a_finding(spark: Any) -> None:
    from nomyo_attest.audit import spark as audit

    texts = [(f'{{"_metadata": {{"processed_at": {at}}}}}',) for at in (0, 10**9)]
    verdicts = audit.appraise(spark.createDataFrame(texts, "response string"), POLICY)
    assert audit.cross_record(verdicts).collect() == []


def test_every_check_has_the_same_outcome_as_on_one_machine(table_of: Callable[..., Any], tmp_path: Path) -> None:
    from nomyo_attest.audit import spark as audit

    verdicts = audit.appraise(table_of(mixed_records()), POLICY).persist()
    found = {one.rule: one.asDict() for one in audit.cross_record_checks(verdicts, max_gap=MAX_GAP).collect()}
    verdicts.unpersist()
    with Store.open(tmp_path / "store") as store:
        store.add(Worker(WorkOrder(policy=POLICY)).appraise(Bag()))
        store.checkpoint()
        summary = summary_of(store, max_gap=MAX_GAP)
    assert {one["outcome"] for one in found.values()} == {"found"}
    expected = {one.rule: msgspec.to_builtins(one) for one in summary.cross_record_rules}
    assert found == {
        rule: {key: value for key, value in one.items() if key not in ("question", "remediation", "accepted")}
        for rule, one in expected.items()
    }


def test_a_check_that_lacks_times_is_not_evaluated(table_of: Callable[..., Any]) -> None:
    from pyspark.sql import functions

    from nomyo_attest.audit import spark as audit

    verdicts = audit.appraise(table_of(mixed_records()), POLICY)
    undated = verdicts.withColumn("processed_at", functions.lit(None).cast("bigint")).persist()
    found = {one.rule: one for one in audit.cross_record_checks(undated, max_gap=MAX_GAP).collect()}
    undated.unpersist()
    lacking = ("rollback.clock", "rollback.counters", "gap.records")
    assert {rule for rule, one in found.items() if one.outcome == "not_evaluated"} == set(lacking)
    assert all(found[rule].undated > 1 and not found[rule].compared for rule in lacking)
    assert "no usable processed_at" in found["rollback.clock"].remark
