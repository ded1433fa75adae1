"""`nomyo-attest ledger verify`: what it prints, its exit status, and what it complains of."""

from __future__ import annotations

from pathlib import Path

import pytest

import nomyo_attest as na
from nomyo_attest.ledger.line import digest_of
from tests.nomyo_attest.cli.runner import one_complaint, run, start
from tests.nomyo_attest.ledger.making import SMALL, records, small

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
        "evidence.jsonl   whole   5 lines in 1 file",
        "",
        "  number  5",
        "  head",
        f"    {head}",
        "  Keep the two elsewhere: with --head and --records they show whether the ledger",
        "  was shortened.",
    ]


def test_what_was_kept_is_found_again_and_how_far_it_has_grown(lines: list[bytes]) -> None:
    na.EvidenceLog(LEDGER).append(SMALL)
    ran = run("ledger", "verify", LEDGER, "--head", digest_of(lines[-1]), "--records", 5)
    assert ran.status == 0
    assert "Nothing up to that digest was changed; 1 line appended since the digest" in ran.out
    assert "Keep the two" not in ran.out


@pytest.mark.parametrize("form", [str.upper, lambda text: text.removeprefix("sha256:")])
def test_a_digest_may_be_written_in_several_ways(lines: list[bytes], form: object) -> None:
    digest = digest_of(lines[-1]).removeprefix("sha256:")
    assert run("ledger", "verify", LEDGER, "--head", digest.upper()).status == 0


def test_what_is_wrong_is_said_with_file_line_expected_and_got(lines: list[bytes]) -> None:
    spoilt = lines[1].replace(b'"id-1"', b'"id-7"')
    Path(LEDGER).write_bytes(b"".join([lines[0], spoilt, *lines[2:]]))
    ran = run("ledger", "verify", LEDGER)
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.startswith("evidence.jsonl   not whole   5 lines in 1 file\n\n  evidence.jsonl, line 3\n")
    assert "line 2 was changed after it was written" in ran.out
    assert digest_of(spoilt) in ran.out
    assert digest_of(lines[1]) in ran.out
    assert "Keep the two" not in ran.out


def test_a_shortened_ledger_is_found_by_what_was_kept(lines: list[bytes]) -> None:
    Path(LEDGER).write_bytes(b"".join(lines[:-1]))
    assert run("ledger", "verify", LEDGER).status == 0
    ran = run("ledger", "verify", LEDGER, "--head", digest_of(lines[-1]))
    assert ran.status == 1
    assert "No line has the digest that was kept" in ran.out
    assert run("ledger", "verify", LEDGER, "--records", 5).status == 1


def test_a_repair_is_reported_and_no_fault(lines: list[bytes]) -> None:
    Path(LEDGER).write_bytes(b"".join(lines)[:-20])
    assert "Is cut off" in run("ledger", "verify", LEDGER).out
    na.EvidenceLog(LEDGER).append(SMALL)
    ran = run("ledger", "verify", LEDGER)
    assert ran.status == 0
    assert f"  torn by a crash, and noted\n    evidence.jsonl, line 5: {len(lines[4]) - 20} bytes left" in ran.out


def test_json_says_it_all(lines: list[bytes]) -> None:
    Path(LEDGER).write_bytes(b"".join([*lines[:2], *lines[3:]]) + b"torn")
    na.EvidenceLog(LEDGER).append(SMALL)
    ran = run("ledger", "verify", LEDGER, "--format", "json", "--head", digest_of(lines[0]))
    assert ran.status == 1
    document = ran.json()
    assert document.pop("head") == digest_of(Path(LEDGER).read_bytes().splitlines()[-1])
    assert document == {
        "format": "nomyo-attest-ledger-verify/1",
        "whole": False,
        "files": [LEDGER],
        "lines": 6,
        "repairs": 1,
        "number": 7,
        "since_head": 5,
        "problems": [
            {
                "file": LEDGER,
                "line": 3,
                "way": "missing",
                "expected": "number 3",
                "got": "number 4",
                "message": "does not follow: number 3 is missing before it",
            }
        ],
        "problem_count": 1,
        "noted": [{"file": LEDGER, "line": 5, "bytes": 4}],
    }


def test_the_json_of_a_whole_one_has_the_same_keys(lines: list[bytes]) -> None:
    document = run("ledger", "verify", LEDGER, "--format", "json").json()
    assert (document["whole"], document["since_head"], document["problems"]) == (True, None, [])


def test_files_that_were_moved_aside_are_found(lines: list[bytes], tmp_path: Path) -> None:
    log = na.EvidenceLog(LEDGER, rotate_bytes=1)
    log.append(SMALL)
    log.append(SMALL)
    ran = run("ledger", "verify", LEDGER)
    assert ran.out.startswith("evidence.jsonl   whole   7 lines in 3 files")
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
        ([LEDGER, LEDGER], "a file is named twice"),
        ([LEDGER, "--head", "sha256:12"], "--head: 'sha256:12' is no digest; write sha256: and 64"),
        ([LEDGER, "--after", ""], "--after: '' is no digest"),
        ([LEDGER, "--records", "-1"], "--records: expected 0 or more, got -1"),
        ([LEDGER, "--records", "x"], "invalid int value"),
        (["a\0b"], "no file can have this name"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(lines: list[bytes], words: list[str], said: str) -> None:
    ran = run("ledger", "verify", *words)
    assert ran.status == 2
    assert said in one_complaint(ran)


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
    assert "one more word" in start("ledger").stderr
