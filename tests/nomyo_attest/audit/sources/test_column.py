"""The column of a Parquet file that has the records."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from nomyo_attest.audit.sources.column import CellBatch, OversizeCell, RowCount, UnreadableRows, read_column
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX
from nomyo_attest.installation import install_command
from tests.nomyo_attest.audit.sources.helpers import numbered_lines

CELLS = [line.decode() for line in numbered_lines(1000, 100)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten row groups of a hundred rows, pages of about a kilobyte, each with a checksum."""
    path = tmp_path_factory.mktemp("column") / "a.parquet"
    table = pa.table({"number": list(range(1000)), "response": CELLS})
    pq.write_table(
        table,
        path,
        row_group_size=100,
        data_page_size=1024,
        write_batch_size=10,
        use_dictionary=False,
        write_page_checksum=True,
    )
    return path


def cells(path: Path, column: str | None = None) -> dict[int, bytes | None]:
    """Row → cell, of a file all of which can be read."""
    first, *events = read_column(str(path), column)
    cells: dict[int, bytes | None] = {}
    for event in events:
        assert isinstance(event, CellBatch), event
        cells |= dict(enumerate(event.cells, event.first))
    assert first == RowCount(len(cells))
    return cells


def problem(path: Path, column: str | None = None) -> str:
    """Why nothing of a file can be read."""
    (event,) = read_column(str(path), column)
    assert isinstance(event, UnreadableRows)
    assert event.line == 0
    return event.problem


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_every_row_is_a_cell(file: Path) -> None:
    assert cells(file) == {row: cell.encode() for row, cell in enumerate(CELLS, 1)}


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_text_of_every_type_is_read_and_a_null_is_none(kind: pa.DataType, tmp_path: Path) -> None:
    values = (
        pa.array(["{}", None, "", "é"]).cast(kind) if kind != pa.binary() else pa.array([b"{}", None, b"", b"\xc3\xa9"])
    )
    assert cells(write(tmp_path / "a.parquet", x=values)) == {1: b"{}", 2: None, 3: b"", 4: "é".encode()}


def extension(kind: pa.DataType) -> pa.Array:
    """Text in an extension type over `kind`."""
    return pa.ExtensionArray.from_storage(kind, pa.array(["{}", None, "", "é"]).cast(kind.storage_type))


@pytest.mark.skipif(not hasattr(pa, "json_"), reason="this pyarrow has no JSON type")
@pytest.mark.parametrize("stored", [True, False], ids=["with the Arrow schema", "without"])
@pytest.mark.parametrize("dictionary", [True, False], ids=["dictionary", "plain"])
@pytest.mark.parametrize("storage", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_text_of_an_extension_type_is_read(
    storage: pa.DataType, dictionary: bool, stored: bool, tmp_path: Path
) -> None:
    values = extension(pa.json_(storage))
    opaque = extension(pa.opaque(storage, "json", "maker"))
    for array in (values, opaque, opaque.storage):
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"x": array}), path, use_dictionary=dictionary, store_schema=stored)
        assert cells(path) == {1: b"{}", 2: None, 3: b"", 4: "é".encode()}


@pytest.mark.skipif(not hasattr(pa, "uuid"), reason="this pyarrow has no UUID type")
def test_an_extension_type_of_something_else_is_not_text(tmp_path: Path) -> None:
    values = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16)))
    assert problem(write(tmp_path / "a.parquet", x=values)) == "has no column of text; the file has x"


def test_cells_come_in_pieces_of_a_megabyte_and_those_longer_than_a_record_are_not_sent(tmp_path: Path) -> None:
    sizes = [400_000, 500_000, 200_000, RECORD_BYTES_MAX, 1, RECORD_BYTES_MAX + 1, 2, 3]
    path = write(tmp_path / "a.parquet", x=["x" * size for size in sizes])
    assert [
        (event.line, event.size) if isinstance(event, OversizeCell) else [len(cell or b"") for cell in event.cells]
        for event in read_column(str(path), None)
        if isinstance(event, CellBatch | OversizeCell)
    ] == [[400_000, 500_000], [200_000], [RECORD_BYTES_MAX], [1], (6, RECORD_BYTES_MAX + 1), [2, 3]]


def test_bytes_that_are_not_utf_8_are_passed_on_in_the_record(tmp_path: Path) -> None:
    values = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\x00"]).buffers())
    assert cells(write(tmp_path / "a.parquet", x=values)) == {1: b"\xff\x00"}


