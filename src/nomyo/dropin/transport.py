"""A transport for httpx and httpx2 that encrypts chat completions and passes their responses through the gate.

It sends only encrypted requests for chat completions. Every other request is answered on this machine: with the list of
models if the transport has one, otherwise with an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from types import ModuleType, TracebackType
from typing import Any, Final, Protocol, Self, cast

import msgspec

from nomyo.chat import SecureChatCompletion
from nomyo.dropin import translate
from nomyo.dropin.portal import portal
from nomyo.dropin.problems import NEEDS_ASYNCIO, WRONG_BASE_URL
from nomyo.dropin.translate import HTTPResponse, Plan, Refusal
from nomyo.errors import APIConnectionError, APITimeoutError, ArgumentTypeError
from nomyo.traceback_scrubbing import guarded, guarded_async

logger = logging.getLogger("nomyo")

HOST: Final = "nomyo.invalid"
"""The only host that the transport serves. The name never resolves (RFC 6761, section 6.4)."""

BASE_URL: Final = f"https://{HOST}/v1"
"""Base URL for programs that use the transport. A client without the transport cannot resolve this host, so it sends
nothing. With ``http`` instead of ``https``, it would send the prompt and the API key to a proxy that HTTP_PROXY names.
"""

REFUSAL_HOLD: Final = 30.0
"""Default of `refusal_hold` for a client that the transport creates, in seconds."""

EXTENSION: Final = "nomyo"
"""Name of the extension of an HTTP response that contains the exception which the call raised."""

_RETRY_COUNT: Final = "x-stainless-retry-count"
"""Header of OpenAI's SDKs: how often the SDK has sent this request before."""


class HTTPRequest(Protocol):
    """The part of `httpx.Request` and `httpx2.Request` that the transport uses."""

    method: str
    url: Any
    headers: Any
    extensions: Any

    def read(self) -> bytes:
        """Read the body."""

    async def aread(self) -> bytes:
        """Read the body."""


class _Failure(msgspec.Struct, frozen=True):
    """A call that ended without a response."""

    body_digest: bytes
    error: APIConnectionError


_LAST_FAILURE: Final[ContextVar[_Failure | None]] = ContextVar("nomyo_last_failure", default=None)
"""The last call of this context, if it ended without a response; OpenAI's SDKs then send the request again."""


