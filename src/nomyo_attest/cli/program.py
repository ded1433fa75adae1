"""Run one of a program's commands, and turn its errors into a message and an exit status."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nomyo_attest.cli.console import OutputClosedError, print_output
from nomyo_attest.cli.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PIPE_CLOSED,
    EXIT_UNUSABLE,
    CommandError,
    print_error,
    print_internal_error,
)

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.arguments import Parser


class Command(NamedTuple):
    """One command of a program.

    Attributes:
        about: its help: a sentence, then paragraphs.
        example: lines to be typed into a shell.
        configure: declares its arguments on a parser.
        run: runs it and returns the exit status; ``arguments.typed`` is the command line as it was typed.
    """

    about: str
    example: str
    configure: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], int]


class Group(NamedTuple):
    """The help of the commands that share a first word.

    Attributes:
        about: a sentence that says what they do.
        example: lines to be typed into a shell by somebody who tries them.
    """

    about: str
    example: str


class Program:
    """A program of several commands. Only the command that is run is imported.

    A command is a module, or a class in one (``"module:Class"``). Its docstring is its help; it has ``EXAMPLE``,
    ``configure`` and ``run``, which `Command` describes.

    Args:
        name: the program's name, which begins every error message.
        about: a sentence that says what it does.
        package: the package of the commands' modules.
        commands: command → its module or class in `package`, and its summary, in the order of the help.
        groups: the first word of every two-word command → the help of that group.
        exits: the meaning of its exit statuses, for the end of its help.
        example: lines to be typed into a shell by somebody who tries the program.
        file_hint: what to write instead if the first argument is a file, not a command.
    """

    def __init__(
        self,
        name: str,
        *,
        about: str,
        package: str,
        commands: Mapping[str, tuple[str, str]],
        groups: Mapping[str, Group],
        exits: str,
        example: str = "",
        file_hint: str = "",
    ):
        self.name = name
        self.about = about
        self.package = package
        self.commands = commands
        self.groups = groups
        self.exits = exits
        self.example = example
        self.file_hint = file_hint

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the program with `argv`, by default the arguments of this process. Returns the exit status."""
        if argv is None:
            forget_working_directory()
        try:
            return self._run_reporting_errors(list(sys.argv[1:] if argv is None else argv))
        finally:
            if argv is None and "threading" in sys.modules:
                _end_on_interrupt()

    def _run_reporting_errors(self, argv: list[str]) -> int:
        try:
            return self.run(argv)
        except CommandError as error:
            print_error(str(error), self.name)
            return error.status
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
        except OutputClosedError:
            return EXIT_PIPE_CLOSED
        except Exception as error:  # noqa: BLE001 - the user gets a sentence, never a traceback
            print_internal_error(error, self.name)
            return EXIT_UNUSABLE

    def run(self, argv: list[str]) -> int:
        """Run the command that `argv` names. Returns its exit status; raises `CommandError`."""
        _refuse_file_names_like_options(argv)
        if argv and argv[0] == "help":
            argv = [*argv[1:], "--help"]
        if argv and argv[0] in ("-h", "--help"):
            print_output(self._help())
            return EXIT_OK
        if argv and argv[0] in ("-V", "--version", "version"):
            from nomyo_attest._version import __version__

            print_output(f"{self.name} {__version__}")
            return EXIT_OK
        if not argv:
            raise CommandError(f"no command was given; see {self.name} --help")
        if argv[0] in self.groups and len(argv) > 1 and argv[1] in ("-h", "--help"):
            print_output(self._help(argv[0]))
            return EXIT_OK
        for length in (2, 1):
            words = " ".join(argv[:length])
            if words in self.commands and len(words.split()) == length:
                return self._run(words, argv[length:])
        raise CommandError(self._unknown_command(argv))

    def load(self, words: str) -> Command:
        """Import the command `words`, such as ``"policy learn"``."""
        module, _, name = self.commands[words][0].partition(":")
        command: Any = import_module(f"{self.package}.{module}")
        if name:
            command = getattr(command, name)
        return Command(_dedent(command.__doc__), _dedent(command.EXAMPLE), command.configure, command.run)

    def _parser(self, words: str, command: Command) -> Parser:
        from nomyo_attest.cli.arguments import Parser

        parser = Parser(self.name, words, command.about, command.example)
        command.configure(parser)
        return parser

    def _run(self, words: str, argv: list[str]) -> int:
        command = self.load(words)
        parser = self._parser(words, command)
        try:
            arguments = parser.parse_args(argv)
        except SystemExit as error:  # --help
            return int(error.code or 0)
        arguments.typed = [self.name, *words.split(), *argv]
        return command.run(arguments)

    def _help(self, group: str = "") -> str:
        start = f"{group} " if group else ""
        about, example = self.groups[group] if group else (self.about, self.example)
        width = max(map(len, self.commands))
        rows = [
            f"  {words.ljust(width)}  {summary}"
            for words, (_, summary) in self.commands.items()
            if words.startswith(start)
        ]
        lines = [f"usage: {self.name} {start}COMMAND ...", "", about, ""]
        if example:
            lines += ["example:", *(f"  {line}" for line in example.strip().splitlines()), ""]
        lines += ["commands:", *rows, ""]
        lines += [f"`{self.name} {start}COMMAND --help` shows its options and an example."]
        if not start:
            lines += [f"`{self.name} --version` prints the version.", "", self.exits]
        return "\n".join(lines)

    def _unknown_command(self, argv: list[str]) -> str:
        from difflib import get_close_matches

        if argv[0].startswith("-"):
            return self._unknown_option(argv[0])
        if argv[0] in self.groups:
            known = [words.split()[1] for words in self.commands if words.startswith(f"{argv[0]} ")]
            problem = f"unknown command {' '.join(argv[:2])!r}" if len(argv) > 1 else f"incomplete command {argv[0]!r}"
            close = get_close_matches(argv[1], known, 1) if len(argv) > 1 else []
            if close:
                return f"{problem}; did you mean {f'{argv[0]} {close[0]}'!r}?"
            choice = f"{', '.join(known[:-1])} or {known[-1]}" if len(known) > 1 else known[0]
            return f"{problem}; choose from {self.name} {argv[0]} {choice}"
        if argv[0].split() and " ".join(argv[0].split()) in self.commands:
            words = " ".join(argv[0].split())
            problem = f"unknown command {argv[0]!r}: expected separate words, got one argument"
            return f"{problem}; write {words} without quotes"
        if self.file_hint and os.path.exists(argv[0]):  # noqa: PTH110 - pathlib would cost an import
            return f"{argv[0]!r} is a file or folder, not a command; {self.file_hint}"
        close = get_close_matches(" ".join(argv[:2]), self.commands, 1) or get_close_matches(argv[0], self.commands, 1)
        close = [words for words in self.commands if words.split()[1:] == argv[:1]] or close
        close = close or [words for words, (_, summary) in self.commands.items() if argv[0] in summary.split()]
        hint = f"did you mean {close[0]!r}?" if close else f"see {self.name} --help"
        return f"unknown command {argv[0]!r}; {hint}"

    def _unknown_option(self, word: str) -> str:
        """Return the message for an option before the command; it names the commands that have the option."""
        name = word.partition("=")[0]
        commands = [words for words in self.commands if self._has_option(words, name)]
        if not commands:
            hint = "did you mean --version?" if name == "-v" else f"see {self.name} --help"
            return f"unknown option {name!r}; {hint}"
        choice = ", ".join(commands)
        return f"option {name} must follow its command ({choice}), such as: {self.name} {commands[0]} {name} ..."

    def _has_option(self, words: str, name: str) -> bool:
        return name in self._parser(words, self.load(words))._option_string_actions


