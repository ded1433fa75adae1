"""The options of both clients: names, types, defaults and checks; and which names look like an option.

`SecureChatCompletion` and `SecureCompletionClient` pass their arguments to `Options`; nothing is read from the
environment. `SecureChatCompletion` documents the options.

`create` sends every keyword argument that it does not know to the model. A misspelled or borrowed option name, such as
``require_atestation`` or ``policy``, would therefore switch a check off without any sign. So a name is refused if it

- equals an option when case and punctuation are ignored,
- is within an edit distance of 2 of an option of eight characters or more,
- contains ``attest``, or
- is in `BORROWED`: unsupported names, such as OpenAI options, that resemble an option.

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


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Options:
    """The checked options of one client; the policy is loaded from its file.

    Attributes:
        base: the base URL, parsed.
        policy: the policy of `attestation_policy`; None for none.
        log: the evidence log of `evidence_log`; None for none.
        pins: `server_key_pins` as a tuple.
        gated: whether the gate is on for calls that do not override it.

    Raises:
        ArgumentError: an option is invalid; also if attestation is required without a policy.
        InsecureURLError: plain HTTP where it is not allowed.
        nomyo_attest.PolicyError, OSError: the policy cannot be used, or its file cannot be read.
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
            # would be empty.
            attestation_policy=policy,
            policy=policy,
            evidence_log=log,
            log=log,
            server_key_pins=pins,
            pins=pins,
            gated=is_gated(True if self.always else self.require_attestation, policy is not None, policy),
        )
        check_api_key(self.api_key)
        if self.evidence_log_failure not in LOG_FAILURES:
            given: object = self.evidence_log_failure
            shown = repr(given[:40]) if isinstance(given, str) else type(given).__name__
            raise ArgumentError(f"evidence_log_failure: expected one of {', '.join(LOG_FAILURES)}, got {shown}")
        self._set(
            base=parse_base_url(self.base_url, allow_http=self.allow_http, unsafe_remote_http=self.unsafe_remote_http),
            max_retries=check_max_retries(self.max_retries),
            timeout=check_timeout(self.timeout),
            key_dir=None if self.key_dir is None else check_path("key_dir", self.key_dir),
            min_server_key_bits=check_key_bits(self.min_server_key_bits),
            rate_limit=check_rate_limit(self.rate_limit),
        )

    @property
    def always(self) -> bool:
        """Whether neither a call nor a derived client can switch the gate off."""
        return self.require_attestation == ALWAYS

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """These options with some changed, checked again."""
        return type(self)(**{name: getattr(self, name) for name in OPTION_NAMES} | dict(changes))

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


OPTION_NAMES: Final = tuple(each.name for each in fields(Options) if each.init)
"""Every option of `SecureChatCompletion`."""


class Constructor:
    """The parameters of a client's constructor, with the defaults of `Options`.

    Args:
        positional: parameter → the option that it sets.
        keywords: the names of its keyword-only options.
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

    def check_names(self, owner: str, given: Iterable[str]) -> None:
        """Refuse unknown keyword arguments. Raises `ArgumentTypeError`, which names the option probably meant."""
        names = [each.name for each in self._parameters]
        for name in given:
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
        raise ArgumentError("require_attestation: there is no policy to appraise by; give attestation_policy")
    return required


def load_policy(policy: AppraisalPolicy | str | PathLike[str] | None) -> AppraisalPolicy | None:
    """Return the policy, loaded if a path is given. Raises `ArgumentError`, `nomyo_attest.PolicyError` or `OSError`."""
    if policy is None or isinstance(policy, AppraisalPolicy):
        return policy
    return AppraisalPolicy.load(check_path("attestation_policy", policy))


def load_log(log: object) -> EvidenceLog:
    """Return the evidence log, or create one for a path. Raises `ArgumentError`."""
    return log if isinstance(log, EvidenceLog) else EvidenceLog(check_path("evidence_log", log))


CALL_OPTIONS: Final = ("api_key", "base_url", "extra_body", "require_attestation", "security_tier", "timeout")
"""Keyword arguments of `create` that are not sent to the model."""

GATE_OPTIONS: Final = ("attestation_policy", "require_attestation")
"""Options of `SecureChatCompletion` that `SecureCompletionClient` does not have."""

EDITS: Final = 2
"""Maximum edit distance of a misspelled option."""

LONG: Final = 8
"""Minimum length of an option whose misspellings are refused, in characters."""

_STEM: Final = "attest"

_NAME_MAX: Final = 40
"""Maximum length of a name that is compared and quoted, in characters."""

_HEADERS: Final = "the protocol defines the HTTP headers"
_QUERY: Final = "the protocol defines the request's URL"
_ACCOUNT: Final = "the service has no organizations or projects; the API key identifies the account"
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
"""Unsupported names of other libraries, by the option that replaces each, or by the reason why there is none."""

BORROWED: Final[Mapping[str, str]] = {name: meant for meant, names in _NAMES.items() for name in names.split()}
"""Unsupported name of another library → the option that replaces it, or the reason why there is none."""

_SAME: Final = {"base_url": "router_url", "router_url": "base_url"}
"""Options that have different names in the two clients."""


def _normal(name: str) -> str:
    """Return a name in lower case without punctuation, so that ``apiKey`` equals ``api_key``."""
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
    """Return the option in `options` that `name` equals or misspells, or for which another library uses it.

    For an unsupported name without a counterpart, returns the reason; None if the name does not look like an option.
    """
    if len(name) > _NAME_MAX:
        return _related(_normal(name))
    return _meant_by(name, tuple(options))


def _related(normal: str) -> str | None:
    """Return the option for a name that contains ``attest``, which no model parameter does; None for any other name."""
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
    """Return a suggestion for an unknown keyword argument, to append to a message; empty if there is none.

    Args:
        accepted: the parameters of the function.
    """
    meant = meant_by(name, (*accepted, *GATE_OPTIONS))
    if meant is None:
        return ""
    if meant in accepted:
        return f"; did you mean {meant}?"
    if meant in GATE_OPTIONS:
        return f"; {meant} is an option of SecureChatCompletion"
    return f"; {meant}" if " " in meant else ""
