"""Parquet files as sources, read by a process of its own."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from nomyo_attest.audit.sources import parquet as parquet_module
from nomyo_attest.audit.sources import read_chunks, take_inventory
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX
from tests.nomyo_attest.audit.recorded import CHILD, children, command_of
from tests.nomyo_attest.audit.sources.helpers import numbered_lines, read, write_files

CELLS = [line.decode() for line in numbered_lines(3000, 1000)]


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, cells: Sequence[str | None], rows: int = 1000) -> None:
    pq.write_table(pa.table({"response": cells}), name, row_group_size=rows)


def test_every_row_is_a_record_and_files_after_one_another_are_read_by_one_process() -> None:
    write("a.parquet", [*CELLS[:2000], None])
    write("b.parquet", CELLS[2000:])
    result = read("a.parquet", "b.parquet")
    assert result.texts == [cell.encode() for cell in CELLS]
    assert result.places == [("a.parquet", row) for row in range(1, 2002)] + [
        ("b.parquet", row) for row in range(1, 1001)
    ]
    assert [(record.line, record.problem) for record in result.records if record.text is None] == [
        (2001, "the cell is null")
    ]
    assert [(end.kind, end.size, end.sha256, end.problem) for end in result.ends] == [
        ("parquet", len(content), hashlib.sha256(content).hexdigest(), "")
        for content in (Path("a.parquet").read_bytes(), Path("b.parquet").read_bytes())
    ]
    progress = [progress for _, progress, *_ in result.chunks]
    assert progress == sorted(progress)
    assert progress[-1] == result.inventory.size
    assert len(result.chunks) == 3
    assert not children(os.getpid())


def test_a_cell_longer_than_a_record_is_one_unreadable_record() -> None:
    write("a.parquet", ["{}", "1" * (RECORD_BYTES_MAX + 1), "1" * RECORD_BYTES_MAX])
    result = read("a.parquet")
    assert [(record.line, len(record.text or b""), record.problem) for record in result.records] == [
        (1, 2, ""),
        (2, 0, "16777217 bytes; a record has at most 16777216"),
        (3, RECORD_BYTES_MAX, ""),
    ]


def test_a_file_that_is_not_parquet_fails_and_the_others_are_read() -> None:
    write_files(Path(), {"a.parquet": b"nonsense"})
    write("b.parquet", ["{}"])
    result = read("a.parquet", "b.parquet")
    assert [(record.line, record.text) for record in result.records] == [(0, None), (1, b"{}")]
    assert result.records[0].problem.startswith("cannot be read as Parquet: ")
    assert [end.problem for end in result.ends] == [result.records[0].problem, ""]


def test_a_damaged_row_group_is_a_problem_of_its_source() -> None:
    write("a.parquet", CELLS)
    content = bytearray(Path("a.parquet").read_bytes())
    content[len(content) // 2] ^= 0xFF
    Path("a.parquet").write_bytes(content)
    result = read("a.parquet")
    (row,) = [record for record in result.records if record.text is None]
    assert row.problem.startswith(f"rows {row.line} to 2000 cannot be read: ")
    assert result.end.problem == row.problem
    assert [record.line for record in result.records if record.text] == [*range(1, row.line), *range(2001, 3001)]


def test_the_column_given_is_read() -> None:
    pq.write_table(pa.table({"a": ["1"], "b": ["2"]}), "a.parquet")
    assert read("a.parquet", column="b").texts == [b"2"]
    assert "name the one with the records (--column)" in read("a.parquet").problem


def test_a_file_that_was_removed_or_replaced_since_the_inventory_is_unreadable() -> None:
    for name in ("a.parquet", "b.parquet"):
        write(name, ["{}"])
    inventory = take_inventory(["a.parquet", "b.parquet"])
    Path("a.parquet").unlink()
    os.utime("b.parquet", ns=(1, 1))
    result = read(inventory=inventory)
    assert [(record.line, record.text, record.problem) for record in result.records] == [
        (0, None, "cannot be read: No such file or directory; check the name"),
        (1, b"{}", ""),
        (2, None, "changed while it was audited: rewritten at its old size; audit a copy of it"),
    ]


def memory_peak(pid: int) -> int:
    """The most memory that a process has had resident, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["string", "json"])
def test_a_small_file_whose_rows_share_one_large_entry_takes_little_memory(kind: str) -> None:
    """Decoded row by row, 64 rows would take 2 GiB."""
    size, rows = 33_000_000, 300
    entry = pa.array(["x" * size])
    indices = pa.array([0] * rows, pa.int32())
    table = pa.table({"response": pa.DictionaryArray.from_arrays(indices, entry)})
    pq.write_table(table, "a.parquet", compression="zstd", write_statistics=False, store_schema=False)
    if kind == "json":  # as DuckDB writes it: the column says that it is JSON
        content = Path("a.parquet").read_bytes()
        Path("a.parquet").write_bytes(as_json(content))
        assert pq.read_schema("a.parquet").field(0).type == pa.json_()
    assert Path("a.parquet").stat().st_size < 10_000
    write("b.parquet", CELLS)  # the reader is at it when it is looked at
    chunks = read_chunks(take_inventory(["a.parquet", "b.parquet"]))
    chunk = next(chunks)
    (reader,) = children(os.getpid())
    peak = memory_peak(reader)
    records = [record for one in (chunk, *chunks) for record in one.records() if record.name == "a.parquet"]
    assert {record.problem for record in records} == {f"{size} bytes; a record has at most {RECORD_BYTES_MAX}"}
    assert [record.line for record in records] == list(range(1, rows + 1))
    assert peak < 400_000_000


