"""Refuse names that look like an option but are not one.

`create` sends every unknown keyword argument to the model. A misspelled option name, or one from another library, such
as ``require_atestation`` or ``policy``, would therefore silently switch a check off. To prevent that, a name is refused
if it

- equals an option when case and punctuation are ignored,
- is within an edit distance of 2 of an option that is at least eight characters long,
- contains ``attest``, or
- is in `FOREIGN_NAMES`: names that other libraries, such as OpenAI's, use for an option.

``extra_body`` sends a parameter under any name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final

from nomyo.errors import ArgumentTypeError

CALL_OPTIONS: Final = ("api_key", "base_url", "extra_body", "require_attestation", "security_tier", "timeout")
"""Keyword arguments of `create` that are not sent to the model."""

CHAT_ONLY_OPTIONS: Final = (
    "attestation_policy", "preflight", "refusal_hold", "require_attestation", "response_type",
)  # fmt: skip
"""Options of `SecureChatCompletion` that `SecureCompletionClient` does not have."""

EDIT_DISTANCE_MAX: Final = 2
"""Maximum edit distance between an option and a misspelling of it."""

FUZZY_LENGTH_MIN: Final = 8
"""Minimum length in characters of an option whose misspellings are refused."""

_ATTESTATION_STEM: Final = "attest"

_NAME_MAX: Final = 40
"""Maximum length in characters of a name that is compared and quoted."""

_HEADERS: Final = "the protocol defines the HTTP headers"
_QUERY: Final = "the protocol defines the request's URL"
_ACCOUNT: Final = "the service has no organizations or projects; the API key identifies the account"
_TLS: Final = (
    "TLS certificates are always verified; to configure the connection, pass an httpx.AsyncClient to the constructor "
    "as http_client; attestation is configured with require_attestation"
)
_PAYLOAD_ID: Final = "create() generates a new payload id for each request"

_NAMES: Final[Mapping[str, str]] = {
    "require_attestation": """
        attest attestation attestation_required attested check_attestation enforce_attestation gate require_attest
        require_policy require_quote verify_attestation verify_quote
    """,
    "attestation_policy": """
        appraisal_policy check_policy enforce_policy policies policy policy_file policy_path policy_toml
        verification_policy
    """,
    "evidence_log": "evidence_file evidence_ledger evidence_path ledger",
    "security_tier": "security_level tier",
    "server_key_pins": "key_pins pin pinned_key pinned_keys pinned_server_key pins server_key server_pins",
    "key_dir": "key_folder key_path keys_dir",
    "key_password": "passphrase password",
    "api_key": """
        access_token api_token auth auth_token authorization bearer bearer_token openai_api_key token
    """,
    "base_url": "api_base api_base_url api_url endpoint openai_api_base openai_base_url router_url server_url",
    "timeout": "connect_timeout deadline read_timeout request_timeout timeout_s timeout_seconds",
    "max_retries": "max_attempts max_retry num_retries retries retry",
    "http_client": "client httpx_client proxies proxy transport",
    _TLS: "cert ssl_verify tls_verify trust_env verify verify_ssl verify_tls",
    _HEADERS: "cookies default_headers extra_headers headers http_headers",
    _QUERY: "default_query extra_query",
    _ACCOUNT: "organization project",
    _PAYLOAD_ID: "nonce payload_id",
}
"""Option, or reason why there is none → the names that other libraries use for it."""

FOREIGN_NAMES: Final[Mapping[str, str]] = {name: meant for meant, names in _NAMES.items() for name in names.split()}
"""Unsupported name from another library → the option that replaces it, or the reason why there is none."""

_COUNTERPARTS: Final = {"base_url": "router_url", "router_url": "base_url"}
"""Option of one client → the name of the same option in the other client."""


def _normalized(name: str) -> str:
    """Return a name in lower case without punctuation, so that ``apiKey`` equals ``api_key``."""
    return re.sub(r"[\W_]", "", name.lower())


_NORMALIZED_FOREIGN_NAMES: Final = {_normalized(name): meant for name, meant in FOREIGN_NAMES.items()}


def check_call(names: Iterable[str], options: Collection[str]) -> None:
    """Refuse keyword arguments of `create` that look like an option.

    Args:
        names: keyword arguments that would be sent to the model.
        options: option names of the constructor.

    Raises `ArgumentTypeError`, which suggests the option that was meant.
    """
    known = (*CALL_OPTIONS, *(name for name in options if name not in CALL_OPTIONS))
    for name in names:
        meant = intended_option(name, known)
        if meant is None:
            continue
        raise ArgumentTypeError(
            f"{name[:_NAME_MAX]}: {_call_problem(name, meant, known)} To send a model parameter of this name, put it "
            "into extra_body"
        )


def _call_problem(name: str, meant: str, known: Collection[str]) -> str:
    if meant not in known:
        return f"create() does not support this argument: {meant}."
    where = "" if meant in CALL_OPTIONS else ", in the constructor or in client.with_options()"
    if name == meant:
        return f"create() does not accept this option; set it{where.removeprefix(',')}."
    return f"create() has no such option; did you mean {meant}{where}?"


def intended_option(name: str, options: Collection[str]) -> str | None:
    """Return the option in `options` that `name` equals or misspells, or that goes by this name in another library.

    For an unsupported name without a counterpart, returns the reason. Returns None if the name does not resemble an
    option.
    """
    if len(name) > _NAME_MAX:
        return _attestation_option(_normalized(name))
    return _intended_option(name, tuple(options))


def _attestation_option(normalized: str) -> str | None:
    """Return the option for a name that contains ``attest``, which no model parameter does; None for any other name."""
    if _ATTESTATION_STEM not in normalized:
        return None
    return "attestation_policy" if "polic" in normalized else "require_attestation"


@lru_cache(maxsize=512)
def _intended_option(name: str, options: tuple[str, ...]) -> str | None:
    if name in options:
        return name
    normalized = _normalized(name)
    for option in options:
        if normalized == _normalized(option):
            return option
    meant = _NORMALIZED_FOREIGN_NAMES.get(normalized, _COUNTERPARTS.get(name))
    if meant in _COUNTERPARTS and meant not in options:
        meant = _COUNTERPARTS[meant]
    if meant is not None:
        return meant
    for option in options:
        if len(option) >= FUZZY_LENGTH_MIN and _is_misspelling(normalized, _normalized(option)):
            return option
    return _attestation_option(normalized)


def _is_misspelling(name: str, option: str) -> bool:
    """Whether the Levenshtein distance between two normalized names is at most `EDIT_DISTANCE_MAX`."""
    if abs(len(name) - len(option)) > EDIT_DISTANCE_MAX:
        return False
    previous_row = list(range(len(option) + 1))
    for row_number, character in enumerate(name, 1):
        row = [row_number]
        for column, expected in enumerate(option, 1):
            substitution = previous_row[column - 1] + (character != expected)
            row.append(min(previous_row[column] + 1, row[-1] + 1, substitution))
        previous_row = row
    return previous_row[-1] <= EDIT_DISTANCE_MAX


def hint(name: str, accepted: Collection[str]) -> str:
    """Return a suggestion for an unknown keyword argument, to append to a message; empty if there is none.

    Args:
        accepted: the parameters of the function.
    """
    meant = intended_option(name, (*accepted, *CHAT_ONLY_OPTIONS))
    if meant is None:
        return ""
    if meant in accepted:
        return f"; did you mean {meant}?"
    if meant in CHAT_ONLY_OPTIONS:
        return f"; {meant} is an option of SecureChatCompletion"
    return f"; {meant}" if " " in meant else ""
