"""Text of JSON Lines, cut into blobs."""

from __future__ import annotations

import hashlib
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nomyo_attest.audit.sources import read_chunks, take_inventory
from nomyo_attest.audit.sources.parts import LineBlock, LineCutter, LongLine, PartsChunk, is_blank, split_lines
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX
from tests.nomyo_attest.audit.sources.helpers import gz, read, write_files, zst

BLOB, MAXIMUM = 16, 24

texts = st.lists(
    st.sampled_from([b"{}", b"\n", b"\r\n", b"\r", b" ", b"\t", b"\xef\xbb\xbf", b"\0", b"12345678", b"{" + b"x" * 30])
    | st.binary(max_size=4),
    max_size=40,
).map(b"".join)


def cut(text: bytes, places: list[int], *, broken: bool = False) -> tuple[list[LineBlock | LongLine], LineCutter]:
    """The text, fed in pieces that end at `places`."""
    cutter = LineCutter(BLOB, MAXIMUM)
    pieces: list[LineBlock | LongLine] = []
    for begin, end in pairwise([0, *sorted(place % (len(text) + 1) for place in places), len(text)]):
        pieces += cutter.feed(text[begin:end])
    pieces += cutter.abandon() if broken else cutter.finish()
    return pieces, cutter


def by_line(pieces: list[LineBlock | LongLine]) -> dict[int, bytes | int]:
    """Line → its text, or its length if it is too long."""
    lines_expected: dict[int, bytes | int] = {}
    for piece in pieces:
        if isinstance(piece, LongLine):
            lines_expected[piece.line] = piece.length
        else:
            lines_expected |= {
                line: text for line, text in enumerate(split_lines(piece.text), piece.first) if not is_blank(text)
            }
    return lines_expected


def expected(text: bytes) -> tuple[dict[int, bytes | int], int, int]:
    """The same, line by line; and how many are blank, and how many there are."""
    lines = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    lines = [line.removesuffix(b"\r") for line in lines]
    lines_expected = {
        number: line if len(line) <= MAXIMUM else len(line)
        for number, line in enumerate(lines, 1)
        if len(line) > MAXIMUM or line.strip(b" \t\r")
    }
    return lines_expected, len(lines) - len(lines_expected), len(lines)


@given(texts, st.lists(st.integers(0, 2000), max_size=20))
@example(b"\xef\xbb\xbf\n{}", [1, 2])
@example(b"x" * 25 + b"\r\n{}", [24, 25, 26])
@example(b"x" * 24 + b"\r\n{}", [24, 25, 26])
@example(b" " * 30 + b"\n{}", [3])
def test_every_line_is_a_record_or_blank_or_too_long_however_the_text_is_cut(text: bytes, places: list[int]) -> None:
    pieces, cutter = cut(text, places)
    lines_expected, blank, lines = expected(text)
    assert by_line(pieces) == lines_expected
    assert (cutter.blank, cutter.line) == (blank, lines + 1)


@given(texts, st.lists(st.integers(0, 2000), max_size=20))
def test_the_blobs_are_the_same_however_the_text_is_cut(text: bytes, places: list[int]) -> None:
    assert cut(text, places)[0] == cut(text, [])[0]


@given(texts, st.lists(st.integers(0, 2000), max_size=20))
def test_a_blob_is_small_or_one_line(text: bytes, places: list[int]) -> None:
    for piece in cut(text, places)[0]:
        if isinstance(piece, LineBlock):
            assert len(piece.text) <= BLOB or len(split_lines(piece.text)) == 1


@given(texts, st.lists(st.integers(0, 2000), max_size=20))
def test_the_whole_lines_of_a_text_that_breaks_off_are_returned(text: bytes, places: list[int]) -> None:
    pieces, cutter = cut(text, places, broken=True)
    whole, _, incomplete = text.rpartition(b"\n")
    lines_expected, _, lines = expected(whole + b"\n" if b"\n" in text else b"")
    assert by_line(pieces) == lines_expected
    assert cutter.line == lines + 1, incomplete


