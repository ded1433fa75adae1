"""Which server is asked, and as whom: flags, environment, and the client made of them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nomyo.cli.errors import CommandError, complain
from nomyo.cli.secret_files import read_secret
from nomyo.cli.settings import check_variables, filled, setting
from nomyo_attest.cli.arguments import decimal_number

if TYPE_CHECKING:
    import argparse

    from nomyo.chat import SecureChatCompletion
    from nomyo_attest.cli.parser import Parser
    from nomyo_attest.policy import AppraisalPolicy

BASE_URL: Final = "https://api.nomyo.ai"

TIMEOUT: Final = 900.0
"""Seconds; as `nomyo.config` has it, which the help must not import."""


def add_server(parser: Parser, timeout: float = TIMEOUT) -> None:
    """Declare how a server may be reached."""
    parser.add_argument("--allow-http", action="store_true", help="plain HTTP to this machine, for development")
    parser.add_argument(
        "--timeout",
        type=decimal_number,
        default=timeout,
        metavar="S",
        help=f"seconds for all of it; default: {timeout:g}",
    )


def add_client(parser: Parser) -> None:
    """Declare whom to ask, with which key, and which keys to take."""
    parser.add_argument("--base-url", type=filled, metavar="URL", help=f"the router; default: {BASE_URL}")
    parser.add_argument(
        "--api-key-file", type=filled, metavar="FILE", help="a file with the API key, if it is not in NOMYO_API_KEY"
    )
    parser.add_argument(
        "--server-key-pin",
        type=filled,
        action="append",
        metavar="PIN",
        help="the only server key to send to: sha256/…; may be given several times",
    )
    parser.add_argument(
        "--key-dir", type=filled, metavar="DIR", help="folder of the client's key pair; made there if it has none"
    )
    parser.add_argument("--key-password-file", type=filled, metavar="FILE", help="a file with the password of that key")
    add_server(parser)


def base_url(arguments: argparse.Namespace) -> str:
    """The router's address, as given."""
    return setting("--base-url", arguments.base_url, "NOMYO_BASE_URL").value or BASE_URL


def host_of(url: str) -> str:
    """What complaints call the server at `url`, which has been found to be usable."""
    return urlsplit(url).netloc


def open_client(
    arguments: argparse.Namespace, policy: AppraisalPolicy | None, evidence_log: str | None = None
) -> SecureChatCompletion:
    """The client that the arguments of `add_client` ask for; with a policy, its gate is shut. Raises `CommandError`."""
    check_variables()
    if arguments.key_password_file is not None and arguments.key_dir is None:
        raise CommandError("--key-password-file: there is no --key-dir whose key it could open")
    pins = _pins(arguments)
    if arguments.api_key_file is not None:
        api_key: str | None = read_secret(arguments.api_key_file, "--api-key-file")
    else:
        api_key = setting("", None, "NOMYO_API_KEY").value
    password = None
    if arguments.key_password_file is not None:
        password = read_secret(arguments.key_password_file, "--key-password-file")

    from nomyo.chat import SecureChatCompletion
    from nomyo.cli.failures import failure
    from nomyo.errors import NomyoError

    try:
        with insecure_noticed():
            return SecureChatCompletion(
                base_url(arguments),
                allow_http=arguments.allow_http,
                api_key=api_key,
                attestation_policy=policy,
                require_attestation=policy is not None,
                key_dir=arguments.key_dir,
                key_password=password,
                server_key_pins=pins,
                timeout=arguments.timeout,
                evidence_log=evidence_log,
            )
    except NomyoError as error:
        raise failure(error) from None


def _pins(arguments: argparse.Namespace) -> tuple[str, ...]:
    from nomyo.keys import parse_pin

    given = arguments.server_key_pin
    source = "--server-key-pin"
    if given is None:
        listed = setting("", None, "NOMYO_SERVER_KEY_PINS")
        given, source = [] if listed.value is None else listed.value.split(","), listed.source
    try:
        return tuple(parse_pin(one) for one in given)
    except ValueError as error:
        raise CommandError(f"{source}: {error}") from None


class _Noticed(logging.Handler):
    """What the client logs as a line of this program's own."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "refusal", ""):
            return  # the command says in full what was refused
        complain(f"notice: {record.getMessage()}")


@contextmanager
def logs_noticed() -> Iterator[None]:
    """Say on one line what the client logs as a warning, such as that the server's key has changed."""
    logger = logging.getLogger("nomyo")
    handler = _Noticed(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def insecure_noticed() -> Iterator[None]:
    """Say on one line what the client warns about, rather than as Python does it."""
    from nomyo.errors import InsecureWarning

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", InsecureWarning)
        yield
    for one in seen:
        complain(f"notice: {one.message}")
