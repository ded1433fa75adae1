"""Verdicts as files: the same rows in every form, whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq
import pytest

from nomyo_attest.audit import formats as module
from nomyo_attest.audit.arrow import RESULT_SCHEMA, batch_to_rows
from nomyo_attest.audit.formats import OutputError, atomic_output, parse_output, write_rows
from nomyo_attest.audit.row import COLUMNS, Row, RowFinding, encode_row
from nomyo_attest.installation import install_command
from tests.nomyo_attest.audit.mixed_bag import mixed_records

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class RowsFile:
    """A file of rows that is no part of a state."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        path.write_bytes(content)

    def open_rows(self) -> IO[bytes]:
        return self.path.open("rb")

    def link_rows(self, target: Path) -> None:
        os.link(self.path, target)


@pytest.fixture
def rows() -> RowsFile:
    content = b"".join(encode_row(record.row(keep_evidence=True)) for record in mixed_records())
    return RowsFile(Path("part"), content)


def write(rows: RowsFile, name: str, *, replace: bool = False) -> bytes:
    write_rows(rows, parse_output(name), replace=replace)
    return Path(name).read_bytes()


def names() -> set[str]:
    return {path.name for path in Path().iterdir()} - {"part"}


def cells(rows: RowsFile) -> list[dict[str, str]]:
    text = write(rows, "v.csv", replace=True).decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def of(**values: Any) -> RowsFile:
    """A file of one row."""
    given: dict[str, Any] = {"source": "a", "line": 1, "verdict": "none"} | values
    return RowsFile(Path("part"), encode_row(Row(**given)))


@pytest.mark.parametrize(
    ("ending", "unpacked"),
    [
        (".jsonl", bytes),
        (".ndjson", bytes),
        (".JSONL", bytes),
        (".jsonl.gz", gzip.decompress),
        (".jsonl.zst", zstd.decompress),
    ],
)
def test_json_lines_are_the_rows_byte_for_byte(rows: RowsFile, ending: str, unpacked: Callable[[bytes], bytes]) -> None:
    assert unpacked(write(rows, f"v{ending}")) == rows.path.read_bytes()
    assert names() == {f"v{ending}"}


@pytest.mark.parametrize("ending", [".csv.gz", ".csv.zst", ".jsonl.gz", ".parquet"])
def test_the_same_rows_are_the_same_bytes(rows: RowsFile, ending: str) -> None:
    assert write(rows, f"first{ending}") == write(rows, f"second{ending}")


def test_parquet_has_the_schema_of_results_and_every_row_unchanged(rows: RowsFile) -> None:
    write(rows, "v.parquet")
    table = pq.read_table("v.parquet")
    assert table.schema.equals(RESULT_SCHEMA)
    assert b"".join(map(encode_row, batch_to_rows(table))) == rows.path.read_bytes()


def test_no_rows_are_files_without_rows() -> None:
    none = RowsFile(Path("part"), b"")
    assert write(none, "v.jsonl") == b""
    assert write(none, "v.csv") == (",".join(COLUMNS) + "\r\n").encode()
    write(none, "v.parquet")
    assert pq.read_table("v.parquet").num_rows == 0


def test_csv_has_a_cell_for_every_column_of_every_row(rows: RowsFile) -> None:
    found = cells(rows)
    for cell, line in zip(found, rows.path.read_bytes().splitlines(), strict=True):
        row = json.loads(line)
        assert list(cell) == list(COLUMNS)
        assert cell["line"] == str(row["line"])
        assert cell["failed"].split() == row["failed"]
        assert json.loads(cell["findings"]) == row["findings"]
        assert (json.loads(cell["evidence"]) if cell["evidence"] else None) == row["evidence"]
        assert cell["signature_valid"] == {True: "true", False: "false", None: ""}[row["signature_valid"]]
    assert any(cell["payload_id"] == "" for cell in found)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_cell_is_a_formula(start: str) -> None:
    text = f"{start}cmd|' /C calc'!A0"
    finding = RowFinding("r", "fail", "required", text, text, text)
    (cell,) = cells(
        of(source=text, payload_id=text, security_tier=text, reason=text, failed=[text], findings=[finding])
    )
    for name in ("source", "payload_id", "security_tier", "reason", "failed"):
        assert cell[name] == f"'{text}"
    assert all(not value.startswith(start) for value in cell.values())


FORMULA_LATER = ["a;=1+1", "a; =1+1", 'a;"=1+1"', "a;'=1+1", "a;@x;-y", "a\r\n=1+1", "a\t;+1", "\t=1+1", "\n-1"]


