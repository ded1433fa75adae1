"""Verdicts on Spark are those of the record appraiser, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nomyo_attest import AppraisalPolicy
from nomyo_attest.audit.arrow import row_of
from nomyo_attest.audit.row import COLUMNS, VERDICTS, Row
from nomyo_attest.installation import install_command
from nomyo_attest.testing import Forge
from tests.nomyo_attest.audit.mixed_bag import POLICY, lines, mixed_records

pytestmark = pytest.mark.spark

GOOD = Forge().text()


def rows(verdicts: Any) -> list[Row]:
    return [row_of(one.asDict(recursive=True)) for one in verdicts.collect()]


@pytest.mark.parametrize("keep", [False, True], ids=["facts alone", "with evidence"])
def test_every_record_has_the_row_that_it_has_on_one_machine(table_of: Callable[..., Any], keep: bool) -> None:
    from nomyo_attest.audit import spark as audit

    verdicts = audit.appraise(table_of(mixed_records()), POLICY, keep_evidence=keep)
    assert tuple(verdicts.columns) == COLUMNS
    assert lines(rows(verdicts)) == lines([one.row(keep_evidence=keep) for one in mixed_records()])


def test_every_kind_of_verdict_is_among_the_records_compared() -> None:
    assert {one.row().verdict for one in mixed_records()} >= set(VERDICTS) - {"warning"}


def test_columns_of_any_name_are_read_and_no_others(spark: Any) -> None:
    from nomyo_attest.audit import spark as audit

    df = spark.createDataFrame([(GOOD, "a", 7, 1)], "`an.swer` string, `the file` string, `no``` int, source int")
    (row,) = audit.appraise(df, POLICY, column="an.swer", source="the file", line="no`").collect()
    assert (row.verdict, row.source, row.line) == ("affirming", "a", 7)


def test_without_a_place_it_is_partition_and_position(spark: Any) -> None:
    from nomyo_attest.audit import spark as audit

    df = spark.range(6, numPartitions=2).selectExpr("'{' AS response")
    places = {(row.source, row.line) for row in audit.appraise(df, POLICY).select("source", "line").collect()}
    assert places == {(f"partition {number}", line) for number in (0, 1) for line in (1, 2, 3)}


@pytest.mark.parametrize(
    ("schema", "arguments", "expected"),
    [
        ("answer string", {}, "column 'response': expected one column with this name, got 0 among 'answer'"),
        ("response struct<a: int>", {}, r"got struct<a:int>; convert it to JSON text with to_json\(\)"),
        ("response array<int>", {}, "got array<int>"),
        ("response string, line double", {}, "column 'line': expected integer, got double"),
        ("response string, source int", {}, "column 'source': expected string, got int"),
        ("response string", {"source": "file"}, "column 'file'"),
        ("response string, response string", {}, "got 2 among 'response', 'response'"),
    ],
)
def test_a_table_with_wrong_columns_is_refused_before_anything_runs(
    spark: Any, schema: str, arguments: dict[str, Any], expected: str
) -> None:
    from nomyo_attest.audit import spark as audit
    from nomyo_attest.audit.arrow import ColumnError

    with pytest.raises(ColumnError, match=expected):
        audit.appraise(spark.createDataFrame([], schema), POLICY, **arguments)


@pytest.mark.parametrize(
    ("policy", "arguments", "error"),
    [
        ({}, {}, TypeError),
        (POLICY, {"at": datetime(2026, 1, 1)}, ValueError),  # noqa: DTZ001 - what is refused
        (POLICY, {"since": 0}, TypeError),
    ],
    ids=["policy", "time without an offset", "number for a time"],
)
def test_invalid_arguments_are_refused_before_anything_runs(
    spark: Any, policy: Any, arguments: dict[str, Any], error: type[Exception]
) -> None:
    from nomyo_attest.audit import spark as audit

    with pytest.raises(error):
        audit.appraise(spark.createDataFrame([], "response string"), policy, **arguments)


def test_records_outside_the_window_of_time_give_no_row(spark: Any) -> None:
    from nomyo_attest.audit import spark as audit

    times = [(f'{{"_metadata": {{"processed_at": {time}}}}}', time) for time in (99, 100, 199, 200)]
    since, until = (datetime.fromtimestamp(one, UTC) for one in (100, 200))
    df = spark.createDataFrame(times, "response string, line int")
    verdicts = audit.appraise(df, POLICY, since=since, until=until)
    assert sorted(row.line for row in verdicts.collect()) == [100, 199]


def test_the_time_of_all_appraisals_is_that_of_the_call_whenever_a_task_runs(spark: Any) -> None:
    from nomyo_attest.audit import spark as audit

    ends = datetime.now(UTC) + timedelta(seconds=1)
    policy = AppraisalPolicy.from_dict(Forge().policy() | {"valid_until": ends.isoformat()})
    df = spark.createDataFrame([(GOOD,)], "response string")
    before = audit.appraise(df, policy)
    while datetime.now(UTC) < ends:
        pass
    assert [row.verdict for row in before.collect()] == ["affirming"]
    assert [row.verdict for row in audit.appraise(df, policy).collect()] != ["affirming"]


def test_without_pyspark_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['pyspark'] = None; import nomyo_attest.audit.spark"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = f"an audit on Spark needs PySpark and pyarrow from the extra spark: {install_command('spark')}"
    assert expected in done.stderr
