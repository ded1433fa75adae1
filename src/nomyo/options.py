"""The options of both clients: names, types, defaults and checks; and the detection of misspelled option names.

`SecureChatCompletion` and `SecureCompletionClient` pass their arguments to `Options`; nothing is read from the
environment. `SecureChatCompletion` documents the options.

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

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypedDict, TypeVar

from nomyo.config import (
    DEFAULT_BASE_URL,
    SERVER_KEY_BITS,
    TIMEOUT,
    BaseURL,
    check_api_key,
    check_duration,
    check_flag,
    check_key_bits,
    check_max_retries,
    check_path,
    check_pins,
    check_timeout,
    parse_base_url,
)
from nomyo.errors import ArgumentError, ArgumentTypeError
from nomyo.rate_limit import check_rate_limit
from nomyo.response import ChatResponse
from nomyo_attest.ledger import EvidenceLog
from nomyo_attest.policy import AppraisalPolicy

if TYPE_CHECKING:
    import httpx

P = ParamSpec("P")
T = TypeVar("T")

ALWAYS: Final = "always"
"""Value of `require_attestation` for a client whose gate cannot be switched off."""

LOG_FAILURES: Final = ("raise", "warn")
"""Values of `evidence_log_failure`: withhold a completion whose evidence could not be stored, or release it."""


RESPONSE_TYPES: Final = (dict, ChatResponse)
"""Values of `response_type`: the class of the responses that `create` returns."""


class SharedOptions(TypedDict, total=False):
    """The keyword-only options of both clients, for type checkers."""

    key_dir: str | PathLike[str] | None
    key_password: str | None
    server_key_pins: Iterable[str]
    min_server_key_bits: int
    timeout: float
    http_client: httpx.AsyncClient | None
    unsafe_remote_http: bool
    evidence_log: EvidenceLog | str | PathLike[str] | None
    evidence_log_failure: str
    rate_limit: float | None


class ChatOptions(SharedOptions, total=False):
    """The keyword-only options of `SecureChatCompletion`, for type checkers."""

    attestation_policy: AppraisalPolicy | str | PathLike[str] | None
    require_attestation: bool | str | None
    refusal_hold: float
    preflight: float | None
    response_type: type[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Options:
    """The checked options of one client; the policy is loaded from its file.

    Attributes:
        base: the base URL, parsed.
        policy: the policy of `attestation_policy`, if any.
        log: the ledger of `evidence_log`, if any.
        pins: `server_key_pins` as a tuple.
        gated: whether the gate is on for calls that do not override it.

    Raises:
        ArgumentError: an option is invalid, or attestation is required without a policy.
        InsecureURLError: the base URL uses plain HTTP, which is not allowed.
        nomyo_attest.PolicyError, OSError: the policy is invalid, or its file cannot be read.
    """

    base_url: str = DEFAULT_BASE_URL
    allow_http: bool = False
    api_key: str | None = None
    secure_memory: bool = True
    max_retries: int = 2
    attestation_policy: AppraisalPolicy | str | PathLike[str] | None = None
    require_attestation: bool | str | None = None
    key_dir: str | PathLike[str] | None = None
    key_password: str | None = None
    server_key_pins: Iterable[str] = ()
    min_server_key_bits: int = SERVER_KEY_BITS
    timeout: float = TIMEOUT
    http_client: httpx.AsyncClient | None = None
    unsafe_remote_http: bool = False
    evidence_log: EvidenceLog | str | PathLike[str] | None = None
    evidence_log_failure: str = "raise"
    rate_limit: float | None = None
    refusal_hold: float = 0.0
    preflight: float | None = None
    response_type: type[dict[str, Any]] = dict
    base: BaseURL = field(init=False)
    policy: AppraisalPolicy | None = field(init=False)
    log: EvidenceLog | None = field(init=False)
    pins: tuple[str, ...] = field(init=False)
    gated: bool = field(init=False)

    def __post_init__(self) -> None:
        policy = load_policy(self.attestation_policy)
        log = None if self.evidence_log is None else load_log(self.evidence_log)
        pins = check_pins(self.server_key_pins)
        self._set(
            allow_http=check_flag("allow_http", self.allow_http),
            unsafe_remote_http=check_flag("unsafe_remote_http", self.unsafe_remote_http),
            secure_memory=check_flag("secure_memory", self.secure_memory),
            # A derived client gets the loaded objects: a relative path may resolve differently later, and an iterator
            # would be exhausted.
            attestation_policy=policy,
            policy=policy,
            evidence_log=log,
            log=log,
            server_key_pins=pins,
            pins=pins,
            gated=is_gated(True if self.is_always_gated else self.require_attestation, policy is not None, policy),
        )
        check_api_key(self.api_key)
        if self.evidence_log_failure not in LOG_FAILURES:
            value: object = self.evidence_log_failure
            got = repr(value[:40]) if isinstance(value, str) else type(value).__name__
            raise ArgumentError(f"evidence_log_failure: expected one of {', '.join(LOG_FAILURES)}, got {got}")
        self._set(
            base=parse_base_url(self.base_url, allow_http=self.allow_http, unsafe_remote_http=self.unsafe_remote_http),
            max_retries=check_max_retries(self.max_retries),
            timeout=check_timeout(self.timeout),
            key_dir=None if self.key_dir is None else check_path("key_dir", self.key_dir),
            min_server_key_bits=check_key_bits(self.min_server_key_bits),
            rate_limit=check_rate_limit(self.rate_limit),
            refusal_hold=check_duration("refusal_hold", self.refusal_hold),
            preflight=None if self.preflight is None else check_duration("preflight", self.preflight),
        )
        if self.preflight is not None and policy is None:
            raise ArgumentError("preflight: there is no policy to appraise by; give attestation_policy")
        if self.response_type not in RESPONSE_TYPES:
            raise ArgumentTypeError("response_type: expected dict or nomyo.ChatResponse")

    @property
    def is_always_gated(self) -> bool:
        """Whether neither a call nor a derived client can switch the gate off."""
        return self.require_attestation == ALWAYS

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Return these options with some changed, checked again."""
        return type(self)(**{name: getattr(self, name) for name in OPTION_NAMES} | dict(changes))

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


