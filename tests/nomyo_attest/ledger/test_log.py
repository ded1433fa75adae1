"""Appending: what a line says, whose file it is, and that it is on the disk before anybody hears of it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na
from nomyo_attest import __version__
from nomyo_attest.ledger import files
from nomyo_attest.ledger.line import NO_PREVIOUS, digest_of
from nomyo_attest.ledger.log import ROTATE_BYTES
from tests.nomyo_attest.ledger.ledgers import SMALL, answer, checked, policy, problems, records, small


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evidence.jsonl"


def test_a_line_has_the_request_and_the_result(path: Path) -> None:
    before = datetime.now(UTC)
    receipt = na.EvidenceLog(path).append(answer(), payload_id="an-id", policy=policy())
    (record,) = records(path)
    assert list(record) == [
        *("format", "number", "previous", "recorded_at", "payload_id", "given", "refused", "whole", "evidence"),
        *("result", "client"),
    ]
    assert record["format"] == "nomyo-attest-ledger/1"
    assert (record["number"], record["previous"]) == (1, NO_PREVIOUS)
    assert before <= datetime.fromisoformat(record["recorded_at"]) <= datetime.now(UTC)
    assert record["recorded_at"].endswith("Z")
    assert (record["payload_id"], record["given"], record["refused"], record["whole"]) == ("an-id", True, None, True)
    assert record["result"] == na.appraise(answer(), policy(), payload_id="an-id").to_dict()
    assert record["client"] == {"name": "nomyo-attest", "version": __version__}
    assert receipt.number == 1
    assert receipt.digest == digest_of(path.read_bytes())
    assert receipt.path == str(path)


def test_each_line_carries_the_digest_of_the_one_before(path: Path) -> None:
    lines = small(path, 5)
    assert [record["number"] for record in records(path)] == [1, 2, 3, 4, 5]
    assert [record["previous"] for record in records(path)[1:]] == [digest_of(line) for line in lines[:-1]]
    assert problems(path) == []


def test_a_line_without_policy_and_payload_id_has_no_result_and_none_given(path: Path) -> None:
    na.EvidenceLog(path).append(answer())
    (record,) = records(path)
    assert (record["result"], record["payload_id"], record["given"]) == (None, None, False)


@pytest.mark.parametrize("gate", ["on", "off"])
def test_a_line_records_whether_the_gate_was_on_beside_the_result(path: Path, gate: str) -> None:
    na.EvidenceLog(path).append(answer(), payload_id="an-id", policy=policy(), gate=gate)
    (record,) = records(path)
    assert list(record)[6:8] == ["refused", "gate"]
    assert (record["gate"], record["refused"], record["result"]["verdict"]) == (gate, None, "affirming")
    assert problems(path) == []


def test_a_line_without_a_policy_does_not_mention_the_gate(path: Path) -> None:
    na.EvidenceLog(path).append(answer())
    assert "gate" not in records(path)[0]


def test_a_gate_that_is_neither_on_nor_off_is_refused_and_nothing_is_written(path: Path) -> None:
    with pytest.raises(ValueError, match=r"^gate: expected 'on', 'off' or None, got 'ajar'$"):
        na.EvidenceLog(path).append(answer(), policy=policy(), gate="ajar")
    assert not path.exists()


def test_a_line_whose_gate_is_not_a_text_is_not_a_line_of_the_ledger(path: Path) -> None:
    na.EvidenceLog(path).append(answer(), policy=policy(), gate="on")
    path.write_bytes(path.read_bytes().replace(b'"gate":"on"', b'"gate":true'))
    assert problems(path) == ["form"]


def test_the_stored_result_is_that_of_appraising_the_stored_evidence(path: Path) -> None:
    from nomyo_attest.ledger.line import open_line

    tampered = json.loads(json.dumps(answer()))
    tampered["_metadata"]["tpm_attestation"]["pcr_values"]["sha256"]["0"] = 64 * "0"
    na.EvidenceLog(path).append(tampered, payload_id="an-id", policy=policy(), refused="not_affirmed")
    (record,) = records(path)
    evidence, payload_id = open_line(record)
    assert record["result"]["verdict"] == "contraindicated"
    assert record["refused"] == "not_affirmed"
    assert na.appraise(evidence, policy(), payload_id=payload_id).to_dict() == record["result"]


def test_a_ledger_is_private_with_any_umask(tmp_path: Path) -> None:
    for mask in (0o000, 0o022, 0o077, 0o777):
        path = tmp_path / f"{mask}.jsonl"
        before = os.umask(mask)
        try:
            na.EvidenceLog(path).append(SMALL)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666, 0o777])
def test_a_file_that_others_may_write_to_is_refused(path: Path, mode: int) -> None:
    small(path, 1)
    path.chmod(mode)
    before = path.read_bytes()
    with pytest.raises(na.LedgerError, match=f"mode {mode:04o}: others may write to it; chmod go-w"):
        na.EvidenceLog(path).append(SMALL)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_file_that_others_may_read_is_not(path: Path, mode: int) -> None:
    small(path, 1)
    path.chmod(mode)
    assert na.EvidenceLog(path).append(SMALL).number == 2


def other_file(path: Path, kind: str) -> None:
    if kind == "symbolic link":
        (path.parent / "target").touch(0o600)
        path.symlink_to(path.parent / "target")
    elif kind == "dangling link":
        path.symlink_to(path.parent / "target")
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "text":
        path.write_text("Dear diary,\nnothing happened.\n")
        path.chmod(0o600)
    elif kind == "one line":
        path.write_text("Dear diary")
        path.chmod(0o600)
    else:
        assert kind == "no folder"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("symbolic link", "is a symbolic link"),
        ("dangling link", "is a symbolic link"),
        ("folder", "is a folder"),
        ("fifo", "is not a regular file"),
        ("text", "is not a ledger"),
        ("one line", "is not a ledger"),
        ("no folder", "its folder does not exist; create it: mkdir -p"),
    ],
)
def test_a_file_that_is_not_a_ledger_is_refused_and_not_changed(tmp_path: Path, kind: str, said: str) -> None:
    path = tmp_path / "none" / "evidence.jsonl" if kind == "no folder" else tmp_path / "evidence.jsonl"
    other_file(path, kind)
    log = na.EvidenceLog(path)
    content = path.read_bytes() if path.is_file() else None
    for work in (log.check, lambda: log.append(SMALL)):
        with pytest.raises(na.LedgerError) as caught:
            work()
        assert said in str(caught.value)
        assert caught.value.path == str(path)
        assert caught.value.__cause__ is None
    assert (path.read_bytes() if path.is_file() else None) == content


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(na.LedgerError, match="invalid file name"):
        na.EvidenceLog(f"{tmp_path}/a\0b").check()


def test_checking_makes_the_file_and_changes_none(path: Path) -> None:
    na.EvidenceLog(path).check()
    assert path.read_bytes() == b""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = small(path, 2)
    path.write_bytes(lines[0] + lines[1][:40])
    na.EvidenceLog(path).check()
    assert path.read_bytes() == lines[0] + lines[1][:40]


def test_the_path_is_that_of_when_the_log_was_made(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = na.EvidenceLog("evidence.jsonl")
    monkeypatch.chdir("/")
    log.append(SMALL)
    assert len(records(path)) == 1
    assert repr(log) == f"<EvidenceLog '{path}'>"


@pytest.mark.parametrize("options", [{"rotate_bytes": 0}, {"lock_seconds": -1}, {"lock_seconds": float("nan")}])
def test_options_that_make_no_sense_are_refused(path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        na.EvidenceLog(path, **options)


class Steps:
    """What the system was asked to do with files, in order; and one of the steps may fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.fail: tuple[str, int] | None = None
        self._patch = monkeypatch
        for name in ("write", "fsync", "ftruncate", "pwrite"):
            self._watch(name)

    def _watch(self, name: str) -> None:
        real = getattr(os, name)

        def step(descriptor: int, *arguments: Any) -> Any:
            kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
            self.done.append(f"{name} {kind}")
            if self.fail is not None and self.fail[0] == name and kind == "file":
                if name == "write" and len(arguments[0]) > 50:
                    return real(descriptor, arguments[0][:50])  # a disk that becomes full in mid-write
                raise OSError(self.fail[1], os.strerror(self.fail[1]))
            return real(descriptor, *arguments)

        self._patch.setattr(os, name, step)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def test_a_line_is_written_at_once_then_synced_and_a_new_files_name_too(path: Path, steps: Steps) -> None:
    log = na.EvidenceLog(path)
    log.append(SMALL)
    assert steps.done == ["write file", "fsync file", "fsync folder"]
    steps.done.clear()
    log.append(SMALL)
    assert steps.done == ["write file", "fsync file"]


