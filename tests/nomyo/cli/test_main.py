"""The command as a whole: how it starts, how it ends, and that nobody ever sees a traceback."""

from __future__ import annotations

import importlib.metadata
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import nomyo
from nomyo.cli import COMMANDS, PROGRAM
from nomyo_attest.cli import client_script
from nomyo_attest.cli.arguments import Parser
from tests.nomyo.cli.runner import environment, error_message, run


def test_version_prints_the_version_of_the_package() -> None:
    assert run("--version") == (0, f"nomyo {nomyo.__version__}\n", "")


def test_help_names_every_command_and_every_exit_status() -> None:
    ran = run("--help")
    assert (ran.status, ran.err) == (0, "")
    for words, (_, summary) in COMMANDS.items():
        assert f"\n  {words} " in ran.out
        assert summary in ran.out
    assert all(f"\n  {status}  " in ran.out for status in (0, 1, 2))


def test_help_of_the_key_commands_names_those_alone() -> None:
    ran = run("keys", "--help")
    assert ran.status == 0
    assert all((f"\n  {words} " in ran.out) is words.startswith("keys ") for words in COMMANDS)


def test_help_of_a_command_can_be_written_in_front() -> None:
    assert run("help", "keys", "pin") == run("keys", "pin", "--help")
    assert run("help").out == run("--help").out
    assert run("version") == run("--version")


@pytest.mark.parametrize("words", COMMANDS)
def test_help_of_a_command_shows_how_to_type_it_and_how_it_ends(words: str) -> None:
    ran = run(*words.split(), "--help")
    assert (ran.status, ran.err) == (0, "")
    assert f"usage: nomyo {words} " in ran.out
    assert f"example:\n  nomyo {words}" in ran.out
    assert "Exit status: 0" in ran.out


@pytest.mark.parametrize("words", ["", "keys", *COMMANDS])
def test_help_fits_80_columns(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = run(*words.split(), "--help").out.splitlines()
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        ([], "no command was given; see nomyo --help"),
        (["dmeo"], "did you mean 'demo'?"),
        (["keys"], "nomyo keys generate, show or pin"),
        (["keys", "make"], "nomyo keys generate, show or pin"),
        (["--wrong"], "see nomyo --help"),
        (["chat", "--modle", "x"], "see nomyo chat --help"),
        (["chat", "--format", "yaml", "x"], "see nomyo chat --help"),
        (["keys", "pin"], "URL; see nomyo keys pin --help"),
        (["router", "--port", "https"], "argument --port: invalid number 'https'"),
        (["demo", "--tpm", "device"], "see nomyo demo --help"),
    ],
)
def test_wrong_usage_is_one_line_with_a_hint(argv: list[str], hint: str) -> None:
    assert hint in error_message(run(*argv))


@pytest.mark.parametrize("words", COMMANDS)
def test_an_argument_that_is_given_and_empty_is_refused(words: str) -> None:
    parser = Parser("nomyo", words, "", "")
    PROGRAM.load(words).configure(parser)
    flags = [action for action in parser._actions if action.option_strings and action.nargs is None]
    positional = ["x" for action in parser._actions if not action.option_strings and action.nargs is None]
    assert flags
    for flag in flags:
        for empty in ("", " "):
            said = error_message(run(*words.split(), flag.option_strings[0], empty, *positional))
            assert said.startswith(f"{words}: argument {flag.option_strings[0]}: "), said
            assert re.search(r"expected a value, got an empty string|invalid number|invalid choice", said)
    if positional:
        assert "expected a value, got an empty string" in error_message(run(*words.split(), ""))


def test_what_was_typed_cannot_reach_the_terminal_raw() -> None:
    for argv in (["\x1b[31mred"], ["keys", "\x1b[31m"], ["keys", "show", "a\nb\u202e"], ["demo", "--\x1b[31m"]):
        error_message(run(*argv))


def test_an_error_of_the_program_itself_names_its_kind_and_place_and_no_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: object) -> int:
        raise RuntimeError("a prompt")

    monkeypatch.setattr("nomyo.cli.keys.Show.run", fail)
    said = error_message(run("keys", "show", "x"))
    assert said.startswith("internal error: RuntimeError at cli/test_main.py, line ")
    assert "prompt" not in said


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_while_python_waits_for_a_thread_at_the_end_is_no_traceback() -> None:
    code = """if True:
        import os, signal, sys, threading, time
        from nomyo.cli import main
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
        ended = threading.Event()
        def interrupt():
            ended.wait()
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        threading.Thread(target=interrupt).start()
        sys.argv = ["nomyo", "--version"]
        status = main()
        ended.set()
        sys.exit(status)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
    assert done.stdout == f"nomyo {nomyo.__version__}\n"


def test_the_installed_script_starts_this_main() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="nomyo")
    assert script.load() is client_script.main
    program = Path(sys.executable).with_name("nomyo")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, env=environment())
    assert (done.stdout, done.stderr) == (f"nomyo {nomyo.__version__}\n", "")


HEAVY = ["asyncio", "cryptography", "httpx", "jsonschema", "msgspec", "rich", "ssl", "starlette", "nomyo.options"]


@pytest.mark.parametrize(
    ("argv", "unwanted"),
    [
        (["--version"], ["argparse", "json", "nomyo.errors", *HEAVY]),
        (["--help"], ["argparse", "json", "nomyo.errors", *HEAVY]),
        *((["chat", "--help"], HEAVY), (["demo", "--help"], HEAVY), (["router", "--help"], HEAVY)),
        (["keys", "show", "nowhere"], ["asyncio", "httpx", "jsonschema", "rich", "starlette"]),
    ],
    ids=lambda value: " ".join(value[:2]),
)
def test_a_command_imports_no_more_than_it_needs(argv: list[str], unwanted: list[str]) -> None:
    code = "import sys; from nomyo.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True, env=environment()
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "nomyo.cli" in loaded
    assert [name for name in unwanted if name in loaded] == []
