"""The options of both clients: names, types, defaults and checks.

`SecureChatCompletion` and `SecureCompletionClient` pass their arguments to `Options`; nothing is read from the
environment. `SecureChatCompletion` documents the options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
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
from nomyo.option_names import hint
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
            raise ArgumentError("preflight: there is no policy to appraise by; pass attestation_policy")
        if self.response_type not in RESPONSE_TYPES:
            raise ArgumentTypeError("response_type: expected dict or nomyo.ChatResponse")

    @property
    def is_always_gated(self) -> bool:
        """Whether neither a call nor a derived client can switch the gate off."""
        return self.require_attestation == ALWAYS

    def with_changes(self, changes: Mapping[str, Any]) -> Self:
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
