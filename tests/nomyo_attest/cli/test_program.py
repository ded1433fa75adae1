"""A program made of the shared parts: whatever it says is said in its own name."""

from __future__ import annotations

import argparse
import sys
from types import ModuleType

import pytest

from nomyo_attest.cli.errors import CommandError
from nomyo_attest.cli.parser import Parser
from nomyo_attest.cli.program import Program

GROW = "Grow a plant."


def configure(parser: Parser) -> None:
    parser.add_argument("plant", choices=["fern", "moss", "rose", "tulip"])


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
        exits="exit status: 7",
    )


def test_the_status_is_the_commands_own(garden: Program) -> None:
    assert garden.main(["plant", "grow", "fern"]) == 7


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        ([], 2, "garden: no command is given; see garden --help\n"),
        (["plant"], 2, "garden: plant needs one more word; it is garden plant grow\n"),
        (["watr"], 2, "garden: unknown command 'watr'; did you mean 'water'?\n"),
        (["plant", "grow"], 2, "required: plant; see garden plant grow --help\n"),
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


def test_its_help_is_its_own(garden: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert garden.main(["--help"]) == 0
    assert capsys.readouterr().out == (
        "usage: garden COMMAND …\n\nLooks after a garden.\n\n"
        "  plant grow  grow a plant\n  water       water all plants\n\n"
        "garden COMMAND --help has an example of each; garden --version\n\nexit status: 7\n"
    )
    assert garden.main(["plant", "--help"]) == 0
    assert "water " not in capsys.readouterr().out
    assert garden.main(["plant", "grow", "--help"]) == 0
    assert capsys.readouterr().out.endswith("example:\n  garden plant grow fern\n")
