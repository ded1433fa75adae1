"""Show a policy as a table: reference values with their labels, and what else is
asked.

With --format json the policy is printed in full, every default written out: a
policy file of its own, with the same digest.

Exit status: 0; 2 if the policy cannot be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nomyo_attest.cli.arguments import load_policy
from nomyo_attest.cli.console import say, say_json, text_style
from nomyo_attest.cli.exits import OK

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.parser import Parser

EXAMPLE = """
nomyo-attest policy show policy.toml
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("policy", metavar="P", help="a .toml or .json file")
    parser.add_format()


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    policy = load_policy(arguments.policy)
    if arguments.format == "json":
        say_json(policy.to_dict())
    else:
        from nomyo_attest.report.policy import policy_text

        say(policy_text(policy, text_style()))
    return OK
