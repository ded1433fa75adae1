"""The command as a whole: how it starts, how it ends, and that nobody ever sees a traceback."""

from __future__ import annotations

import importlib.metadata
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import nomyo.cli
import nomyo_attest
from nomyo_attest.cli import COMMANDS, PROGRAM, main
from nomyo_attest.cli.program import Program
from tests.nomyo_attest.cli.runner import environment, run, single_error_line, start


def test_version_prints_the_version_of_the_package() -> None:
    assert run("--version") == (0, f"nomyo-attest {nomyo_attest.__version__}\n", "")


def test_help_names_every_command_and_every_exit_status() -> None:
    ran = run("--help")
    assert (ran.status, ran.err) == (0, "")
    for words, (_, summary) in COMMANDS.items():
        assert words in ran.out
        assert summary in ran.out
    assert all(f"\n  {status}  " in ran.out for status in (0, 1, 2))


@pytest.mark.parametrize("program", [nomyo.cli.PROGRAM, PROGRAM], ids=lambda program: program.name)
def test_help_of_a_group_has_its_own_sentence_and_example(program: Program) -> None:
    assert program.groups.keys() == {words.split()[0] for words in program.commands if " " in words}
    abouts = {run("--help", program=program.main).out.splitlines()[2]}
    for group in program.groups:
        lines = run(group, "--help", program=program.main).out.splitlines()
        abouts.add(lines[2])
        assert lines[4] == "example:"
        assert max(map(len, lines)) <= 80
    assert len(abouts) == 1 + len(program.groups)


def test_help_of_the_policy_commands_names_those_alone() -> None:
    ran = run("policy", "--help")
    assert ran.status == 0
    assert all(
        (words in ran.out) is words.startswith("policy ") for words in ("policy learn", "policy show", "inspect")
    )


@pytest.mark.parametrize("words", COMMANDS)
def test_help_of_a_command_shows_how_to_type_it(words: str) -> None:
    ran = run(*words.split(), "--help")
    assert (ran.status, ran.err) == (0, "")
    assert f"usage: nomyo-attest {words} " in ran.out
    assert f"example:\n  nomyo-attest {words}" in ran.out


EXAMPLES_OF_A_FLEET = [*sorted(COMMANDS.keys() - {"audit", "example fleet", "ledger verify", "record"})]
"""Not the audit, which the documentation runs, nor what needs a ledger or a TPM."""


