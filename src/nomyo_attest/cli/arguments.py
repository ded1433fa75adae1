"""Parse the command line of one command, and check values that several commands accept."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from nomyo_attest.cli.console import print_output
from nomyo_attest.cli.errors import CommandError
from nomyo_attest.cli.files import unreadable_error

if TYPE_CHECKING:
    from nomyo_attest.policy import AppraisalPolicy

POLICY_FILE: Final = "the policy, a .toml or .json file"
"""The help of an argument that `load_policy` reads."""

TIMES: Final = "a date (midnight UTC), or RFC 3339"
"""The formats that `parse_time` accepts, for a help text."""

_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_OPTION: Final = re.compile(r"-[A-Za-z-]\S*")
"""A word that argparse treats as an option: not a negative number, and without spaces."""
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}){1,64}", re.ASCII)
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"-?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][+-]?[0-9]{1,3})?")


def whole_number(text: str) -> int:
    """Parse the value of an option that is a whole number in ASCII digits.

    `int` also accepts digits of other scripts, underscores and spaces. Raises `argparse.ArgumentTypeError`.
    """
    if _WHOLE.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(
            f"invalid number {text[:80]!r}: expected a whole number of at most 18 digits 0 to 9, such as 10"
        )
    return int(text)


def decimal_number(text: str) -> float:
    """Parse the value of an option that is a finite decimal number in ASCII digits.

    Raises `argparse.ArgumentTypeError`.
    """
    value = float(text) if _DECIMAL.fullmatch(text) is not None else math.inf
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"invalid number {text[:80]!r}: expected a decimal number, such as 1.5 or 10")
    return value


def web_address(text: str) -> str:
    """Parse the value of an option that is a link in a report: an absolute http or https URL.

    Other people open the report, so a scheme that runs code, such as ``javascript:``, is refused. Raises
    `argparse.ArgumentTypeError`.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(
            f"invalid address {text[:80]!r}: expected an http or https URL, such as https://example.org/docs/rules.md"
        )
    return text


def load_policy(name: str) -> AppraisalPolicy:
    """Load the policy file `name`. Raises `CommandError`."""
    if not name:
        raise CommandError("policy: expected a file name, got an empty string; check whether a shell variable is empty")
    from nomyo_attest.errors import PolicyError
    from nomyo_attest.policy import AppraisalPolicy

    try:
        return AppraisalPolicy.load(name)
    except PolicyError as error:
        raise CommandError(str(error)) from None
    except IsADirectoryError:
        raise CommandError(f"{name}: is a folder; name the policy file in it") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) or "\0" in name:
            raise unreadable_error(name, error) from None
        raise CommandError(f"{name}: not a policy file: a value in it cannot be read; see docs/policy.md") from None


def parse_time(text: str, option: str = "--at") -> datetime:
    """Parse an RFC 3339 time with its offset, or a date, which means its midnight in UTC.

    Args:
        text: the time.
        option: the name of its option, for the error message.

    Raises:
        CommandError: the text is not a time.
    """
    try:
        if _RFC_3339.fullmatch(text):
            return datetime.fromisoformat(text.upper())
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        pass  # a day that does not exist, such as June 31
    raise CommandError(
        f"{option}: invalid time {text[:80]!r}; write a date, such as 2026-11-30 (midnight UTC), or an RFC 3339 time "
        "with an offset, such as 2026-11-30T08:00:00Z"
    )


def parse_nonce(text: str) -> bytes:
    """Parse a nonce of 1 to 64 bytes in hexadecimal. An empty one, such as from an unset shell variable, is refused.

    Raises `CommandError`.
    """
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    wrong = next((at for at, digit in enumerate(text, 1) if not re.fullmatch("[0-9a-fA-F]", digit, re.ASCII)), 0)
    problem = f"character {wrong} is {text[wrong - 1]!r}" if wrong else f"got {len(text)} digits"
    raise CommandError(f"--nonce: invalid nonce {text[:80]!r}: {problem}; write 1 to 64 bytes in hexadecimal")


def parse_payload_id(text: str) -> str:
    """Check a payload id and return it. Raises `CommandError`."""
    from nomyo_attest.errors import EvidenceError
    from nomyo_attest.evidence.response import check_payload_id

    try:
        return check_payload_id(text, "")
    except EvidenceError as error:
        problem = f"--payload-id: expected {error.expected}, got {error.got}"
        raise CommandError(f"{problem}; pass the payload id of the request") from None


FORMATS = ("text", "json")
EXIT_STATUS: Final = "exit status:"


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keep the line breaks of a help text with several lines, each of at most 54 characters."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return text.splitlines() if "\n" in text else super()._split_lines(text, width)


