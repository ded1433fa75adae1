"""SecureChatCompletion: chat completions, encrypted end to end, behind a gate for the server's evidence."""

from __future__ import annotations

import logging
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self, Unpack, cast

from nomyo.base_client import BaseClient
from nomyo.client import SecureCompletionClient
from nomyo.client_keys import Keyring
from nomyo.errors import ArgumentError, ArgumentTypeError, ClientClosedError
from nomyo.option_names import check_call, hint
from nomyo.options import (
    ALWAYS,
    OPTION_NAMES,
    ChatOptions,
    ConstructorSignature,
    Options,
    is_gated,
    load_policy,
)
from nomyo.preflight import Admissions
from nomyo.response import ChatResponse
from nomyo.traceback_scrubbing import guarded, guarded_async
from nomyo.types import ChatCompletion

if TYPE_CHECKING:
    from nomyo_attest.appraisal import AttestationResult

logger = logging.getLogger("nomyo")

_CLIENTS_MAX: Final = 16
"""Maximum number of cached clients for base URLs passed to calls."""

CONSTRUCTOR: Final = ConstructorSignature(
    {name: name for name in ("base_url", "allow_http", "api_key", "secure_memory", "max_retries")},
    ChatOptions.__annotations__,
)
"""The parameters of `SecureChatCompletion` and `BlockingChatCompletion`."""


