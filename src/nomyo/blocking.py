"""BlockingChatCompletion: the client for programs without an event loop."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nomyo.chat import CONSTRUCTOR, SecureChatCompletion
from nomyo.dropin.portal import portal
from nomyo.response import ChatResponse
from nomyo.traceback_scrubbing import guarded

if TYPE_CHECKING:
    from nomyo_attest.appraisal import AttestationResult


class BlockingChatCompletion:
    """`SecureChatCompletion` with blocking methods. ::

        with BlockingChatCompletion(api_key="…", attestation_policy="policy.toml") as client:
            response = client.create(model="Qwen/Qwen3-0.6B", messages=[…])
            print(response.choices[0].message.content)

    The calls run in one event loop of the process, in a thread. So one client can be used by many threads, also while
    an event loop runs in the caller's thread, and in a forked child process. Ctrl-C cancels the call in progress.

    Args and errors are those of `SecureChatCompletion`, but `response_type` is `ChatResponse` by default.
    """

    @CONSTRUCTOR.declare
    @guarded
    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._client = SecureChatCompletion(*arguments, **{"response_type": ChatResponse, **options})

    @guarded
    def create(self, model: str, messages: list[dict[str, Any]], **kwargs: Any) -> Any:
        """Request a chat completion; see `SecureChatCompletion.create`."""
        return portal().call(self._client.create(model, messages, **kwargs))

    @guarded
    def complete(
        self,
        payload: Mapping[str, Any],
        *,
        api_key: str | None = None,
        security_tier: str | None = None,
        require_attestation: bool | None = None,
        timeout: float | None = None,
    ) -> ChatResponse:
        """Request a chat completion with a payload that is sent unchanged; see `SecureChatCompletion.complete`."""
        call = self._client.complete(
            payload,
            api_key=api_key,
            security_tier=security_tier,
            require_attestation=require_attestation,
            timeout=timeout,
        )
        return portal().call(call)

    @guarded
    def attest(
        self, model: str, *, security_tier: str | None = None, timeout: float | None = None
    ) -> AttestationResult:
        """Send a canary and appraise its response; see `SecureChatCompletion.attest`."""
        return portal().call(self._client.attest(model, security_tier=security_tier, timeout=timeout))

    @guarded
    def with_options(self, **changes: Any) -> Self:
        """Create a client with some options changed; see `SecureChatCompletion.with_options`."""
        other = type(self).__new__(type(self))
        other._client = self._client.with_options(**changes)
        return other

    @guarded
    def close(self) -> None:
        """Close the connections; later calls raise `ClientClosedError`."""
        portal().call(self._client.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._client).replace("Secure", "Blocking", 1)
