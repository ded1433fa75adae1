"""Files of one record each."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from nomyo_attest.audit.sources import read_chunks, take_inventory
from nomyo_attest.audit.sources.parts import PartsChunk
from nomyo_attest.evidence.strict_json import TEXT_MAX
from tests.nomyo_attest.audit.sources.look import gz, read, written, zst


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.json", b'{\n"a": 1\n}\n', b'{\n"a": 1\n}\n'),
        ("a.json", b"\xef\xbb\xbf\r\n{\0", b"\xef\xbb\xbf\r\n{\0"),
        ("a.json.gz", gz(b"{}"), b"{}"),
        ("a.json.zst", zst(b"{") + zst(b"}"), b"{}"),
    ],
)
def test_the_text_is_what_is_in_the_file(name: str, content: bytes, text: bytes) -> None:
    written(Path(), {name: content})
    result = read(name)
    assert result.places == [(name, 1)]
    assert result.texts == [text]
    assert (result.end.kind, result.end.size, result.end.problem) == ("json", len(content), "")
    assert result.end.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(("name", "pack"), [("a.json", bytes), ("a.json.gz", gz), ("a.json.zst", zst)])
def test_sixteen_mebibytes_are_read_and_no_byte_more(name: str, pack: type[bytes]) -> None:
    text = b"1" * TEXT_MAX
    written(Path(), {name: pack(text)})
    assert read(name).texts == [text]
    written(Path(), {name: (content := pack(text + b"1"))})
    result = read(name)
    said = "16777217" if name == "a.json" else "more than 16777216 unpacked"
    assert result.problem == f"{said} bytes; a record has at most 16777216"
    assert result.records[0].line == 1
    assert result.end.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json.gz", gz(b"{}")[:-1], "cut off: the gzip archive ends before its end"),
        ("a.json.gz", b"", "cut off: the file is empty, not a gzip archive"),
        ("a.json.gz", b"{}", "damaged: it does not begin as gzip does; if it is not compressed, rename it"),
        ("a.json.zst", zst(b"{}")[:-1], "cut off: the Zstandard archive ends before its end"),
        ("a.json.zst", zst(b"{}") + b"{}  ", "damaged: bytes that are no Zstandard stand behind the archive"),
    ],
)
def test_a_damaged_archive_is_unreadable_and_has_a_digest(name: str, content: bytes, problem: str) -> None:
    written(Path(), {name: content})
    result = read(name)
    assert result.problem == problem
    assert result.end.sha256 == hashlib.sha256(content).hexdigest()


def test_a_file_that_is_gone_or_another_when_its_turn_comes_is_unreadable() -> None:
    written(Path(), {f"{name}.json": b"{}" for name in ("gone", "longer", "newer", "pipe", "same")})
    inventory = take_inventory(["gone.json", "longer.json", "newer.json", "pipe.json", "same.json"])
    Path("gone.json").unlink()
    Path("longer.json").write_bytes(b"{} ")
    os.utime("newer.json", ns=(1, 1))
    Path("pipe.json").unlink()
    os.mkfifo("pipe.json")
    result = read(inventory=inventory)
    assert [(record.line, record.text, record.problem) for record in result.records] == [
        (0, None, "cannot be read: No such file or directory; check the name"),
        (0, None, "changed while it was audited: 2 bytes when the audit began, 3 when it was read; audit a copy of it"),
        (0, None, "changed while it was audited: rewritten at its old size; audit a copy of it"),
        (0, None, "is a pipe, not a file; what comes out of a pipe is read as standard input (-)"),
        (1, b"{}", ""),
    ]
    assert [end.problem for end in result.ends] == [record.problem for record in result.records]


def test_small_files_travel_together_by_number_and_by_size() -> None:
    written(Path("d"), {f"{number:04}.json": b"{}" for number in range(1100)})
    result = read("d")
    assert [len(records) for _, _, records, _ in result.chunks] == [500, 500, 100]
    assert [len(ends) for *_, ends in result.chunks] == [500, 500, 100]
    assert [progress for _, progress, *_ in result.chunks] == [1000, 2000, 2200]
    written(Path("e"), {f"{number}.json": b" " * 400_000 for number in range(5)})
    assert [len(records) for _, _, records, _ in read("e").chunks] == [2, 2, 1]


def test_the_process_that_reads_chunks_does_not_read_these_files() -> None:
    written(Path(), {"a.json": b"{}"})
    (chunk,) = read_chunks(take_inventory(["a.json"]))
    assert isinstance(chunk, PartsChunk)
    assert chunk.ends() == ()
    Path("a.json").unlink()
    assert [record.text for record in chunk.records()] == [None]
    assert len(chunk.ends()) == 1