@pytest.fixture(scope="module")
def beside_a_fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `nomyo-attest example fleet fleet` creates."""
    folder = tmp_path_factory.mktemp("example")
    assert run("example", "fleet", folder / "fleet").status == 0
    return folder


@pytest.mark.parametrize("words", EXAMPLES_OF_A_FLEET)
def test_the_first_example_of_a_command_runs(words: str, beside_a_fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(beside_a_fleet)
    example = PROGRAM.load(words).example.strip().splitlines()[0].partition(" > ")[0]
    typed = [
        name
        for word in shlex.split(example)
        for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]
    ran = run(*typed[1:])
    assert (ran.status, ran.err) == (0, "")


@pytest.mark.parametrize("words", COMMANDS)
def test_examples_end_the_options_before_names_that_the_shell_fills_in(words: str) -> None:
    """A file called --policy=x among them would be read as an option."""
    example = PROGRAM.load(words).example
    for line in example.strip().splitlines():
        typed = line.split()
        globs = [place for place, word in enumerate(typed) if "*" in word]
        assert not globs or typed.index("--") < min(globs), line


@pytest.mark.parametrize("words", ["", *COMMANDS])
def test_help_fits_80_columns(words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        lines = run(*words.split(), "--help").out.splitlines()
    assert [line for line in lines if len(line) > 80] == []


def test_no_command_is_an_error_that_says_where_help_is() -> None:
    ran = run()
    assert ran.status == 2
    assert single_error_line(ran) == "no command was given; see nomyo-attest --help"


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["verfy", "x.json"], "did you mean 'verify'?"),
        (["policy"], "nomyo-attest policy learn, check or show"),
        (["policy", "lern"], "did you mean 'policy learn'?"),
        (["policy", "x"], "nomyo-attest policy learn, check or show"),
        (["--wrong"], "see nomyo-attest --help"),
        (["-v"], "did you mean --version?"),
        (["verify", "x.json", "-v"], "did you mean --verbose?"),
        (["--policy", "p.toml", "audit", "x.jsonl"], "(verify, audit), such as: nomyo-attest verify --policy ..."),
        (["learn", "x.json"], "did you mean 'policy learn'?"),
        (["."], "not a command; to appraise it, write nomyo-attest verify"),
        (["schema"], "missing NAME; choose from policy, evidence, result, verdict, ledger"),
        (
            ["audit", "x.jsonl", "--policy", "p", "--series", "s.jsonl"],
            "did you mean --cross-record FILE, or --fail-on",
        ),
        (["audit", "x.jsonl", "--policy", "p", "-o", "s.jsonl"], "did you mean --out FILE?"),
        (["policy", "check", "--policy", "p"], "pass the file name alone"),
        (["inspect", "x.json", "--json"], "did you mean --format json?"),
        (["verify", "x.json"], "--policy; see nomyo-attest verify --help"),
        (["rules", "--format", "yaml"], "see nomyo-attest rules --help"),
        (["inspect"], "FILE; see nomyo-attest inspect --help"),
        (["verify", "x.json", "--polic", "p.toml"], "see nomyo-attest verify --help"),
        (["schema", "secrets"], "unknown schema 'secrets'; choose from policy"),
        (["record"], "--payload-id; see nomyo-attest record --help"),
    ],
)
def test_wrong_usage_is_one_line_with_a_hint(argv: list[str], hint: str) -> None:
    ran = run(*argv)
    assert ran.status == 2
    assert hint in single_error_line(ran)


def test_what_was_typed_cannot_reach_the_terminal_raw() -> None:
    for argv in (
        ["\x1b[31mred"],
        ["verify", "--\x1b[31m"],
        ["rules", "\x1b]0;title\x07"],
        ["inspect", "a\nb\u202e.json"],
    ):
        ran = run(*argv)
        assert ran.status == 2
        single_error_line(ran)


def test_an_error_of_the_program_itself_names_its_kind_and_place_and_no_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: object) -> int:
        raise RuntimeError("the content of a secret file")

    monkeypatch.setattr("nomyo_attest.cli.reference.Schema.run", fail)
    ran = run("schema", "policy")
    assert ran.status == 2
    complaint = single_error_line(ran)
    assert complaint.startswith("internal error: RuntimeError at cli/test_main.py, line ")
    assert "please report it" in complaint
    assert "secret" not in complaint


def test_ctrl_c_ends_quietly_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("nomyo_attest.cli.reference.Schema.run", interrupt)
    assert run("schema", "policy") == (130, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_while_waiting_for_standard_input_ends_quietly() -> None:
    code = """if True:
        import os, signal, sys, threading
        from nomyo_attest.cli import main
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        sys.exit(main(["inspect", "-"]))"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.wait(timeout=60) == 130  # standard input is still open: only the signal can have ended it
        assert process.stdout is not None
        assert process.stderr is not None
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pipe that breaks")
def test_a_reader_that_goes_away_is_no_error_message_and_no_success() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "nomyo_attest.cli", "rules", "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said_and_is_no_success(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = start(
            "verify", "good.json", "--policy", "policy.toml", capture_output=False, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 2
    assert done.stderr.startswith("nomyo-attest: standard output cannot be written: No space left on device")
    assert done.stderr.count("\n") == 1


def test_a_terminal_that_lacks_a_character_gets_an_escape(folder: Path) -> None:
    assert run("verify", "--help", encoding="ascii").status == 0
    ran = run("verify", "good.json", "--policy", "policy.toml", encoding="ascii")
    assert ran.status == 0
    assert "\\u2026)" in ran.out.splitlines()[0]


def test_the_installed_script_is_this_main() -> None:
    scripts = importlib.metadata.entry_points(group="console_scripts", name="nomyo-attest")
    assert {script.load() for script in scripts} == {main}


HEAVY = ["msgspec", "cryptography", "jsonschema", "rich", "nomyo_attest.appraisal"]


@pytest.mark.parametrize(
    ("argv", "unwanted"),
    [
        (["--version"], ["argparse", "json", *HEAVY]),
        (["--help"], ["argparse", "json", *HEAVY]),
        (["schema", "policy"], [name for name in HEAVY if name != "msgspec"]),  # the table of rules needs it
        (["inspect", "-"], ["jsonschema", "rich"]),
    ],
)
def test_a_command_imports_no_more_than_it_needs(argv: list[str], unwanted: list[str]) -> None:
    code = "import sys; from nomyo_attest.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], input="{}", capture_output=True, text=True, check=True, env=environment()
    )
    loaded = set(done.stderr.split())
    assert "nomyo_attest.cli" in loaded
    assert [name for name in unwanted if name in loaded] == []
