"""The router's endpoints, from a request to its response. No part of a prompt or a completion is ever logged."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from nomyo import envelope, strict_json
from nomyo.router.completions import Upstream, echo, encode_request
from nomyo.router.credentials import ServerKey
from nomyo.router.errors import (
    FORBIDDEN,
    INTERNAL,
    NO_TPM,
    NOT_ENABLED,
    OUT_OF_TIME,
    SHUTTING_DOWN,
    UNAUTHORIZED,
    Refusal,
)
from nomyo.router.evidence import ABSENT, Source
from nomyo.router.faults import BY_NAME, Fault, Switch
from nomyo.router.faults.response import replacement_forge
from nomyo.router.options import RouterOptions
from nomyo.router.protocol import (
    NO_STORE,
    PACKAGE_MAX,
    EncryptedResponse,
    RequestHeaders,
    add_metadata,
    decrypt_payload,
    read_headers,
)
from nomyo.router.rate_limit import Limiter
from nomyo.serving.access_log import AccessLog, LogSettings, add_remark
from nomyo.serving.requests import BodyTooLargeError, OutOfTimeError, await_or_cancel, bearer_of, read_body
from nomyo_attest.errors import AttesterError

logger = logging.getLogger("nomyo.router")

KEY_PATH: Final = "/pki/public_key"
COMPLETION_PATH: Final = "/v1/chat/secure_completion"
HEALTH_PATH: Final = "/healthz"
READY_PATH: Final = "/readyz"

_ACCESS: Final = LogSettings(logger, (HEALTH_PATH, READY_PATH), b"x-payload-id")

_LARGE_BYTES: Final = 1024 * 1024
"""Size in bytes above which a package counts as large."""

CONCURRENT_LARGE_MAX: Final = 2
"""Maximum number of large packages that are decrypted at the same time. Decoding 10 MiB of JSON can create 150 MB of
objects, and can hold the GIL for a second.
"""

_KEY_STAGES: Final = ("key",)
_COMPLETION_STAGES: Final = (
    "request", "forge", "evidence", "completion", "plaintext", "recipient", "encrypt", "bodies", "reply",
)  # fmt: skip

_RETRY_ELSEWHERE: Final = {"Retry-After": "5"}
"""Header of responses during shutdown: after this time, another router or a restarted one may take the request."""


@dataclass(slots=True)
class Counts:
    """Counts of connections and requests, for tests and benchmarks.

    Attributes:
        connections: connections accepted.
        key_fetches: requests for the router's key.
        posts: requests for a completion.
        responses: responses that were encrypted, whether or not they reached the client.
    """

    connections: int = 0
    key_fetches: int = 0
    posts: int = 0
    responses: int = 0


@dataclass(slots=True)
class Router:
    """A router: its configuration and its state while it runs.

    Attributes:
        options: its options.
        server_key: the key pair that decrypts requests.
        source: the source of evidence.
        tpm_available: set it to False to behave as a router without a TPM.
        stores_last: whether the last encrypted response is stored, for the fault that replays it.
        faults: the fault that is active.
        counts: counts of connections and requests.
        draining: whether the router is shutting down. New requests get 503, and those in progress continue.
        out_of_time: set when requests in progress must end as well.
    """

    options: RouterOptions
    server_key: ServerKey
    source: Source
    tpm_available: bool = True
    stores_last: bool = False
    faults: Switch = field(default_factory=lambda: Switch(BY_NAME))
    counts: Counts = field(default_factory=Counts)
    draining: bool = False
    out_of_time: asyncio.Event = field(default_factory=asyncio.Event)
    _limiter: Limiter = field(default_factory=Limiter)
    _large_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENT_LARGE_MAX))
    _upstream: Upstream | None = None
    _last_response: bytes | None = None

    def app(self) -> ASGIApp:
        """Build the ASGI application; serve it inside `lifespan`."""
        routes = [
            Route(KEY_PATH, self._serve_key, methods=["GET"]),
            Route(COMPLETION_PATH, self._serve_completion, methods=["POST"]),
            Route(HEALTH_PATH, self._serve_health, methods=["GET"]),
            Route(READY_PATH, self._serve_readiness, methods=["GET"]),
        ]
        return AccessLog(
            Starlette(routes=routes, exception_handlers={HTTPException: _http_exception_response}), _ACCESS
        )

    @property
    def access(self) -> LogSettings:
        """How requests are logged."""
        return _ACCESS

    def count_connection(self) -> None:
        """Count a connection that was established."""
        self.counts.connections += 1

    def refusal_body(self, status: int, detail: str) -> bytes:  # noqa: ARG002 - the body does not repeat it
        """Return the JSON body of the response to a request that does not reach the application."""
        return json.dumps({"detail": detail}).encode()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open and close what the application needs while it is served."""
        options = self.options
        if options.upstream is not None:
            self._upstream = Upstream(
                options.upstream,
                api_key=options.upstream_api_key,
                timeout=options.upstream_timeout,
                concurrency=options.upstream_concurrency,
            )
        try:
            yield
        finally:
            if self._upstream is not None:
                await self._upstream.aclose()

    async def _serve_health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=NO_STORE)

    async def _serve_readiness(self, request: Request) -> Response:
        if self.draining:
            return _refusal_response(request, Refusal(503, SHUTTING_DOWN, _RETRY_ELSEWHERE))
        return JSONResponse({"status": "ready"}, headers=NO_STORE)

    async def _serve_key(self, request: Request) -> Response:
        self.counts.key_fetches += 1
        if self.draining:
            return _refusal_response(request, Refusal(503, SHUTTING_DOWN, _RETRY_ELSEWHERE))
        if not self.options.secure_inference:
            return _refusal_response(request, Refusal(404, NOT_ENABLED))
        unchanged = Response(self.server_key.pem, media_type="application/x-pem-file", headers=NO_STORE)
        fault = self.faults.take(*_KEY_STAGES)
        changed: Response = await run_in_threadpool(fault.apply, "key", unchanged)
        return changed

    async def _serve_completion(self, request: Request) -> Response:
        self.counts.posts += 1
        try:
            return await self._handle_completion(request)
        except Refusal as refusal:
            return _refusal_response(request, refusal)
        except BodyTooLargeError:
            return _refusal_response(request, Refusal(413, f"The package is larger than {PACKAGE_MAX} bytes"))
        except OutOfTimeError:
            return _refusal_response(request, Refusal(503, OUT_OF_TIME, _RETRY_ELSEWHERE))
        except ClientDisconnect:
            add_remark(request.scope, "the client disconnected", disconnected=True)
            return Response(status_code=400)  # never sent: ASGI requires a response
        except Exception as error:  # noqa: BLE001 - its message and its traceback may quote the prompt
            logger.error("%s failed: %s", COMPLETION_PATH, type(error).__name__)
            return _refusal_response(request, Refusal(500, INTERNAL))

    async def _handle_completion(self, request: Request) -> Response:
        if self.draining:
            # A client that is still sending might not read the response.
            await await_or_cancel(read_body(request, PACKAGE_MAX), self.out_of_time)
            raise Refusal(503, SHUTTING_DOWN, _RETRY_ELSEWHERE)
        fault = self.faults.take(*_COMPLETION_STAGES)
        replacement: Response | None = fault.apply("request", None)
        if replacement is not None:
            return replacement
        if not self.options.secure_inference:
            raise Refusal(404, NOT_ENABLED)
        bearer = self._authenticate(request.headers)
        if self.options.rate_limit:
            # Without configured keys, a caller could avoid the limit by inventing a new bearer key for each request.
            host = request.client.host if request.client else ""
            self._limiter.admit(bearer if self.options.api_keys else host)
        headers = read_headers(request.headers)
        tier = headers.tier or self.options.default_tier
        package = await await_or_cancel(read_body(request, PACKAGE_MAX), self.out_of_time)
        response = self._respond(headers, tier, package, fault)
        return await await_or_cancel(response, self.out_of_time, while_connected=request.receive)

    async def _respond(self, headers: RequestHeaders, tier: str, package: bytes, fault: Fault) -> Response:
        """Respond to a request that has arrived completely. Raises `Refusal`."""
        async with self._large_slots if len(package) > _LARGE_BYTES else nullcontext():
            payload = await run_in_threadpool(decrypt_payload, package, self.server_key.private)
            del package
            if not self.options.allows(payload["model"], tier):
                raise Refusal(403, FORBIDDEN)
            body = b""
            if self._upstream is not None:
                body = await run_in_threadpool(encode_request, payload)
                payload.clear()  # while the upstream works, the bytes take a fraction of the memory
        evidence = await run_in_threadpool(self._make_evidence, headers.payload_id, tier)
        if self._upstream is None:
            completion = await run_in_threadpool(echo, payload)
        else:
            completion = await self._upstream.complete(body)
        encrypted = await run_in_threadpool(self._encrypt, headers, tier, evidence, completion, fault)
        self.counts.responses += 1
        changed: Response = fault.apply("reply", EncryptedResponse(encrypted))
        return changed

    def _authenticate(self, headers: Mapping[str, str]) -> str:
        """Check the bearer key and return it, or ``""`` if the request has none. Raises `Refusal`."""
        bearer = bearer_of(headers)
        allowed = self.options.api_keys
        # Compare with every key, each in constant time, so that the time reveals nothing about the keys.
        matches = [hmac.compare_digest(bearer.encode(), key.encode()) for key in allowed]
        if allowed and not any(matches):
            raise Refusal(401, UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
        return bearer

    def _make_evidence(self, payload_id: str, tier: str) -> Mapping[str, Any]:
        """Build the `tpm_attestation` block. Raises `Refusal` if the tier requires a TPM and none is available."""
        evidence: Mapping[str, Any] = ABSENT
        if self.tpm_available:
            try:
                evidence = self.source.attest(payload_id)
            except AttesterError as error:
                logger.error("the TPM failed: %s", error)
        if tier == "maximum" and not evidence["is_available"]:
            raise Refusal(503, NO_TPM)
        return evidence

    def _encrypt(
        self,
        headers: RequestHeaders,
        tier: str,
        evidence: Mapping[str, Any],
        completion: Mapping[str, Any],
        fault: Fault,
    ) -> bytes:
        if fault.stage == "forge":
            forge = fault.apply("forge", replacement_forge(evidence, headers.payload_id))
            evidence = forge.response()["_metadata"]["tpm_attestation"]
        evidence = fault.apply("evidence", evidence)
        response = add_metadata(
            completion, evidence, payload_id=headers.payload_id, tier=tier, tpm_kind=self.source.claim
        )
        plaintext = fault.apply("plaintext", bytes(strict_json.encode(fault.apply("completion", response))))
        recipient = fault.apply("recipient", headers.client_key)
        encrypt = fault.apply("encrypt", None)
        if encrypt is not None:
            body: bytes = encrypt(plaintext, recipient)
        else:
            body = envelope.encrypt(plaintext, recipient, processed_at=response["_metadata"]["processed_at"])
        body, _ = fault.apply("bodies", (body, self._last_response))
        if self.stores_last:
            self._last_response = body
        return body


def _refusal_response(request: Request, refusal: Refusal) -> Response:
    add_remark(request.scope, refusal.detail)
    return JSONResponse({"detail": refusal.detail}, refusal.status, {**NO_STORE, **refusal.headers})


async def _http_exception_response(_: Request, error: Exception) -> Response:
    """Convert Starlette's own 404 and 405 to the error format of the protocol."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, dict(error.headers or {}))