@pytest.mark.parametrize(("step", "code"), [("write", errno.ENOSPC), ("write", errno.EIO), ("fsync", errno.EIO)])
def test_a_write_that_fails_is_undone_and_reported(path: Path, steps: Steps, step: str, code: int) -> None:
    log = na.EvidenceLog(path)
    log.append(SMALL)
    before = path.read_bytes()
    steps.fail = (step, code)
    with pytest.raises(na.LedgerError) as caught:
        log.append(answer())
    assert os.strerror(code) in caught.value.problem
    assert ("free some space" in caught.value.hint) is (code == errno.ENOSPC)
    steps.fail = None
    assert path.read_bytes() == before
    assert log.append(SMALL).number == 2
    assert problems(path) == []


def test_a_torn_line_that_cannot_be_cut_on_a_full_disk_is_repaired_by_the_next_writer(path: Path, steps: Steps) -> None:
    log = na.EvidenceLog(path)
    log.append(SMALL)
    steps.fail = ("write", errno.ENOSPC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
        with pytest.raises(na.LedgerError):
            log.append(answer())
    steps.fail = None
    assert problems(path) == ["torn"]
    assert log.append(SMALL).number == 3
    assert problems(path) == []
    assert checked(path).repair_count == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file system that can be filled")
def test_a_full_file_system_is_reported(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys, nomyo_attest as na\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "log = na.EvidenceLog(sys.argv[1])\n"
        "response = {'_metadata': {'tpm_attestation': {'is_available': False}}}\n"
        "log.append(response)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))\n"
        "try: log.append(response)\n"
        "except na.LedgerError as error: print(error.problem)\n"
    )
    path = tmp_path / "evidence.jsonl"
    ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60, check=True)
    assert os.strerror(errno.EFBIG) in ran.stdout
    assert len(records(path)) == 1
    assert problems(path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 700


@pytest.fixture
def held(path: Path) -> Iterator[int]:
    """The ledger, locked by somebody who does not let go."""
    small(path, 1)
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield descriptor
    os.close(descriptor)


def test_a_lock_that_is_not_let_go_of_is_an_error_and_not_for_ever(path: Path, held: int) -> None:
    log = na.EvidenceLog(path, lock_seconds=0.05)
    with pytest.raises(na.LedgerError, match="is locked by another process"):
        log.append(SMALL)
    fcntl.flock(held, fcntl.LOCK_UN)
    assert log.append(SMALL).number == 2


def test_a_lock_that_is_let_go_of_is_waited_for(path: Path, held: int) -> None:
    threading.Timer(0.1, fcntl.flock, (held, fcntl.LOCK_UN)).start()
    assert na.EvidenceLog(path).append(SMALL).number == 2


def test_another_thread_that_does_not_end_is_an_error_and_not_for_ever(path: Path) -> None:
    log = na.EvidenceLog(path, lock_seconds=0.05)
    with log._locked(), pytest.raises(na.LedgerError, match="is locked by another thread"):
        log.append(SMALL)


def test_a_system_without_locks_is_refused_before_anything_is_touched(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    log = na.EvidenceLog(path)
    for work in (log.check, lambda: log.append(SMALL)):
        with pytest.raises(na.LedgerError, match="this system has no fcntl"):
            work()
    assert not path.exists()


def test_a_torn_ledger_that_is_exchanged_under_the_lock_is_not_written_to(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = small(path, 1)
    path.write_bytes(lines[0] + b"torn")
    other = path.with_name("other")
    other.write_bytes(b"mine")
    real = os.open

    def exchanging(name: Any, flags: int, *more: Any, **named: Any) -> int:
        return real(name if flags & os.O_APPEND or name != path else other, flags, *more, **named)

    monkeypatch.setattr(os, "open", exchanging)
    with pytest.raises(na.LedgerError, match="was replaced while it was locked"):
        na.EvidenceLog(path).append(SMALL)
    assert other.read_bytes() == b"mine"


def test_no_file_stays_open(path: Path) -> None:
    log = na.EvidenceLog(path)
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else None
    for _ in range(5):
        log.append(SMALL)
    path.chmod(0o666)
    for _ in range(5):
        with pytest.raises(na.LedgerError):
            log.append(SMALL)
    if before is not None:
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_full_file_is_moved_aside_and_the_chain_continues(tmp_path: Path, path: Path) -> None:
    small(path, 10, rotate_bytes=1200)
    parts = sorted(tmp_path.iterdir())
    names = [part.name for part in parts]
    assert names == [*(f"evidence.{number:04d}.jsonl" for number in range(1, len(names))), "evidence.jsonl"]
    assert len(names) > 3
    for before, after in pairwise(parts):
        first = records(after)[0]
        assert first["continues"] == before.name
        assert first["previous"] == digest_of(before.read_bytes().splitlines()[-1])
        assert stat.S_IMODE(after.stat().st_mode) == 0o600
        assert before.stat().st_size <= 1200
    assert checked(path).files == [str(part) for part in parts]
    assert checked(path).number == 10
    assert problems(path) == []
    assert problems(*parts) == []


def test_a_line_longer_than_a_file_may_be_has_a_file_of_its_own(tmp_path: Path, path: Path) -> None:
    small(path, 3, rotate_bytes=1)
    assert [len(records(file)) for file in sorted(tmp_path.iterdir())] == [1, 1, 1]
    assert problems(path) == []


@pytest.mark.parametrize("seen", [True, False])
def test_no_file_is_overwritten_by_one_that_is_moved_aside(
    tmp_path: Path, path: Path, seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(path, 1)
    mine = tmp_path / "evidence.0001.jsonl"
    mine.write_text("mine")
    if not seen:  # it appears when the folder has been looked at
        looks: Iterator[list[Path]] = iter([[], []])
        real = files.find_full_files
        monkeypatch.setattr(files, "find_full_files", lambda path: next(looks, None) or real(path))
    na.EvidenceLog(path, rotate_bytes=1).append(SMALL)
    assert mine.read_text() == "mine"
    assert records(path)[0]["continues"] == "evidence.0002.jsonl"
    assert problems(path) == []


def test_numbers_go_on_after_the_highest(tmp_path: Path, path: Path) -> None:
    small(path, 3, rotate_bytes=1)
    (tmp_path / "evidence.0001.jsonl").unlink()
    (tmp_path / "evidence.0002.jsonl").rename(tmp_path / "evidence.0041.jsonl")
    (tmp_path / "evidence.9.jsonl").touch()
    na.EvidenceLog(path, rotate_bytes=1).append(SMALL)
    assert (tmp_path / "evidence.0042.jsonl").exists()
    assert records(path)[0]["number"] == 4


def test_a_process_killed_between_the_steps_of_moving_aside_leaves_a_usable_ledger(tmp_path: Path, path: Path) -> None:
    small(path, 2)
    os.link(path, tmp_path / "evidence.0001.jsonl")
    assert na.EvidenceLog(path).append(SMALL).number == 3
    assert len(records(tmp_path / "evidence.0001.jsonl")) == 2
    assert records(path)[0]["continues"] == "evidence.0001.jsonl"
    assert problems(path) == []


def test_a_process_killed_after_moving_aside_leaves_a_usable_ledger(tmp_path: Path, path: Path) -> None:
    small(path, 2)
    path.rename(tmp_path / "evidence.0001.jsonl")
    assert checked(path).number == 2
    assert na.EvidenceLog(path).append(SMALL).number == 3
    assert problems(path) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_files_are_moved_aside_where_there_are_no_links(
    tmp_path: Path, path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_links)
    small(path, 5, rotate_bytes=1)
    assert len(list(tmp_path.iterdir())) == 5
    assert problems(path) == []


def test_a_file_that_was_moved_while_a_writer_waited_for_its_lock_is_not_written_to(tmp_path: Path, path: Path) -> None:
    small(path, 1)
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    log = na.EvidenceLog(path)
    thread = threading.Thread(target=log.append, args=(SMALL,))
    thread.start()
    moved = path.rename(tmp_path / "evidence.0001.jsonl")
    os.close(descriptor)
    thread.join(30)
    assert len(records(moved)) == 1
    assert records(path)[0]["number"] == 2


def test_the_usual_size_of_a_file_holds_thousands_of_answers(path: Path) -> None:
    na.EvidenceLog(path).append(answer(), payload_id="an-id", policy=policy())
    assert 5_000 < ROTATE_BYTES // path.stat().st_size < 20_000


def test_a_line_is_ascii_whatever_the_server_says(path: Path) -> None:
    response = json.loads(json.dumps(answer()))
    response["_metadata"]["memory_protection"]["platform"] = "é \u2028 \ud800 \x85 \x00"
    na.EvidenceLog(path).append(response)
    assert path.read_bytes().isascii()
    assert re.fullmatch(rb"[^\n]*\n", path.read_bytes())
    assert records(path)[0]["evidence"]["_metadata"]["memory_protection"]["platform"] == "é \u2028 \ud800 \x85 \x00"
    assert problems(path) == []