class Parser(argparse.ArgumentParser):
    """Parse the arguments of one command. Errors are one line; help begins with a sentence and an example.

    A repeated option is an error, unless it is declared with ``action="append"``: otherwise the last value would win
    silently.

    Args:
        program: the program's name.
        words: the command, e.g. ``"policy learn"``.
        about: its help: a sentence, then paragraphs. The part from `EXIT_STATUS` on is shown after the
            arguments.
        example: lines to be typed into a shell.

    Attributes:
        hints: an option that this command does not have → what to write instead.
    """

    def __init__(self, program: str, words: str, about: str, example: str) -> None:
        about, begins, exits = about.strip().partition(f"\n\n{EXIT_STATUS}")
        sentence, _, details = about.partition("\n\n")
        lines = "\n".join(f"  {line}" for line in example.strip().splitlines())
        if " fleet/" in lines and words != "example fleet":
            lines += "\n(nomyo-attest example fleet fleet creates the files in fleet/)"
        super().__init__(
            prog=f"{program} {words}",
            description=f"{sentence}\n\nexample:\n{lines}" + (f"\n\n{details}" if details else ""),
            epilog=f"{EXIT_STATUS}{exits}" if begins else None,
            formatter_class=HelpFormatter,
            allow_abbrev=False,  # an abbreviation in a script would break when another option with that prefix is added
        )
        self._positionals.title = "arguments"
        self.words = words
        self.hints = {"--version": f"did you mean {program} --version?"}
        self._seen: set[argparse.Action] = set()

    def format_help(self) -> str:
        """As in argparse, but the usage names only what is required; the options are listed below it."""
        self.usage = f"{self.prog} {self._summary()}".replace("%", "%%")
        return super().format_help()

    def _summary(self) -> str:
        words = []
        for action in self._get_positional_actions():
            name = str(action.metavar or action.dest)
            words.append(f"[{name}]" if action.nargs == "?" else f"{name} ..." if action.nargs == "+" else name)
        required = [action for action in self._get_optional_actions() if action.required]
        words += [f"{action.option_strings[-1]} {action.metavar}" for action in required]
        for group in self._mutually_exclusive_groups:
            if group.required:
                choices = [f"{each.option_strings[-1]} {each.metavar or ''}".strip() for each in group._group_actions]
                words.append(f"({' | '.join(choices)})")
        return " ".join([*words, "[options]"])

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, but report an unknown option first: it may be a required one, misspelled."""
        self._seen = set()
        self._refuse_unknown_options(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def _refuse_unknown_options(self, args: Sequence[str]) -> None:
        """Raise `CommandError` for an unknown option: a word before ``--`` that looks like an option."""
        words = list(args)
        if "--" in words:
            del words[words.index("--") :]
        known = self._option_string_actions
        if any(word in ("-h", "--help") for word in words):
            return
        for word in words:
            name = word.partition("=")[0]
            if not _OPTION.fullmatch(word) or name in known or (not word.startswith("--") and word[:2] in known):
                continue
            from difflib import get_close_matches

            options = [option for option in known if option.startswith("--")]
            close = get_close_matches(name, options, 1)
            same_letter = [option for option in options if len(name) == 2 and option.startswith(f"-{name}")]
            if len(same_letter) == 1:
                close = same_letter
            hint = self.hints.get(name) or (f"did you mean {close[0]}?" if close else "")
            self.error(f"unknown option {name[:80]!r}" + (f" ({hint})" if hint else ""))

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """As in argparse, which calls this method once for each occurrence of an option."""
        if action.option_strings and not isinstance(action, argparse._AppendAction):
            if action in self._seen:
                self.error(f"argument {'/'.join(action.option_strings)}: repeated; pass it once")
            self._seen.add(action)
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Raise `CommandError`."""
        message = message.replace("the following arguments are required:", "missing")
        raise CommandError(f"{self.words}: {message}; see {self.prog} --help")

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 - an override; --help passes no file
        """Print the help on standard output, in its encoding."""
        print_output(self.format_help().rstrip("\n"))

    def add_policy(self) -> None:
        """Add ``--policy``, which is required."""
        self.add_argument("--policy", required=True, metavar="POLICY", help=POLICY_FILE)
        self.hints["-p"] = "did you mean --policy?"

    def add_format(self, *more: str, group: argparse._ArgumentGroup | None = None) -> None:
        """Add ``--format``, with `more` formats, in `group`."""
        formats = (*FORMATS, *more)
        self.hints.setdefault("--json", "did you mean --format json?")
        (group or self).add_argument(
            "--format",
            choices=formats,
            default="text",
            metavar="FORMAT",
            help=f"{', '.join(formats[:-1])} or {formats[-1]}; default: text",
        )
