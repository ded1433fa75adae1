"""The client's exceptions as complaints: what went wrong, and what to do about it at a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from nomyo.cli.errors import CommandError
from nomyo.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ArgumentError,
    AuthenticationError,
    EvidenceLogError,
    ForbiddenError,
    InsecureURLError,
    InternalError,
    InvalidRequestError,
    KeyStoreError,
    NomyoError,
    NotFoundError,
    ResponseError,
    ResponseNotBoundError,
    ResponseTooLargeError,
    ServerKeyError,
    ServiceUnavailableError,
)
from nomyo.rate_limit import QUEUE_FULL
from nomyo.status import NOT_THE_ROUTERS

_NO_ROUTER: Final = "check the base URL: is it that of a NOMYO router?"

_NO_KEY: Final = "no API key was sent: give one in NOMYO_API_KEY or --api-key-file"

_HINTS: Final[Mapping[type[NomyoError], str]] = {
    AuthenticationError: "check the API key, in NOMYO_API_KEY or --api-key-file",
    ForbiddenError: "ask the operator which models and tiers this API key may use",
    InvalidRequestError: "check --model, and whether the prompt is too long for it",
    NotFoundError: _NO_ROUTER,
    ServiceUnavailableError: "ask the operator why this --tier is not available",  # waiting does not help here
    APIError: _NO_ROUTER,
    APITimeoutError: "--timeout allows more seconds",
    APIConnectionError: "check the base URL and the network",
    ResponseNotBoundError: "do not rely on this server",
    ResponseTooLargeError: "ask for less: fewer tokens (--max-tokens), answers or log probabilities",
    ResponseError: "try again; if it happens again, do not rely on this server",
    ServerKeyError: "do not send prompts to this server before you know why",
}
"""What to do about an error, by its class or the nearest above it."""

_FLAGS: Final = {
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
    text = str(error)
    if isinstance(error, InsecureURLError):
        problem = _flagged(text.partition(": allow_http is")[0].partition(". Use https")[0])
        return CommandError(f"{problem}; use https; --allow-http is for a server on this machine")
    if isinstance(error, EvidenceLogError):
        return CommandError(f"--evidence-log: {text}")
    if isinstance(error, KeyStoreError):
        return CommandError(f"{error.path}: {error.problem}; {_KEY_HINTS.get(error.hint, error.hint)}")
    if isinstance(error, (ArgumentError, InternalError)):
        return CommandError(
            _flagged(text).replace("; give the API key as api_key", "; it would show in the process list")
        )
    hint = _NO_KEY if keyless and isinstance(error, AuthenticationError) else _hint(error)
    said = text if host in text else f"{host}: {text}"
    return CommandError(f"{said}; {hint}" if hint else said)


def _hint(error: NomyoError) -> str:
    text = str(error)
    if text.startswith(QUEUE_FULL) or "SSL_CERT_FILE" in text or "; give it without /" in text or "(407)" in text:
        return ""  # the message says it already
    if NOT_THE_ROUTERS in text:
        return _NO_ROUTER
    if isinstance(error, APIError) and error.retryable:
        seconds = getattr(error, "retry_after", None)
        return "try again later" if seconds is None else f"try again in {seconds:.0f} s"
    return next((_HINTS[kind] for kind in type(error).__mro__ if kind in _HINTS), "")


def _flagged(text: str) -> str:
    """`text` with the parameter it begins with as the flag that sets it."""
    return re.sub(r"^(\w+)(?=:)", lambda found: _FLAGS.get(found[1], found[1]), text)
