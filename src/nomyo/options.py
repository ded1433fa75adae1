"""The options of both clients: names, types, defaults and checks.

`SecureChatCompletion` and `SecureCompletionClient` pass their arguments to `Options`; nothing is read from the
environment. What each option means is documented at `SecureChatCompletion`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypedDict, TypeVar

from nomyo.argument_names import hint
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
"""`require_attestation` of a client whose gate nothing switches off."""

LOG_FAILURES: Final = ("raise", "warn")
"""What happens to a completion whose evidence could not be stored: it is withheld, or released all the same."""


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
    """The options of one client, each checked; paths are loaded.

    Attributes:
        base: the base URL, parsed.
        policy: the policy of `attestation_policy`; None for none.
        log: the evidence log of `evidence_log`; None for none.
        pins: `server_key_pins` as a tuple.
        gated: whether the gate is on for calls that do not say otherwise.

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
            # A client derived from this one gets what is loaded here: a relative path means the folder of now, and an
            # iterator would be empty the next time.
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
        positional: parameter → the option it stands for.
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
        """Refuse keyword arguments that are no parameters. Raises `ArgumentTypeError`, which names the option that was
        probably meant.
        """
        names = [each.name for each in self._parameters]
        for name in given:
            if name not in names:
                problem = f"{owner}.__init__() got an unexpected keyword argument {name!r}"
                raise ArgumentTypeError(problem + hint(name, names))


def is_gated(required: object, default: bool, policy: AppraisalPolicy | None) -> bool:
    """Whether the gate is on. Raises `ArgumentError` for one without a policy."""
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
    """The policy itself, or the one in a file. Raises `ArgumentError`, `nomyo_attest.PolicyError` and `OSError`."""
    if policy is None or isinstance(policy, AppraisalPolicy):
        return policy
    return AppraisalPolicy.load(check_path("attestation_policy", policy))


def load_log(log: object) -> EvidenceLog:
    """The evidence log itself, or the one at a path. Raises `ArgumentError`."""
    return log if isinstance(log, EvidenceLog) else EvidenceLog(check_path("evidence_log", log))
