"""Parquet files as sources, read by a process of its own."""

from __future__ import annotations

import hashlib
import os
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
from nomyo_attest.evidence.text import TEXT_MAX
from tests.nomyo_attest.audit.recorded import CHILD, children, command_of
from tests.nomyo_attest.audit.sources.look import numbered, read, written

CELLS = [line.decode() for line in numbered(3000, 1000)]


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
    write("a.parquet", ["{}", "1" * (TEXT_MAX + 1), "1" * TEXT_MAX])
    result = read("a.parquet")
    assert [(record.line, len(record.text or b""), record.problem) for record in result.records] == [
        (1, 2, ""),
        (2, 0, "16777217 bytes; a record has at most 16777216"),
        (3, TEXT_MAX, ""),
    ]


def test_what_is_no_parquet_is_a_source_that_fails_and_the_rest_goes_on() -> None:
    written(Path(), {"a.parquet": b"nonsense"})
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


def test_the_column_asked_for_is_read() -> None:
    pq.write_table(pa.table({"a": ["1"], "b": ["2"]}), "a.parquet")
    assert read("a.parquet", column="b").texts == [b"2"]
    assert "name it (--column)" in read("a.parquet").problem


def test_a_file_that_is_gone_or_another_since_the_inventory_says_so() -> None:
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


def dying_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the child process be one that reads two rows of ten and is killed."""
    program = """
import os, signal
from nomyo_attest.audit.sources import parquet
from nomyo_attest.audit.sources.column import Cut, Rows

def dying(path, column, within=""):
    yield Rows(10)
    yield Cut(1, [b"1", b"2"])
    os.kill(os.getpid(), signal.SIGKILL)

parquet.read_column = dying
serve = parquet.serve
"""
    written(tmp_path, {"modules/dying_reader.py": program.encode(), "evidence/unrelated.txt": b""})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.chdir(tmp_path / "evidence")
    monkeypatch.setattr(parquet_module, "__name__", "dying_reader")


def test_a_reader_that_is_killed_takes_nothing_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying_reader(tmp_path, monkeypatch)
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
    assert "this program has no Python interpreter of its own (sys.executable)" in read("a.parquet").problem


def test_the_reader_ends_when_reading_is_given_up() -> None:
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
        deadline = time.monotonic() + 20
        while CHILD in command_of(reader):
            assert time.monotonic() < deadline
            time.sleep(0.02)
