"""Open a client from options and the environment, and turn its errors into messages for a command line."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nomyo.cli.settings import check_variables, nonempty, read_secret, setting
from nomyo.cli.terminal import print_error
from nomyo.config import DEFAULT_BASE_URL, TIMEOUT, is_loopback
from nomyo_attest.cli.arguments import decimal_number
from nomyo_attest.cli.errors import CommandError

if TYPE_CHECKING:
    import argparse

    from nomyo.chat import SecureChatCompletion
    from nomyo.errors import NomyoError
    from nomyo_attest.cli.arguments import Parser
    from nomyo_attest.policy import AppraisalPolicy


def add_server(parser: Parser, timeout: float = TIMEOUT) -> None:
    """Declare the options of a connection to a server."""
    parser.add_argument("--allow-http", action="store_true", help="allow plain HTTP to this machine, for development")
    parser.add_argument(
        "--timeout",
        type=decimal_number,
        default=timeout,
        metavar="S",
        help=f"total timeout in seconds; default: {timeout:g}",
    )


def add_client(parser: Parser) -> None:
    """Declare the options of a client: the server, the API key, and the keys of both sides."""
    parser.add_argument(
        "--base-url", type=nonempty, metavar="URL", help=f"base URL of the service; default: {DEFAULT_BASE_URL}"
    )
    parser.add_argument(
        "--api-key-file",
        type=nonempty,
        metavar="FILE",
        help="a file that contains the API key, if it is not in NOMYO_API_KEY",
    )
    parser.add_argument(
        "--server-key-pin",
        type=nonempty,
        action="append",
        metavar="PIN",
        help="an accepted server key, sha256/…; no other is used; may be given several times",
    )
    parser.add_argument(
        "--key-dir",
        type=nonempty,
        metavar="DIR",
        help="folder of the client's key pair, which is generated if it has none",
    )
    parser.add_argument(
        "--key-password-file", type=nonempty, metavar="FILE", help="a file that contains the password of that key"
    )
    add_server(parser)


def base_url(arguments: argparse.Namespace) -> str:
    """Return the base URL of the service, as given."""
    return setting("--base-url", arguments.base_url, "NOMYO_BASE_URL").value or DEFAULT_BASE_URL


def host_of(url: str) -> str:
    """Return host and port of `url`, which was checked, for error messages."""
    return urlsplit(url).netloc


def open_client(
    arguments: argparse.Namespace, policy: AppraisalPolicy | None, evidence_log: str | None = None
) -> SecureChatCompletion:
    """Create the client from the arguments of `add_client`; with a policy, it requires attestation.

    Raises `CommandError`.
    """
    check_variables()
    if arguments.key_password_file is not None and arguments.key_dir is None:
        raise CommandError("--key-password-file: requires --key-dir, the folder of the key that it opens")
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
        with insecurity_notices():
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
        raise command_error(error) from None


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


class _NoticeHandler(logging.Handler):
    """Print log records of the client as notices of this program."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "refusal", ""):
            return  # the command itself prints the refusal
        print_error(f"notice: {record.getMessage()}")


