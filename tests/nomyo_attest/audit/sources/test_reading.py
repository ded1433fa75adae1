"""Chunks: every record of every source once, the same each time, from any chunk on."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from nomyo_attest.audit.sources import Inventory, read_chunks, take_inventory
from nomyo_attest.evidence.content import EMPTY
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX
from tests.nomyo_attest.audit.sources.helpers import Read, gz, join_lines, numbered_lines, read, write_files, zst


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """Sources of every kind, good and bad, about 15 chunks."""
    folder = write_files(
        tmp_path_factory.mktemp("mixture"),
        {
            "a.jsonl": join_lines(numbered_lines(2500, 1000)),
            "b.jsonl.gz": gz(join_lines(numbered_lines(2500, 1000)))[:-9],
            "c.ndjson.zst": zst(join_lines([*numbered_lines(2000, 1000), b"", b"1" * (RECORD_BYTES_MAX + 1), b"{}"])),
            **{f"d/{number}.json": b"{}" for number in range(700)},
            "e.json": b"1" * (RECORD_BYTES_MAX + 1),
            "f.json.gz": b"x",
            "h.jsonl": b"",
            "readme": b"",
        },
    )
    pq.write_table(
        pa.table({"response": [line.decode() for line in numbered_lines(1500, 1000)]}),
        folder / "g.parquet",
        row_group_size=400,
    )
    (folder / "i.parquet").write_bytes(b"x")
    return take_inventory([str(folder), str(folder / "gone.jsonl")])


@pytest.fixture(scope="module")
def whole(mixture: Inventory) -> Read:
    """All of it."""
    return read(inventory=mixture)


def test_every_record_is_read_once_and_in_order(mixture: Inventory, whole: Read) -> None:
    counts: dict[str, int] = {}
    for record in whole.records:
        key = Path(record.name).name if "/d/" not in record.name else "d"
        counts[key] = counts.get(key, 0) + 1
    # Of b one incomplete line less, if any, and one row for the damage.
    assert counts == {
        "a.jsonl": 2500,
        "b.jsonl.gz": 2501,
        "c.ndjson.zst": 2002,
        "d": 700,
        "e.json": 1,
        "f.json.gz": 1,
        "g.parquet": 1500,
        "i.parquet": 1,
        "h.jsonl": 1,
        "gone.jsonl": 1,
    }
    assert [(record.source, record.line) for record in whole.records] == sorted(
        {(record.source, record.line) for record in whole.records}
    )


def test_every_source_has_one_end_after_its_last_record(mixture: Inventory, whole: Read) -> None:
    assert sorted(end.source for end in whole.ends) == list(range(mixture.count))
    assert [(end.source, end.name) for end in whole.ends] == [
        (source.number, source.name) for source in mixture.sources
    ]
    ended: set[int] = set()
    for _, _, records, ends in whole.chunks:
        assert not ended & {record.source for record in records}
        ended |= {end.source for end in ends}


def test_every_source_that_could_be_read_has_its_size_and_digest(mixture: Inventory, whole: Read) -> None:
    for source, end in zip(mixture.sources, whole.ends, strict=True):
        if source.size is None:
            assert (end.size, end.sha256) == (None, None)
        else:
            content = Path(source.path).read_bytes()
            assert (end.size, end.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_the_numbers_have_no_gaps_and_progress_ends_at_the_size_of_all(mixture: Inventory, whole: Read) -> None:
    assert [number for number, *_ in whole.chunks] == list(range(len(whole.chunks)))
    progress = [progress for _, progress, *_ in whole.chunks]
    assert progress == sorted(progress)
    assert progress[-1] == mixture.size


@pytest.mark.parametrize("skip", [1, 5, 10, 11, 13, 100])
def test_reading_can_be_resumed_from_any_chunk(mixture: Inventory, whole: Read, skip: int) -> None:
    assert read(inventory=mixture, skip=skip).chunks == whole.chunks[skip:]


def test_another_inventory_of_the_same_names_gives_the_same_chunks(mixture: Inventory, whole: Read) -> None:
    folder = str(Path(next(mixture.sources).path).parent)
    again = take_inventory([folder, f"{folder}/gone.jsonl"])
    assert again.identity() == mixture.identity()
    assert read(inventory=again).chunks == whole.chunks


def test_small_sources_share_a_chunk(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{number:03}.jsonl": b"{}\n" for number in range(200)})
    result = read(tmp_path)
    assert len(result.chunks) == 1
    assert len(result.records) == len(result.ends) == 200


def test_standard_input_is_read_in_its_place_between_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, {"a.json": b"1", "b.jsonl": b"3\n"})
    stream = type("Stream", (), {"buffer": io.BytesIO(gz(b"2\n2\n"))})()
    monkeypatch.setattr(sys, "stdin", stream)
    result = read("a.json", "-", "b.jsonl")
    assert result.texts == [b"1", b"2", b"2", b"3"]
    assert result.places == [("a.json", 1), ("-", 1), ("-", 2), ("b.jsonl", 1)]
    assert (result.ends[1].kind, result.ends[1].size) == ("jsonl", None)
    assert (result.inventory.size, result.inventory.is_rereadable) == (3, False)


def test_no_names_give_no_chunks() -> None:
    assert read().chunks == []


names = st.sampled_from(["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz", "a.json.zst", "a.jsonl.zst", "a.parquet"])


@settings(max_examples=80)
@given(st.dictionaries(names, st.binary(max_size=60) | st.sampled_from([gz(b"1\n"), zst(b"1\n"), b"PAR1xxxxPAR1"])))
def test_reading_arbitrary_content_never_fails_and_every_source_ends(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "anything"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    files.pop("a.parquet", None)
    inventory = take_inventory([str(write_files(folder, {"z.json": b"", **files}))])
    result = read(inventory=inventory)
    assert [end.source for end in result.ends] == list(range(inventory.count))
    assert {end.name: end.sha256 for end in result.ends} == {
        str(folder / name): hashlib.sha256(content).hexdigest() for name, content in {"z.json": b"", **files}.items()
    }
    for end in result.ends:
        unreadable = [record.problem for record in result.records if record.source == end.source and record.problem]
        assert unreadable == ([end.problem] if end.problem else [])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_the_process_that_reads_uses_little_memory(tmp_path: Path) -> None:
    """A line of 100 MB in an archive, 60 MB of records and 5,000 files: peak memory grows by less than 45 MB."""
    write_files(tmp_path, {"a.jsonl.zst": zst(b"1" * 100_000_000), "b.jsonl.gz": gz(b"{}\n" * 20_000_000)})
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(5_000):
        os.close(os.open(folder / f"{number:036}.json", os.O_CREAT))
    program = """