@pytest.mark.parametrize("text", FORMULA_LATER)
def test_no_cell_is_a_formula_where_semicolons_separate_cells(text: str) -> None:
    finding = RowFinding("r", "fail", "required", text, text, text)
    row = of(source=text, payload_id=text, reason=text, failed=[text], findings=[finding])
    content = write(row, "v.csv").decode()
    for line in content.split("\r\n"):
        for cell in next(csv.reader([line], delimiter=";"), []):
            # Quotes and blanks before it are dropped by some spreadsheets.
            assert not cell.lstrip('" ').startswith(tuple("=+-@")), cell
    (read,) = cells(row)
    assert json.loads(read["findings"])[0]["got"] == text


def test_a_cell_has_no_control_character_and_a_number_is_a_number() -> None:
    text = 'a,"b"\r\nc\u202e\x00\x7f\U000e0041'
    finding = RowFinding("r", "fail", "required", text, text, text)
    (cell,) = cells(row := of(payload_id=text, processed_at=-5, findings=[finding]))
    assert (cell["payload_id"], cell["processed_at"]) == ('a,"b"\\r\\nc\\u202e\\x00\\x7f\\U000e0041', "-5")
    assert json.loads(cell["findings"])[0]["got"] == text
    assert write(row, "again.csv").decode().replace("\r\n", "").isprintable()


@pytest.mark.parametrize("name", ["v", "v.txt", "v.json", "v.parquet.gz", "v.gz", "v.jsonl.bz2", "-"])
def test_an_ending_that_says_nothing_is_refused(name: str) -> None:
    with pytest.raises(OutputError, match=r"unsupported file extension; use \.jsonl"):
        parse_output(name)


def test_parquet_without_the_extra_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(OutputError, match=re.escape(install_command("parquet"))):
        parse_output("v.parquet")


@pytest.mark.parametrize("name", ["v.jsonl", "v.csv", "v.jsonl.gz", "v.parquet"])
def test_a_file_that_is_there_stays_unless_it_may_be_replaced(rows: RowsFile, name: str) -> None:
    Path(name).write_bytes(b"mine")
    with pytest.raises(
        OutputError, match=f"{name}: already exists; choose another name, or add --force to overwrite it"
    ):
        write_rows(rows, parse_output(name), replace=False)
    assert Path(name).read_bytes() == b"mine"
    assert names() == {name}
    assert write(rows, name, replace=True) != b"mine"
    assert write(rows, name, replace=True) != b"mine"  # again, as an audit that is resumed does
    assert names() == {name}


@pytest.mark.parametrize("name", ["v.jsonl", "v.csv", "v.jsonl.zst", "v.parquet"])
def test_where_links_are_not_to_be_had_it_is_copied(rows: RowsFile, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = write(rows, f"linked-{name}")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert write(rows, name) == expected
    with pytest.raises(OutputError, match="already exists"):
        write_rows(rows, parse_output(name), replace=False)
    assert names() == {name, f"linked-{name}"}


@pytest.mark.parametrize("name", ["v.csv", "v.jsonl.gz", "v.jsonl.zst", "v.parquet"])
def test_a_full_disk_leaves_the_old_file_and_no_other(
    rows: RowsFile, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(name).write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=f"{name}: cannot be written: No space left on device"):
        write_rows(rows, parse_output(name), replace=True)
    assert Path(name).read_bytes() == b"old"
    assert names() == {name}


def test_a_folder_that_is_not_there_is_an_error(rows: RowsFile) -> None:
    for name in ("no/v.jsonl", "no/v.csv"):
        with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
            write_rows(rows, parse_output(name), replace=False)


def test_the_next_attempt_removes_the_file_of_a_killed_one() -> None:
    Path(".v.csv.audit.tmp").write_bytes(b"half")
    with atomic_output("v.csv", replace=False) as file:
        file.write(b"whole")
    assert Path("v.csv").read_bytes() == b"whole"
    assert names() == {"v.csv"}


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need a right on Windows")
@pytest.mark.parametrize("name", ["v.jsonl", "v.csv"])
def test_a_link_to_the_name_of_the_temporary_file_is_replaced_by_the_output(rows: RowsFile, name: str) -> None:
    Path(name).symlink_to(f".{name}.audit.tmp")
    Path(f".{name}.audit.tmp").touch()
    written = write(rows, name, replace=True)
    assert not Path(name).is_symlink()
    assert len(written.splitlines()) >= len(rows.path.read_bytes().splitlines())
    assert sorted(path.name for path in Path().iterdir()) == sorted([name, "part"])
