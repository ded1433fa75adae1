"""Rows in Arrow: the columns of `Row`, and nothing lost on the way there and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from nomyo_attest.audit.arrow import RESULT_SCHEMA, batch_to_rows, rows_to_batch
from nomyo_attest.audit.row import COLUMNS, Row, RowFinding, encode_row
from tests.nomyo_attest.audit.mixed_bag import mixed_bag

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def test_the_columns_are_those_of_a_row_in_order() -> None:
    assert tuple(RESULT_SCHEMA.names) == COLUMNS


def test_a_column_may_be_null_where_a_row_may_have_none_and_nowhere_else() -> None:
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


def test_rows_come_back_as_the_bytes_they_were() -> None:
    rows = [FULL, *(one.row(keep_evidence=True) for one in mixed_bag())]
    assert list(map(encode_row, batch_to_rows(rows_to_batch(rows)))) == list(map(encode_row, rows))


def test_no_rows_are_a_batch_without_rows() -> None:
    empty = rows_to_batch([])
    assert empty.num_rows == 0
    assert empty.schema == RESULT_SCHEMA


def test_a_finding_tells_its_values_as_json_text() -> None:
    (first, second) = rows_to_batch([FULL]).column("findings")[0].as_py()
    assert (first["expected"], first["got"]) == ('{"b":[1,null,"x"]}', "null")
    assert (second["expected"], second["got"]) == ('"text"', "18446744073709551615")


def test_parquet_keeps_the_columns_and_the_rows(tmp_path: Any) -> None:
    path = tmp_path / "verdicts.parquet"
    pq.write_table(pa.Table.from_batches([rows_to_batch([FULL])]), path)
    table = pq.read_table(path)
    assert table.schema.equals(RESULT_SCHEMA)
    assert [encode_row(row) for row in batch_to_rows(table)] == [encode_row(FULL)]
