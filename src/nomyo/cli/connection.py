"""Which server is asked, and as whom: flags, environment, and the client made of them."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nomyo.cli.settings import check_variables, filled, read_secret, setting
from nomyo.cli.terminal import print_error
from nomyo_attest.cli.arguments import decimal_number
from nomyo_attest.cli.errors import CommandError

if TYPE_CHECKING:
    import argparse

    from nomyo.chat import SecureChatCompletion
    from nomyo.errors import NomyoError
    from nomyo_attest.cli.arguments import Parser
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
        print_error(f"notice: {record.getMessage()}")


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
        print_error(f"notice: {one.message}")


_NO_ROUTER: Final = "check the base URL: is it that of a NOMYO router?"

_NO_KEY: Final = "no API key was sent: give one in NOMYO_API_KEY or --api-key-file"

_HINTS: Final[Mapping[str, str]] = {
    "AuthenticationError": "check the API key, in NOMYO_API_KEY or --api-key-file",
    "ForbiddenError": "ask the operator which models and tiers this API key may use",
    "InvalidRequestError": "check --model, and whether the prompt is too long for it",
    "NotFoundError": _NO_ROUTER,
    "ServiceUnavailableError": "ask the operator why this --tier is not available",  # waiting does not help here
    "APIError": _NO_ROUTER,
    "APITimeoutError": "--timeout allows more seconds",
    "APIConnectionError": "check the base URL and the network",
    "ResponseNotBoundError": "do not rely on this server",
    "ResponseTooLargeError": "ask for less: fewer tokens (--max-tokens), answers or log probabilities",
    "ResponseError": "try again; if it happens again, do not rely on this server",
    "ServerKeyError": "do not send prompts to this server before you know why",
}
"""Class of an error → what to do about it; the nearest class in its MRO counts. Names, so that --help imports none."""

_OPTIONS: Final = {
    "base_url": "base URL",
    "api_key": "API key",
    "timeout": "--timeout",
    "server_key_pins": "--server-key-pin",
    "key_dir": "--key-dir",
    "key_password": "--key-password-file",
}
"""Parameters of the client, as its messages name them → what stands for them here."""

_KEY_HINTS: Final = {
    "give its password": "give its password in a file, --key-password-file",
    "leave the password away": "leave --key-password-file away",
}
"""What a key file's error asks of a program → what it asks of somebody at a command line."""


def failure(error: NomyoError, host: str = "", *, keyless: bool = False) -> CommandError:
    """The complaint about `error`.

    Args:
        host: the server it happened with, if any.
        keyless: whether no API key was sent.
    """
    from nomyo.errors import (
        ArgumentError,
        AuthenticationError,
        EvidenceLogError,
        InsecureURLError,
        InternalError,
        KeyStoreError,
    )  # fmt: skip

    text = str(error)
    if isinstance(error, InsecureURLError):
        problem = _name_option(text.partition(": allow_http is")[0].partition(". Use https")[0])
        return CommandError(f"{problem}; use https; --allow-http is for a server on this machine")
    if isinstance(error, EvidenceLogError):
        return CommandError(f"--evidence-log: {text}")
    if isinstance(error, KeyStoreError):
        return CommandError(f"{error.path}: {error.problem}; {_KEY_HINTS.get(error.hint, error.hint)}")
    if isinstance(error, (ArgumentError, InternalError)):
        return CommandError(
            _name_option(text).replace("; give the API key as api_key", "; it would show in the process list")
        )
    hint = _NO_KEY if keyless and isinstance(error, AuthenticationError) else _hint(error)
    said = text if host in text else f"{host}: {text}"
    return CommandError(f"{said}; {hint}" if hint else said)


def _hint(error: NomyoError) -> str:
    from nomyo.errors import APIError
    from nomyo.rate_limit import QUEUE_FULL
    from nomyo.status import NOT_THE_ROUTERS

    text = str(error)
    if text.startswith(QUEUE_FULL) or "SSL_CERT_FILE" in text or "; give it without /" in text or "(407)" in text:
        return ""  # the message says it already
    if NOT_THE_ROUTERS in text:
        return _NO_ROUTER
    if isinstance(error, APIError) and error.retryable:
        seconds = getattr(error, "retry_after", None)
        return "try again later" if seconds is None else f"try again in {seconds:.0f} s"
    return next((_HINTS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _HINTS), "")


def _name_option(text: str) -> str:
    """`text` with the parameter it begins with as the flag that sets it."""
    return re.sub(r"^(\w+)(?=:)", lambda found: _OPTIONS.get(found[1], found[1]), text)