class EncryptedTransport:
    """A transport for `httpx.Client`, `httpx.AsyncClient` and their counterparts in httpx2; one object serves them all.

    The request's URL must begin with `BASE_URL`. By default, the API key is that of the `SecureChatCompletion`: an SDK
    without ``api_key=`` sends OPENAI_API_KEY, which is not meant for this service.

    Args:
        client: the client to use, which its owner closes; None to create one from `options`.
        forward_api_key: whether to use the API key in the request's Authorization header instead of the client's own.
        models: names of models to return for ``GET /models``. The service is not asked.
        options: the options of `SecureChatCompletion`, with a `refusal_hold` of 30 seconds unless it is given.

    Attributes:
        client: the client.

    Raises the errors of `SecureChatCompletion`, and `ArgumentTypeError` if `client` is combined with options.
    """

    @guarded
    def __init__(
        self,
        client: SecureChatCompletion | None = None,
        *,
        forward_api_key: bool = False,
        models: Sequence[str] = (),
        **options: Any,
    ) -> None:
        if client is None:
            self.client = SecureChatCompletion(**{"refusal_hold": REFUSAL_HOLD, **options})
        elif not isinstance(client, SecureChatCompletion):
            raise ArgumentTypeError(f"client: expected a SecureChatCompletion, got {type(client).__name__}")
        elif options:
            raise ArgumentTypeError(f"{min(options)}: the client has its own options; pass either client or options")
        else:
            self.client = client
        if self.client._options.policy is None:
            logger.warning("not appraised: without attestation_policy nothing is known about the server")
        self._owns_client = client is None
        self._forward_api_key = forward_api_key
        self._models = tuple(models)
        self._http_clients = 0

    def handle_request(self, request: HTTPRequest) -> Any:
        """Handle a request from a blocking HTTP client. Returns a response of the request's library.

        Raises ``ReadTimeout``, ``ConnectError`` or ``ReadError`` of that library if no response arrived.
        """
        outcome = self._handle(request)
        del request  # so that the exception's traceback does not refer to the prompt
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def handle_async_request(self, request: HTTPRequest) -> Any:
        """Handle a request from an asynchronous HTTP client on the running asyncio loop, like `handle_request`."""
        outcome = await self._handle_async(request)
        del request
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @guarded
    def _handle(self, request: HTTPRequest) -> Any:
        """Return a response, or the exception to raise."""
        library = _library_of(request)
        local = self._local_response(request)
        if local is not None:
            return _response(library, local)
        body = request.read()
        planned = self._plan(library, request, body)
        if not isinstance(planned, Plan):
            return planned
        try:
            outcome: object = portal().call(self._complete(planned, request))
        except Exception as error:  # noqa: BLE001 - it becomes a response, or an error of the library
            outcome = error.with_traceback(None)  # its frames refer to the prompt
        return self._respond(library, planned, outcome, body)

    @guarded_async
    async def _handle_async(self, request: HTTPRequest) -> Any:
        library = _library_of(request)
        local = self._local_response(request)
        if local is None and not _runs_asyncio():
            local = translate.refuse(NEEDS_ASYNCIO)
        if local is not None:
            return _response(library, local)
        body = await request.aread()
        planned = self._plan(library, request, body)
        if not isinstance(planned, Plan):
            return planned
        try:
            outcome: object = await self._complete(planned, request)
        except Exception as error:  # noqa: BLE001 - it becomes a response, or an error of the library
            outcome = error.with_traceback(None)  # its frames refer to the prompt
        return self._respond(library, planned, outcome, body)

    def _local_response(self, request: HTTPRequest) -> HTTPResponse | None:
        """Return the response to a request for another base URL or for the list of models; None for any other."""
        url = request.url
        if (url.scheme, url.host, url.port) != ("https", HOST, None):
            return translate.refuse(WRONG_BASE_URL)
        path = _path_of(request)
        if self._models and request.method.upper() == "GET" and translate.asks_for_models(path):
            return translate.list_models(path, self._models)
        return None

    def _plan(self, library: ModuleType, request: HTTPRequest, body: bytes) -> Any:
        """Return the plan of a request, or the response or the exception that it gets without a call."""
        repeated = self._last_failure(library, request, body)
        if repeated is not None:
            return repeated
        planned = translate.plan(request.method, _path_of(request), request.headers, body)
        return _response(library, planned) if isinstance(planned, Refusal) else planned

    async def _complete(self, plan: Plan, request: HTTPRequest) -> object:
        api_key = None
        if self._forward_api_key:
            scheme, _, value = request.headers.get("authorization", "").partition(" ")
            api_key = value.strip() if scheme.lower() == "bearer" and value.strip() else None
        seconds = request.extensions.get("timeout", {}).get("read")
        return await self.client.complete(plan.payload, api_key=api_key, security_tier=plan.tier, timeout=seconds)

    def _last_failure(self, library: ModuleType, request: HTTPRequest, body: bytes) -> Exception | None:
        """Return the exception of the last call if the SDK sends that request again; otherwise None."""
        failure = _LAST_FAILURE.get()
        if failure is None:
            return None
        if request.headers.get(_RETRY_COUNT, "0") == "0" or failure.body_digest != _digest(body):
            _LAST_FAILURE.set(None)
            return None
        return _connection_error(library, failure.error)

    def _respond(self, library: ModuleType, plan: Plan, outcome: object, body: bytes) -> Any:
        if isinstance(outcome, APIConnectionError):
            _LAST_FAILURE.set(_Failure(_digest(body), outcome))
            return _connection_error(library, outcome)
        return _response(library, translate.respond(outcome, plan), outcome)

    def count_http_client(self) -> None:
        """Count an HTTP client created for this transport, which stays open until all of them are closed."""
        self._http_clients += 1

    def close(self) -> None:
        """Close the client, if the transport created it and this is the last of its HTTP clients to be closed."""
        if self._is_last():
            portal().call(self.client.aclose())

    async def aclose(self) -> None:
        """Close the client, as `close` does."""
        if self._is_last():
            await self.client.aclose()

    def _is_last(self) -> bool:
        self._http_clients -= 1
        return self._owns_client and self._http_clients <= 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.client!r}>"


def _library_of(request: HTTPRequest) -> ModuleType:
    """Return the package that defines the class of a request: httpx or httpx2."""
    for kind in type(request).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in ("httpx", "httpx2"):
            return sys.modules[name]
    raise ArgumentTypeError(f"request: expected a request of httpx or httpx2, got {type(request).__name__}")


def _path_of(request: HTTPRequest) -> str:
    """Return the path of the URL, still percent-encoded, with the query."""
    path: bytes = request.url.raw_path
    return path.decode("ascii", "replace")


def _response(library: ModuleType, response: HTTPResponse, outcome: object = None) -> Any:
    error = outcome if isinstance(outcome, Exception) else None
    return library.Response(
        response.status,
        headers=response.headers,
        content=response.body,
        extensions={} if error is None else {EXTENSION: error},
    )


def _connection_error(library: ModuleType, error: APIConnectionError) -> Exception:
    """Create the exception of the HTTP library for a call without a response."""
    if isinstance(error, APITimeoutError):
        kind = library.ReadTimeout
    else:
        kind = library.ConnectError if error.prompt_sent is False else library.ReadError
    raised = cast(Exception, kind(str(error)))
    raised.__cause__ = error
    return raised


def _runs_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
