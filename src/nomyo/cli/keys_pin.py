"""Fetch the public key of a server, check it, and print the pin that stands for
it.

A pin is a promise to send to this key only: nomyo chat --server-key-pin, or
NOMYO_SERVER_KEY_PINS. It is worth what you know of the key. Taken from the
server itself it says "the same as today", which is not "the right one": whoever
stands between you and the server now is pinned with it. Compare it with what
the operator publishes, or fetch it over another network.

Exit status: 0; 2 if there is no key, or none that may be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nomyo.cli.connection import add_server, host_of, insecure_noticed
from nomyo.cli.errors import CommandError
from nomyo.cli.settings import filled
from nomyo.cli.terminal import need_output
from nomyo_attest.cli.console import say, say_json, text_style
from nomyo_attest.cli.errors import remark
from nomyo_attest.cli.exits import OK

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.parser import Parser

FORMAT: Final = "nomyo-keys-pin/1"

MEANING: Final = (
    "Pinned on first use: another key would be noticed from now on. That this is the right one, nobody has checked: "
    "compare it with what the operator publishes."
)

EXAMPLE = """
nomyo keys pin https://api.nomyo.ai
PIN=$(nomyo keys pin https://api.nomyo.ai) &&
  nomyo chat --server-key-pin "$PIN" "Hello"
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("url", type=filled, metavar="URL", help="base URL of the router")
    add_server(parser, timeout=60)
    parser.add_format()


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    need_output()
    import asyncio
    import sys

    from nomyo.cli.failures import failure
    from nomyo.client import SecureCompletionClient
    from nomyo.errors import NomyoError
    from nomyo.keys import KEY_BITS, fingerprint, load_server_key

    async def fetch() -> str:
        with insecure_noticed():
            client = SecureCompletionClient(arguments.url, allow_http=arguments.allow_http, timeout=arguments.timeout)
        async with client, asyncio.timeout(arguments.timeout):
            return await client.fetch_server_public_key()

    try:
        pem = asyncio.run(fetch())
    except NomyoError as error:
        raise failure(error, host_of(arguments.url)) from None
    except TimeoutError:
        raise CommandError(f"{host_of(arguments.url)}: no answer within {arguments.timeout:g} s") from None
    key = load_server_key(pem.encode(), KEY_BITS)
    pin = fingerprint(key)
    if arguments.format == "json":
        say_json({"format": FORMAT, "url": arguments.url, "pin": pin, "bits": key.key_size, "public_key": pem})
    else:
        say(pin)
        there = text_style(stream=sys.stderr)
        remark("\n".join(there.wrap(f"{host_of(arguments.url)}: RSA-{key.key_size}. {MEANING}")))
    return OK
