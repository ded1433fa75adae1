"""Run the reference router: the service's protocol on your own machine, with
evidence from its TPM, for development, for tests, and before any server that
speaks OpenAI's protocol.

Without --upstream it answers with what it was asked. Without --cert it makes a
certificate authority that lives as long as it does, on loopback only. When it
is ready it prints one JSON line on standard output, and nothing else:

  {"url": "https://localhost:…", "ca": "<the CA's PEM>", "tpm": "swtpm"}

Evidence comes from this machine's TPM, or else swtpm, or else keys that
everybody knows (soft); its log says which. Needs the extra router.

Ctrl-C or SIGTERM ends it: it accepts no more connections, answers new requests
with 503, and lets requests in progress finish for --grace seconds. A second
signal ends it at once.

Exit status: 0 when it is ended by Ctrl-C or SIGTERM; 2 if it cannot start.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nomyo.cli.settings import nonempty, read_secret, read_secrets
from nomyo_attest.cli.arguments import decimal_number, whole_number
from nomyo_attest.cli.console import print_json, print_output, text_style
from nomyo_attest.cli.errors import OK, CommandError

if TYPE_CHECKING:
    import argparse

    from nomyo.router.options import RouterOptions
    from nomyo_attest.cli.arguments import Parser

TPMS: Final = ("auto", "device", "swtpm", "soft", "none")
TIERS: Final = ("standard", "high", "maximum")
FORMATS: Final = ("text", "json")

_FLAGS: Final = {
    "api_keys": "--api-key-file",
    "default_tier": "--default-tier",
    "fault": "--fault",
    "grace": "--grace",
    "host": "--host",
    "key": "--key",
    "models": "--model",
    "port": "--port",
    "server_key": "--server-key",
    "upstream": "--upstream",
    "upstream_concurrency": "--upstream-concurrency",
    "upstream_timeout": "--upstream-timeout",
}
"""Options of the router, as its messages begin with them → flags."""

EXAMPLE = """
nomyo router --port 8443
nomyo router --port 8443 --upstream http://127.0.0.1:8080/v1
nomyo router --list-faults
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--host", type=nonempty, default="127.0.0.1", help="the address to listen on; default: 127.0.0.1"
    )
    parser.add_argument("--port", type=whole_number, default=0, help="the port to listen on; default: a free one")
    parser.add_argument(
        "--cert", type=nonempty_path, metavar="FILE", help="certificate chain in PEM, for other machines to reach it"
    )
    parser.add_argument("--key", type=nonempty_path, metavar="FILE", help="the certificate's private key in PEM")
    parser.add_argument(
        "--api-key-file",
        type=nonempty,
        metavar="FILE",
        help="the API keys that are let in, one a line; default: anybody",
    )
    parser.add_argument("--rate-limit", action="store_true", help="two requests a second, as the service has it")
    parser.add_argument("--tpm", choices=TPMS, default="auto", help=f"where evidence comes from: {', '.join(TPMS)}")
    parser.add_argument(
        "--pcrs", type=nonempty, default="sha256:0,7,10", metavar="PCRS", help="what is quoted; default: sha256:0,7,10"
    )
    parser.add_argument(
        "--aik", type=nonempty, default="p256", metavar="KEY", help="p256, rsa2048, …: the key made for each quote"
    )
    parser.add_argument(
        "--server-key",
        type=nonempty_path,
        metavar="FILE",
        help="the RSA key requests are sealed to; default: a new one",
    )
    parser.add_argument(
        "--upstream", type=nonempty, metavar="URL", help="forward to this server, such as http://127.0.0.1:8080/v1"
    )
    parser.add_argument(
        "--upstream-key-file", type=nonempty, metavar="FILE", help="a file with the API key of the upstream"
    )
    parser.add_argument(
        "--upstream-timeout", type=decimal_number, default=600.0, metavar="S", help="seconds it has; default: 600"
    )
    parser.add_argument(
        "--upstream-concurrency",
        type=whole_number,
        default=100,
        metavar="N",
        help="requests that are sent to it at a time; others wait; default: 100",
    )
    parser.add_argument(
        "--unsafe-remote-upstream", action="store_true", help="send prompts in clear to another machine"
    )
    parser.add_argument(
        "--model",
        type=nonempty,
        action="append",
        metavar="NAME[=TIER,…]",
        help="a model to allow, at these tiers or all; may be given several times; default: any model",
    )
    parser.add_argument("--default-tier", choices=TIERS, default=TIERS[0], help="of requests that name none")
    parser.add_argument(
        "--grace",
        type=decimal_number,
        default=30.0,
        metavar="S",
        help="seconds that requests in progress have to finish when the router is asked to stop; default: 30",
    )
    parser.add_argument(
        "--log-format", choices=FORMATS, default="text", help="the log on standard error: text or json; default: text"
    )
    parser.add_argument(
        "--fault", type=nonempty, metavar="NAME", help="answer wrongly in one way, for tests of clients"
    )
    parser.add_argument("--list-faults", action="store_true", help="list those ways, and end")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of that list: text or json; default: text")