def as_json(content: bytes) -> bytes:
    """A Parquet file whose only column is a string, as one of JSON (ConvertedType, LogicalType of parquet.thrift)."""
    utf8, json = b"\x25\x00\x4c\x1c\x00\x00", b"\x25\x26\x4c\xcc\x00\x00"
    assert content.count(utf8) == 1
    return content.replace(utf8, json)


def reader_with(modules: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let the child process be one that runs `program` first."""
    write_files(modules, {"modules/changed_reader.py": program.encode(), "evidence/unrelated.txt": b""})
    monkeypatch.setenv("PYTHONPATH", str(modules / "modules"))
    monkeypatch.chdir(modules / "evidence")
    monkeypatch.setattr(parquet_module, "__name__", "changed_reader")


@pytest.mark.slow
def test_a_file_that_takes_too_much_memory_is_unreadable_and_the_next_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = (
        "from nomyo_attest.audit.sources import parquet\nparquet.MEMORY_BASE = 200 * 2**20\nserve = parquet.serve\n"
    )
    reader_with(tmp_path, monkeypatch, changed)
    table = pa.table({"response": [f"{number}{'x' * 15_000_000}" for number in range(12)]})
    pq.write_table(table, "a.parquet", compression="zstd", use_dictionary=False)  # one page of 180 MB
    assert Path("a.parquet").stat().st_size < 100_000
    write("b.parquet", ["{}"])
    result = read("a.parquet", "b.parquet")
    assert re.fullmatch(
        "rows 1 to 12 cannot be read: reading them takes more than 20[0-9] MiB of memory, the limit for a file of this "
        "size; hint: write the file again with fewer rows in a page or row group, or as JSON Lines",
        result.records[0].problem,
    )
    assert [(record.name, record.line, record.text) for record in result.records] == [
        ("a.parquet", 1, None),
        ("b.parquet", 1, b"{}"),
    ]


DYING = """
import os, signal
from nomyo_attest.audit.sources import parquet
from nomyo_attest.audit.sources.column import CellBatch, RowCount

def dying(path, column, within, limit):
    yield RowCount(10)
    yield CellBatch(1, [b"1", b"2"])
    os.kill(os.getpid(), signal.SIGKILL)

parquet.read_column = dying
serve = parquet.serve
"""


def test_a_reader_that_is_killed_loses_only_the_rows_it_did_not_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader_with(tmp_path, monkeypatch, DYING)
    write("a.parquet", ["{}"] * 10)
    write("b.parquet", ["{}"] * 10)
    result = read("a.parquet", "b.parquet")
    words = "rows 3 to 10 cannot be read: the process that reads Parquet was ended by SIGKILL"
    assert [(record.name, record.line, record.problem) for record in result.records] == [
        (name, *row) for name in ("a.parquet", "b.parquet") for row in ((1, ""), (2, ""), (3, words))
    ]
    assert [end.problem for end in result.ends] == [words, words]
    assert all(end.sha256 for end in result.ends)


def test_a_reader_that_cannot_be_started_is_a_source_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.parquet", ["{}"])

    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert read("a.parquet").problem == (
        "cannot be read: the process that reads Parquet cannot start: /no/such/python: No such file or directory"
    )


@pytest.mark.parametrize(("attribute", "value"), [("frozen", True), ("executable", "python"), ("executable", "")])
def test_a_reader_without_an_interpreter_to_run_is_a_source_that_fails(
    monkeypatch: pytest.MonkeyPatch, attribute: str, value: object
) -> None:
    write("a.parquet", ["{}"])
    monkeypatch.setattr(sys, attribute, value, raising=False)
    assert "sys.executable is not the path of a Python interpreter" in read("a.parquet").problem


def test_the_reader_ends_when_reading_is_abandoned() -> None:
    write("a.parquet", CELLS)
    chunks = read_chunks(take_inventory(["a.parquet"]))
    next(chunks)
    assert len(children(os.getpid())) == 1
    chunks.close()  # type: ignore[attr-defined]  # the iterator is a generator
    assert not children(os.getpid())


def test_the_reader_ends_when_the_process_that_started_it_is_killed() -> None:
    write("a.parquet", CELLS)
    program = """
import os, time
from nomyo_attest.audit.sources import read_chunks, take_inventory
chunks = read_chunks(take_inventory(["a.parquet"]))
next(chunks)
print("reading", flush=True)
time.sleep(60)
"""
    Path("program.py").write_text(program)
    with subprocess.Popen([sys.executable, "program.py"], stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"reading\n"
        (reader,) = children(started.pid)
        started.kill()
        deadline = time.monotonic() + 60
        while CHILD in command_of(reader):
            assert time.monotonic() < deadline
            time.sleep(0.02)
