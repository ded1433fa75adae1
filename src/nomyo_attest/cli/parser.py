"""One command's arguments."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from nomyo_attest.cli.console import say
from nomyo_attest.cli.errors import CommandError

FORMATS = ("text", "json")


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line, and whose help ends with an example.

    An option that is given twice is an error, unless it is declared to be repeatable (``action="append"``): the last
    one would win, wherever it came from.

    Args:
        program: the program's name.
        words: the command, e.g. ``"policy learn"``.
        about: what it does: its module's docstring.
        example: lines to be typed into a shell.
    """

    def __init__(self, program: str, words: str, about: str, example: str) -> None:
        super().__init__(
            prog=f"{program} {words}",
            description=about,
            epilog="example:\n" + "\n".join(f"  {line}" for line in example.strip().splitlines()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # an abbreviation in a script would break with the next option that begins the same way
        )
        self.words = words
        self._given: set[argparse.Action] = set()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse; every call begins anew to look for options that are given twice."""
        self._given = set()
        return super().parse_known_args(args, namespace)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """As in argparse, which calls it once each time that an option occurs."""
        if action.option_strings and not isinstance(action, argparse._AppendAction):
            if action in self._given:
                self.error(f"argument {'/'.join(action.option_strings)}: given twice, expected once")
            self._given.add(action)
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Raise `CommandError`."""
        raise CommandError(f"{self.words}: {message}; see {self.prog} --help")

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 - an override; --help gives no file
        """Print the help on standard output, whatever its encoding."""
        say(self.format_help().rstrip("\n"))

    def add_format(self, *more: str) -> None:
        """Add ``--format``."""
        formats = (*FORMATS, *more)
        self.add_argument(
            "--format",
            choices=formats,
            default="text",
            help=f"{', '.join(formats[:-1])} or {formats[-1]}; default: text",
        )
