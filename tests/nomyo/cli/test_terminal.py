"""Text on its way to a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from nomyo.cli.terminal import _CI_VARIABLES, escape_controls, print_completion, verdict_line
from nomyo_attest.report.formatting import TextStyle


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "two\nlines\tand a tab\n",
        "größer, 世界, नमस्ते",
        "\U0001f469\u200d\U0001f4bb joined",  # ZERO WIDTH JOINER
        "\u0645\u06cc\u200c\u062e\u0648",  # ZERO WIDTH NON-JOINER
        "\u2714\ufe0f soft\u00adhyphen no\u00a0break",
    ],
)
def test_text_stays_text(text: str) -> None:
    assert escape_controls(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J", r"\x9b2J"),
        ("a\r\nb\rc", "a\nb\\rc"),
        ("\x00\x07\x08\x0b\x0c\x7f", r"\x00\x07\x08\x0b\x0c\x7f"),
        ("user\u202e\u2066admin", r"user\u202e\u2066admin"),
        ("a\u2028b\x85c", r"a\u2028b\x85c"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_drives_a_terminal_becomes_an_escape(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


def test_no_control_character_passes_but_line_feed_and_tab() -> None:
    controls = {chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in {"Cc", "Cs"}}
    passed = {char for char in controls if escape_controls(char) == char}
    assert passed == {"\n", "\t"}
    bidirectional = {chr(c) for c in range(0x110000) if unicodedata.bidirectional(chr(c)) in _EMBEDDING}
    assert {char for char in bidirectional if escape_controls(char) == char} == set()


COMPLETION = "a\x1b[2Jb\n::error::c\nd ##vso[x]e"
IN_A_LOG = "a\\x1b[2Jb\n\\x3a:error::c\nd \\x23#vso[x]e\n"


@pytest.fixture
def _no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _CI_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_no_ci")
def test_a_program_gets_a_completion_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_completion(COMPLETION)
    assert capsys.readouterr().out == COMPLETION + "\n"


@pytest.mark.usefixtures("_no_ci")
def test_a_terminal_gets_a_completion_without_what_drives_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_completion(COMPLETION)
    assert capsys.readouterr().out == escape_controls(COMPLETION) + "\n"


@pytest.mark.usefixtures("_no_ci")
@pytest.mark.parametrize("name", _CI_VARIABLES)
def test_the_log_of_a_ci_job_gets_a_completion_without_commands(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "true")
    print_completion(COMPLETION)
    assert capsys.readouterr().out == IN_A_LOG


@pytest.mark.usefixtures("_no_ci")
def test_a_file_in_a_ci_job_gets_a_completion_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with (tmp_path / "completion").open("w", encoding="utf-8", newline="") as file:
        monkeypatch.setattr(sys, "stdout", file)
        print_completion(COMPLETION)
    assert (tmp_path / "completion").read_text(encoding="utf-8") == COMPLETION + "\n"


def test_a_pipe_in_a_ci_job_may_be_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    command = "import sys; from nomyo.cli.terminal import print_completion; print_completion(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", command, COMPLETION],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"CI": "true", "PYTHONUTF8": "1"},
        check=True,
    )
    assert done.stdout == IN_A_LOG


_EMBEDDING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_a_long_verdict_is_broken_on_a_terminal_alone() -> None:
    warned = {"rule": "pcr.values", "requirement": "warn", "outcome": "fail"}
    result = {
        "verdict": "warning",
        "policy": {"id": "p" * 40, "digest": "sha256:0123456789"},
        "trust": "self_asserted",
        "aik": {"name": "000b"},
        "findings": [warned],
    }
    line = verdict_line(result, TextStyle())
    assert "\n" not in line
    assert verdict_line(result, TextStyle(width=200, terminal=True)) == line
    broken = verdict_line(result, TextStyle(terminal=True)).splitlines()
    assert "   ".join(part.strip() for part in broken) == line
    assert max(map(len, broken)) <= 80