class SecureChatCompletion(BaseClient):
    """Chat completions, encrypted to the server and back. ::

        async with SecureChatCompletion(api_key="…", attestation_policy="policy.toml") as client:
            response = await client.create(model="Qwen/Qwen3-0.6B", messages=[…], require_attestation=True)

    Args:
        base_url: base URL of the NOMYO Router; HTTPS. It is not read from the environment: NOMYO_BASE_URL is a variable
            of the command line.
        allow_http: accept plain HTTP to this machine, for development.
        api_key: bearer token. It is only sent to `base_url`.
        secure_memory: lock plaintext in memory while it is processed, where the system allows it.
        max_retries: retries of a request after retryable statuses (`nomyo.status.STATUSES`) and broken connections.
        attestation_policy: an `AppraisalPolicy`, or the path of a policy file.
        require_attestation: whether a completion is released only if the policy affirms its evidence. True, the default
            if there is a policy: a call may override it, which is logged as a warning. ``"always"``: neither a call
            nor `with_options` can switch the gate off or change the policy. False: off unless a call requires it.
            With a policy and the gate off, the evidence is still appraised, and the ledger records the result.
        key_dir: folder that stores the client's key pair; None to keep it in memory only.
        key_password: password of the private key in `key_dir`.
        server_key_pins: accepted fingerprints of the server's key (``sha256/…``); empty to accept any key.
        min_server_key_bits: minimum size of the server's key in bits; 2048 or more.
        timeout: seconds that a call may take, retries included.
        http_client: an `httpx.AsyncClient` to use; it is not closed.
        unsafe_remote_http: with `allow_http`, accept plain HTTP to any host.
        evidence_log: path of the ledger, the file to which the evidence of every response is appended, or an
            `nomyo_attest.EvidenceLog`; None to store no evidence.
        rate_limit: maximum number of requests per second, evenly spaced; `math.inf` for no limit. The default is 1.8
            for the public service, and no limit for other servers. All clients in the process with the same server and
            API key share one queue. Time spent in the queue counts against `timeout`.
        refusal_hold: seconds for which, after an `AttestationError`, calls with the same API key raise it again, with
            `code` ``"held"``, and send nothing. 0 for none. An affirmed canary (`attest`) ends the hold.
        preflight: seconds. Before a prompt, a canary is sent unless a response from the same server key, for the same
            model, tier and API key, was affirmed within that time; 0 for a canary before each prompt, None for none.
            It keeps prompts from a server that has changed and reports the change. It does not help against a server
            that responds honestly to canaries only, or against a load balancer that sends the prompt elsewhere; the
            response to the prompt is still appraised.
        response_type: class of the responses of `create`: ``dict``, or `ChatResponse` for attributes.
        evidence_log_failure: ``"raise"`` to withhold a completion whose evidence could not be stored; ``"warn"`` to
            log that and release it.

    Attributes:
        client: the underlying `SecureCompletionClient`.
        api_key: the bearer token.

    Raises:
        ArgumentError: an argument is invalid, or attestation is required without a policy.
        InsecureURLError: the base URL uses plain HTTP, which is not allowed.
        EvidenceLogError: the ledger cannot be written, and `evidence_log_failure` is ``"raise"``.
        nomyo_attest.PolicyError, OSError: the policy is invalid, or its file cannot be read.
    """

    @CONSTRUCTOR.declare
    @guarded
    def __init__(
        self,
        base_url: str = Options.base_url,
        allow_http: bool = Options.allow_http,
        api_key: str | None = Options.api_key,
        secure_memory: bool = Options.secure_memory,
        max_retries: int = Options.max_retries,
        **options: Unpack[ChatOptions],
    ) -> None:
        CONSTRUCTOR.check_names(type(self).__name__, options)
        self._set_up(
            Options(
                base_url=base_url,
                allow_http=allow_http,
                api_key=api_key,
                secure_memory=secure_memory,
                max_retries=max_retries,
                **options,
            ),
        )

    def _set_up(self, options: Options, keyring: Keyring | None = None, admissions: Admissions | None = None) -> None:
        """Initialize from checked options; with the keyring and the admissions of another client, or with new ones."""
        self._options = options
        self._closed = False
        self.api_key = options.api_key
        self.client = SecureCompletionClient.from_options(options, keyring, admissions)
        self._clients_by_url: OrderedDict[str, SecureChatCompletion] = OrderedDict()
        self.client.keyring.start()

    @guarded_async
    async def create(self, model: str, messages: list[dict[str, Any]], **kwargs: Any) -> ChatCompletion:
        """Request a chat completion.

        Args:
            model: name of the model.
            messages: the conversation, as in OpenAI's API.
            kwargs: other parameters, sent unchanged: temperature, top_p, max_tokens, stop, n, seed, user, tools,
                tool_choice, response_format and so on. These are not sent:

                - ``security_tier``: ``"standard"``, ``"high"`` or ``"maximum"``; the response must repeat it.
                - ``require_attestation``: whether the policy must affirm the evidence for this call. If the gate of
                  the client is on, False logs a warning, or raises `ArgumentError` (see the constructor).
                - ``timeout``: seconds that this call may take, retries included.
                - ``api_key``, ``base_url``: override the client's for this call. The client's own key is not sent to
                  another host.
                - ``extra_body``: a dict of additional parameters to send, under any name.

                A name that looks like an option, such as ``require_atestation``, ``policy`` or ``headers``, raises
                `ArgumentTypeError` instead of being sent (see `nomyo.option_names`).

        Returns:
            The completion as the server wrote it, with ``_metadata``. In ``_metadata``, ``verification`` lists the
            client's checks. If attestation was required, ``attestation_result`` is the result of the appraisal in JSON
            form. If there is a ledger, ``evidence_log`` identifies the line that contains the evidence.

        Raises:
            ArgumentError: an argument is invalid; nothing was sent.
            AttestationError: the policy does not affirm the evidence. The prompt was sent: evidence comes with the
                response, not before. The request is not retried.
            EvidenceLogError: the evidence could not be stored; `prompt_sent` says whether a response had arrived.
            SecurityError: the response or the server's key cannot be trusted; always one of the subclasses.
            APIStatusError, APIConnectionError: the service refused the request, or did not respond.
        """
        base_url = kwargs.pop("base_url", None)
        if base_url is not None:
            return await self._client_for(base_url).create(model, messages, **kwargs)
        tier = kwargs.pop("security_tier", None)
        api_key = kwargs.pop("api_key", None)
        required = kwargs.pop("require_attestation", None)
        timeout = kwargs.pop("timeout", None)
        check_call(kwargs.keys() - {"extra_body"}, OPTION_NAMES)
        completion = await self._complete(_payload(model, messages, kwargs), api_key, tier, required, timeout)
        return cast(ChatCompletion, completion if self._options.response_type is dict else ChatResponse(completion))

    @guarded_async
    async def complete(
        self,
        payload: Mapping[str, Any],
        *,
        api_key: str | None = None,
        security_tier: str | None = None,
        require_attestation: bool | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it includes the retries, and a refusal names it
    ) -> ChatResponse:
        """Request a chat completion with a payload that is sent unchanged.

        Unlike the arguments of `create`, no key of the payload is an option: a payload from elsewhere can neither
        switch the gate off nor redirect the request.

        Args:
            payload: the body of a request to OpenAI's chat completions, such as ``{"model": …, "messages": […]}``.
            api_key, security_tier, require_attestation, timeout: as in `create`.

        Raises the errors of `create`.
        """
        if not isinstance(payload, Mapping):
            raise ArgumentTypeError(f"payload: expected a dict, got {type(payload).__name__}")
        _check_not_streaming(payload)
        completion = await self._complete(dict(payload), api_key, security_tier, require_attestation, timeout)
        return ChatResponse(completion)

    @guarded_async
    async def attest(
        self,
        model: str,
        *,
        security_tier: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it includes the retries
    ) -> AttestationResult:
        """Appraise the server without a prompt: send a canary, a constant question, and appraise the response to it.

        A canary costs one request and one token. It takes the path of a prompt, but a load balancer may send a later
        prompt to another machine, and a server can respond honestly to the canary only. An affirmed canary ends a hold
        (`refusal_hold`). The evidence log marks its line with ``"canary": true``.

        Args:
            model: name of the model.
            security_tier, timeout: as in `create`.

        Returns the result of the appraisal.

        Raises:
            AttestationError: the policy does not affirm the evidence; `prompt_sent` is False.
            ArgumentError: there is no policy, or an argument is invalid.
            NomyoError: the other errors of `create`.
        """
        return await self.client.attest(model, api_key=self.api_key, tier=security_tier, time_limit=timeout)

    async def _complete(
        self, payload: dict[str, Any], api_key: str | None, tier: str | None, required: object, time_limit: float | None
    ) -> dict[str, Any]:
        gated = is_gated(required, self._options.gated, self._options.policy)
        payload_id = str(uuid.uuid4())  # from the system's random source, since the quote is bound to it
        if self._options.gated and not gated:
            self._allow_gate_off(f"call {payload_id}")
        return await self.client.complete(
            payload,
            time_limit=time_limit,
            payload_id=payload_id,
            api_key=self.api_key if api_key is None else api_key,
            tier=tier,
            policy=self._options.policy,
            gated=gated,
        )

    @guarded_async
    async def acreate(self, model: str, messages: list[dict[str, Any]], **kwargs: Any) -> ChatCompletion:
        """The same as `create`."""
        return await self.create(model, messages, **kwargs)

    @guarded
    def with_options(self, **changes: Any) -> Self:
        """Create a client with some options changed.

        It shares the key pair unless `key_dir` or `key_password` changes. If `base_url` changes to a different scheme,
        host or port, the API key is dropped unless `api_key` is passed.

        Raises the same errors as the constructor.
        """
        return self._with_options(changes)

    def _with_options(self, changes: dict[str, Any]) -> Self:
        unknown = changes.keys() - {*OPTION_NAMES}
        if unknown:
            name = min(unknown)
            problem = f"with_options(): unknown option {name[:40]!r}{hint(name, OPTION_NAMES)}"
            raise ArgumentTypeError(f"{problem} (options: {', '.join(OPTION_NAMES)})")
        passed = changes.keys()
        changes = {"api_key": self.api_key, **changes}
        if self._options.is_always_gated:
            changes = self._keep_gate_on(changes)
        shares_keys = not {"key_dir", "key_password"} & changes.keys()
        other = type(self).__new__(type(self))
        keyring = self.client.keyring if shares_keys else None
        other._set_up(self._options.with_changes(changes), keyring, self.client.admissions)
        if self._options.gated and not other._options.gated:
            self._allow_gate_off("a client created by with_options()")
        if other.client.origin != self.client.origin and "api_key" not in passed:
            other.api_key = None
        return other

    def _allow_gate_off(self, where: str) -> None:
        """Log that the gate is switched off. Raises `ArgumentError` if it must stay on."""
        if self._options.is_always_gated:
            raise ArgumentError(
                f"require_attestation: the client was created with {ALWAYS!r}, so the gate cannot be off in {where}"
            )
        policy = self._options.policy
        assert policy is not None  # the gate is never on without one
        logger.warning(
            "the policy gate is on in the client and off in %s; policy %r (%s)", where, policy.id, policy.digest
        )

    def _keep_gate_on(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Return the changes for a client derived from one whose gate is always on. They must not change its policy."""
        required = changes.get("require_attestation", ALWAYS)
        if required is False:
            self._allow_gate_off("a client created by with_options()")
        if required in (None, True):
            required = ALWAYS
        own = self._options.policy
        policy = load_policy(changes["attestation_policy"]) if "attestation_policy" in changes else own
        if policy is None or own is None or policy.digest != own.digest:
            raise ArgumentError(
                f"attestation_policy: the client was created with require_attestation={ALWAYS!r}, so with_options() "
                "cannot change its policy; create a new client with the other policy"
            )
        return {**changes, "require_attestation": required, "attestation_policy": policy}

    def _client_for(self, base_url: object) -> SecureChatCompletion:
        """Return the client for a base URL passed to a call."""
        if not isinstance(base_url, str):
            raise ArgumentTypeError(f"base_url: expected a str, got {type(base_url).__name__}")
        if self._closed:
            raise ClientClosedError
        client = self._clients_by_url.get(base_url)
        if client is None:
            client = self._clients_by_url[base_url] = self._with_options({"base_url": base_url})
            while len(self._clients_by_url) > _CLIENTS_MAX:
                self._clients_by_url.popitem(last=False)
        self._clients_by_url.move_to_end(base_url)
        if client.client.origin == self.client.origin:
            client.api_key = self.api_key
        return client

    @guarded_async
    async def aclose(self) -> None:
        """Close the connections; later calls raise `ClientClosedError`."""
        self._closed = True
        await self.client.aclose()
        while self._clients_by_url:
            _, other = self._clients_by_url.popitem()
            await other.aclose()

    def __repr__(self) -> str:
        policy = self._options.policy
        gate = f", policy {policy.id!r}" if self._options.gated and policy is not None else ""
        return f"<{type(self).__name__} {self.client.router_url}{gate}>"


def _payload(model: str, messages: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
    """Build the plaintext: model and messages first, then the other parameters in the caller's order."""
    body = parameters.pop("extra_body", None)
    if body is not None and not isinstance(body, dict):
        raise ArgumentTypeError(f"extra_body: expected a dict, got {type(body).__name__}")
    payload = {"model": model, "messages": messages, **parameters, **(body or {})}
    _check_not_streaming(payload)
    return payload


def _check_not_streaming(payload: Mapping[str, Any]) -> None:
    if payload.get("stream"):
        raise ArgumentError("stream: only False is supported: a response is encrypted as a whole")