@contextmanager
def log_notices() -> Iterator[None]:
    """Print warnings that the client logs as notices, such as that the server's key has changed."""
    logger = logging.getLogger("nomyo")
    handler = _NoticeHandler(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def insecurity_notices() -> Iterator[None]:
    """Print the client's `InsecureWarning`s as notices of one line, instead of in Python's format."""
    from nomyo.errors import InsecureWarning

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", InsecureWarning)
        yield
    for one in seen:
        print_error(f"notice: {one.message}")


_CHECK_BASE_URL: Final = "check that the base URL is that of a NOMYO router"

_NO_KEY: Final = "no API key was sent: give one in NOMYO_API_KEY or --api-key-file"

_HINTS: Final[Mapping[str, str]] = {
    "AuthenticationError": "check the API key, in NOMYO_API_KEY or --api-key-file",
    "ForbiddenError": "ask the operator which models and tiers this API key may use",
    "InvalidRequestError": "check --model, and whether the prompt is too long for it",
    "NotFoundError": _CHECK_BASE_URL,
    "ServiceUnavailableError": "ask the operator why this --tier is not available",  # waiting does not help here
    "APIError": _CHECK_BASE_URL,
    "APITimeoutError": "increase --timeout",
    "APIConnectionError": "check the base URL and the network",
    "ResponseNotBoundError": "do not rely on this server",
    "ResponseTooLargeError": "request less: fewer tokens (--max-tokens), choices or log probabilities",
    "ResponseError": "try again; if it happens again, do not rely on this server",
    "ServerKeyError": "do not send prompts to this server until you know the reason",
}
"""Class of an error → what to do about it; the nearest class in its MRO counts."""

_OPTIONS: Final = {
    "base_url": "base URL",
    "api_key": "API key",
    "timeout": "--timeout",
    "server_key_pins": "--server-key-pin",
    "key_dir": "--key-dir",
    "key_password": "--key-password-file",
}
"""Parameter of the client that a message begins with → the option that sets it."""

_KEY_HINTS: Final = {
    "give its password": "give its password in a file, --key-password-file",
    "omit the password": "omit --key-password-file",
}
"""Hint of a key file's error → the same hint for a command line."""


def command_error(error: NomyoError, host: str = "", *, keyless: bool = False) -> CommandError:
    """Return the error of the command for an `error` of the client, with a hint.

    Args:
        host: host and port of the server, if any.
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
    from nomyo.transport import FAILED, REFUSED

    text = str(error)
    if isinstance(error, InsecureURLError) and "allow_http=True; or" in text:
        return CommandError(_name_option(text).replace("allow_http=True; or use https", "--allow-http; or use https"))
    if isinstance(error, InsecureURLError):
        problem = _name_option(text.partition(": allow_http is")[0].partition(". Use https")[0])
        return CommandError(f"{problem}; use https (--allow-http is only for a server on this machine)")
    if isinstance(error, EvidenceLogError):
        return CommandError(f"--evidence-log: {text}")
    if isinstance(error, KeyStoreError):
        return CommandError(f"{error.path}: {error.problem}; {_KEY_HINTS.get(error.hint, error.hint)}")
    if isinstance(error, (ArgumentError, InternalError)):
        return CommandError(
            _name_option(text).replace("; give the API key as api_key", "; every user could see it in the process list")
        )
    hint = _NO_KEY if keyless and isinstance(error, AuthenticationError) else _hint(error)
    problem = text.removeprefix(FAILED)
    hint = _local_hint(text, host, refused=text.endswith(REFUSED)) or hint
    problem = problem if host in problem else f"{host}: {problem}"
    return CommandError(f"{problem}; {hint}" if hint else problem)


def _local_hint(text: str, host: str, *, refused: bool) -> str:
    """Return the hint for a failed connection to a server on this machine; empty for another error or host.

    Args:
        text: the error message.
        host: host and port.
        refused: whether no server listens there.
    """
    parts = urlsplit(f"//{host}")
    if not is_loopback(parts.hostname or ""):
        return ""
    if "TLS certificate does not verify" in text:
        return "nomyo router writes this file with --ca-out"
    if not refused:
        return ""
    if parts.port is None:
        return "add the port of your server to the base URL"
    return f"start a server on it, such as nomyo router --port {parts.port}, or correct the port"


def _hint(error: NomyoError) -> str:
    from nomyo.errors import APIError
    from nomyo.rate_limit import QUEUE_FULL
    from nomyo.status import NOT_FROM_ROUTER

    text = str(error)
    hinted = ("SSL_CERT_FILE", "; give it without /", "(407)", "check scheme and port")
    if text.startswith(QUEUE_FULL) or any(part in text for part in hinted):
        return ""  # the message contains the hint
    if NOT_FROM_ROUTER in text:
        return _CHECK_BASE_URL
    if isinstance(error, APIError) and error.retryable:
        seconds = getattr(error, "retry_after", None)
        return "try again later" if seconds is None else f"try again in {seconds:.0f} s"
    return next((_HINTS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _HINTS), "")


def _name_option(text: str) -> str:
    """Replace the parameter that `text` begins with by the option that sets it."""
    return re.sub(r"^(\w+)(?=:)", lambda found: _OPTIONS.get(found[1], found[1]), text)
