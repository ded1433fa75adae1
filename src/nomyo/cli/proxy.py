"""Serve OpenAI's chat completions API on this machine, encrypted to the server.

Set the base URL of a program to the URL that this command prints. The proxy
encrypts the program's requests for chat completions, and returns a completion
only if the policy affirms the server. It never forwards any other request, and
it has no embeddings and no other API.

When it is ready, it prints one JSON line on standard output, and nothing else:

  {"url": "http://127.0.0.1:8642/v1", "policy": "…", "server": "https://…"}

It serves plain HTTP to programs on this machine. A web page cannot use it
unless --allow-origin names the page's origin. Without --token-file, any program
on this machine can.

The API key is that of --api-key-file or NOMYO_API_KEY. If neither is set, the
proxy forwards the API key of each client. With --token-file, clients send the
token as their API key instead, and it is never forwarded.

GET /attestation lists the results of the last 100 responses.

--preflight keeps a prompt from a server that has changed and reports the
change. A load balancer may send the prompt to another machine, and a server can
respond honestly to the canary only. The response to the prompt is still
appraised.

Ctrl-C or SIGTERM ends the proxy: it accepts no new requests, and gives requests
in progress 10 seconds. A second signal ends it at once. The proxy needs the
extra proxy.

Exit status: 0 after Ctrl-C or SIGTERM; 2 if the proxy cannot start.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from nomyo.cli.connection import add_client, open_client
from nomyo.cli.settings import nonempty, read_secret, read_setting
from nomyo.config import TIERS
from nomyo_attest.cli.arguments import decimal_number, load_policy, whole_number
from nomyo_attest.cli.errors import EXIT_OK, CommandError

if TYPE_CHECKING:
    import argparse

    from nomyo_attest.cli.arguments import Parser

PORT: Final = 8642

EXAMPLE = """
nomyo proxy --policy policy.toml
nomyo proxy --policy policy.toml --model Qwen/Qwen3-0.6B --token-file token
curl http://127.0.0.1:8642/v1/models
"""

_PACKAGES: Final = ("starlette", "uvicorn", "h11")
"""Packages of the extra `proxy`, which the client does not need."""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    required = parser.add_mutually_exclusive_group(required=True)
    required.add_argument(
        "--policy", type=nonempty, metavar="FILE", help="return a completion only if this policy affirms the server"
    )
    required.add_argument(
        "--no-attestation", action="store_true", help="encrypt only, and return completions of any server"
    )
    parser.add_argument("--host", type=nonempty, default="127.0.0.1", help="address to listen on; default: 127.0.0.1")
    parser.add_argument(
        "--port", type=whole_number, default=PORT, help=f"port to listen on; 0 for a free port; default: {PORT}"
    )
    parser.add_argument(
        "--model",
        type=nonempty,
        action="append",
        metavar="NAME",
        help="allow and list this model; can be repeated; default: allow any, list none",
    )
    parser.add_argument("--tier", choices=TIERS, help="security tier of requests that name none")
    parser.add_argument(
        "--token-file",
        type=nonempty,
        metavar="FILE",
        help="a file that contains the token that clients must send as their API key",
    )
    parser.add_argument(
        "--allow-host",
        type=nonempty,
        action="append",
        metavar="HOST[:PORT]",
        help="accept this host in URLs, besides 127.0.0.1, localhost and [::1]; can be repeated",
    )
    parser.add_argument(
        "--allow-origin",
        type=nonempty,
        action="append",
        metavar="ORIGIN",
        help="let web pages of this origin use the proxy, such as http://localhost:3000; can be repeated",
    )
    parser.add_argument(
        "--keepalive",
        type=decimal_number,
        default=15.0,
        metavar="S",
        help="while a streaming request waits, send a comment after this many seconds; 0 for none; default: 15",
    )
    parser.add_argument(
        "--refusal-hold",
        type=decimal_number,
        default=30.0,
        metavar="S",
        help="send nothing for this many seconds after a refusal; default: 30",
    )
    parser.add_argument(
        "--preflight",
        type=decimal_number,
        metavar="S",
        help="appraise the server with a canary before a prompt, unless a response was affirmed within S seconds",
    )
    parser.add_argument(
        "--evidence-log",
        type=nonempty,
        metavar="FILE",
        help="append the evidence and the verdict of every response to this ledger",
    )
    add_client(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        from nomyo_attest.installation import install_command

        raise CommandError(f"the proxy needs {', '.join(missing)} from the extra proxy: {install_command('proxy')}")
    if arguments.preflight is not None and arguments.policy is None:
        raise CommandError("--preflight: requires --policy, by which the canary is appraised")

    from nomyo.options import ALWAYS
    from nomyo.proxy.options import ProxyError, ProxyOptions
    from nomyo.proxy.running import serve

    token = arguments.token_file
    try:
        options = ProxyOptions(
            host=arguments.host,
            port=arguments.port,
            models=tuple(arguments.model or ()),
            tier=arguments.tier,
            token=None if token is None else read_secret(token, "--token-file"),
            allow_host=tuple(arguments.allow_host or ()),
            allow_origin=tuple(arguments.allow_origin or ()),
            keepalive=arguments.keepalive,
        )
        policy = None if arguments.policy is None else load_policy(arguments.policy)
        client = open_client(
            arguments,
            policy,
            read_setting("--evidence-log", arguments.evidence_log, "NOMYO_EVIDENCE_LOG").value,
            require_attestation=False if policy is None else ALWAYS,
            refusal_hold=arguments.refusal_hold,
            preflight=arguments.preflight,
        )
        serve(client, options, None if policy is None else policy.id)
    except ProxyError as error:
        raise CommandError(str(error)) from None
    return EXIT_OK
