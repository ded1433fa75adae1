"""Make a key pair of the client's own and keep it in a folder, which is made if
it is not there. What is there already is never overwritten.

Nobody needs one: without it the client makes a pair in memory for each run, a
second of work, and a key that is not kept cannot be stolen later. One that is
kept saves that second.

Exit status: 0; 2 if the pair cannot be made or written.
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
nomyo keys generate client_keys --password-file password.txt
nomyo chat --key-dir client_keys --key-password-file password.txt "Hello"
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("directory", type=filled, metavar="DIR", help="the folder of the pair")
    parser.add_argument(
        "--password-file",
        type=filled,
        metavar="FILE",
        help="encrypt the private key with the password in this file; - is standard input",
    )
    parser.add_format()


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    password = None
    if arguments.password_file is not None:
        password = read_secret(arguments.password_file, "--password-file")

    from nomyo.cli.key_facts import facts_of
    from nomyo.errors import KeyStoreError
    from nomyo.keyfiles import save_new
    from nomyo.keys import generate

    try:
        save_new(arguments.directory, generate(), password)
    except KeyStoreError as error:
        raise CommandError(str(error)) from None
    facts = facts_of(arguments.directory, password)
    if arguments.format == "json":
        say_json(facts.to_dict())
    else:
        say(facts.text())
    return OK
