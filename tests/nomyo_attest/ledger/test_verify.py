"""Whatever is done to a ledger afterwards is found, by its chain or by a digest kept elsewhere."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import random
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.ledger import verify as verify_module
from nomyo_attest.ledger.line import BEGINNING, NO_PREVIOUS, digest_of, encode_line, is_repair, read_line
from nomyo_attest.ledger.verify import LISTED_MAX, PROBLEM_KINDS
from tests.nomyo_attest.ledger.ledgers import SMALL, checked, problems, records, small


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evidence.jsonl"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A ledger of five lines."""
    return small(tmp_path_factory.mktemp("lines") / "evidence.jsonl", 5)


@pytest.fixture(scope="module")
def head(lines: list[bytes]) -> str:
    return digest_of(lines[-1])


class Ledger:
    """A file whose content is replaced over and over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def problems(self, content: bytes, **kept: Any) -> list[str]:
        self.path.write_bytes(content)
        return problems(self.path, **kept)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """In memory where there is a place for it: it is written thousands of times."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Ledger(Path(folder) / "evidence.jsonl")


def test_an_unchanged_ledger_is_whole(path: Path) -> None:
    lines = small(path, 5)
    found = checked(path)
    assert found.intact
    assert (found.files, found.lines, found.repair_count, found.number) == ([str(path)], 5, 0, 5)
    assert found.head == digest_of(lines[-1])
    assert found.since_head is None


def test_an_empty_ledger_is_whole_unless_a_digest_or_number_is_given(path: Path) -> None:
    path.touch()
    assert checked(path).intact
    assert checked(path).head is None
    assert problems(path, records=1) == ["records"]
    assert problems(path, head=NO_PREVIOUS) == ["head"]


def test_every_change_of_a_byte_is_found(ledger: Ledger, lines: list[bytes], head: str) -> None:
    whole, last = b"".join(lines), len(b"".join(lines[:-1]))
    chance = random.Random(7)
    for place in range(len(whole)):
        change = bytearray(whole)
        change[place] ^= chance.randrange(1, 256)
        assert ledger.problems(bytes(change), head=head), place
        if place < last:
            assert ledger.problems(bytes(change)), place


def test_every_byte_taken_out_or_put_in_is_found(ledger: Ledger, lines: list[bytes], head: str) -> None:
    whole, last = b"".join(lines), len(b"".join(lines[:-1]))
    for place in range(0, len(whole), 3):
        for change in (whole[:place] + whole[place + 1 :], whole[:place] + b" " + whole[place:]):
            assert ledger.problems(change, head=head), place
            if place < last:
                assert ledger.problems(change), place


def test_a_ledger_cut_off_anywhere_is_detected_with_the_head(ledger: Ledger, lines: list[bytes], head: str) -> None:
    whole = b"".join(lines)
    ends = set(itertools.accumulate(map(len, lines)))
    for length in range(len(whole)):
        assert "head" in ledger.problems(whole[:length], head=head)
        assert "records" in ledger.problems(whole[:length], records=5)
        assert (ledger.problems(whole[:length]) == ["torn"]) is (length > 0 and length not in ends)


@pytest.mark.parametrize("gone", range(5))
def test_a_line_taken_out_is_found_and_named(ledger: Ledger, lines: list[bytes], head: str, gone: int) -> None:
    left = [line for place, line in enumerate(lines) if place != gone]
    assert ledger.problems(b"".join(left), head=head) == ["head" if gone == 4 else "missing" if gone else "beginning"]
    if 0 < gone < 4:
        (problem,) = checked(ledger.path).problems
        assert (problem.file, problem.line) == (str(ledger.path), gone + 1)
        assert f"number {gone + 1} is missing before this line" in problem.message
        assert (problem.expected, problem.got) == (f"number {gone + 1}", f"number {gone + 2}")


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(range(5), 2)])
def test_lines_that_changed_places_are_found(ledger: Ledger, lines: list[bytes], one: int, other: int) -> None:
    moved = [*lines]
    moved[one], moved[other] = moved[other], moved[one]
    assert "order" in ledger.problems(b"".join(moved))


