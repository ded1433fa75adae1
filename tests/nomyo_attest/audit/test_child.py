"""No file in the working directory, and nothing that the caller inserted into its path, runs in a child process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from nomyo_attest.audit.child import Child, ChildStartError, child_environment
from nomyo_attest.cli import main
from nomyo_attest.testing import Forge

pytestmark = pytest.mark.skipif(os.name != "posix", reason="runs the installed commands")

NAMES = (
    "base64",
    "cryptography",
    "hashlib",
    "importlib",
    "json",
    "msgspec",
    "multiprocessing",
    "nomyo_attest",
    "os",
    "pickle",
    "pyarrow",
    "random",
    "sitecustomize",
    "socket",
    "subprocess",
    "tempfile",
    "typing",
    "usercustomize",
)
BAD = b'{"_metadata": {"tpm_attestation": {"is_available": true}}, "filler": "%s"}' % (b"x" * 60_000)
LINES = 60  # several chunks of 1 MiB, so that there is work for several processes
CELLS = 100
ARGUMENTS = ["audit", "recorded", "--policy", "policy.json", "--processes", "2", "--format", "json"]


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """A folder with contraindicated records, JSON Lines and Parquet, in which every module name is planted."""
    folder = tmp_path / "evidence"
    (folder / "recorded").mkdir(parents=True)
    (folder / "policy.json").write_text(json.dumps(Forge().policy()), encoding="utf-8")
    (folder / "recorded" / "a.jsonl").write_bytes((BAD + b"\n") * LINES)
    pq.write_table(pa.table({"response": [BAD.decode()] * CELLS}), folder / "recorded" / "b.parquet")
    for name in NAMES:
        plant(folder, name)
    return folder


def plant(folder: Path, name: str) -> None:
    """Put a module and a package of this name into a folder. Either leaves a file behind if it is imported."""
    mark = folder / f"imported-{name}"
    program = f"open({str(mark)!r}, 'w').close()\n"
    (folder / f"{name}.py").write_text(program, encoding="utf-8")
    if name != "os":  # a package of this name would do nothing that the module does not
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(program, encoding="utf-8")


def imported(*folders: Path) -> list[str]:
    """The planted modules that were imported."""
    return sorted(path.name for folder in folders for path in folder.glob("imported-*"))


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120
    )


def assert_contraindicated(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stderr) == (1, "")
    summary = json.loads(done.stdout)
    assert summary["counts"]["contraindicated"] == LINES + CELLS


def test_planted_modules_do_not_run_when_the_command_audits(evidence: Path) -> None:
    command = Path(sys.executable).with_name("nomyo-attest")
    assert_contraindicated(run(evidence, str(command), *ARGUMENTS))
    assert imported(evidence) == []


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        ([sys.executable, "-m", "nomyo_attest.cli"], {}),
        ([str(Path(sys.executable).with_name("nomyo-attest"))], {"PYTHONPATH": f"{os.pathsep}/nowhere"}),
    ],
)
def test_what_the_command_imports_late_is_not_imported_from_the_working_directory(
    evidence: Path, command: list[str], environment: dict[str, str]
) -> None:
    """Both have the working directory first on sys.path, and Python has imported its first modules from it."""
    late = {"cryptography", "json", "msgspec", "multiprocessing", "pyarrow"}
    for name in NAMES:
        if name not in late:
            for path in evidence.glob(f"{name}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert_contraindicated(run(evidence, *command, *ARGUMENTS, "--out", "verdicts.parquet", **environment))
    assert imported(evidence) == []


def test_the_clients_command_looks_for_nothing_in_the_working_directory(evidence: Path) -> None:
    keep = {"cryptography", "httpx", "msgspec"}
    for name in set(NAMES) - keep:
        for path in evidence.glob(f"{name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    plant(evidence, "httpx")
    (evidence / "nomyo-0.2.9.dist-info").mkdir()
    command = Path(sys.executable).with_name("nomyo")
    done = run(evidence, str(command), "keys", "show", "no-such-key", PYTHONPATH=f"{os.pathsep}/nowhere")
    assert done.returncode == 2, done.stderr
    assert "no-such-key" in done.stderr
    assert imported(evidence) == []


def test_planted_modules_do_not_run_when_a_program_audits_and_its_main_module_needs_no_guard(
    evidence: Path, tmp_path: Path
) -> None:
    program = tmp_path / "programs" / "program.py"
    program.parent.mkdir()
    program.write_text(f"from nomyo_attest.cli import main\nraise SystemExit(main({ARGUMENTS!r}))\n", encoding="utf-8")
    assert_contraindicated(run(evidence, sys.executable, str(program)))
    assert imported(evidence) == []


def test_planted_modules_do_not_run_when_a_test_audits(evidence: Path, tmp_path: Path) -> None:
    """pytest inserts the folder of the test into sys.path; it has a pyarrow.py that only a child would import."""
    tests = tmp_path / "tests"
    tests.mkdir()
    for name in ("pyarrow", "sitecustomize", "usercustomize"):
        plant(tests, name)
    (tests / "test_audit.py").write_text(
        f"import sys\nfrom nomyo_attest.cli import main\n"
        f"def test_audit():\n    assert sys.path[0] == {str(tests)!r}\n    assert main({ARGUMENTS!r}) == 1\n",
        encoding="utf-8",
    )
    pytest_program = Path(sys.executable).with_name("pytest")
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tests), "-c", os.devnull, "--import-mode=prepend"]
    done = run(evidence, str(pytest_program), *options, str(tests / "test_audit.py"))
    assert "1 passed" in done.stdout, done.stdout
    assert imported(evidence, tests) == []


def test_pythonpath_does_not_lead_child_processes_into_the_working_directory(
    evidence: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evidence)
    (evidence / "link").symlink_to(".")
    before = {"PYTHONPATH": os.pathsep.join(["", ".", str(evidence), str(evidence / "link"), "recorded"])}
    monkeypatch.setenv("PYTHONPATH", before["PYTHONPATH"])
    assert main([*ARGUMENTS, "--fail-on", "contraindicated"]) == 1
    assert imported(evidence) == []
    assert os.environ["PYTHONPATH"] == before["PYTHONPATH"]


def test_pythonpath_outside_the_working_directory_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    entries = ["", "lib", str(tmp_path / "lib"), str(here / "lib"), str(here)]
    environment = {"PYTHONPATH": os.pathsep.join(entries), "PYTHONUSERBASE": ".", "HOME": "."}
    assert child_environment(environment) == {"PYTHONPATH": str(tmp_path / "lib"), "HOME": "."}
    monkeypatch.chdir("/")
    assert child_environment({"PYTHONPATH": f"/:{here}"}) == {"PYTHONPATH": str(here)}


def test_a_child_imports_the_nomyo_attest_of_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    plant(other, "nomyo_attest")
    where = "import nomyo_attest\ndef serve(connection):\n    connection.send_bytes(nomyo_attest.__file__.encode())\n"
    (other / "where.py").write_text(where, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(other))
    child = Child("where")
    import nomyo_attest

    assert child.connection.recv_bytes().decode() == nomyo_attest.__file__
    assert child.wait() == 0
    assert imported(other) == []


def test_a_child_that_cannot_import_its_module_reports_the_reason() -> None:
    child = Child("no_such_module_anywhere")
    with pytest.raises(ChildStartError, match=f"No module named 'no_such_module_anywhere' .*{sys.executable}"):
        child.check_ready()
    assert child.wait() == 0


def test_a_program_whose_dependencies_are_unknown_to_its_interpreter_is_told_why_workers_cannot_start(
    tmp_path: Path,
) -> None:
    """As where they were copied beside the program."""
    import msgspec

    import nomyo_attest

    places = [str(Path(module.__file__ or "").parents[1]) for module in (msgspec, nomyo_attest)]
    (tmp_path / "policy.json").write_text(json.dumps(Forge().policy()), encoding="utf-8")
    (tmp_path / "a.jsonl").write_bytes((BAD + b"\n") * LINES)
    arguments = ["audit", "a.jsonl", "--policy", "policy.json", "--processes", "2"]
    program = f"import sys\nsys.path += {places!r}\nfrom nomyo_attest.cli import main\nsys.exit(main({arguments!r}))\n"
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    done = run(tmp_path, sys.executable, "-S", "program.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nomyo-attest: a worker process cannot start: No module named 'msgspec'")
    assert "--processes 1" in done.stderr
