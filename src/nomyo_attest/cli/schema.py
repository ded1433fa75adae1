"""Print a JSON Schema (2020-12): of a policy, of the evidence that is read, of a
result, or of a line of the verdicts that audit writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nomyo_attest.cli.console import say
from nomyo_attest.cli.exits import OK
from nomyo_attest.schemas import SCHEMAS, schema_text

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.parser import Parser

EXAMPLE = """
nomyo-attest schema policy > policy.schema.json
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", choices=SCHEMAS, help=f"one of {', '.join(SCHEMAS)}")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    say(schema_text(arguments.name).rstrip("\n"))
    return OK
