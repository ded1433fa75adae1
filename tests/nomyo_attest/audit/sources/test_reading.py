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
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from nomyo_attest.audit.sources import Inventory, read_chunks, take_inventory
from nomyo_attest.evidence.strict_json import TEXT_MAX
from tests.nomyo_attest.audit.sources.look import Read, gz, joined, numbered, read, written, zst


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """Sources of every kind, good and bad, about 15 chunks."""
    folder = written(
        tmp_path_factory.mktemp("mixture"),
        {
            "a.jsonl": joined(numbered(2500, 1000)),
            "b.jsonl.gz": gz(joined(numbered(2500, 1000)))[:-9],
            "c.ndjson.zst": zst(joined([*numbered(2000, 1000), b"", b"1" * (TEXT_MAX + 1), b"{}"])),
            **{f"d/{number}.json": b"{}" for number in range(700)},
            "e.json": b"1" * (TEXT_MAX + 1),
            "f.json.gz": b"x",
            "h.jsonl": b"",
            "readme": b"",
        },
    )
    pq.write_table(
        pa.table({"response": [line.decode() for line in numbered(1500, 1000)]}),
        folder / "g.parquet",
        row_group_size=400,
    )
    (folder / "i.parquet").write_bytes(b"x")
    return take_inventory([str(folder), str(folder / "gone.jsonl")])


@pytest.fixture(scope="module")
def whole(mixture: Inventory) -> Read:
    """All of it."""
    return read(inventory=mixture)


def test_every_record_is_there_once_and_in_order(mixture: Inventory, whole: Read) -> None:
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


def test_every_source_has_one_end_behind_its_last_record(mixture: Inventory, whole: Read) -> None:
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


@pytest.mark.parametrize("skip", [0, 1, 2, 5, 9, 10, 11, 12, 13, 100])
def test_reading_goes_on_from_any_chunk_as_if_it_had_begun_at_the_first(
    mixture: Inventory, whole: Read, skip: int
) -> None:
    assert read(inventory=mixture, skip=skip).chunks == whole.chunks[skip:]


def test_another_inventory_of_the_same_names_gives_the_same_chunks(mixture: Inventory, whole: Read) -> None:
    folder = str(Path(next(mixture.sources).path).parent)
    again = take_inventory([folder, f"{folder}/gone.jsonl"])
    assert again.identity() == mixture.identity()
    assert read(inventory=again).chunks == whole.chunks


def test_small_sources_share_a_chunk(tmp_path: Path) -> None:
    written(tmp_path, {f"{number:03}.jsonl": b"{}\n" for number in range(200)})
    result = read(tmp_path)
    assert len(result.chunks) == 1
    assert len(result.records) == len(result.ends) == 200


def test_standard_input_goes_between_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, {"a.json": b"1", "b.jsonl": b"3\n"})
    stream = type("Stream", (), {"buffer": io.BytesIO(gz(b"2\n2\n"))})()
    monkeypatch.setattr(sys, "stdin", stream)
    result = read("a.json", "-", "b.jsonl")
    assert result.texts == [b"1", b"2", b"2", b"3"]
    assert result.places == [("a.json", 1), ("-", 1), ("-", 2), ("b.jsonl", 1)]
    assert (result.ends[1].kind, result.ends[1].size) == ("jsonl", None)
    assert (result.inventory.size, result.inventory.resumable) == (3, False)


def test_nothing_is_read_of_no_names() -> None:
    assert read().chunks == []


names = st.sampled_from(["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz", "a.json.zst", "a.jsonl.zst", "a.parquet"])


@settings(max_examples=80)
@given(st.dictionaries(names, st.binary(max_size=60) | st.sampled_from([gz(b"1\n"), zst(b"1\n"), b"PAR1xxxxPAR1"])))
def test_whatever_is_in_the_files_reading_does_not_fail_and_every_source_ends(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "anything"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    files.pop("a.parquet", None)
    inventory = take_inventory([str(written(folder, {"z.json": b"", **files}))])
    result = read(inventory=inventory)
    assert [end.source for end in result.ends] == list(range(inventory.count))
    assert {end.name: end.sha256 for end in result.ends} == {
        str(folder / name): hashlib.sha256(content).hexdigest() for name, content in {"z.json": b"", **files}.items()
    }
    for end in result.ends:
        unreadable = [record.problem for record in result.records if record.source == end.source and record.problem]
        assert unreadable == ([end.problem] if end.problem else [])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_the_process_that_reads_stays_small(tmp_path: Path) -> None:
    """A line of 100 MB in an archive, 60 MB of records and 5,000 files: peak memory grows by less than 45 MB."""
    written(tmp_path, {"a.jsonl.zst": zst(b"1" * 100_000_000), "b.jsonl.gz": gz(b"{}\n" * 20_000_000)})
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


def test_the_chunks_of_an_inventory_can_be_asked_for_again(tmp_path: Path) -> None:
    written(tmp_path, {"a.jsonl": joined(numbered(10))})
    inventory = take_inventory([str(tmp_path)])
    assert [len(list(chunk.records())) for chunk in read_chunks(inventory)] == [10]
    assert [len(list(chunk.records())) for chunk in read_chunks(inventory)] == [10]