import sys
from nomyo_attest.audit.sources import read_chunks, take_inventory
def peak():
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1000
before = peak()
for chunk in read_chunks(take_inventory([sys.argv[1]])):
    pass
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, check=True, timeout=120)
    assert float(done.stdout) < 45


def test_the_chunks_of_an_inventory_can_be_read_again(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.jsonl": join_lines(numbered_lines(10))})
    inventory = take_inventory([str(tmp_path)])
    assert [len(list(chunk.records())) for chunk in read_chunks(inventory)] == [10]
    assert [len(list(chunk.records())) for chunk in read_chunks(inventory)] == [10]


LINES = numbered_lines(4000, 1000)
TEXT = join_lines(LINES)
ARCHIVES = {"a.jsonl": TEXT, "a.jsonl.gz": gz(TEXT), "a.ndjson.zst": zst(TEXT)}
archives = pytest.mark.parametrize("name", ARCHIVES)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that write a file in each example."""
    return tmp_path_factory.mktemp("jsonl")


@archives
def test_every_line_is_a_record_in_chunks_of_about_a_megabyte(name: str) -> None:
    write_files(Path(), {name: ARCHIVES[name]})
    result = read(name)
    assert result.texts == LINES
    assert result.places == [(name, line) for line in range(1, 4001)]
    assert [number for number, *_ in result.chunks] == list(range(len(result.chunks)))
    assert len(result.chunks) == 4
    for _, _, records, _ in result.chunks:
        assert sum(len(record.text or b"") for record in records) < 1024 * 1024
    assert result.end.size == len(ARCHIVES[name])
    assert result.end.sha256 == hashlib.sha256(ARCHIVES[name]).hexdigest()
    progress = [progress for _, progress, *_ in result.chunks]
    assert progress == sorted(progress)
    assert progress[-1] == result.inventory.size


def test_lines_end_with_lf_or_crlf_and_blank_ones_are_counted() -> None:
    write_files(Path(), {"a.jsonl": b"\xef\xbb\xbf{}\r\n\n \t\r\n[\r]\n\x00\n\xff\n\n{}"})
    result = read("a.jsonl")
    assert [(record.line, record.text) for record in result.records] == [
        (1, b"{}"),
        (4, b"[\r]"),
        (5, b"\x00"),
        (6, b"\xff"),
        (8, b"{}"),
    ]
    assert result.end.blank == 3


@pytest.mark.parametrize(
    ("content", "blank"), [(b"", 0), (b"\n\n", 2), (b" ", 1), (b"\xef\xbb\xbf", 0), (b"\xef\xbb\xbf\n", 1)]
)
def test_a_file_without_records_is_unreadable(content: bytes, blank: int) -> None:
    write_files(Path(), {"a.jsonl": content})
    result = read("a.jsonl")
    assert [(record.line, record.text, record.problem) for record in result.records] == [(0, None, EMPTY)]
    assert result.end.problem == EMPTY
    assert (result.end.blank, result.end.size) == (blank, len(content))
    assert result.end.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_longer_than_a_record_is_one_unreadable_record_and_the_rest_is_read(end: bytes) -> None:
    long = b"1" * (RECORD_BYTES_MAX + 1)
    write_files(Path(), {"a.jsonl": b"first\n" + long[1:] + b"\r\n" + long + end + (b"last" if end else b"")})
    result = read("a.jsonl")
    assert [(record.line, len(record.text or b""), record.problem) for record in result.records] == [
        (1, 5, ""),
        (2, RECORD_BYTES_MAX, ""),
        (3, 0, "16777217 bytes; a record has at most 16777216"),
    ] + ([(4, 4, "")] if end else [])
    assert result.end.problem == ""


@settings(max_examples=60)
@given(cut=st.integers(0, 2**24), name=st.sampled_from(["a.jsonl.gz", "a.ndjson.zst"]))
def test_the_records_before_the_end_of_a_cut_off_archive_are_read(folder: Path, cut: int, name: str) -> None:
    content = ARCHIVES[name][: cut % len(ARCHIVES[name])]
    result = read(write_files(folder, {name: content}) / name)
    assert result.problem.startswith("cut off: ")
    assert result.texts == LINES[: len(result.records) - 1]
    assert result.records[-1].line == len(result.records)
    assert result.end.sha256 == hashlib.sha256(content).hexdigest()


@settings(max_examples=60)
@example(place=18, flip=18, name="a.ndjson.zst")  # lines of the text become blank
@given(place=st.integers(0, 2**24), flip=st.integers(1, 255), name=st.sampled_from(["a.jsonl.gz", "a.ndjson.zst"]))
def test_the_records_before_the_damage_of_an_archive_are_read(folder: Path, place: int, flip: int, name: str) -> None:
    content = bytearray(ARCHIVES[name])
    content[place % len(content)] ^= flip
    result = read(write_files(folder, {name: bytes(content)}) / name)
    assert result.end.sha256 == hashlib.sha256(content).hexdigest()
    if not result.end.problem:  # a byte of a header that says nothing of the text, such as the time
        assert result.texts == LINES
        return
    assert result.problem.startswith(("cut off: ", "damaged: ", "packed ", "needs "))
    lines = [record.line for record in result.records]
    assert lines == sorted({*lines})
    assert lines[-1] == len(lines) + result.end.blank  # what a damage makes of a line may be a blank one


def test_damage_is_reported_for_the_line_in_which_it_is() -> None:
    whole = gz(b"a\nb\nincomplete")
    write_files(Path(), {"a.jsonl.gz": whole[:-1], "b.jsonl.gz": gz(b"a\nb\n") + b"x", "c.jsonl.gz": b"x"})
    assert [(record.name, record.line, record.text) for record in read(".").records] == [
        ("./a.jsonl.gz", 1, b"a"),
        ("./a.jsonl.gz", 2, b"b"),
        ("./a.jsonl.gz", 3, None),
        ("./b.jsonl.gz", 1, b"a"),
        ("./b.jsonl.gz", 2, b"b"),
        ("./b.jsonl.gz", 3, None),
        ("./c.jsonl.gz", 1, None),
    ]


def test_bytes_appended_after_the_inventory_are_not_read() -> None:
    write_files(Path(), {"a.jsonl": b"1\n2\n"})
    inventory = take_inventory(["a.jsonl"])
    with Path("a.jsonl").open("ab") as file:
        file.write(b"3\n")
    result = read(inventory=inventory)
    assert result.texts == [b"1", b"2"]
    assert (result.end.size, result.end.problem) == (4, "")
    assert result.end.sha256 == hashlib.sha256(b"1\n2\n").hexdigest()


def test_a_file_that_was_truncated_or_rewritten_since_the_inventory_is_reported() -> None:
    write_files(Path(), {"a.jsonl": b"1\n2\n", "b.jsonl": b"1\n2\n", "c.jsonl": b"1\n"})
    inventory = take_inventory(["."])
    Path("a.jsonl").write_bytes(b"1\n2")
    Path("b.jsonl").write_bytes(b"3\n4\n")
    os.utime("b.jsonl", ns=(1, 1))
    Path("c.jsonl").unlink()
    result = read(inventory=inventory)
    assert [(record.name, record.line, record.text, record.problem) for record in result.records] == [
        ("./a.jsonl", 1, b"1", ""),
        (
            "./a.jsonl",
            2,
            None,
            "changed while it was audited: 4 bytes when the audit began, 3 when it was read; audit a copy of it",
        ),
        ("./b.jsonl", 1, b"3", ""),
        ("./b.jsonl", 2, b"4", ""),
        ("./b.jsonl", 3, None, "changed while it was audited: rewritten at its old size; audit a copy of it"),
        ("./c.jsonl", 0, None, "cannot be read: No such file or directory; check the name"),
    ]
    assert [bool(end.sha256) for end in result.ends] == [False, True, False]


class Failing(io.RawIOBase):
    """Gives some bytes, then what a broken disk gives."""

    def __init__(self, answers: list[bytes | OSError | None]) -> None:
        self._answers = answers

    def read(self, size: int = -1) -> bytes | None:
        answer = self._answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (OSError(5, "Input/output error"), "cannot be read any further: Input/output error"),
        (None, "cannot be read any further: standard input does not wait for its bytes (O_NONBLOCK)"),
    ],
)
def test_a_source_that_fails_while_it_is_read_ends_with_an_unreadable_record(
    answer: OSError | None, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = type("Stream", (), {"buffer": Failing([b"1\n2", answer, b""])})()
    monkeypatch.setattr(sys, "stdin", stream)
    result = read("-")
    assert result.texts == [b"1"]
    assert result.problem == problem


def test_closed_standard_input_is_a_source_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert read("-").problem == "standard input is closed; name a file"


@archives
def test_standard_input_is_json_lines_compressed_or_not(name: str) -> None:
    program = """
import sys
from nomyo_attest.audit.sources import read_chunks, take_inventory
chunks = list(read_chunks(take_inventory(["-"])))
print(sum(1 for chunk in chunks for record in chunk.records() if record.text), chunks[-1].source_ends())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], input=ARCHIVES[name], capture_output=True, check=True, timeout=60
    )
    digest = hashlib.sha256(ARCHIVES[name]).hexdigest()
    assert done.stdout.decode().startswith(
        f"4000 (SourceEnd(source=0, name='-', kind='jsonl', size=None, sha256='{digest}', blank=0, problem='')"
    )


def test_reading_may_be_abandoned_in_the_middle() -> None:
    write_files(Path(), {"a.jsonl": TEXT})
    chunks = read_chunks(take_inventory(["a.jsonl"]))
    assert next(chunks).number == 0
    chunks.close()  # type: ignore[attr-defined]  # the iterator is a generator
