"""Many who append at once, some of them killed: no line is lost that was returned, and what was torn is noted."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nomyo_attest as na
from nomyo_attest.ledger.line import BEGINNING, TORN_STORED_MAX, is_repair
from tests.nomyo_attest.ledger.ledgers import SMALL, checked, problems, records, small

APPENDER = """
import sys, nomyo_attest as na
path, name, times, rotate = sys.argv[1:]
log = na.EvidenceLog(path, rotate_bytes=int(rotate) or None)
response = {"_metadata": {"tpm_attestation": {"is_available": False, "pcr_banks": "x" * 3000}}}
print("ready", flush=True)
for number in range(int(times)):
    print(log.append(response, payload_id=f"{name}-{number}").number, flush=True)
"""


def appender(path: Path, name: str, times: int, rotate: int = 0) -> subprocess.Popen[str]:
    """A process that appends, and prints each number it got."""
    command = [sys.executable, "-c", APPENDER, str(path), name, str(times), str(rotate)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evidence.jsonl"


def kept(folder: Path) -> dict[str, int]:
    """Payload id → number, over all files."""
    found: dict[str, int] = {}
    for file in sorted(folder.iterdir()):
        for record in records(file):
            if "repair" not in record:
                assert record["payload_id"] not in found
                found[record["payload_id"]] = record["number"]
    return found


@pytest.mark.parametrize("rotate", [0, 20_000])
def test_processes_append_at_once_and_nothing_is_lost(tmp_path: Path, path: Path, rotate: int) -> None:
    processes = {name: appender(path, name, 25, rotate) for name in ("a", "b", "c", "d")}
    numbers: dict[str, int] = {}
    for name, process in processes.items():
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        numbers |= {f"{name}-{place}": int(number) for place, number in enumerate(out.split()[1:])}
    assert numbers == kept(tmp_path)
    assert sorted(numbers.values()) == list(range(1, 101))
    assert checked(path).lines == 100
    assert problems(path) == []
    assert (len(list(tmp_path.iterdir())) > 10) is bool(rotate)


@pytest.mark.parametrize("shared", [True, False])
def test_threads_append_at_once_and_nothing_is_lost(tmp_path: Path, path: Path, shared: bool) -> None:
    one = na.EvidenceLog(path, rotate_bytes=5000)

    def work(name: int) -> None:
        log = one if shared else na.EvidenceLog(path, rotate_bytes=5000)
        for number in range(10):
            log.append(SMALL, payload_id=f"{name}-{number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(kept(tmp_path).values()) == list(range(1, 81))
    assert problems(path) == []


def test_a_fork_appends_though_a_thread_that_is_not_there_had_the_lock(path: Path) -> None:
    log = na.EvidenceLog(path, lock_seconds=20)
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        with log._locked():
            begun.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the fork beside a thread, from 3.12 on
        child = os.fork()
    if child == 0:
        try:
            log.append(SMALL, payload_id="of the child")
            os._exit(0)
        finally:
            os._exit(1)
    done.set()
    thread.join(30)
    log.append(SMALL, payload_id="of the parent")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(kept(path.parent)) == ["of the child", "of the parent"]
    assert problems(path) == []


@pytest.mark.slow
def test_a_process_killed_at_random_loses_no_line_whose_receipt_it_returned(tmp_path: Path, path: Path) -> None:
    chance = random.Random(20260101)
    returned: dict[str, int] = {}
    for round_ in range(7):
        processes = [appender(path, f"{round_}-{side}", 10_000, 60_000) for side in range(2)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.08))
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for side, process in enumerate(processes):
            assert process.stdout is not None
            whole = [line for line in process.stdout if line.endswith("\n")]
            returned |= {f"{round_}-{side}-{place}": int(number) for place, number in enumerate(whole)}
            process.wait(30)
            process.stdout.close()
        na.EvidenceLog(path).append(SMALL, payload_id=f"after-{round_}")
        assert problems(path) == []
    assert len(returned) > 10
    assert returned.items() <= kept(tmp_path).items()
    found = checked(path)
    assert found.lines == len(kept(tmp_path)) + found.repair_count == found.number


@pytest.mark.slow
@pytest.mark.parametrize("at", ["write", "pwrite", "fsync", "ftruncate", "link", "unlink"])
def test_a_process_killed_at_any_step_loses_no_line_whose_receipt_it_returned(
    tmp_path: Path, path: Path, at: str
) -> None:
    """Also in the middle of a write, which the system call itself hardly ever gives a chance to."""
    code = (
        "import os, signal, sys\n"
        "import nomyo_attest as na\n"
        "path, at, when = sys.argv[1], sys.argv[2], int(sys.argv[3])\n"
        "real, count = getattr(os, at), 0\n"
        "def step(*arguments, **more):\n"
        "    global count\n"
        "    count += 1\n"
        "    if count == when:\n"
        "        if at in ('write', 'pwrite'):\n"
        "            real(arguments[0], arguments[1][:len(arguments[1]) * when // 5], *arguments[2:])\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(*arguments, **more)\n"
        "setattr(os, at, step)\n"
        "log = na.EvidenceLog(path, rotate_bytes=1500)\n"
        "response = {'_metadata': {'tpm_attestation': {'is_available': False}}}\n"
        "for number in range(5):\n"
        "    print(log.append(response, payload_id='an-id').number, flush=True)\n"
    )
    returned: set[int] = set()
    killed = 0
    for when in range(1, 5):
        if not path.exists() or path.stat().st_nlink == 1:  # whoever finds two names writes to neither
            with path.open("ab") as file:  # something torn for it to hint, in the middle of which it may be killed
                file.write(BEGINNING[: 10 * when] if path.stat().st_size == 0 else b'{"torn": "' + b"x" * 100 * when)
            path.chmod(0o600)
        command = [sys.executable, "-c", code, str(path), at, str(when)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ran.stderr == ""
        killed += ran.returncode == -signal.SIGKILL
        returned |= {int(number) for number in ran.stdout.split()}
    assert killed
    na.EvidenceLog(path).append(SMALL, payload_id="after")
    assert problems(path) == []
    numbers = [record["number"] for file in sorted(tmp_path.iterdir()) for record in records(file)]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert returned <= set(numbers)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_line_torn_anywhere_is_noted_with_all_that_was_left(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("torn") / "evidence.jsonl"
    lines = small(path, 3)
    whole = data.draw(st.integers(0, 2), "whole lines")
    left = data.draw(st.integers(1, len(lines[whole]) - 1), "bytes left")
    torn = lines[whole][:left]
    path.write_bytes(b"".join(lines[:whole]) + torn)
    assert problems(path) == ["torn"]
    assert na.EvidenceLog(path).append(SMALL).number == whole + 2
    found = checked(path)
    assert (found.intact, found.repair_count, found.lines) == (True, 1, whole + 2)
    assert (found.repairs[0].line, found.repairs[0].bytes) == (whole + 1, left)
    note = records(path)[whole]
    assert is_repair(note)
    assert base64.b64decode(note["repair"]["torn"]) == torn
    assert note["repair"]["sha256"] == hashlib.sha256(torn).hexdigest()
    assert path.read_bytes().splitlines(keepends=True)[:whole] == lines[:whole]


@pytest.mark.parametrize(
    "left", [b"\0" * 300, b"\0" * 300 + b"\n", b'{"half": \xff\n', b"\0\0\n\0", b"x", b"\n", b"{}\n"]
)
def test_a_last_line_of_which_not_all_reached_the_disk_is_noted(path: Path, left: bytes) -> None:
    lines = small(path, 2)
    path.write_bytes(b"".join(lines) + left)
    assert problems(path) != []
    assert na.EvidenceLog(path).append(SMALL).number == 4
    assert problems(path) == []
    assert base64.b64decode(records(path)[2]["repair"]["torn"]) == left


@pytest.mark.parametrize("left", [b"\0" * 50, BEGINNING[:1], BEGINNING, BEGINNING + b"1,", b"\n\0\0"])
def test_a_first_line_of_which_not_all_reached_the_disk_is_noted(path: Path, left: bytes) -> None:
    path.write_bytes(left)
    path.chmod(0o600)
    if not left.strip(b"\0").strip():
        left = left.strip(b"\n")
        path.write_bytes(left)
    assert na.EvidenceLog(path).append(SMALL).number == 2
    assert problems(path) == []
    assert checked(path).repair_count == 1


def test_two_last_lines_of_another_format_are_not_taken_for_a_crash(path: Path) -> None:
    lines = small(path, 2)
    path.write_bytes(b"".join(lines) + b"one\ntwo\n")
    with pytest.raises(na.LedgerError, match="its last line is not a ledger line"):
        na.EvidenceLog(path).append(SMALL)
    assert path.read_bytes() == b"".join(lines) + b"one\ntwo\n"


def test_the_beginning_of_a_torn_line_that_is_far_too_long_is_stored(path: Path) -> None:
    lines = small(path, 1)
    path.write_bytes(lines[0] + b"x" * (TORN_STORED_MAX + 9_000_000))
    na.EvidenceLog(path).append(SMALL)
    assert problems(path) == []
    note = records(path)[1]["repair"]
    assert note["bytes"] == TORN_STORED_MAX + 9_000_000
    assert base64.b64decode(note["torn"]) == b"x" * TORN_STORED_MAX


def test_a_file_whose_last_line_is_too_long_is_not_a_ledger(path: Path) -> None:
    lines = small(path, 1)
    with path.open("wb") as file:
        file.write(lines[0])
        file.truncate(100_000_000)
    with pytest.raises(na.LedgerError, match="lines are too long"):
        na.EvidenceLog(path).append(SMALL)


def test_a_repair_is_not_a_record_and_nothing_else_is_taken_for_a_repair(path: Path) -> None:
    lines = small(path, 1)
    path.write_bytes(lines[0] + b"torn")
    na.EvidenceLog(path).append(SMALL)
    record, note, _ = records(path)
    assert is_repair(note)
    assert not is_repair(record)
    assert not is_repair(json.loads(json.dumps(note)) | {"_metadata": {}})
    assert not is_repair(note | {"format": "another"})