@pytest.mark.parametrize(("line", "place"), [*itertools.product(range(5), range(6))])
def test_a_line_put_in_again_is_found(ledger: Ledger, lines: list[bytes], line: int, place: int) -> None:
    assert {"order", "missing", "beginning"} & {
        *ledger.problems(b"".join([*lines[:place], lines[line], *lines[place:]]))
    }


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize(
    "text", [b"\n", b"{}\n", b"Dear diary\n", BEGINNING + b"3}\n", b"\xff\n", b"[" * 100_000 + b"\n"]
)
def test_text_that_is_not_a_line_is_detected_and_named(
    ledger: Ledger, lines: list[bytes], place: int, text: bytes
) -> None:
    assert "form" in ledger.problems(b"".join([*lines[:place], text, *lines[place:]]))
    problem = checked(ledger.path).problems[0]
    assert (problem.kind, problem.line) == ("form", place + 1)
    if place < 4:
        assert set(ledger.problems(b"".join([*lines[:place], text, *lines[place + 1 :]]))) == {"form", "changed"}


def test_a_line_that_was_changed_is_named(ledger: Ledger, lines: list[bytes]) -> None:
    tampered = lines[1].replace(b'"id-1"', b'"id-7"')
    assert ledger.problems(b"".join([lines[0], tampered, *lines[2:]])) == ["changed"]
    (problem,) = checked(ledger.path).problems
    assert problem.line == 3
    assert "this line or line 2 was changed after it was written" in problem.message
    assert (problem.expected, problem.got) == (digest_of(tampered), digest_of(lines[1]))


def test_a_change_of_the_last_line_is_detected_only_with_the_head(
    ledger: Ledger, lines: list[bytes], head: str
) -> None:
    tampered = b"".join([*lines[:4], lines[4].replace(b'"id-4"', b'"id-7"')])
    assert ledger.problems(tampered) == []
    assert ledger.problems(tampered, head=head) == ["head"]


def rewritten(lines: list[bytes], change: Any) -> list[bytes]:
    """The ledger of somebody who changed it and made all the digests anew."""
    previous, made = NO_PREVIOUS, []
    for number, line in enumerate(change([json.loads(line) for line in lines]), 1):
        more = {key: value for key, value in line.items() if key not in ("format", "number", "previous")}
        made.append(encode_line(number, previous, more))
        previous = digest_of(made[-1])
    return made


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1:],
        lambda lines: lines[:-1],
        lambda lines: [{**line, "refused": None, "payload_id": "another"} for line in lines],
        lambda lines: [*lines[:2], lines[3], lines[2], lines[4]],
        lambda lines: [*lines, lines[0]][1:],
    ],
)
def test_a_ledger_with_recomputed_digests_is_detected_only_with_the_head(
    ledger: Ledger, lines: list[bytes], head: str, change: Any
) -> None:
    assert ledger.problems(b"".join(rewritten(lines, change))) == []
    assert "head" in ledger.problems(b"".join(rewritten(lines, change)), head=head)


def test_making_all_anew_without_changing_anything_changes_nothing(lines: list[bytes]) -> None:
    assert rewritten(lines, lambda same: same) == lines


@pytest.mark.parametrize("kept", range(5))
def test_an_earlier_head_shows_how_far_the_ledger_has_grown(ledger: Ledger, lines: list[bytes], kept: int) -> None:
    digest = digest_of(lines[kept])
    assert ledger.problems(b"".join(lines), head=digest, records=kept + 1) == []
    assert checked(ledger.path, head=digest).since_head == 4 - kept
    assert ledger.problems(b"".join(lines), head=digest, records=kept + 2) == ["records"]
    assert ledger.problems(b"".join(lines), head=digest, records=kept) == ["records"]
    if kept:
        assert ledger.problems(b"".join([*lines[:kept], *lines[kept + 1 :]]), head=digest)


