"""`nomyo demo`: the story as it is told, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nomyo_attest import AppraisalPolicy, Verdict, appraise
from nomyo_attest.installation import install_command
from tests.nomyo.cli.runner import command, environment, error_message, run, start, start_without
from tests.nomyo_attest.cli import runner as attest

pytestmark = pytest.mark.usefixtures("_shared_client_key")

HEADINGS = [
    "A server",
    "A first response, which the demo trusts",
    "A policy, learned from it",
    "The same question, through the gate",
    "The server boots other firmware",
    "The same question again",
    "What this shows",
    "What this does not show",
    "Repeat it by hand",
]
STEPS = ["start", "ask", "learn", "affirm", "boot", "refuse"]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that temporary files go to."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture
def _no_swtpm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No program is found."""
    monkeypatch.setenv("PATH", str(tmp_path))


def headings(out: str) -> list[str]:
    return [line for line in out.splitlines() if line and not line.startswith(" ")]


def test_the_story_with_the_soft_tpm(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # loopback needs none
    before = dict(os.environ)
    ran = run("demo", "--tpm", "soft")
    assert (ran.status, ran.err) == (0, "")
    *told, last = headings(ran.out)
    assert told == HEADINGS
    assert last.endswith(" s. No files were left behind.")
    assert "the soft TPM, which uses public test keys" in " ".join(ran.out.split())
    assert "  affirming   policy demo (sha256:" in ran.out
    assert "  contraindicated   policy demo (sha256:" in ran.out
    assert ran.out.count("FAIL") == 1
    assert "FAIL  pcr.values" in ran.out
    assert "PCRs sha256:0, sha256:10 do not match the policy." in ran.out
    assert "self_asserted" in ran.out.partition("What this does not show")[2]
    assert max(map(len, ran.out.splitlines())) <= 80
    assert list(temporary.iterdir()) == []
    assert dict(os.environ) == before


def test_json_has_the_facts_of_each_step(temporary: Path) -> None:
    ran = run("demo", "--tpm", "soft", "--format", "json")
    assert (ran.status, ran.err) == (0, "")
    document = ran.json()
    assert list(document) == ["format", "succeeded", "seconds", "steps"]
    assert (document["format"], document["succeeded"]) == ("nomyo-demo/1", True)
    steps = {step["step"]: step for step in document["steps"]}
    assert list(steps) == STEPS
    assert all(step["succeeded"] and step["seconds"] >= 0 for step in steps.values())
    assert steps["start"]["tpm"] == "soft"
    assert steps["ask"]["quoted_pcrs"] == "sha256:0,7,10"
    assert sorted(steps["learn"]["pcrs"]) == ["sha256:0", "sha256:10", "sha256:7"]
    assert steps["affirm"]["result"]["verdict"] == "affirming"
    assert steps["affirm"]["completion"] == steps["ask"]["prompt"]
    assert steps["refuse"]["result"]["verdict"] == "contraindicated"
    assert steps["refuse"]["completion"] is None
    assert {step["result"]["policy"]["digest"] for step in (steps["affirm"], steps["refuse"])} == {
        steps["learn"]["policy"]["digest"]
    }


@pytest.mark.tpm
def test_the_better_tpm_is_chosen_where_it_is_there(temporary: Path) -> None:
    document = run("demo", "--format", "json").json()
    assert document["succeeded"] is True
    assert (document["steps"][0]["tpm"], document["steps"][0]["swtpm_error"]) == ("swtpm", None)
    refused = document["steps"][-1]["result"]
    assert [one["rule"] for one in refused["findings"] if one["outcome"] != "pass"] == ["pcr.values"]
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("_no_swtpm")
def test_without_swtpm_the_soft_tpm_is_taken_and_that_is_said(temporary: Path) -> None:
    ran = run("demo")
    assert (ran.status, ran.err) == (0, "")
    assert f"install the program swtpm and the extra tpm: {install_command('tpm')}" in " ".join(ran.out.split())


@pytest.mark.usefixtures("_no_swtpm")
def test_a_tpm_that_is_asked_for_and_is_not_there_is_said(here: Path) -> None:
    assert "swtpm" in error_message(run("demo", "--tpm", "swtpm", "--keep", "story"))
    assert not Path("story").exists()


@pytest.mark.skipif(os.name != "posix", reason="looks at modes")
def test_what_is_kept_is_private_and_can_be_looked_at(here: Path) -> None:
    before = os.umask(0)
    try:
        ran = run("demo", "--tpm", "soft", "--keep", "story")
    finally:
        os.umask(before)
    assert (ran.status, ran.err) == (0, "")
    files = sorted(Path("story").iterdir())
    assert [path.name for path in files] == [
        "affirmed-response.json",
        "first-response.json",
        "policy.toml",
        "refusal.json",
    ]
    assert stat.S_IMODE(Path("story").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    command = ran.out.splitlines()[-1].split()
    assert command[0] == "nomyo-attest"
    assert attest.run(*command[1:]).status == 0
    policy = AppraisalPolicy.load("story/policy.toml")
    assert appraise(Path("story/first-response.json").read_bytes(), policy).verdict is Verdict.AFFIRMING
    assert json.loads(Path("story/refusal.json").read_bytes())["verdict"] == "contraindicated"
    assert "already exists" in error_message(run("demo", "--keep", "story"))


@pytest.mark.parametrize("name", ["no/where", "file/story", "a\0b", "x" * 300])
def test_a_folder_that_cannot_be_is_said_before_anything_is_told(here: Path, name: str) -> None:
    Path("file").touch()
    error_message(run("demo", "--tpm", "soft", "--keep", name))


def test_a_gate_that_lets_through_what_it_should_not_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nomyo.router.RunningRouter.boot_other_firmware", lambda self: None)
    ran = run("demo", "--tpm", "soft")
    assert ran.status == 1
    assert ran.err == "nomyo: the gate released a response that it should have refused\n"
    assert "What this shows" not in ran.out
    document = run("demo", "--tpm", "soft", "--format", "json").json()
    assert document["succeeded"] is False
    assert [step["succeeded"] for step in document["steps"]] == [True] * 5 + [False]


def test_a_refusal_for_another_reason_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from nomyo.router import RunningRouter

    monkeypatch.setattr(RunningRouter, "boot_other_firmware", lambda self: self.set_fault("quote-nonce"))
    ran = run("demo", "--tpm", "soft")
    assert ran.status == 1
    assert ran.err.startswith("nomyo: the gate refused the response for unexpected reasons: nonce.match")


def test_a_server_that_fails_on_the_way_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from nomyo.router import RunningRouter

    monkeypatch.setattr(RunningRouter, "boot_other_firmware", lambda self: self.set_fault("status-403"))
    ran = run("demo", "--tpm", "soft")
    assert ran.status == 1
    assert ran.err.startswith("nomyo: ")
    assert ran.err.count("\n") == 1


def test_without_the_extra_it_is_said_what_to_install(here: Path) -> None:
    done = start_without("starlette", "demo", "--keep", "story")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert install_command("router") in done.stderr
    assert not Path("story").exists()


def children(temporary: Path) -> list[str]:
    """What a process has put into the folder for temporary files."""
    return sorted(path.name for path in temporary.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("by", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_whoever_ends_it_early_finds_nothing_left_behind(temporary: Path, by: str) -> None:
    code = """if True:
        import os, signal, sys
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job begins with it ignored
        os.execv(sys.executable, sys.argv[1:])"""
    with subprocess.Popen(
        [sys.executable, "-c", code, *command("demo")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(TMPDIR=str(temporary)),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "A server\n"
        assert children(temporary) != []
        process.send_signal(getattr(signal, by))
        process.stdout.read()
        assert process.stderr.read() == ""
        assert process.wait(60) == 130
    assert children(temporary) == []


@pytest.mark.skipif(os.name != "posix", reason="needs a pipe that breaks")
def test_a_reader_that_goes_away_leaves_nothing_behind_either(temporary: Path) -> None:
    with subprocess.Popen(
        command("demo", "--tpm", "soft"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(temporary)),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141
    assert children(temporary) == []


def test_in_a_process_of_its_own_nothing_stands_on_standard_error(temporary: Path) -> None:
    done = start("demo", env=environment(TMPDIR=str(temporary)))
    assert (done.returncode, done.stderr) == (0, "")
    assert headings(done.stdout)[:-1] == HEADINGS
    assert children(temporary) == []
