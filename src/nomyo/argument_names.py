"""Which keyword arguments are refused because they look like an option, and what to write instead.

`create` sends every keyword argument that it does not know to the model. A misspelled or borrowed option name, such as
``require_atestation`` or ``policy``, would therefore switch a check off without any sign. So a name is refused if it

- equals an option when case and punctuation are ignored,
- is within an edit distance of 2 of an option of eight characters or more,
- contains ``attest``, or
- is in `BORROWED`: names that other libraries, or this one elsewhere, use for an option.

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

GATE_OPTIONS: Final = ("attestation_policy", "require_attestation")
"""Options of `SecureChatCompletion` that `SecureCompletionClient` does not have."""

EDITS: Final = 2
"""Edit distance up to which a name counts as a misspelled option."""

LONG: Final = 8
"""Characters of the shortest option whose misspellings are refused."""

_STEM: Final = "attest"

_NAME_MAX: Final = 40
"""Characters of the longest name that is compared and quoted."""

_HEADERS: Final = "the protocol defines the HTTP headers"
_QUERY: Final = "the protocol defines the request's URL"
_ACCOUNT: Final = "the service has no such notion; the API key names the account"
_TLS: Final = (
    "TLS certificates are always verified; configure the connection with an httpx.AsyncClient, given to the "
    "constructor as http_client, and attestation with require_attestation"
)
_PAYLOAD_ID: Final = "create() makes a new payload id for each request"

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
"""The option meant, or, as a sentence, why there is none → the names that other libraries use for it."""

BORROWED: Final[Mapping[str, str]] = {name: meant for meant, names in _NAMES.items() for name in names.split()}
"""Borrowed name → the option meant, or, as a sentence, why there is none."""


_SAME: Final = {"base_url": "router_url", "router_url": "base_url"}
"""Options that the two clients call by different names."""


def _normal(name: str) -> str:
    """A name in lower case without punctuation: ``apiKey`` and ``api_key`` are the same."""
    return re.sub(r"[\W_]", "", name.lower())


_NORMAL_BORROWED: Final = {_normal(name): meant for name, meant in BORROWED.items()}


def check_call(names: Iterable[str], options: Collection[str]) -> None:
    """Refuse keyword arguments of `create` that look like an option.

    Args:
        names: keyword arguments that would be sent to the model.
        options: option names of the constructor.

    Raises `ArgumentTypeError`, which names the option meant.
    """
    known = (*CALL_OPTIONS, *(name for name in options if name not in CALL_OPTIONS))
    for name in names:
        meant = meant_by(name, known)
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


def meant_by(name: str, options: Collection[str]) -> str | None:
    """The option in `options` that `name` equals, misspells or borrows from another library; a reason for a
    borrowed name without a counterpart; None if the name does not look like an option.
    """
    if len(name) > _NAME_MAX:
        return _related(_normal(name))
    return _meant_by(name, tuple(options))


def _related(normal: str) -> str | None:
    """The option meant by a name that contains ``attest``, which no model's parameter does; None for any other name."""
    if _STEM not in normal:
        return None
    return "attestation_policy" if "polic" in normal else "require_attestation"


@lru_cache(maxsize=512)
def _meant_by(name: str, options: tuple[str, ...]) -> str | None:
    if name in options:
        return name
    normal = _normal(name)
    for option in options:
        if normal == _normal(option):
            return option
    borrowed = _NORMAL_BORROWED.get(normal, _SAME.get(name))
    if borrowed in _SAME and borrowed not in options:
        borrowed = _SAME[borrowed]
    if borrowed is not None:
        return borrowed
    near = [option for option in options if len(option) >= LONG and _within(normal, _normal(option), EDITS)]
    return near[0] if near else _related(normal)


def _within(one: str, other: str, maximum: int) -> bool:
    """Whether the Levenshtein distance between two names is at most `maximum`."""
    if abs(len(one) - len(other)) > maximum:
        return False
    before = list(range(len(other) + 1))
    for place, character in enumerate(one, 1):
        row = [place]
        for index, counterpart in enumerate(other, 1):
            row.append(min(before[index] + 1, row[-1] + 1, before[index - 1] + (character != counterpart)))
        before = row
    return before[-1] <= maximum


def hint(name: str, accepted: Collection[str]) -> str:
    """What to write instead of an unknown keyword argument, as the end of a message that has named it; empty if there
    is no suggestion.

    Args:
        accepted: the parameters that the function has.
    """
    meant = meant_by(name, (*accepted, *GATE_OPTIONS))
    if meant is None:
        return ""
    if meant in accepted:
        return f"; did you mean {meant}?"
    if meant in GATE_OPTIONS:
        return f"; {meant} is an option of SecureChatCompletion"
    return f"; {meant}" if " " in meant else ""