def test_a_number_without_a_head_is_the_minimum_of_lines(ledger: Ledger, lines: list[bytes]) -> None:
    for number in range(8):
        assert ledger.problems(b"".join(lines), records=number) == ([] if number <= 5 else ["records"])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_edit_is_detected_with_the_head(
    lines: list[bytes], head: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = b"".join(lines)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    put = data.draw(st.one_of(st.binary(max_size=30), st.sampled_from([*lines, b"".join(lines[1:3])])))
    edited = whole[:start] + put + whole[end:]
    ledger = Ledger(tmp_path_factory.getbasetemp() / "edited.jsonl")
    if edited == whole:
        assert ledger.problems(edited, head=head, records=5) == []
    elif not edited.startswith(whole):
        assert ledger.problems(edited, head=head, records=5)


# -- several files


@pytest.fixture
def rotated(tmp_path: Path, path: Path) -> list[Path]:
    """A ledger of six lines in three files."""
    log = na.EvidenceLog(path, rotate_bytes=1000)
    for number in range(6):
        log.append(SMALL, payload_id=f"id-{number}")
    files = sorted(tmp_path.glob("*.jsonl"))
    assert len(files) == 3
    return files


def test_files_are_found_by_name_or_taken_in_the_order_given(rotated: list[Path]) -> None:
    for given_ in (rotated[2:], rotated[1:], rotated):
        found = checked(*given_)
        assert found.intact
        assert found.files == [str(file) for file in rotated]
        assert found.number == 6


def test_files_in_another_order_are_found(rotated: list[Path]) -> None:
    one, two, three = rotated
    assert "order" in problems(one, three, two)
    assert problems(two, one, three)


@pytest.mark.parametrize("left", [1, len(BEGINNING), 200])
def test_a_continued_file_may_begin_with_the_repair_of_a_torn_line(rotated: list[Path], left: int) -> None:
    one, two, three = rotated
    torn = three.read_bytes()[:left]
    three.write_bytes(torn)
    receipt = na.EvidenceLog(three).append(SMALL)
    repair, record = records(three)
    assert is_repair(repair)
    assert (repair["number"], repair["continues"], repair["repair"]["bytes"]) == (5, two.name, left)
    assert repair["previous"] == digest_of(two.read_bytes().splitlines()[-1])
    assert (receipt.number, record["previous"]) == (6, digest_of(three.read_bytes().splitlines()[0]))
    assert "continues" not in record
    found = checked(three)
    assert found.intact
    assert (found.files, found.repair_count, found.number) == ([str(one), str(two), str(three)], 1, 6)
    assert [(one.file, one.line, one.bytes) for one in found.repairs] == [(str(three), 1, left)]


@pytest.mark.parametrize("gone", [0, 1])
def test_a_file_that_is_gone_is_found(rotated: list[Path], gone: int) -> None:
    last = digest_of(rotated[gone].read_bytes().splitlines()[-1])
    rotated[gone].unlink()
    assert problems(rotated[2]) == ["beginning"]
    problem = checked(rotated[2]).problems[0]
    assert f"continues {rotated[gone].name!r}" in problem.message
    assert problems(*rotated[gone + 1 :], after=last) == []
    assert problems(*rotated[gone + 1 :], after=NO_PREVIOUS) == ["beginning"]


def test_a_file_left_out_in_the_middle_is_found(rotated: list[Path]) -> None:
    assert problems(rotated[0], rotated[2]) == ["missing"]
    assert "numbers 3 to 4 are missing before this line" in checked(rotated[0], rotated[2]).problems[0].message


def test_a_line_that_was_changed_at_the_end_of_a_file_is_found_by_the_next(rotated: list[Path]) -> None:
    rotated[0].write_bytes(rotated[0].read_bytes().replace(b'"id-1"', b'"id-7"'))
    (problem,) = checked(rotated[2]).problems
    assert (problem.file, problem.line, problem.kind) == (str(rotated[1]), 1, "changed")
    assert f"line 2 of {rotated[0]}" in problem.message


def test_a_head_from_before_the_file_was_moved_aside_is_valid(rotated: list[Path]) -> None:
    digest = digest_of(rotated[0].read_bytes().splitlines()[0])
    found = checked(rotated[2], head=digest, records=1)
    assert (found.intact, found.since_head) == (True, 5)


def test_the_head_may_be_the_digest_of_the_line_before_the_first_file(rotated: list[Path]) -> None:
    digest = digest_of(rotated[1].read_bytes().splitlines()[-1])
    found = checked(rotated[2], head=digest, after=digest, records=4)
    assert (found.intact, found.since_head) == (True, 2)


def test_a_newest_file_that_is_empty_or_not_there_yet_has_the_others_before_it(rotated: list[Path]) -> None:
    rotated[2].write_bytes(b"")
    assert checked(rotated[2]).number == 4
    assert problems(rotated[2], records=6) == ["records"]
    rotated[2].unlink()
    assert checked(rotated[2]).number == 4
    assert checked(rotated[2]).files == [str(file) for file in rotated[:2]]


@pytest.mark.parametrize("name", ["../other.jsonl", "/etc/passwd", ".", "..", "", "a\0b", "evidence.jsonl", "x" * 300])
def test_a_continued_file_is_looked_up_in_the_same_folder_and_nowhere_else(path: Path, name: str) -> None:
    other = path.parent.parent / "other.jsonl"
    small(other, 1)
    try:
        record = {key: value for key, value in records(other)[0].items() if key not in ("format", "number", "previous")}
        path.write_bytes(encode_line(2, digest_of(other.read_bytes()), {"continues": name, **record}))
        assert checked(path).files == [str(path)]
        assert problems(path) == ["beginning"]
    finally:
        other.unlink()


def test_files_that_name_each_other_are_no_endless_way(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    small(one, 1)
    record = {key: value for key, value in records(one)[0].items() if key not in ("format", "number", "previous")}
    one.write_bytes(encode_line(2, NO_PREVIOUS, {"continues": two.name, **record}))
    two.write_bytes(encode_line(2, NO_PREVIOUS, {"continues": one.name, **record}))
    assert len(checked(one).files) == 2


def test_a_file_that_cannot_be_read_is_an_error_of_the_system(tmp_path: Path, path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        checked(path)
    with pytest.raises(IsADirectoryError):
        checked(tmp_path)
    small(path, 1)
    with pytest.raises(FileNotFoundError):
        checked(path, tmp_path / "none.jsonl")


# -- at work, large, hostile


def test_a_line_that_is_being_written_is_not_taken_for_a_torn_one(path: Path) -> None:
    small(path, 2)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    line = encode_line(3, digest_of(path.read_bytes().splitlines()[-1]), {**records(path)[0], "number": 3})
    line = line.replace(NO_PREVIOUS.encode(), digest_of(path.read_bytes().splitlines()[1]).encode())
    os.write(descriptor, line[:100])

    def finish() -> None:
        os.write(descriptor, line[100:])
        os.close(descriptor)

    timer = threading.Timer(0.2, finish)
    timer.start()
    assert checked(path).number == 3
    assert problems(path) == []
    timer.join()


def test_a_writer_that_never_ends_is_not_waited_for(path: Path) -> None:
    small(path, 2)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert checked(path).number == 2


def test_a_file_system_without_locks_is_read_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(37, "No locks available")

    small(path, 2)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert checked(path).number == 2


def test_problems_are_counted_beyond_those_listed(ledger: Ledger, lines: list[bytes]) -> None:
    ledger.problems(b"".join(lines) + b"\n" * 5000)
    found = checked(ledger.path)
    assert len(found.problems) == LISTED_MAX
    assert found.problem_count == 5000


def test_a_line_that_is_far_too_long_is_one_problem_and_not_held_in_memory(path: Path) -> None:
    lines = small(path, 2)
    with path.open("wb") as file:
        file.write(lines[0])
        file.truncate(70_000_000)
    with path.open("ab") as file:
        file.write(b"\n" + lines[1])
    assert problems(path) == ["form"]


@pytest.mark.parametrize("behind", [0, 1, 200, 5000])
def test_junk_after_a_line_that_is_too_long_is_a_problem_of_its_own(
    ledger: Ledger, lines: list[bytes], monkeypatch: pytest.MonkeyPatch, behind: int
) -> None:
    longest = max(map(len, lines))
    monkeypatch.setattr(verify_module, "LINE_MAX", longest)
    too_long = (longest + behind) * b"x" + b"\n"
    assert ledger.problems(b"".join([lines[0], too_long, b"junk\n", *lines[1:]])) == ["form", "changed"]
    found = checked(ledger.path)
    problems = [(problem.line, problem.kind, problem.got) for problem in found.problems]
    assert problems[0][:2] == (2, "form")
    assert problems[1] == (3, "form", "text that does not begin as a line of a ledger does")
    assert problems[2:] == [(4, "changed", digest_of(lines[0]))]  # it follows another line than the junk
    assert (found.lines, found.number) == (5, 5)


def test_a_line_as_long_as_the_limit_is_a_line(
    ledger: Ledger, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "LINE_MAX", max(map(len, lines)))
    assert ledger.problems(b"".join(lines)) == []
    monkeypatch.setattr(verify_module, "LINE_MAX", max(map(len, lines)) - 1)
    assert "form" in ledger.problems(b"".join(lines))


def test_text_appended_to_a_line_that_is_too_long_while_it_is_read_is_not_read(
    ledger: Ledger, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "LINE_MAX", max(map(len, lines)))
    cut_off = lines[0] + 3000 * b"x"
    ledger.path.write_bytes(cut_off + 10_000 * b"x" + b"\njunk\n")
    monkeypatch.setattr(verify_module, "size_when_unlocked", lambda descriptor: len(cut_off))
    read = 0

    class Counted(verify_module.LedgerFile):
        def readline(self, maximum: int) -> bytes:
            nonlocal read
            line = super().readline(maximum)
            read += len(line)
            return line

    def open_file(name: str, stack: contextlib.ExitStack) -> Counted:
        return Counted(stack.enter_context(Path(name).open("rb")))

    found = verify_module.verify([str(ledger.path)], open_file=open_file)
    assert [problem.line for problem in found.problems] == [2]
    assert read == len(cut_off)


def test_no_kind_of_problem_is_listed_twice() -> None:
    assert len(set(PROBLEM_KINDS)) == len(PROBLEM_KINDS) == 9


def tampered(lines: list[bytes]) -> Iterator[tuple[str, bytes]]:
    record = json.loads(lines[0])
    for key in ("number", "previous", "recorded_at", "given", "whole", "evidence", "result"):
        yield f"without {key}", json.dumps({name: one for name, one in record.items() if name != key}).encode()
    for key, value in (
        ("number", 0),
        ("number", -1),
        ("number", True),
        ("number", 1.5),
        ("number", "1"),
        ("previous", 1),
    ):
        yield f"{key} {value!r}", json.dumps({**record, key: value}).encode()
    yield "both", json.dumps({**record, "repair": {"bytes": 0, "sha256": "", "torn": ""}}).encode()
    yield "another format", json.dumps({**record, "format": "nomyo-attest-ledger/2"}).encode()
    yield "more behind it", lines[0].rstrip() + b"}"


def test_a_line_without_a_required_key_is_not_a_line(lines: list[bytes]) -> None:
    assert not isinstance(read_line(lines[0]), str)
    for name, line in tampered(lines):
        compact = line.replace(b'", "', b'","').replace(b'": ', b'":').replace(b", ", b",")
        assert isinstance(read_line(compact + b"\n"), str), name


def test_a_repair_that_does_not_match_the_torn_text_is_not_a_line(path: Path) -> None:
    lines = small(path, 1)
    path.write_bytes(lines[0] + b"torn")
    na.EvidenceLog(path).append(SMALL)
    note = path.read_bytes().splitlines(keepends=True)[1]
    assert not isinstance(read_line(note), str)
    for before, after in ((b'"bytes":4', b'"bytes":3'), (b'"bytes":4', b'"bytes":5'), (b'"torn":"d', b'"torn":"e')):
        assert before in note
        assert isinstance(read_line(note.replace(before, after)), str)
