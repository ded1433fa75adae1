"""A killed audit is gone on with: nothing is lost, nothing is told twice, wherever it was killed."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from nomyo_attest.audit import run as audit_run
from nomyo_attest.audit.sources import parts, reading
from nomyo_attest.audit.state import State
from nomyo_attest.audit.store import Store
from nomyo_attest.cli import main
from tests.nomyo_attest.audit.recorded import CHILD, children, command_of, make_folder, start
from tests.nomyo_attest.cli.runner import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills processes, and looks for them in /proc")

OUTS = ("verdicts.jsonl", "verdicts.csv", "cross-record.jsonl")
ARGUMENTS = ["--out", OUTS[0], "--out", OUTS[1], "--cross-record", OUTS[2]]
KILLED = 99


def outputs(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in OUTS]


def outputs_are(expected: list[bytes]) -> bool:
    return all(Path(name).exists() for name in OUTS) and outputs(Path()) == expected


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def finish(folder: Path, *argv: str) -> dict[str, Any]:
    """Let an audit run to its end; its summary."""
    process = start(folder, *ARGUMENTS, "--format", "json", *argv)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    document: dict[str, Any] = json.loads(out)
    return document


class Crash:
    """Ends the process at the n-th thing that changes what is on the disk: before it, or in the midst of it."""

    def __init__(self, at: int) -> None:
        self._left = at

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os._exit(KILLED)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.step()
            return function(*args, **kwargs)

        return wrapped

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.step()
            done = function(*args, **kwargs)
            self.step()
            return done

        return wrapped

    def install(self) -> None:
        """In a process that is about to end: nothing is put back."""
        for name in ("fsync", "link", "replace", "unlink", "rmdir", "mkdir"):
            setattr(os, name, self.before(getattr(os, name)))
        setattr(Store, "checkpoint", self.around(Store.checkpoint))  # noqa: B010 - so that mypy does not mind
        write = State.write

        def half(state: State, rows: bytes) -> None:
            write(state, rows[: len(rows) // 2])
            self.step()
            write(state, rows[len(rows) // 2 :])

        setattr(State, "write", half)  # noqa: B010 - see above


def in_child(work: Callable[[], int]) -> int:
    """The status of a copy of this process that works and ends, without anything that ends come with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, of which the copy uses none
        pid = os.fork()
    if pid == 0:
        gc.disable()  # a collection would copy every page that the copy still shares
        status = 98
        try:
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_run, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(audit_run, "CHECKPOINT_COST_FACTOR", 0)
    monkeypatch.setattr(reading, "CHUNK_PARTS", 4)
    monkeypatch.setattr(parts.LineCutter.__init__, "__defaults__", (8192, 16 * 1024 * 1024))


@pytest.mark.slow
@pytest.mark.usefixtures("small_steps")
def test_wherever_it_is_killed_it_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every single thing that it does to the disk, from the first to the last."""
    make_folder(tmp_path, files=5, lines=3)
    monkeypatch.chdir(tmp_path)
    inputs = names(tmp_path)
    command = ["audit", "recorded", "--policy", "policy.json", "--processes", "1", *ARGUMENTS]
    status = run(*command).status
    expected = outputs(tmp_path)
    assert b"unreadable" not in expected[0]
    complete = names(tmp_path)
    assert complete == inputs | {*OUTS}
    point = 0
    while True:
        for name in complete - inputs:
            Path(name).unlink()
        point += 1

        def crashing(point: int = point) -> int:
            Crash(point).install()
            return main(command)

        if in_child(crashing) != KILLED:
            break
        # When the store is gone, everything is done and only the outputs are there: they are not written again.
        done = outputs_are(expected) and not Path("verdicts.jsonl.audit-state", "store.sqlite").exists()
        assert run(*command, "--resume").status == (2 if done else status), point
        assert outputs(tmp_path) == expected, point
        assert names(tmp_path) == complete, point
    assert point > 30


@pytest.mark.slow
def test_killed_again_and_again_its_outputs_are_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    make_folder(tmp_path, files=60, lines=200)
    begun = time.monotonic()
    undisturbed = finish(tmp_path, "--processes", "1")
    lasts = time.monotonic() - begun
    expected = outputs(tmp_path)
    for name in OUTS:
        (tmp_path / name).unlink()
    chance = random.Random("2")
    kills = 0
    while kills < 5:
        process = start(tmp_path, *ARGUMENTS, "--processes", "2", "--resume")
        time.sleep(chance.uniform(lasts / 4, lasts))
        process.kill()
        process.communicate(timeout=60)
        kills += 1
        if process.returncode != -signal.SIGKILL:
            break
    if not (tmp_path / OUTS[0]).exists() or (tmp_path / f"{OUTS[0]}.audit-state").exists():
        summary = finish(tmp_path, "--processes", "2", "--resume")
        assert summary["counts"] == undisturbed["counts"]
        assert summary["run"]["resumed"] >= 1
    assert outputs(tmp_path) == expected
    assert not (tmp_path / f"{OUTS[0]}.audit-state").exists()


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(tmp_path: Path) -> None:
    make_folder(tmp_path, files=100, lines=300)
    finish(tmp_path, "--processes", "1")
    expected = outputs(tmp_path)
    process = start(tmp_path, *ARGUMENTS, "--processes", "3", "--force", "--format", "json")
    while not (found := children(process.pid)):
        assert process.poll() is None
        time.sleep(0.005)
    time.sleep(0.3)
    for pid in children(process.pid)[:2] or found:
        os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert err == b""
    assert json.loads(out)["run"]["processes"] == 3
    assert outputs(tmp_path) == expected


def test_workers_end_by_themselves_when_the_audit_is_killed(tmp_path: Path) -> None:
    make_folder(tmp_path, files=0, lines=2000)
    process = start(tmp_path, "--processes", "2")
    while len(found := children(process.pid)) < 2:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.communicate(timeout=60)  # ends when nobody has its pipes any more
    deadline = time.monotonic() + 60
    while any(CHILD in command_of(pid) for pid in found):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_ends_it_at_once_and_says_how_to_go_on(tmp_path: Path) -> None:
    make_folder(tmp_path, files=100, lines=4000)
    process = start(tmp_path, "--out", "verdicts.jsonl", "--processes", "2")
    part = tmp_path / "verdicts.jsonl.audit-state" / "rows.part"
    while not part.exists() or part.stat().st_size < 100_000:
        assert process.poll() is None
        time.sleep(0.005)
    found = children(process.pid)
    assert found
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, b"")
    assert err == b"nomyo-attest: interrupted; repeat the command with --resume to continue\n"
    assert not any(command_of(pid) for pid in found)


def test_a_job_that_is_cancelled_leaves_nothing_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path, files=0, lines=4000)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = start(tmp_path, "--processes", "2")
    while not children(process.pid):
        assert process.poll() is None
        time.sleep(0.005)
    assert list(temporary.iterdir())
    process.terminate()
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (143, b"", b"")
    assert not list(temporary.iterdir())
