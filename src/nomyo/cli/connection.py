"""Create a client from options and the environment, and convert its errors to error messages of a command."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from nomyo.cli.settings import check_variables, nonempty, read_secret, read_setting
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
    """Declare the options of a client: the server, the API key, and the keys of server and client."""
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
        help="accept only the server key with this pin, sha256/…; can be repeated",
    )
    parser.add_argument(
        "--key-dir",
        type=nonempty,
        metavar="DIR",
        help="folder of the client's key pair; a pair is generated if the folder has none",
    )
    parser.add_argument(
        "--key-password-file", type=nonempty, metavar="FILE", help="a file that contains the password of that key"
    )
    add_server(parser)


def resolve_base_url(arguments: argparse.Namespace) -> str:
    """Return the base URL from the option, else from the environment variable, else the default."""
    return read_setting("--base-url", arguments.base_url, "NOMYO_BASE_URL").value or DEFAULT_BASE_URL


def host_of(url: str) -> str:
    """Return the host and port of a valid `url`, for error messages."""
    return urlsplit(url).netloc


def open_client(
    arguments: argparse.Namespace, policy: AppraisalPolicy | None, evidence_log: str | None = None, **options: Any
) -> SecureChatCompletion:
    """Create the client from the arguments of `add_client`; with a policy, it requires attestation.

    Args:
        arguments: the arguments of the command.
        policy: the policy; None to require no attestation.
        evidence_log: path of the ledger; None to store no evidence.
        options: further options of `SecureChatCompletion`.

    Raises `CommandError`.
    """
    check_variables()
    if arguments.key_password_file is not None and arguments.key_dir is None:
        raise CommandError("--key-password-file: requires --key-dir, the folder of the encrypted key")
    pins = _read_pins(arguments)
    if arguments.api_key_file is not None:
        api_key: str | None = read_secret(arguments.api_key_file, "--api-key-file")
    else:
        api_key = read_setting("", None, "NOMYO_API_KEY").value
    password = None
    if arguments.key_password_file is not None:
        password = read_secret(arguments.key_password_file, "--key-password-file")

    from nomyo.chat import SecureChatCompletion
    from nomyo.errors import NomyoError

    try:
        with print_insecure_warnings():
            return SecureChatCompletion(
                resolve_base_url(arguments),
                allow_http=arguments.allow_http,
                api_key=api_key,
                attestation_policy=policy,
                key_dir=arguments.key_dir,
                key_password=password,
                server_key_pins=pins,
                timeout=arguments.timeout,
                evidence_log=evidence_log,
                **{"require_attestation": policy is not None, **options},
            )
    except NomyoError as error:
        raise command_error(error) from None


def _read_pins(arguments: argparse.Namespace) -> tuple[str, ...]:
    from nomyo.keys import parse_pin

    pins, source = arguments.server_key_pin, "--server-key-pin"
    if pins is None:
        value, source = read_setting("", None, "NOMYO_SERVER_KEY_PINS")
        pins = [] if value is None else value.split(",")
    try:
        return tuple(parse_pin(pin) for pin in pins)
    except ValueError as error:
        raise CommandError(f"{source}: {error}") from None


class _NoticeHandler(logging.Handler):
    """Prints log records of the client as notices of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "refusal", ""):
            return  # the command itself prints the refusal
        print_error(f"notice: {record.getMessage()}")


@contextmanager
def print_log_warnings() -> Iterator[None]:
    """Print the client's logged warnings as notices while the context is active."""
    logger = logging.getLogger("nomyo")
    handler = _NoticeHandler(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def print_insecure_warnings() -> Iterator[None]:
    """Print the client's `InsecureWarning`s as one-line notices, instead of in Python's format."""
    from nomyo.errors import InsecureWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InsecureWarning)
        yield
    for warning in caught:
        print_error(f"notice: {warning.message}")


_CHECK_BASE_URL: Final = "check that the base URL is that of a NOMYO router"

_NO_KEY: Final = "no API key was sent; set NOMYO_API_KEY or use --api-key-file"

