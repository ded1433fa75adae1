"""The proxy's endpoints. Nothing but an encrypted request for a chat completion is ever sent."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nomyo import strict_json
from nomyo.chat import SecureChatCompletion
from nomyo.dropin import translate
from nomyo.dropin.problems import MODEL_NOT_FOUND, NOT_ENCRYPTED, Problem, problem_of
from nomyo.dropin.translate import HTTPResponse, Plan
from nomyo.errors import InternalError
from nomyo.proxy import checks
from nomyo.proxy.options import ProxyOptions
from nomyo.proxy.results import Results
from nomyo.serving.access_log import AccessLog, LogSettings, add_remark
from nomyo.serving.requests import (
    BodyTooLargeError,
    OutOfTimeError,
    PiecewiseResponse,
    await_or_cancel,
    bearer_of,
    read_body,
)

logger = logging.getLogger("nomyo.proxy")

COMPLETIONS_PATH: Final = "/v1/chat/completions"
MODELS_PATH: Final = "/v1/models"
HEALTH_PATH: Final = "/health"
RESULTS_PATH: Final = "/attestation"

_ACCESS: Final = LogSettings(logger, (HEALTH_PATH,))

_WAITING: Final = b": waiting\n\n"
"""A comment in a stream of events, which clients ignore."""

_EVENTS: Final = [
    (name.encode("ascii"), value.encode("ascii"))
    for name, value in {"content-type": "text/event-stream; charset=utf-8", **translate.NO_RETRY}.items()
]
"""Headers of a stream of events that begins with a comment."""


class Proxy:
    """A proxy: its client, its options, and its state while it runs.

    Args:
        client: the client that sends the requests. It is closed at the end of `lifespan`.
        options: its options.
        port: the port on which it listens.

    Attributes:
        draining: whether the proxy is shutting down. New requests for a completion get 503; those in progress continue.
        out_of_time: set when requests in progress must end as well.
    """

    def __init__(self, client: SecureChatCompletion, options: ProxyOptions, port: int) -> None:
        self._client, self._options, self._port = client, options, port
        self._results = Results()
        self.draining = False
        self.out_of_time = asyncio.Event()

    @property
    def access(self) -> LogSettings:
        """How requests are logged."""
        return _ACCESS

    def count_connection(self) -> None:
        """Do nothing: connections are not counted."""

    def refusal_body(self, status: int, detail: str) -> bytes:
        """Return the body of the response to a request that is not valid HTTP."""
        return translate.encode(Problem(status, "invalid_request_error", "invalid_http", detail).document())

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Close the client when the proxy ends."""
        try:
            yield
        finally:
            await self._client.aclose()

    def app(self) -> ASGIApp:
        """Build the ASGI application."""
        return AccessLog(self._handle, _ACCESS)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        problem = checks.refused(request.headers, self._options, self._port)
        cors = [] if problem is not None else checks.cors_headers(request.headers)
        started = False

        async def send_with_cors(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message["headers"], *cors]}
            await send(message)

        try:
            response = await self._respond(request) if problem is None else _refusal(request, problem)
            await response(scope, receive, send_with_cors)
        except ClientDisconnect:
            add_remark(scope, "the client disconnected", disconnected=True)
        except Exception as error:  # noqa: BLE001 - its message and its traceback may quote the prompt
            logger.error("a request failed: %s", type(error).__name__)
            if not started:
                await _refusal(request, problem_of(InternalError("internal error")))(scope, receive, send_with_cors)

    async def _respond(self, request: Request) -> ASGIApp:
        """Respond to a request whose Host and Origin are allowed."""
        if checks.is_preflight(request):
            return checks.preflight_response(request.headers)
        path = request.scope["path"]
        if (request.method, path) == ("GET", HEALTH_PATH):
            return JSONResponse({"status": "ok"}, headers=translate.NO_RETRY)
        if not checks.has_token(request.headers, self._options):
            return _refusal(request, checks.TOKEN)
        if (request.method, path) == ("POST", COMPLETIONS_PATH):
            return await self._serve_completion(request)
        if request.method == "GET" and (path == MODELS_PATH or path.startswith(f"{MODELS_PATH}/")):
            return _as_response(request, translate.list_models(path, self._options.models))
        if request.method == "GET" and (path == RESULTS_PATH or path.startswith(f"{RESULTS_PATH}/")):
            return self._serve_results(request, path.removeprefix(RESULTS_PATH).removeprefix("/"))
        return _refusal(request, NOT_ENCRYPTED)

    def _serve_results(self, request: Request, payload_id: str) -> Response:
        """List the results, or return that of one payload id."""
        document = self._results.find(payload_id) if payload_id else self._results.list()
        if document is None:
            return _refusal(request, checks.NO_RESULT)
        return JSONResponse(document, headers=translate.NO_RETRY)

    async def _serve_completion(self, request: Request) -> ASGIApp:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            return _refusal(request, checks.MEDIA_TYPE)
        try:
            body = await await_or_cancel(read_body(request, checks.BODY_MAX), self.out_of_time)
        except BodyTooLargeError:
            return _refusal(request, checks.TOO_LARGE)
        except OutOfTimeError:
            return _refusal(request, checks.SHUTTING_DOWN)
        if self.draining:  # after the body, since a client that is still sending might not read the response
            return _refusal(request, checks.SHUTTING_DOWN)
        plan = await _in_thread_if_long(len(body), translate.plan, "POST", COMPLETIONS_PATH, request.headers, body)
        del body
        if not isinstance(plan, Plan):
            return _as_response(request, plan)
        if self._options.models and plan.payload.get("model") not in self._options.models:
            return _refusal(request, MODEL_NOT_FOUND)
        return _Call(self, request, plan).serve

    async def complete(self, plan: Plan, bearer: str) -> object:
        """Send a request. Returns the completion, or the exception, which may be of any class."""
        forwards = self._client.api_key is None and self._options.token is None
        api_key = bearer if forwards and bearer else None
        outcome: object
        try:
            outcome = await self._client.complete(
                plan.payload, api_key=api_key, security_tier=plan.tier or self._options.tier
            )
        except Exception as error:  # noqa: BLE001 - every outcome is a response
            outcome = error
        keys = [key for key in (api_key, self._client.api_key) if key is not None]
        size = strict_json.size_hint([plan.payload, outcome])
        await _in_thread_if_long(size, self._results.record, plan.payload, outcome, keys)
        return outcome

    @property
    def keepalive(self) -> float:
        """Seconds between the comments in a stream of events; 0 for none."""
        return self._options.keepalive


