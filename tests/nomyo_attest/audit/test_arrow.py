"""Batches of records in, batches of verdicts out: one row for each record, whatever is in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from nomyo_attest import AppraisalPolicy, NomyoAttestError
from nomyo_attest.audit.arrow import (
    RESULT_SCHEMA,
    ROWS_MAX,
    ColumnError,
    appraise_batches,
    batch_to_rows,
    rows_to_batch,
)
from nomyo_attest.audit.row import COLUMNS, Row, RowFinding, encode_row
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX
from nomyo_attest.testing import Forge
from tests.nomyo_attest.audit.mixed_bag import GARBAGE, POLICY, mixed_records

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

GOOD = Forge().text().encode()


def batch(**columns: Any) -> Any:
    return pa.RecordBatch.from_pydict(columns)


def rows(batches: Any, **arguments: Any) -> list[Row]:
    found = appraise_batches(batches, arguments.pop("policy", POLICY), **arguments)
    return [row for one in found for row in batch_to_rows(one)]


@pytest.mark.parametrize("keep", [False, True], ids=["facts alone", "with evidence"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_every_record_has_the_row_that_it_has_outside_arrow(size: int, keep: bool) -> None:
    bag = mixed_records()
    table = pa.table(
        {
            "source": [one.source for one in bag],
            "line": [one.line for one in bag],
            "response": pa.array([one.text for one in bag], pa.binary()),
        }
    )
    found = rows(table.to_batches(max_chunksize=size), keep_evidence=keep)
    assert [encode_row(row) for row in found] == [encode_row(one.row(keep_evidence=keep)) for one in bag]


def test_every_batch_that_comes_out_has_the_schema_of_the_results() -> None:
    (found,) = appraise_batches([batch(response=[GOOD, b"{", None])], POLICY)
    assert found.schema.equals(RESULT_SCHEMA, check_metadata=True)
    found.validate(full=True)


def test_a_row_can_be_appraised_again_from_its_stored_evidence() -> None:
    once = rows([batch(response=[GOOD])], keep_evidence=True)
    again = rows([batch(response=[encode_row(row) for row in once])], keep_evidence=True)
    assert again == once


TEXTS = [GOOD, None, b"{", "\u00fc".encode()]


def run_of_strings(kind: Any) -> Any:
    decoded = [None if text is None else text.decode() for text in TEXTS]
    return pa.array(decoded).dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else pa.array(decoded, kind)


@pytest.mark.parametrize(
    "array",
    [
        pa.array(TEXTS, pa.binary()),
        pa.array(TEXTS, pa.large_binary()),
        pa.array(TEXTS, pa.binary_view()),
        run_of_strings(pa.string()),
        run_of_strings(pa.large_string()),
        run_of_strings(pa.string_view()),
        run_of_strings(pa.dictionary(pa.int32(), pa.string())),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3], pa.int8()), pa.array(TEXTS, pa.binary())),
        pa.concat_arrays([pa.array([b"before"]), pa.array(TEXTS, pa.binary())]).slice(1),
    ],
    ids=lambda array: str(array.type),
)
def test_every_layout_of_text_is_read(array: Any) -> None:
    found = rows([batch(response=array)])
    assert [row.verdict for row in found] == ["affirming", "unreadable", "contraindicated", "contraindicated"]


def test_a_column_of_arrows_json_type_is_read() -> None:
    if not hasattr(pa, "json_"):
        pytest.skip("this pyarrow has no such type")
    array = pa.ExtensionArray.from_storage(pa.json_(), pa.array([GOOD.decode()]))
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), array)
    twice = pa.ExtensionArray.from_storage(
        pa.opaque(pa.dictionary(pa.int32(), pa.string()), "json", "maker"),
        pa.array([GOOD.decode()]).dictionary_encode(),
    )
    for one in (array, dictionary, twice):
        place = pa.ExtensionArray.from_storage(pa.json_(), pa.array(["a.jsonl"]))
        line = pa.ExtensionArray.from_storage(pa.opaque(pa.int64(), "line", "maker"), pa.array([7]))
        (row,) = rows([batch(response=one, source=place, line=line)])
        assert (row.verdict, row.source, row.line) == ("affirming", "a.jsonl", 7)


def test_text_that_is_not_utf_8_in_a_column_of_strings_is_a_malformed_record() -> None:
    (row,) = rows([batch(response=pa.array([b"\xff"]).view(pa.string()))])
    assert row.verdict == "contraindicated"
    assert row.failed == ["evidence.form"]


def test_a_text_too_large_to_be_read_is_unreadable_and_says_how_large_it_is() -> None:
    found = rows([batch(response=[b" " * RECORD_BYTES_MAX, b" " * (RECORD_BYTES_MAX + 1)])])
    assert [row.verdict for row in found] == ["contraindicated", "unreadable"]
    assert found[1].reason == f"expected at most {RECORD_BYTES_MAX} bytes, got {RECORD_BYTES_MAX + 1}"


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (pa.array([{"_metadata": 1}]), "struct<_metadata: int64>"),
        (pa.array([1]), "int64"),
        (pa.array([["a"]]), "list"),
        (pa.nulls(1), "null"),
        (pa.array([1]).dictionary_encode(), "dictionary"),
    ],
    ids=["struct", "integer", "list", "null", "dictionary of integers"],
)
def test_a_column_that_is_not_text_is_refused_by_its_type(array: Any, got: str) -> None:
    with pytest.raises(
        ColumnError, match=rf"column 'response': expected JSON text: string or binary, got {got}"
    ) as caught:
        rows([batch(response=array)])
    assert isinstance(caught.value, NomyoAttestError)
    assert caught.value.column == "response"


def test_a_missing_column_is_refused_with_the_names_of_the_others() -> None:
    with pytest.raises(
        ColumnError, match="column 'answer': expected one column with this name, got 0 among 'response', 'n'"
    ):
        rows([batch(response=[GOOD], n=[1])], column="answer")
    with pytest.raises(ColumnError, match="column 'file'"):
        rows([batch(response=[GOOD])], source="file")
    with pytest.raises(ColumnError, match="column 'row'"):
        rows([batch(response=[GOOD])], line="row")


def test_two_columns_of_the_name_are_refused() -> None:
    both = pa.RecordBatch.from_arrays([pa.array([GOOD]), pa.array([GOOD])], names=["response", "response"])
    with pytest.raises(ColumnError, match="got 2 among 'response', 'response'"):
        rows([both])


@pytest.mark.parametrize("column", ["source", "line"])
def test_a_place_of_another_type_is_refused(column: str) -> None:
    with pytest.raises(ColumnError, match=f"column '{column}': expected (string|integer), got double"):
        rows([batch(response=[GOOD], **{column: [1.0]})])


def test_without_columns_for_it_a_place_is_the_name_given_and_the_position_over_all_batches() -> None:
    batches = [batch(response=[b"{"] * 2), batch(response=pa.array([], pa.binary())), batch(response=[b"{"])]
    assert [(row.source, row.line) for row in rows(batches, name="table")] == [("table", 1), ("table", 2), ("table", 3)]


def test_places_are_carried_over_from_columns_of_any_name() -> None:
    found = rows(
        [batch(answer=[b"{"], file=["a"], row=pa.array([7], pa.uint16()))], column="answer", source="file", line="row"
    )
    assert [(row.source, row.line) for row in found] == [("a", 7)]


@pytest.mark.parametrize("line", [None, -1, 2**63, 2**64 - 1])
def test_an_invalid_line_becomes_0(line: int | None) -> None:
    kind = pa.uint64() if line and line > 0 else pa.int64()
    found = rows([batch(response=[b"{"], source=pa.array([None], pa.string()), line=pa.array([line], kind))], name="x")
    assert [(row.source, row.line) for row in found] == [("x", 0)]


def test_batches_are_read_lazily_and_results_have_bounded_size() -> None:
    taken = []

    def source() -> Iterator[Any]:
        for number in range(3):
            taken.append(number)
            yield batch(response=[b"{"] * (ROWS_MAX + 1))

    found = appraise_batches(source(), POLICY)
    assert taken == []
    assert [next(found).num_rows for _ in range(3)] == [ROWS_MAX, 1, ROWS_MAX]
    assert taken == [0, 1]


def test_with_stored_evidence_a_batch_ends_where_its_records_get_large() -> None:
    padded = Forge().response()
    padded["_metadata"]["more"] = "x" * 3_000_000
    text = json.dumps(padded).encode()
    found = list(appraise_batches([batch(response=[text] * 12)], POLICY, keep_evidence=True))
    assert [one.num_rows for one in found] == [6, 6]


def test_records_outside_the_window_of_time_give_no_row() -> None:
    times = [99, 100, 101, 199, 200, None]
    texts = [json.dumps({"_metadata": {"processed_at": time}}).encode() for time in times]
    since, until = (datetime.fromtimestamp(one, UTC) for one in (99.5, 200))
    found = rows([batch(response=texts, line=[0, 1, 2, 3, 4, 5])], since=since, until=until)
    assert [row.line for row in found] == [1, 2, 3, 5]


def test_the_time_of_all_appraisals_is_the_one_given_or_that_of_the_call() -> None:
    now = datetime.now(UTC)
    document = Forge().policy() | {"valid_until": (now + timedelta(hours=1)).isoformat()}
    policy = AppraisalPolicy.from_dict(document)
    (today,) = rows([batch(response=[GOOD])], policy=policy)
    assert today.verdict == "affirming"
    tomorrow = (now + timedelta(days=1)).astimezone(timezone(timedelta(hours=2)))
    (late,) = rows([batch(response=[GOOD])], policy=policy, at=tomorrow)
    assert late.verdict != "affirming"
    assert [one.rule for one in late.findings] == ["policy.period"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: appraise_batches([], {}), TypeError),  # type: ignore[arg-type]  # what is refused
        (lambda: appraise_batches([], POLICY, at=datetime(2026, 1, 1)), ValueError),  # noqa: DTZ001 - what is refused
        (lambda: appraise_batches([], POLICY, since=0), TypeError),  # type: ignore[arg-type]  # what is refused
    ],
    ids=["policy", "time without an offset", "number for a time"],
)
def test_invalid_arguments_are_refused_at_once(call: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        call()


@pytest.mark.parametrize("text", GARBAGE, ids=lambda text: repr(text[:20]))
def test_arbitrary_bytes_give_a_row(text: bytes) -> None:
    (row,) = rows([batch(response=[text])])
    assert row.verdict in {"contraindicated", "none"}


def test_a_wrapped_record_is_a_row_that_is_unreadable() -> None:
    wrapped = json.dumps({"log": Forge().text()}).encode()
    (row,) = rows([batch(response=[wrapped])])
    assert row.verdict == "unreadable"
    assert row.reason is not None
    assert "at /log (JSON text in a string)" in row.reason


def test_the_columns_are_those_of_a_row_in_order() -> None:
    assert tuple(RESULT_SCHEMA.names) == COLUMNS


def test_a_column_may_be_null_exactly_where_a_row_may_have_none() -> None:
    least = msgspec.to_builtins(Row(source="a", line=1, verdict="none"))
    assert {one.name for one in RESULT_SCHEMA if one.nullable} == {name for name in COLUMNS if least[name] is None}


FULL = Row(
    source="a",
    line=2**63 - 1,
    payload_id="ü",
    verdict="contraindicated",
    failed=["a"],
    undecided=["b", "c"],
    pcrs=msgspec.Raw(b'{"sha256":{"0":"00"}}'),
    clock=2**63 - 1,
    findings=[
        RowFinding("a", "fail", "required", {"b": [1, None, "x"]}, None, "m"),
        RowFinding("b", "undecided", "warn", "text", 2**64 - 1, ""),
    ],
    evidence=msgspec.Raw(b'{"tpm_attestation": {"is_available": false}}'),
)


def test_rows_are_converted_back_to_the_same_bytes() -> None:
    rows = [FULL, *(one.row(keep_evidence=True) for one in mixed_records())]
    assert list(map(encode_row, batch_to_rows(rows_to_batch(rows)))) == list(map(encode_row, rows))


def test_no_rows_are_a_batch_without_rows() -> None:
    empty = rows_to_batch([])
    assert empty.num_rows == 0
    assert empty.schema == RESULT_SCHEMA


def test_the_values_of_a_finding_are_json_text() -> None:
    (first, second) = rows_to_batch([FULL]).column("findings")[0].as_py()
    assert (first["expected"], first["got"]) == ('{"b":[1,null,"x"]}', "null")
    assert (second["expected"], second["got"]) == ('"text"', "18446744073709551615")


def test_parquet_preserves_the_columns_and_the_rows(tmp_path: Any) -> None:
    path = tmp_path / "verdicts.parquet"
    pq.write_table(pa.Table.from_batches([rows_to_batch([FULL])]), path)
    table = pq.read_table(path)
    assert table.schema.equals(RESULT_SCHEMA)
    assert [encode_row(row) for row in batch_to_rows(table)] == [encode_row(FULL)]
