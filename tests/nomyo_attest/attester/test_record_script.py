"""The script that makes the recordings anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nomyo_attest as na

pytestmark = pytest.mark.tpm

FIXTURES = Path(__file__).parents[3] / "fixtures"


def record(output: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FIXTURES / "record.py"), "--output", str(output)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_recordings_made_anew_replace_the_old_ones_and_end_as_they_say(tmp_path: Path) -> None:
    output = tmp_path / "recorded"
    output.mkdir()
    (output / "from-before.json").write_text("{}")
    done = record(output)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["recorded"]
    made = {path.name for path in output.iterdir()}
    # Software TPMs give up weak keys one by one, and the script says so; the shipped folder has them all.
    given_up = {f"{line.split(': ')[1]}.json" for line in done.stderr.splitlines() if line.startswith("not recorded: ")}
    assert made | given_up == {path.name for path in (FIXTURES / "evidence" / "recorded").glob("*.json")} | given_up
    for path in output.iterdir():
        recording = json.loads(path.read_text(encoding="utf-8"))
        result = na.appraise(recording["response"], na.AppraisalPolicy.from_dict(recording["policy"]))
        assert result.verdict.value == recording["expect"]["verdict"], path.stem


def test_a_run_that_fails_leaves_the_old_recordings_alone(tmp_path: Path) -> None:
    output = tmp_path / "recorded"
    output.mkdir()
    (output / "from-before.json").write_text("{}")
    done = record(output, PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("record.py: the program 'swtpm' was not found; ")
    assert [path.name for path in tmp_path.rglob("*")] == ["recorded", "from-before.json"]
