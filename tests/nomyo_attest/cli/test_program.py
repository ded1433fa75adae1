"""A program made of the shared parts: whatever it says is said in its own name."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

import pytest

import nomyo.cli
import nomyo_attest.cli
from nomyo_attest.cli.arguments import Parser
from nomyo_attest.cli.errors import CommandError
from nomyo_attest.cli.program import Group, Program

GROW = "Grow a plant."


def configure(parser: Parser) -> None:
    parser.add_argument("plant", choices=["fern", "moss", "rose", "tulip"])
    parser.add_argument("-c", "--color")
    parser.add_argument("--tag", action="append")
    parser.add_argument_group("more").add_argument("--wet", action="store_true")


def grow(arguments: argparse.Namespace) -> int:
    if arguments.plant == "moss":
        raise CommandError("moss grows by itself", status=1)
    if arguments.plant == "rose":
        raise RuntimeError("a secret")
    return 7


@pytest.fixture
def garden(monkeypatch: pytest.MonkeyPatch) -> Program:
    module = ModuleType("garden.grow", GROW)
    vars(module).update(EXAMPLE="garden plant grow fern", configure=configure, run=grow)
    monkeypatch.setitem(sys.modules, "garden.grow", module)
    return Program(
        "garden",
        about="Looks after a garden.",
        package="garden",
        commands={"plant grow": ("grow", "grow a plant"), "water": ("water", "water all plants")},
        groups={"plant": Group("Looks after the plants.", "garden plant grow fern")},
        exits="exit status: 7",
    )


def test_the_status_is_the_commands_own(garden: Program) -> None:
    assert garden.main(["plant", "grow", "fern"]) == 7


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        ([], 2, "garden: no command was given; see garden --help\n"),
        (["plant"], 2, "garden: incomplete command 'plant'; choose from garden plant grow\n"),
        (["plant grow", "fern"], 2, "unknown command 'plant grow': expected separate words"),
        ([" water "], 2, "got one argument; write water without quotes"),
        (["watr"], 2, "garden: unknown command 'watr'; did you mean 'water'?\n"),
        (["plant", "grow"], 2, "plant grow: missing plant; see garden plant grow --help\n"),
        (["plant", "grow", "moss"], 1, "garden: moss grows by itself\n"),
        (["plant", "grow", "rose"], 2, "garden: internal error: RuntimeError at cli/test_program.py, line "),
    ],
)
def test_it_complains_in_its_own_name(
    garden: Program, argv: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert garden.main(argv) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("garden: ")
    assert said in err
    assert "secret" not in err
    assert err.count("\n") == 1


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize("name", ["--color=evil.attest.json", "--color", "-x", "-", "--", "--help", "-ofern"])
def test_an_argument_like_an_option_that_is_the_name_of_a_file_is_refused(
    garden: Program, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_text("{}", encoding="utf-8")
    for argv in (["plant", "grow", "fern", name], [name, "plant", "grow"], ["plant", name], [name]):
        assert garden.main(argv) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"garden: {name!r} is the name of a file in the working directory, and would be read as ")
        # Two hyphens would not help: - after them is standard input, and a file of that name would be in the way.
        other = "" if name in ("-", "--") else ", or put -- before all file names"
        assert f"write './{name}'{other}. If not, rename" in err


@pytest.mark.usefixtures("_folder")
def test_a_link_that_leads_nowhere_has_a_name_too(garden: Program, capsys: pytest.CaptureFixture[str]) -> None:
    Path("--color=red").symlink_to("nowhere")
    assert garden.main(["plant", "grow", "fern", "--color=red"]) == 2
    assert "'--color=red' is the name of a file" in capsys.readouterr().err


@pytest.mark.usefixtures("_folder")
def test_names_after_two_hyphens_are_names(garden: Program, capsys: pytest.CaptureFixture[str]) -> None:
    Path("--color=red").touch()
    assert garden.main(["plant", "grow", "--color", "green", "--", "fern"]) == 7
    assert garden.main(["plant", "grow", "--", "--color=red"]) == 2
    assert "argument plant: invalid choice: '--color=red'" in capsys.readouterr().err
    Path("-").touch()
    assert garden.main(["plant", "grow", "--", "-"]) == 2
    assert "'-' is the name of a file in the working directory, and would be read as standard input" in (
        capsys.readouterr().err
    )


@pytest.mark.usefixtures("_folder")
def test_arguments_that_are_no_names_of_files_are_parsed(garden: Program, capsys: pytest.CaptureFixture[str]) -> None:
    Path("fern").touch()
    assert garden.main(["plant", "grow", "--color=red", "fern"]) == 7
    assert garden.main(["plant", "grow", "fern", "--\0"]) == 2
    assert "unknown option" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--color=red", "--color=green"],
        ["--color", "red", "--color=red"],
        ["--color=red", "--color", "red"],
        ["-cred", "--color", "red"],
        ["--color=red", "fern", "--color=red"],
        ["--wet", "--wet"],
    ],
)
def test_a_repeated_option_is_an_error(garden: Program, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    option = "--wet" if "--wet" in options else "-c/--color"
    for argv in (["plant", "grow", *options, "fern"], ["plant", "grow", "fern", *options]):
        assert garden.main(argv) == 2
        expected = f"garden: plant grow: argument {option}: repeated; pass it once; see garden plant grow --help\n"
        assert capsys.readouterr().err == expected


def test_a_repeatable_option_and_a_second_run_may_give_an_option_again(garden: Program) -> None:
    for _ in range(2):
        assert garden.main(["plant", "grow", "--tag=a", "--color=red", "--tag", "b", "fern"]) == 7


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (nomyo_attest.cli.PROGRAM, {"--out"}),
        (nomyo.cli.PROGRAM, {"--server-key-pin", "--model", "--allow-host", "--allow-origin"}),
    ],
)
def test_the_repeatable_options_of_both_programs_are_these(program: Program, expected: set[str]) -> None:
    repeatable = set()
    for words in program.commands:
        parser = Parser("x", words, "", "")
        program.load(words).configure(parser)
        for action in parser._actions:
            if isinstance(action, argparse._AppendAction):
                repeatable.add(action.option_strings[-1])
    assert repeatable == expected


@pytest.mark.parametrize(
    ("program", "argv", "problem"),
    [
        (nomyo_attest.cli.PROGRAM, ["audit", "x.jsonl", "--polcy", "p"], "'--polcy' (did you mean --policy?)"),
        (nomyo_attest.cli.PROGRAM, ["verify", "--polcy=p"], "'--polcy' (did you mean --policy?)"),
        (nomyo_attest.cli.PROGRAM, ["record", "--zzz"], "'--zzz'"),
        (nomyo.cli.PROGRAM, ["keys", "pin", "--allow-htpp"], "'--allow-htpp' (did you mean --allow-http?)"),
        (nomyo.cli.PROGRAM, ["keys", "pin", "-x"], "'-x'"),
    ],
)
def test_an_unknown_option_is_reported_before_what_is_missing(
    program: Program, argv: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(argv) == 2
    complaint = capsys.readouterr().err
    words = next(words for words in (" ".join(argv[:2]), argv[0]) if words in program.commands)
    assert complaint == f"{program.name}: {words}: unknown option {problem}; see {program.name} {words} --help\n"


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["plant", "grow", "--tag", "-1", "fern"], 7),  # a negative number is a value
        (["plant", "grow", "--tg a", "fern"], 2),  # with a blank it is a name: one too many
        (["plant", "grow", "--", "--fern"], 2),  # an invalid choice
        (["plant", "grow", "--tg", "--help"], 0),
    ],
)
def test_what_argparse_takes_for_no_option_is_not_called_one(
    garden: Program, argv: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert garden.main(argv) == status
    assert "unknown option" not in capsys.readouterr().err


def test_its_help_is_its_own(garden: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert garden.main(["--help"]) == 0
    assert capsys.readouterr().out == (
        "usage: garden COMMAND ...\n\nLooks after a garden.\n\n"
        "commands:\n  plant grow  grow a plant\n  water       water all plants\n\n"
        "`garden COMMAND --help` shows its options and an example.\n"
        "`garden --version` prints the version.\n\nexit status: 7\n"
    )
    assert garden.main(["plant", "--help"]) == 0
    assert "water " not in capsys.readouterr().out
    assert garden.main(["plant", "grow", "--help"]) == 0
    assert "\n\nexample:\n  garden plant grow fern\n\n" in capsys.readouterr().out
