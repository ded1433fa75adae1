"""Run the reference router: the server's side of the protocol, on this machine.

It is for development and tests, and runs in front of any OpenAI-compatible
server. Without --upstream a completion repeats the prompt. Without --cert the
router creates a temporary certificate authority (CA), for loopback only.

When it is ready, it prints one JSON line on standard output, and nothing else:

  {"url": "https://localhost:…", "ca": "/tmp/…/ca.pem", "tpm": "swtpm"}

A client needs "url" in NOMYO_BASE_URL and "ca" in SSL_CERT_FILE. --print-env
prints shell commands that set them, instead of this line, and NOMYO_API_KEY to
the first key of --api-key-file.

Evidence comes from this machine's TPM, else from swtpm, else from a software
TPM with public keys (soft); the line above names the source. To see a client
refuse evidence, let a software TPM boot other firmware: with --boot
other-firmware at the start, or with kill -USR1 PID later. kill -USR2 PID boots
the original firmware.

Ctrl-C or SIGTERM ends the router: it accepts no more connections, responds to
new requests with 503, and lets requests in progress finish within --grace
seconds. A second signal ends it at once. The router needs the extra router.

Exit status: 0 after Ctrl-C or SIGTERM; 2 if the router cannot start.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nomyo.cli.settings import nonempty, read_secret, read_secrets
from nomyo.config import TIERS
from nomyo_attest.cli.arguments import FORMATS, decimal_number, whole_number
from nomyo_attest.cli.console import print_json, print_output, text_style
from nomyo_attest.cli.errors import EXIT_OK, CommandError

if TYPE_CHECKING:
    import argparse

    from nomyo.router.options import RouterOptions
    from nomyo_attest.cli.arguments import Parser

TPMS: Final = ("auto", "device", "swtpm", "soft", "none")
"""A copy of `nomyo.router.options.TPMS`, since importing that package is slow. A test compares the two."""

BOOTS: Final = ("original-firmware", "other-firmware")
"""A copy of `nomyo.router.options.BOOTS`. A test compares the two."""

_OPTIONS: Final = {
    "api_keys": "--api-key-file",
    "boot": "--boot",
    "ca_out": "--ca-out",
    "cert": "--cert",
    "default_tier": "--default-tier",
    "fault": "--fault",
    "grace": "--grace",
    "host": "--host",
    "key": "--key",
    "models": "--model",
    "port": "--port",
    "pcrs": "--pcrs",
    "server_key": "--server-key",
    "tpm": "--tpm",
    "upstream": "--upstream",
    "upstream_concurrency": "--upstream-concurrency",
    "upstream_timeout": "--upstream-timeout",
}
"""Field of `RouterOptions` at the start of a message → option of the command that sets it."""

EXAMPLE = """
nomyo router --port 8443 --ca-out ca.pem
nomyo router --port 8443 --upstream http://127.0.0.1:8080/v1
nomyo router --tpm soft --print-env > router.env
nomyo router --list-faults
"""


def configure(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("--host", type=nonempty, default="127.0.0.1", help="address to listen on; default: 127.0.0.1")
    parser.add_argument("--port", type=whole_number, default=0, help="port to listen on; default: a free port")
    parser.add_argument(
        "--cert",
        type=nonempty_path,
        metavar="FILE",
        help="certificate chain in PEM, required for addresses other than loopback",
    )
    parser.add_argument("--key", type=nonempty_path, metavar="FILE", help="the certificate's private key in PEM")
    parser.add_argument(
        "--ca-out",
        type=nonempty_path,
        metavar="FILE",
        help="write the certificate of the temporary CA to this file; an existing certificate is replaced",
    )
    parser.add_argument(
        "--print-env",
        action="store_true",
        help="print shell commands that configure a client, instead of the JSON line",
    )
    parser.add_argument(
        "--api-key-file",
        type=nonempty,
        metavar="FILE",
        help="file of accepted API keys, one per line; default: accept every client",
    )
    parser.add_argument(
        "--rate-limit", action="store_true", help="limit callers to two requests per second, as the service does"
    )
    parser.add_argument("--tpm", choices=TPMS, default="auto", help=f"source of evidence: {', '.join(TPMS)}")
    parser.add_argument(
        "--boot",
        choices=BOOTS,
        default=BOOTS[0],
        help="firmware that a software TPM boots: original-firmware or other-firmware",
    )
    parser.add_argument(
        "--pcrs", type=nonempty, default="sha256:0,7,10", metavar="PCRS", help="quoted PCRs; default: sha256:0,7,10"
    )
    parser.add_argument(
        "--aik",
        type=nonempty,
        default="p256",
        metavar="KEY",
        help="kind of the key that is created for each quote: p256, rsa2048, …; default: p256",
    )
    parser.add_argument(
        "--server-key",
        type=nonempty_path,
        metavar="FILE",
        help="private RSA key that decrypts requests; default: a new key",
    )
    parser.add_argument(
        "--upstream",
        type=nonempty,
        metavar="URL",
        help="forward requests to this server, such as http://127.0.0.1:8080/v1",
    )
    parser.add_argument(
        "--upstream-key-file", type=nonempty, metavar="FILE", help="a file that contains the API key of the upstream"
    )
    parser.add_argument(
        "--upstream-timeout",
        type=decimal_number,
        default=600.0,
        metavar="S",
        help="timeout for the upstream in seconds; default: 600",
    )
    parser.add_argument(
        "--upstream-concurrency",
        type=whole_number,
        default=100,
        metavar="N",
        help="maximum number of concurrent requests to the upstream; others wait; default: 100",
    )
    parser.add_argument(
        "--unsafe-remote-upstream", action="store_true", help="send prompts unencrypted to another machine"
    )
    parser.add_argument(
        "--model",
        type=nonempty,
        action="append",
        metavar="NAME[=TIER,…]",
        help="allow this model, at these tiers or at every tier; can be repeated; default: any model",
    )
    parser.add_argument(
        "--default-tier",
        choices=TIERS,
        default=TIERS[0],
        help="security tier of requests that name none; default: standard",
    )
    parser.add_argument(
        "--grace",
        type=decimal_number,
        default=30.0,
        metavar="S",
        help="seconds that requests in progress may take after Ctrl-C or SIGTERM; default: 30",
    )
    parser.add_argument(
        "--log-format",
        choices=FORMATS,
        default="text",
        help="format of the log on standard error: text or json; default: text",
    )
    parser.add_argument("--fault", type=nonempty, metavar="NAME", help="simulate this fault, for tests of clients")
    parser.add_argument("--list-faults", action="store_true", help="list the faults, and exit")
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="format of the list of faults: text or json; default: text"
    )


def nonempty_path(text: str) -> Path:
    """Convert `text` to a path, and reject an empty one, which would be the working directory."""
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

        serve(_build_options(arguments))
    except NomyoError as error:
        raise CommandError(_name_option(str(error))) from None
    return EXIT_OK


def _name_option(text: str) -> str:
    """Replace a field of `RouterOptions` at the start of `text` with the option of the command."""
    for name, flag in _OPTIONS.items():
        if text.startswith((f"{name}:", f"{name} ")):
            return flag + text.removeprefix(name).replace("unsafe_remote_upstream", "--unsafe-remote-upstream")
    return text


def _build_options(arguments: argparse.Namespace) -> RouterOptions:
    from nomyo.router.options import RouterOptions

    api_keys = arguments.api_key_file
    upstream_key = arguments.upstream_key_file
    return RouterOptions(
        host=arguments.host,
        port=arguments.port,
        cert=arguments.cert,
        key=arguments.key,
        api_keys=read_secrets(api_keys, "--api-key-file") if api_keys is not None else (),
        tpm=arguments.tpm,
        boot=arguments.boot,
        pcrs=arguments.pcrs,
        aik=arguments.aik,
        models=_parse_models(arguments.model),
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
        ca_out=arguments.ca_out,
        print_env=arguments.print_env,
        fault=arguments.fault,
    )


def _parse_models(values: list[str] | None) -> dict[str, frozenset[str]] | None:
    """Parse values such as ``"a"`` and ``"b=high,maximum"`` into allowed tiers by model; None allows every model."""
    if values is None:
        return None
    models = {}
    for value in values:
        name, equals, tiers = value.partition("=")
        models[name] = frozenset(tiers.split(",") if equals else TIERS)
    return models


def _check_fault(name: str) -> None:
    from difflib import get_close_matches

    from nomyo.router.faults import BY_NAME

    if name not in BY_NAME:
        close = get_close_matches(name, BY_NAME, 1)
        hint = f"did you mean {close[0]}?" if close else "nomyo router --list-faults lists all faults"
        raise CommandError(f"--fault: unknown fault {name[:40]!r}; {hint}")


def _list_faults(*, as_json: bool) -> int:
    from nomyo.router.faults import FAULTS

    if as_json:
        rows = [{"name": fault.name, "reason": fault.reason} for fault in FAULTS]
        print_json({"format": "nomyo-router-faults/1", "faults": rows})
    else:
        print_output("\n".join(text_style().pairs([(fault.name, fault.reason) for fault in FAULTS], indent=0)))
    return EXIT_OK