class _Call:
    """One request for a completion, and its response."""

    def __init__(self, proxy: Proxy, request: Request, plan: Plan) -> None:
        self._proxy, self._request, self._plan = proxy, request, plan
        self._started = False

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI call. The response begins when the call has ended, or at the first keepalive."""

        async def keep_alive() -> None:
            if not self._started:
                self._started = True
                await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
            await send({"type": "http.response.body", "body": _WAITING, "more_body": True})

        work = self._proxy.complete(self._plan, bearer_of(self._request.headers))
        try:
            outcome = await await_or_cancel(
                work,
                self._proxy.out_of_time,
                while_connected=receive,
                interval=(self._proxy.keepalive or None) if self._plan.stream else None,
                on_interval=keep_alive,
            )
            size = strict_json.size_hint(outcome) if isinstance(outcome, dict) else 0
            response = await _in_thread_if_long(size, translate.respond, outcome, self._plan)
        except OutOfTimeError:
            response = translate.refuse(checks.OUT_OF_TIME)
        sender = _as_response(self._request, response)
        if not self._started:
            await sender(scope, receive, send)
            return
        body = response.body if response.status == 200 else b"data: " + response.body + b"\n\n"
        await send({"type": "http.response.body", "body": body, "more_body": False})


async def _in_thread_if_long(size: int, function: Any, *arguments: Any) -> Any:
    """Call a function, in a thread if it processes so much data that it would delay other requests."""
    if size < strict_json.LONG_TEXT:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


def _refusal(request: Request, problem: Problem) -> Response:
    return _as_response(request, translate.refuse(problem))


def _as_response(request: Request, response: HTTPResponse) -> Response:
    """Convert a response, and note its facts for the access log."""
    add_remark(
        request.scope,
        json.loads(response.body)["error"]["code"] if response.status != 200 else None,
        payload_id=response.headers.get("x-nomyo-payload-id"),
        verdict=response.headers.get("x-nomyo-verdict"),
    )
    return PiecewiseResponse(response.body, response.status, response.headers)