OPTION_NAMES: Final = tuple(option.name for option in fields(Options) if option.init)
"""Every option of `SecureChatCompletion`."""


class ConstructorSignature:
    """The parameters of a client's constructor, with the defaults of `Options`.

    Args:
        positional: positional parameter → the option that it sets.
        keywords: names of the keyword-only options.
    """

    def __init__(self, positional: Mapping[str, str], keywords: Collection[str]) -> None:
        options = inspect.signature(Options).parameters
        self._parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        for name, option in positional.items():
            self._parameters.append(options[option].replace(name=name, kind=inspect.Parameter.POSITIONAL_OR_KEYWORD))
        self._parameters += [options[name] for name in options if name in keywords]

    def declare(self, function: Callable[P, T]) -> Callable[P, T]:
        """Decorate ``__init__`` so that `help` and `inspect` show these parameters instead of ``**options``."""
        function.__signature__ = inspect.Signature(self._parameters)  # type: ignore[attr-defined]  # read by inspect
        return function

    def check_names(self, owner: str, passed: Iterable[str]) -> None:
        """Refuse unknown keyword arguments. Raises `ArgumentTypeError`, which suggests the option probably meant."""
        names = [parameter.name for parameter in self._parameters]
        for name in passed:
            if name not in names:
                problem = f"{owner}.__init__() got an unexpected keyword argument {name!r}"
                raise ArgumentTypeError(problem + hint(name, names))


def is_gated(required: object, default: bool, policy: AppraisalPolicy | None) -> bool:
    """Whether the gate is on. Raises `ArgumentError` if it is on without a policy."""
    if required is None:
        required = default
    if not isinstance(required, bool):
        allowed = "True or False in a call, or 'always' in the constructor"
        got = repr(required[:40]) if isinstance(required, str) else type(required).__name__
        raise ArgumentTypeError(f"require_attestation: expected {allowed}, got {got}")
    if required and policy is None:
        raise ArgumentError("require_attestation: there is no policy to appraise by; pass attestation_policy")
    return required


def load_policy(policy: AppraisalPolicy | str | PathLike[str] | None) -> AppraisalPolicy | None:
    """Return the policy, loaded if it is a path. Raises `ArgumentError`, `nomyo_attest.PolicyError` or `OSError`."""
    if policy is None or isinstance(policy, AppraisalPolicy):
        return policy
    return AppraisalPolicy.load(check_path("attestation_policy", policy))


def load_log(log: object) -> EvidenceLog:
    """Return the ledger, opened if `log` is a path. Raises `ArgumentError`."""
    return log if isinstance(log, EvidenceLog) else EvidenceLog(check_path("evidence_log", log))


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