def test_an_endless_line_takes_no_more_memory_than_the_longest_record() -> None:
    cutter = LineCutter(BLOB, MAXIMUM)
    for _ in range(1000):
        assert not list(cutter.feed(b"x" * 100))
        assert len(cutter._buffer) <= MAXIMUM + 100
    assert list(cutter.feed(b"\n{}\n")) == [LongLine(1, 100_000)]
    assert list(cutter.finish()) == [LineBlock(2, b"{}\n")]


def test_white_space_outside_json_does_not_make_a_blank_line() -> None:
    assert by_line(cut(b"\f\n\v\n\xc2\xa0\n", [])[0]) == {1: b"\f", 2: b"\v", 3: b"\xc2\xa0"}


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
def test_the_text_of_a_record_is_the_content_of_the_file(name: str, content: bytes, text: bytes) -> None:
    write_files(Path(), {name: content})
    result = read(name)
    assert result.places == [(name, 1)]
    assert result.texts == [text]
    assert (result.end.kind, result.end.size, result.end.problem) == ("json", len(content), "")
    assert result.end.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(("name", "pack"), [("a.json", bytes), ("a.json.gz", gz), ("a.json.zst", zst)])
def test_sixteen_mebibytes_are_read_and_one_byte_more_is_refused(name: str, pack: type[bytes]) -> None:
    text = b"1" * RECORD_BYTES_MAX
    write_files(Path(), {name: pack(text)})
    assert read(name).texts == [text]
    write_files(Path(), {name: (content := pack(text + b"1"))})
    result = read(name)
    said = "16777217" if name == "a.json" else "more than 16777216 decompressed"
    assert result.problem == f"{said} bytes; a record has at most 16777216"
    assert result.records[0].line == 1
    assert result.end.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json.gz", gz(b"{}")[:-1], "cut off: the gzip archive is not complete"),
        ("a.json.gz", b"", "cut off: the file is empty, not a gzip archive"),
        ("a.json.gz", b"{}", "damaged: does not begin as gzip does; if it is not compressed, rename it"),
        ("a.json.zst", zst(b"{}")[:-1], "cut off: the Zstandard archive is not complete"),
        ("a.json.zst", zst(b"{}") + b"{}  ", "damaged: the bytes behind the archive are not Zstandard"),
    ],
)
def test_a_damaged_archive_is_unreadable_and_has_a_digest(name: str, content: bytes, problem: str) -> None:
    write_files(Path(), {name: content})
    result = read(name)
    assert result.problem == problem
    assert result.end.sha256 == hashlib.sha256(content).hexdigest()


def test_a_file_that_was_removed_or_replaced_before_it_is_read_is_unreadable() -> None:
    write_files(Path(), {f"{name}.json": b"{}" for name in ("gone", "longer", "newer", "pipe", "same")})
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
        (0, None, "is a pipe, not a file; to read from it, connect it to standard input (-)"),
        (1, b"{}", ""),
    ]
    assert [end.problem for end in result.ends] == [record.problem for record in result.records]


def test_small_files_share_a_chunk_up_to_a_number_and_a_size() -> None:
    write_files(Path("d"), {f"{number:04}.json": b"{}" for number in range(1100)})
    result = read("d")
    assert [len(records) for _, _, records, _ in result.chunks] == [500, 500, 100]
    assert [len(ends) for *_, ends in result.chunks] == [500, 500, 100]
    assert [progress for _, progress, *_ in result.chunks] == [1000, 2000, 2200]
    write_files(Path("e"), {f"{number}.json": b" " * 400_000 for number in range(5)})
    assert [len(records) for _, _, records, _ in read("e").chunks] == [2, 2, 1]


def test_the_process_that_reads_chunks_does_not_read_these_files() -> None:
    write_files(Path(), {"a.json": b"{}"})
    (chunk,) = read_chunks(take_inventory(["a.json"]))
    assert isinstance(chunk, PartsChunk)
    assert chunk.source_ends() == ()
    Path("a.json").unlink()
    assert [record.text for record in chunk.records()] == [None]
    assert len(chunk.source_ends()) == 1