def _dedent(text: str) -> str:
    """Remove the indentation of a docstring in a class body. Its first line has none."""
    lines = text.splitlines()
    indented = [line for line in lines[1:] if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in indented), default=0)
    return "\n".join([*lines[:1], *(line[margin:] for line in lines[1:])])


def _refuse_file_names_like_options(argv: list[str]) -> None:
    """Raise `CommandError` if an argument that begins with a hyphen is the name of an existing file.

    pre-commit, `xargs` and a shell's ``*`` append names of files, so a file called ``--policy=evil.attest.json`` would
    be read as the option. They append only names of existing files, relative to the working directory, so those are
    looked up here. After ``--``, no argument is an option, but ``-`` still means standard input.
    """
    options = True
    for word in argv:
        if (word == "-" or (options and word.startswith("-"))) and os.path.lexists(word):
            raise CommandError(
                f"{word!r} is the name of a file in the working directory, and would be read as "
                f"{_SPECIAL_ARGUMENTS.get(word, 'an option')}. If the file is meant, write {'./' + word!r}"
                f"{'' if word in _SPECIAL_ARGUMENTS else ', or put -- before all file names'}. "
                "If not, rename the file or work in another folder"
            )
        options = options and word != "--"


_SPECIAL_ARGUMENTS: Final = {"-": "standard input", "--": "the end of the options"}


def forget_working_directory() -> None:
    """Remove the working directory from ``sys.path``, so that no command imports files that lie beside evidence.

    ``python -m`` puts it first, and an empty entry of ``PYTHONPATH`` means it. Modules that Python imported before this
    call may come from it; ``python -I`` prevents that, as does ``python -P`` if no entry of ``PYTHONPATH`` is relative.
    """
    try:
        here = os.path.realpath(os.getcwd())  # noqa: PTH109 - pathlib would be imported for this alone
    except OSError:  # the working directory was removed
        return
    sys.path[:] = [entry for entry in sys.path if entry and os.path.realpath(entry) != here]


def _end_on_interrupt() -> None:
    """Let Ctrl-C end the process immediately from now on.

    The work is done, but Python waits for threads before it exits. Ctrl-C during that wait would print a traceback.
    """
    import signal

    with contextlib.suppress(ValueError):  # not the main thread, which is the only one that can set handlers
        signal.signal(signal.SIGINT, signal.SIG_DFL)
