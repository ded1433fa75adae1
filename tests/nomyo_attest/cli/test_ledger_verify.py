"""`nomyo-attest ledger verify`: what it prints, its exit status, and what it complains of."""

from __future__ import annotations

import gzip
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import nomyo_attest as na
from nomyo_attest.ledger.line import digest_of
from tests.nomyo_attest.cli.runner import run, single_error_line, start
from tests.nomyo_attest.ledger.ledgers import SMALL, records, small

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEDGER = "evidence.jsonl"


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines of evidence.jsonl in the working folder."""
    monkeypatch.chdir(tmp_path)
    return small(Path(LEDGER), 5)


def test_a_whole_ledger_is_said_to_be_and_what_to_keep(lines: list[bytes]) -> None:
    ran = run("ledger", "verify", LEDGER)
    assert (ran.status, ran.err) == (0, "")
    head = digest_of(lines[-1])
    assert ran.out.splitlines() == [
        "evidence.jsonl   intact   5 lines in 1 file",
        "",
        "  records  5",
        "  head",
        f"    {head}",
        "",
        "next: store both values elsewhere; to detect later whether the ledger was",
        "shortened, run:",
        f"  nomyo-attest ledger verify evidence.jsonl --records 5 --head {head}",
    ]


def test_what_was_kept_is_found_again_and_how_far_it_has_grown(lines: list[bytes]) -> None:
    na.EvidenceLog(LEDGER).append(SMALL)
    ran = run("ledger", "verify", LEDGER, "--head", digest_of(lines[-1]), "--records", 5)
    assert ran.status == 0
    assert "All lines up to that digest are unchanged; 1 line appended since the digest" in ran.out
    assert "Store the two" not in ran.out


@pytest.mark.parametrize("form", [str.upper, lambda text: text.removeprefix("sha256:")])
def test_a_digest_may_be_written_in_several_ways(lines: list[bytes], form: object) -> None:
    digest = digest_of(lines[-1]).removeprefix("sha256:")
    assert run("ledger", "verify", LEDGER, "--head", digest.upper()).status == 0


def test_what_is_wrong_is_said_with_file_line_expected_and_got(lines: list[bytes]) -> None:
    tampered = lines[1].replace(b'"id-1"', b'"id-7"')
    Path(LEDGER).write_bytes(b"".join([lines[0], tampered, *lines[2:]]))
    ran = run("ledger", "verify", LEDGER)
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.startswith("evidence.jsonl   not intact   5 lines in 1 file\n\n  evidence.jsonl, line 3\n")
    assert "line 2 was changed after it was written" in ran.out
    assert digest_of(tampered) in ran.out
    assert digest_of(lines[1]) in ran.out
    assert "Store the two" not in ran.out


def test_a_shortened_ledger_is_found_by_what_was_kept(lines: list[bytes]) -> None:
    Path(LEDGER).write_bytes(b"".join(lines[:-1]))
    assert run("ledger", "verify", LEDGER).status == 0
    ran = run("ledger", "verify", LEDGER, "--head", digest_of(lines[-1]))
    assert ran.status == 1
    assert "No line has the digest of --head" in ran.out
    assert run("ledger", "verify", LEDGER, "--records", 5).status == 1


def test_a_repair_is_reported_and_no_fault(lines: list[bytes]) -> None:
    Path(LEDGER).write_bytes(b"".join(lines)[:-20])
    assert "The line is cut off" in run("ledger", "verify", LEDGER).out
    na.EvidenceLog(LEDGER).append(SMALL)
    ran = run("ledger", "verify", LEDGER)
    assert ran.status == 0
    repaired = "  lines that a crash cut off, repaired by the next writer\n"
    assert f"{repaired}    evidence.jsonl, line 5: {len(lines[4]) - 20} bytes remain" in ran.out


def test_json_says_it_all(lines: list[bytes]) -> None:
    Path(LEDGER).write_bytes(b"".join([*lines[:2], *lines[3:]]) + b"torn")
    na.EvidenceLog(LEDGER).append(SMALL)
    ran = run("ledger", "verify", LEDGER, "--format", "json", "--head", digest_of(lines[0]))
    assert ran.status == 1
    document = ran.json()
    assert document.pop("head") == digest_of(Path(LEDGER).read_bytes().splitlines()[-1])
    assert document == {
        "format": "nomyo-attest-ledger-verify/1",
        "intact": False,
        "files": [LEDGER],
        "lines": 6,
        "number": 7,
        "since_head": 5,
        "problems": [
            {
                "file": LEDGER,
                "line": 3,
                "kind": "missing",
                "expected": "number 3",
                "got": "number 4",
                "message": "the chain is broken: number 3 is missing before this line",
            }
        ],
        "problem_count": 1,
        "repairs": [{"file": LEDGER, "line": 5, "bytes": 4}],
        "repair_count": 1,
    }


def test_the_json_of_a_whole_one_has_the_same_keys(lines: list[bytes]) -> None:
    document = run("ledger", "verify", LEDGER, "--format", "json").json()
    assert (document["intact"], document["since_head"], document["problems"]) == (True, None, [])


def test_files_that_were_moved_aside_are_found(lines: list[bytes], tmp_path: Path) -> None:
    log = na.EvidenceLog(LEDGER, rotate_bytes=1)
    log.append(SMALL)
    log.append(SMALL)
    ran = run("ledger", "verify", LEDGER)
    assert ran.out.startswith("evidence.jsonl   intact   7 lines in 3 files")
    Path("evidence.0001.jsonl").rename("away")
    assert run("ledger", "verify", LEDGER).status == 1
    last = records(Path("evidence.0002.jsonl"))[0]["previous"]
    assert run("ledger", "verify", "evidence.0002.jsonl", LEDGER, "--after", last).status == 0
    assert run("ledger", "verify", "away", "evidence.0002.jsonl", LEDGER).status == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.jsonl"], "none.jsonl: cannot be read: No such file or directory"),
        (["."], ".: cannot be read: Is a directory"),
        ([LEDGER, LEDGER], "a file is repeated"),
        ([LEDGER, "--head", "sha256:12"], "--head: invalid digest 'sha256:12'; write sha256: and 64"),
        ([LEDGER, "--after", ""], "--after: invalid digest ''"),
        ([LEDGER, "--records", "-1"], "--records: expected 0 or more, got -1"),
        ([LEDGER, "--records", "x"], "argument --records: invalid number 'x'"),
        (["a\0b"], "invalid file name"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(lines: list[bytes], words: list[str], said: str) -> None:
    ran = run("ledger", "verify", *words)
    assert ran.status == 2
    assert said in single_error_line(ran)


def test_what_a_hostile_line_says_does_not_move_the_terminal(lines: list[bytes]) -> None:
    hostile = lines[1].replace(b'"previous":"sha256:', b'"previous":"\\u001b[2J\\nevidence.jsonl   whole')
    Path(LEDGER).write_bytes(b"".join([lines[0], hostile, *lines[2:]]))
    ran = run("ledger", "verify", LEDGER)
    assert ran.status == 1
    assert "\x1b" not in ran.out
    assert len([line for line in ran.out.splitlines() if line.startswith("evidence.jsonl")]) == 1


def test_it_runs_as_a_command_of_its_own(lines: list[bytes]) -> None:
    ran = start("ledger", "verify", LEDGER)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "incomplete command" in start("ledger").stderr


def zst(content: bytes) -> bytes:
    return zstd.compress(content)


@pytest.mark.parametrize("pack", [gzip.compress, zst])
@pytest.mark.parametrize("name", ["evidence.jsonl.gz", "evidence.jsonl.zst", "backup.jsonl"])
def test_a_compressed_ledger_is_verified(lines: list[bytes], pack: Callable[[bytes], bytes], name: str) -> None:
    Path(name).write_bytes(pack(b"".join(lines)))
    ran = run("ledger", "verify", name, "--head", digest_of(lines[-1]))
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"{name}   intact   5 lines in 1 file\n")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zst])
def test_standard_input_is_verified(lines: list[bytes], pack: Callable[[bytes], bytes]) -> None:
    content = pack(b"".join(lines))
    ran = run("ledger", "verify", "-", stdin=content)
    assert ran.status == 0
    assert ran.out.startswith("-   intact   5 lines in 1 file\n")
    assert run("ledger", "verify", "-", stdin=pack(b"".join([*lines[:2], *lines[3:]]))).status == 1
    Path("first.jsonl").write_bytes(b"".join(lines[:2]))
    ran = run("ledger", "verify", "first.jsonl", "-", stdin=pack(b"".join(lines[2:])))
    assert ran.status == 0
    assert "5 lines in 2 files" in ran.out


def test_standard_input_is_read_once(lines: list[bytes]) -> None:
    assert "standard input (-) can be read only once" in single_error_line(run("ledger", "verify", "-", "-"))


def test_an_empty_pipe_is_not_a_ledger() -> None:
    ran = run("ledger", "verify", "-", stdin=b"")
    assert (ran.status, ran.out) == (2, "")
    assert single_error_line(ran).startswith("standard input: is empty: ")


@pytest.mark.skipif(os.name != "posix", reason="needs pipes with names")
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_pipe_with_a_name_is_read_to_its_end(lines: list[bytes], pack: Callable[[bytes], bytes]) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(pack(b"".join(lines))))
    writer.start()
    ran = run("ledger", "verify", "pipe")
    writer.join()
    assert ran.status == 0
    assert ran.out.startswith("pipe   intact   5 lines in 1 file\n")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="this system has no /dev/null")
def test_a_device_is_no_ledger() -> None:
    ran = run("ledger", "verify", "/dev/null")
    assert ran.status == 2
    assert single_error_line(ran).startswith("/dev/null: is a device, not a file")


@pytest.mark.parametrize("pack", [gzip.compress, zst])
@pytest.mark.parametrize("left", [5, 50, 0.9])
def test_an_archive_that_is_cut_off_is_no_whole_ledger(
    lines: list[bytes], pack: Callable[[bytes], bytes], left: float
) -> None:
    packed = pack(b"".join(lines))
    Path("evidence.gz").write_bytes(packed[: int(left * len(packed)) if left < 1 else int(left)])
    ran = run("ledger", "verify", "evidence.gz", "--format", "json")
    assert ran.status == 1
    document = ran.json()
    assert not document["intact"]
    assert document["problems"][-1]["kind"] == "torn"
    assert document["problems"][-1]["message"] == "the file cannot be read from this line on"


def test_files_before_it_that_were_compressed_meanwhile_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = na.EvidenceLog(LEDGER, rotate_bytes=1000)
    for _ in range(12):
        log.append(SMALL)
    aside = sorted(Path().glob("evidence.0*.jsonl"))
    assert len(aside) > 1
    for number, path in enumerate(aside):
        content = path.read_bytes()
        path.unlink()
        Path(f"{path}.gz" if number % 2 else f"{path}.zst").write_bytes(
            gzip.compress(content) if number % 2 else zst(content)
        )
    ran = run("ledger", "verify", LEDGER)
    assert ran.status == 0
    assert f"{len(aside) + 1} files" in ran.out


class TestLineEnds:
    def test_changed_ones_are_reported_as_such(self, lines: list[bytes]) -> None:
        Path(LEDGER).write_bytes(b"".join(lines).replace(b"\n", b"\r\n"))
        ran = run("ledger", "verify", LEDGER)
        assert ran.status == 1
        assert ran.out.startswith("evidence.jsonl   line endings were changed to CRLF   5 lines in 1 file\n")
        assert "not intact" not in ran.out
        assert r"sed 's/\r$//' FILE > RESTORED" in " ".join(ran.out.split())
        assert digest_of(lines[-1]) in ran.out
        document = run("ledger", "verify", LEDGER, "--format", "json").json()
        assert [problem["kind"] for problem in document["problems"]] == ["line_ends"]
        Path(LEDGER).write_bytes(Path(LEDGER).read_bytes().replace(b"\r", b""))
        assert run("ledger", "verify", LEDGER).status == 0

    def test_of_one_line_too(self, lines: list[bytes]) -> None:
        Path(LEDGER).write_bytes(b"".join([*lines[:4], lines[4][:-1] + b"\r\n"]))
        ran = run("ledger", "verify", LEDGER)
        assert ran.status == 1
        assert "in 1 of 5 lines" in " ".join(ran.out.split())

    def test_a_change_beside_them_is_not_hidden(self, lines: list[bytes]) -> None:
        content = b"".join([lines[0], lines[1].replace(b'"id-1"', b'"id-7"'), *lines[2:]])
        Path(LEDGER).write_bytes(content.replace(b"\n", b"\r\n"))
        ran = run("ledger", "verify", LEDGER)
        assert ran.status == 1
        assert ran.out.startswith("evidence.jsonl   not intact   5 lines in 1 file\n")
        assert "line 2 was changed after it was written" in ran.out


def test_a_byte_order_mark_is_named_and_the_lines_are_verified_all_the_same(lines: list[bytes]) -> None:
    Path("bom.jsonl").write_bytes(b"\xef\xbb\xbf" + b"".join(lines))
    ran = run("ledger", "verify", "bom.jsonl", "--format", "json")
    assert ran.status == 1
    document = ran.json()
    assert (document["lines"], document["head"], document["problem_count"]) == (5, digest_of(lines[-1]), 1)
    assert "tail -c +4 FILE > RESTORED" in document["problems"][0]["message"]
    lines[1] = lines[1].replace(b"recorded_at", b"recorded_AT")
    Path("bom.jsonl").write_bytes(b"\xef\xbb\xbf" + b"".join(lines))
    assert run("ledger", "verify", "bom.jsonl", "--format", "json").json()["problem_count"] > 1


def test_a_ledger_in_utf_16_is_one_problem_that_says_what_to_do(lines: list[bytes]) -> None:
    Path("utf16.jsonl").write_bytes(b"".join(lines).decode().encode("utf-16"))
    ran = run("ledger", "verify", "utf16.jsonl", "--format", "json")
    assert ran.status == 1
    (problem,) = ran.json()["problems"]
    assert problem["message"].startswith("the file is UTF-16 text; save it as UTF-8")
