"""The software TPM: private while it runs, gone afterwards, whatever happens in between."""

from __future__ import annotations

import gc
import importlib.util
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na

if importlib.util.find_spec("tpm2_pytss") is not None:  # without it, the marker below skips these tests
    from nomyo_attest.attester import Attester, SoftwareTPM, SoftwareTPMError, connection, software_tpm_version

pytestmark = pytest.mark.tpm


def folder(swtpm: SoftwareTPM) -> Path:
    return Path(swtpm.tcti.removeprefix("swtpm:path=")).parent


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def script(path: Path, body: str) -> str:
    """A program that stands in for swtpm."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_nothing_is_left_of_it_after_the_context() -> None:
    with SoftwareTPM() as swtpm:
        where, process = folder(swtpm), swtpm._process
        assert process is not None
        assert swtpm.exit_status() is None
    assert not where.exists()
    assert process.poll() is not None
    assert not is_running(process.pid)


def test_nothing_is_left_of_it_when_the_body_raises() -> None:
    seen: list[Any] = []

    def fail() -> None:
        with SoftwareTPM() as swtpm:
            seen.extend([folder(swtpm), swtpm._process])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    where, process = seen
    assert not where.exists()
    assert not is_running(process.pid)


def test_nothing_is_left_of_it_when_it_died_before_the_context_ended() -> None:
    with SoftwareTPM() as swtpm:
        where, process = folder(swtpm), swtpm._process
        assert process is not None
        process.kill()
        assert swtpm.exit_status(within=5) == -9
    assert not where.exists()


def test_nothing_is_left_of_it_when_the_object_is_dropped() -> None:
    swtpm = SoftwareTPM()
    swtpm.start()
    where, process = folder(swtpm), swtpm._process
    assert process is not None
    del swtpm
    gc.collect()
    assert not is_running(process.pid)
    assert not where.exists()


@pytest.mark.parametrize("end", ["sys.exit()", "raise ZeroDivisionError"])
def test_nothing_is_left_of_it_when_the_interpreter_exits(end: str) -> None:
    source = (
        "import sys; from nomyo_attest.attester import SoftwareTPM; swtpm = SoftwareTPM(); swtpm.start();"
        f"print(swtpm._process.pid, swtpm.tcti, flush=True); {end}"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    pid, tcti = done.stdout.split()
    assert not is_running(int(pid))
    assert not Path(tcti.removeprefix("swtpm:path=")).parent.exists()


def test_a_forked_child_that_exits_does_not_end_it() -> None:
    source = (
        "import os, sys; from nomyo_attest.attester import Attester, SoftwareTPM\n"
        "with SoftwareTPM() as swtpm:\n"
        "    if os.fork() == 0: sys.exit(0)\n"
        "    os.wait()\n"
        "    with Attester.open(swtpm.tcti) as attester: print(attester.kind)\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["tcti"], done.stderr


def test_nobody_else_can_enter_its_folder() -> None:
    with SoftwareTPM() as swtpm:
        where = folder(swtpm)
        assert stat.S_IMODE(where.stat().st_mode) == 0o700
        assert where.stat().st_uid == os.getuid()


def test_two_at_once_are_two_tpms() -> None:
    with SoftwareTPM() as one, SoftwareTPM() as other:
        assert one.tcti != other.tcti
        with Attester.open(one.tcti) as attester:
            attester.measure(0, b"something")
            changed = attester.read_pcrs((("sha256", (0,)),))
        with Attester.open(other.tcti) as attester:
            assert attester.read_pcrs((("sha256", (0,)),)) != changed


def test_it_can_be_reached_again_and_again() -> None:
    with SoftwareTPM() as swtpm:
        for _ in range(3):
            with Attester.open(swtpm.tcti) as attester:
                attester.measure(0, b"something")
        with Attester.open(swtpm.tcti) as attester:
            assert attester.read_pcrs((("sha256", (0,)),))["sha256"][0] != bytes(32)


def test_a_power_cut_empties_the_pcrs_and_leaves_the_clock_unsafe() -> None:
    with SoftwareTPM() as swtpm:
        with Attester.open(swtpm.tcti) as attester:
            attester.measure(0, b"something")
        tcti = swtpm.tcti
        swtpm.power_cycle()
        assert swtpm.tcti == tcti
        with Attester.open(tcti) as attester:
            assert attester.read_pcrs((("sha256", (0,)),))["sha256"][0] == bytes(32)
            assert attester.esapi.read_clock().clockInfo.safe == 0


def test_it_cannot_be_started_twice_and_may_be_stopped_twice() -> None:
    with SoftwareTPM() as swtpm:
        with pytest.raises(SoftwareTPMError, match="already running"):
            swtpm.start()
        swtpm.stop()
        swtpm.stop()
        swtpm.start()
        assert swtpm.exit_status() is None


def test_it_has_no_tcti_when_it_does_not_run() -> None:
    with pytest.raises(SoftwareTPMError, match="not running"):
        _ = SoftwareTPM().tcti


def test_a_missing_program_is_an_error_that_says_what_to_install() -> None:
    with (
        pytest.raises(SoftwareTPMError, match=r"the program 'there-is-no-swtpm' was not found; .*apt install swtpm"),
        SoftwareTPM("there-is-no-swtpm"),
    ):
        pass
    with pytest.raises(SoftwareTPMError, match="the program 'there-is-no-swtpm' was not found"):
        software_tpm_version("there-is-no-swtpm")
    with pytest.raises(SoftwareTPMError, match="'/there/is/no/swtpm' cannot be run"):
        software_tpm_version("/there/is/no/swtpm")


def test_a_program_in_the_working_directory_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script(tmp_path / "swtpm", "touch started")
    monkeypatch.setenv("PATH", os.pathsep.join(["", ".", os.environ["PATH"]]))
    with SoftwareTPM() as swtpm:
        assert swtpm.exit_status() is None
    assert software_tpm_version()
    assert not (tmp_path / "started").exists()


def test_a_program_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    program = script(tmp_path / "swtpm", "echo no state for you; exit 3")
    with (
        pytest.raises(SoftwareTPMError, match="swtpm exited with status 3 while starting: no state for you"),
        SoftwareTPM(program),
    ):
        pass


def test_a_program_that_never_answers_is_an_error_and_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "START_SECONDS", 0.3)
    program = script(tmp_path / "swtpm", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    with pytest.raises(SoftwareTPMError, match=r"within 0\.3 s: it logged nothing"), SoftwareTPM(program):
        pass
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_a_program_that_cannot_be_run_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = tmp_path / "swtpm"
    program.write_bytes(b"\x7fELF, not really")
    program.chmod(0o755)
    with pytest.raises(na.AttesterError, match="cannot be run"), SoftwareTPM(str(program)):
        pass
    assert list(tmp_path.iterdir()) == [program]


def test_a_temporary_directory_too_deep_for_a_socket_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with SoftwareTPM() as swtpm, Attester.open(swtpm.tcti):
        assert not folder(swtpm).is_relative_to(deep)
    assert list(deep.iterdir()) == []


def test_it_says_its_version() -> None:
    assert software_tpm_version()[0].isdigit()


def test_no_temporary_folder_is_an_error_that_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(SoftwareTPMError, match=r"^temporary folder: No such file or directory; set TMPDIR to a folder"):
        SoftwareTPM().start()