def nonempty_path(text: str) -> Path:
    """As `nonempty`: an empty path would be the working folder."""
    return Path(nonempty(text))


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises `CommandError`."""
    from nomyo.errors import NomyoError

    try:
        if arguments.list_faults:
            return _list_faults(as_json=arguments.format == "json")
        if arguments.fault is not None:
            _check_fault(arguments.fault)
        from nomyo.router import serve

        serve(_options(arguments))
    except NomyoError as error:
        raise CommandError(_flagged(str(error))) from None
    return OK


def _flagged(text: str) -> str:
    """A complaint of the router with its options as flags."""
    for name, flag in _FLAGS.items():
        if text.startswith((f"{name}:", f"{name} ")):
            return flag + text.removeprefix(name).replace("unsafe_remote_upstream", "--unsafe-remote-upstream")
    return text


def _options(arguments: argparse.Namespace) -> RouterOptions:
    from nomyo.router.options import RouterOptions

    keys = arguments.api_key_file
    upstream_key = arguments.upstream_key_file
    return RouterOptions(
        host=arguments.host,
        port=arguments.port,
        cert=arguments.cert,
        key=arguments.key,
        api_keys=read_secrets(keys, "--api-key-file") if keys is not None else (),
        tpm=arguments.tpm,
        pcrs=arguments.pcrs,
        aik=arguments.aik,
        models=_models(arguments.model),
        default_tier=arguments.default_tier,
        upstream=arguments.upstream,
        upstream_api_key=read_secret(upstream_key, "--upstream-key-file") if upstream_key is not None else None,
        upstream_timeout=arguments.upstream_timeout,
        upstream_concurrency=arguments.upstream_concurrency,
        unsafe_remote_upstream=arguments.unsafe_remote_upstream,
        rate_limit=arguments.rate_limit,
        server_key=arguments.server_key,
        grace=arguments.grace,
        log_format=arguments.log_format,
        fault=arguments.fault,
    )


def _models(given: list[str] | None) -> dict[str, frozenset[str]] | None:
    """``["a", "b=high,maximum"]`` → what may be asked at which tiers; None for anything at any."""
    if given is None:
        return None
    models = {}
    for one in given:
        name, equals, tiers = one.partition("=")
        models[name] = frozenset(tiers.split(",") if equals else TIERS)
    return models


def _check_fault(name: str) -> None:
    from difflib import get_close_matches

    from nomyo.router.faults import BY_NAME

    if name not in BY_NAME:
        close = get_close_matches(name, BY_NAME, 1)
        hint = f"did you mean {close[0]}?" if close else "nomyo router --list-faults lists all"
        raise CommandError(f"--fault: there is none of the name {name[:40]!r}; {hint}")


def _list_faults(*, as_json: bool) -> int:
    from nomyo.router.faults import FAULTS

    if as_json:
        rows = [{"name": one.name, "reason": one.reason} for one in FAULTS]
        print_json({"format": "nomyo-router-faults/1", "faults": rows})
    else:
        print_output("\n".join(text_style().pairs([(one.name, one.reason) for one in FAULTS], indent=0)))
    return OK
