"""Say what a key file is: size, fingerprint, whether a password protects it, and
who may read it; and whether the client would use it.

Exit status: 0; 2 if the client would not use it, which is said on standard
error, or if there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nomyo.cli.errors import CommandError
from nomyo.cli.secret_files import read_secret
from nomyo.cli.settings import filled
from nomyo_attest.cli.console import say, say_json
from nomyo_attest.cli.exits import OK

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.parser import Parser

EXAMPLE = """
nomyo keys show client_keys
nomyo keys show client_keys --password-file password.txt
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("path", type=filled, metavar="PATH", help="the folder of a key pair, or one key file in PEM")
    parser.add_argument(
        "--password-file", type=filled, metavar="FILE", help="a file with the password; - is standard input"
    )
    parser.add_format()


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    password = None
    if arguments.password_file is not None:
        password = read_secret(arguments.password_file, "--password-file")

    from nomyo.cli.key_facts import facts_of

    facts = facts_of(arguments.path, password)
    if arguments.format == "json":
        say_json(facts.to_dict())
    else:
        say(facts.text())
    if facts.problem is not None:
        raise CommandError(facts.problem)
    return OK
