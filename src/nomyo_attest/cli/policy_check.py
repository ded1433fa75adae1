"""Say of a policy what a careful colleague would: where it is weaker than it
looks, and what is good to know.

Exit status: 0, also with remarks; with --strict 1 if one of them is a warning;
2 if the policy cannot be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nomyo_attest.cli.arguments import load_policy, parse_time
from nomyo_attest.cli.console import say, say_json, text_style
from nomyo_attest.cli.exits import NOT_AFFIRMED, OK

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.parser import Parser

EXAMPLE = """
nomyo-attest policy check policy.toml
nomyo-attest policy check policy.toml --strict
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("policy", metavar="P", help="a .toml or .json file")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if there is a warning")
    parser.add_argument(
        "--at", metavar="TIME", help="judge its period as of this time (RFC 3339, or a date: midnight UTC), not of now"
    )
    parser.add_format()


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    from datetime import UTC, datetime

    now = parse_time(arguments.at) if arguments.at is not None else datetime.now(UTC)
    policy = load_policy(arguments.policy)

    from nomyo_attest.policy.lint import Weight, lint
    from nomyo_attest.report.policy import check_document, check_text

    remarks = lint(policy, now)
    if arguments.format == "json":
        say_json(check_document(policy, remarks))
    else:
        say(check_text(policy, remarks, text_style()))
    return NOT_AFFIRMED if arguments.strict and any(one.weight is Weight.WARNING for one in remarks) else OK