_HINTS: Final[Mapping[str, str]] = {
    "AuthenticationError": "check the API key in NOMYO_API_KEY or --api-key-file",
    "ForbiddenError": "ask the operator which models and tiers this API key may use",
    "InvalidRequestError": "check --model, and whether the prompt is too long for it",
    "NotFoundError": _CHECK_BASE_URL,
    "ServiceUnavailableError": "ask the operator why this --tier is not available",  # if it is not retryable
    "APIError": _CHECK_BASE_URL,
    "APITimeoutError": "increase --timeout",
    "APIConnectionError": "check the base URL and the network",
    "ResponseNotBoundError": "do not rely on this server",
    "ResponseTooLargeError": "request less: fewer tokens (--max-tokens), choices or log probabilities",
    "ResponseError": "try again; if it happens again, do not rely on this server",
    "ServerKeyError": "do not send prompts to this server until you know the reason",
}
"""Error class → hint. The first class in an error's MRO that has an entry applies."""

_OPTIONS: Final = {
    "base_url": "base URL",
    "api_key": "API key",
    "timeout": "--timeout",
    "refusal_hold": "--refusal-hold",
    "preflight": "--preflight",
    "server_key_pins": "--server-key-pin",
    "key_dir": "--key-dir",
    "key_password": "--key-password-file",
}
"""Parameter of the client at the start of a message → option of the command that sets it."""

_KEY_HINTS: Final = {
    "pass its password": "pass the file of its password as --key-password-file",
    "omit the password": "omit --key-password-file",
}
"""Hint of a `KeyStoreError` → the same hint in terms of the command's options."""


def command_error(error: NomyoError, host: str = "", *, keyless: bool = False) -> CommandError:
    """Convert an error of the client to an error of the command, with a hint.

    Args:
        host: host and port of the server; empty if no server was called.
        keyless: whether the request had no API key.
    """
    from nomyo.errors import (
        ArgumentError,
        AuthenticationError,
        EvidenceLogError,
        InsecureURLError,
        InternalError,
        KeyStoreError,
    )  # fmt: skip
    from nomyo.transport import CONNECTION_FAILED, CONNECTION_REFUSED

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
            _name_option(text).replace("; pass the API key as api_key", "; every user could see it in the process list")
        )
    hint = _NO_KEY if keyless and isinstance(error, AuthenticationError) else _find_hint(error)
    problem = text.removeprefix(CONNECTION_FAILED)
    hint = _local_hint(text, host, refused=text.endswith(CONNECTION_REFUSED)) or hint
    problem = problem if host in problem else f"{host}: {problem}"
    return CommandError(f"{problem}; {hint}" if hint else problem)


def _local_hint(text: str, host: str, *, refused: bool) -> str:
    """Return the hint for a failed connection to a server on this machine; empty for other errors and hosts.

    Args:
        text: the error message.
        host: host and port.
        refused: whether the connection was refused.
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
    return f"start a server on this port, for example nomyo router --port {parts.port}, or correct the port"


def _find_hint(error: NomyoError) -> str:
    from nomyo.errors import APIError
    from nomyo.rate_limit import QUEUE_FULL_PREFIX
    from nomyo.status import NOT_FROM_ROUTER

    text = str(error)
    with_hint = ("SSL_CERT_FILE", "the client appends its own paths", "(407)", "check scheme and port")
    if text.startswith(QUEUE_FULL_PREFIX) or any(part in text for part in with_hint):
        return ""  # the message contains the hint
    if NOT_FROM_ROUTER in text:
        return _CHECK_BASE_URL
    if isinstance(error, APIError) and error.retryable:
        seconds = getattr(error, "retry_after", None)
        return "try again later" if seconds is None else f"try again in {seconds:.0f} s"
    return next((_HINTS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _HINTS), "")


def _name_option(text: str) -> str:
    """Replace a parameter at the start of `text` with the option that sets it."""
    return re.sub(r"^(\w+)(?=:)", lambda found: _OPTIONS.get(found[1], found[1]), text)