@pytest.mark.parametrize(
    ("columns", "asked", "taken"),
    [
        ({"any": ["r"], "n": [1]}, None, "any"),
        ({"id": ["i"], "response": ["r"]}, None, "response"),
        ({"id": ["i"], "evidence": ["r"], "n": [1]}, None, "evidence"),
        ({"id": ["i"], "response": ["x"], "odd.name": ["r"]}, "odd.name", "odd.name"),
    ],
)
def test_the_column_is_the_one_asked_for_or_the_only_one_of_text_or_has_a_known_name(
    columns: dict[str, list[Any]], asked: str | None, taken: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    assert cells(path, asked) == {1: columns[taken][0].encode()}


@pytest.mark.parametrize(
    ("columns", "asked", "words"),
    [
        ({"n": [1]}, None, "has no column of text; the file has n"),
        (
            {"a": ["x"], "b": ["y"]},
            None,
            "more than one column of text; the file has a, b; name the one with the records (--column)",
        ),
        (
            {"response": ["x"], "evidence": ["y"]},
            None,
            "more than one column may have the records: response, evidence; name it (--column)",
        ),
        ({"a": ["x"]}, "b", "has no column 'b'; the file has a"),
        ({"a": [1]}, "a", "column 'a' does not contain text; the file has a"),
        (
            {f"c{n}": [n] for n in range(12)},
            "b",
            "has no column 'b'; the file has " + ", ".join(f"c{n}" for n in range(10)) + " and 2 more",
        ),
    ],
)
def test_an_ambiguous_column_is_an_error_with_a_hint(
    columns: dict[str, list[Any]], asked: str | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    assert problem(path, asked) == words


def test_a_duplicate_column_is_an_error(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["response", "response"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert problem(tmp_path / "a.parquet", "response") == "has the column 'response' 2 times"


def test_a_long_column_name_is_cut(tmp_path: Path) -> None:
    assert len(problem(write(tmp_path / "a.parquet", **{"x" * 10_000: [1]}), "b")) < 200


@pytest.mark.parametrize("content", [b"", b"PAR1", b"{}" * 100, b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_a_file_that_is_not_parquet_is_unreadable(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    words = problem(tmp_path / "a.parquet")
    assert words.startswith("cannot be read as Parquet: ")
    assert len(words) < 300


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    assert problem(tmp_path / "a.parquet") == "cannot be read: No such file or directory; check the name"


def test_without_pyarrow_the_problem_names_the_extra(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert problem(file) == f"reading Parquet needs pyarrow from the extra parquet: {install_command('parquet')}"


@settings(max_examples=60)
@example(place=507, flip=1)  # in the header of a dictionary
@given(place=st.integers(0, 2**24), flip=st.integers(1, 255))
def test_a_damaged_row_group_loses_only_its_rows_from_the_damage_on(
    file: Path, tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    content = bytearray(file.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[place % footer] ^= flip
    damaged = tmp_path_factory.getbasetemp() / "damaged.parquet"
    damaged.write_bytes(content)
    events = list(read_column(str(damaged), "response"))
    lost = [event for event in events if isinstance(event, UnreadableRows)]
    rows = [row for event in events if isinstance(event, CellBatch) for row in enumerate(event.cells, event.first)]
    if place % footer < 4:  # the first letters of the file, which nobody needs
        return
    assert events[0] == RowCount(1000)
    assert len(lost) <= 1
    if lost:
        group = (lost[0].line - 1) // 100
        assert lost[0].problem.startswith(f"rows {lost[0].line} to {group * 100 + 100} cannot be read: ")
        assert [row for row, _ in rows] == [*range(1, lost[0].line), *range(group * 100 + 101, 1001)]
        # Pages are read whole or not at all, and the damaged one is the first that is not read.
        assert (lost[0].line - 1) % 10 == 0
    else:
        assert [row for row, _ in rows] == list(range(1, 1001))
    # The checksum of a page does not cover its header: what that makes of the cells of its group is appraised.
    assert len({(row - 1) // 100 for row, cell in rows if cell != CELLS[row - 1].encode()}) <= 1


def test_rows_that_are_missing_from_a_row_group_are_unreadable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nomyo_attest.audit.sources import column as module

    def short(*arguments: Any) -> Any:
        yield from [memoryview(b"{}")] * 70

    monkeypatch.setattr(module, "_read_cells", short)
    events = list(read_column(str(file), None))
    assert [event.line for event in events if isinstance(event, UnreadableRows)] == list(range(71, 1000, 100))
    assert events[3] == UnreadableRows(71, "rows 71 to 100 cannot be read: they are missing")
