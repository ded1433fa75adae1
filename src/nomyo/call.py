"""One call: fetch the server's key, encrypt and send the request, retry, and pass the response to the gate."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import msgspec

from nomyo import envelope, strict_json
from nomyo.client_keys import KeyPair, Keyring
from nomyo.config import PAYLOAD_MAX
from nomyo.connections import Exchange
from nomyo.errors import (
    KEY_NOT_PINNED,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ArgumentError,
    AttestationError,
    EvidenceLogError,
    NomyoError,
    ResponseError,
    SecurityError,
    ServerKeyError,
)
from nomyo.gate import Gate
from nomyo.memory import SecureBuffer
from nomyo.preflight import Admission
from nomyo.rate_limit import CallQueue, QueueFullError
from nomyo.redaction import content_texts
from nomyo.server_key import ServerKey, ServerKeys
from nomyo.status import is_retryable, pauses_calls, retry_delay, status_error
from nomyo.transport import CONNECTION_FAILED, Reply, Transport
from nomyo_attest.appraisal import AttestationResult
from nomyo_attest.policy import AppraisalPolicy

logger = logging.getLogger("nomyo")

KEY_PATH: Final = "/pki/public_key"
COMPLETION_PATH: Final = "/v1/chat/secure_completion"

_RANDOM: Final = secrets.SystemRandom()

_RETRY_HEADERS: Final = ("date", "retry-after", "retry-after-ms")

KEY_RESPONSE_MAX: Final = 64 * 1024
"""Maximum size in bytes of the response that contains the server's key."""

_KEY_RESPONSE_REFUSED: Final = (
    "the server's public key is refused: the response has a content encoding that was not requested, or is larger than "
    f"{KEY_RESPONSE_MAX} bytes"
)

KEY_TIMEOUT: Final = 30.0
"""Timeout in seconds for fetching the server's key. Concurrent calls share one fetch."""


def _ignore(server_key: str, result: AttestationResult) -> None:
    """Do nothing with an affirmed response."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    Attributes:
        payload: the plaintext, a JSON object.
        payload_id: its id, the same for every attempt.
        api_key: bearer token; None to send none.
        tier: the requested security tier; None to request none.
        policy: the policy to appraise the evidence by; None for no appraisal.
        gated: whether the response is released only if the policy affirms its evidence.
        admission: decides whether the request may be sent; None to send it in any case.
        canary: whether this is a canary, which the evidence log records.
        on_affirmed: is called with the fingerprint of the server's key and the result before an affirmed completion is
            returned.
    """

    payload: dict[str, Any]
    payload_id: str
    api_key: str | None
    tier: str | None
    policy: AppraisalPolicy | None
    gated: bool
    admission: Admission | None = None
    canary: bool = False
    on_affirmed: Callable[[str, AttestationResult], object] = _ignore

    def __repr__(self) -> str:
        return f"<Request {self.payload_id}>"

    def headers(self, pair: KeyPair) -> dict[str, str]:
        """Return the request's headers; `pair` is the key pair to which the response is encrypted."""
        headers = {
            "X-Payload-ID": self.payload_id,
            "X-Public-Key": urllib.parse.quote(pair.public_pem),
            "Content-Type": "application/octet-stream",
        }
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if self.tier is not None:
            headers["X-Security-Tier"] = self.tier
        return headers

    def content_texts(self) -> Iterator[str]:
        """Yield the texts that no error may contain: the API key, and the payload except the model name."""
        if self.api_key is not None:
            yield self.api_key
        yield from content_texts({name: value for name, value in self.payload.items() if name != "model"})


class _Attempts:
    """The state of one call: how often its request was sent, and whether it may be sent again."""

    def __init__(self, max_retries: int, timeout: asyncio.Timeout) -> None:
        self.sent = 0
        self.stage = ""
        self.maybe_processed = False
        self.prompt_sent: bool | None = False
        self._retries = 0
        self._max_retries = max_retries
        self._timeout = timeout

    def note(self, sent: bool | None) -> None:
        """Record whether the request was sent in one attempt; None if that is unknown."""
        if sent or self.prompt_sent is False:
            self.prompt_sent = sent

    def wait_after(self, failure: APIConnectionError | APIStatusError, random: Callable[[], float]) -> float | None:
        """Seconds until the next attempt; None if the request must not be sent again."""
        if not failure.retryable or self._retries >= self._max_retries:
            return None
        requested_wait = failure.retry_after if isinstance(failure, APIStatusError) else None
        wait = retry_delay(self._retries, requested_wait, self.seconds_left(), random)
        self._retries += 1
        return wait

    def seconds_left(self) -> float:
        """Seconds until the deadline of the call."""
        when = self._timeout.when()
        return float("inf") if when is None else when - asyncio.get_running_loop().time()


class _NotAdmittedError(Exception):
    """A request was not sent because of its admission, which is not retried."""

    def __init__(self, error: NomyoError) -> None:
        self.error = error


@contextmanager
def _not_admitted() -> Iterator[None]:
    try:
        yield
    except NomyoError as error:
        failure = error
    else:
        return
    raise _NotAdmittedError(failure)


class Service:
    """Calls to one service.

    Args:
        base: its base URL, without a trailing slash.
        secure_memory: whether to lock plaintext in memory where the system allows it.
        gate: releases or refuses each response.
        pins, min_server_key_bits: requirements on the server's key; see `ServerKeys`.
        queue: spaces the calls.
        sleep, random: replaced in tests; `random` returns a number from 0 to 1.
    """

    def __init__(
        self,
        base: str,
        transport: Transport,
        keyring: Keyring,
        gate: Gate,
        *,
        pins: tuple[str, ...] = (),
        min_server_key_bits: int,
        secure_memory: bool = True,
        queue: CallQueue,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = _RANDOM.random,
    ) -> None:
        self._base = base
        self._transport = transport
        self.keyring = keyring
        self._lock = secure_memory
        self.gate = gate
        self._queue = queue
        self._sleep = sleep
        self._random = random
        self.server_keys = ServerKeys(self._fetch_key, pins, min_server_key_bits)

    async def run(self, request: Request, *, time_limit: float, max_retries: int) -> dict[str, Any]:
        """Send a request, retry it if necessary, and return its completion.

        Args:
            time_limit: seconds for all attempts and waits together.
            max_retries: maximum number of retries.

        Raises:
            NomyoError: always a subclass, with `payload_id`, `attempts`, `stage` and `prompt_sent` set.
        """
        deadline = asyncio.timeout(time_limit)
        attempts = _Attempts(max_retries, deadline)
        try:
            async with deadline:
                await self.gate.check_log()
                return await self._send_until_released(request, attempts)
        except _NotAdmittedError as refused:
            failure = refused.error
            failure.attempts, failure.prompt_sent = attempts.sent, attempts.prompt_sent
            raise failure from None
        except NomyoError as error:
            failure = error
        except QueueFullError as error:
            failure = APITimeoutError(str(error))
        except TimeoutError:
            failure = APITimeoutError(
                f"{urllib.parse.urlsplit(self._base).netloc}: no response within {time_limit:g} s"
            )
            attempts.maybe_processed |= attempts.stage == "completion"
        if isinstance(failure, APIConnectionError):
            failure.maybe_processed = attempts.maybe_processed  # in any attempt, not only the last
        failure.payload_id = request.payload_id
        failure.attempts = attempts.sent
        failure.stage = failure.stage or attempts.stage
        if not isinstance(failure, (AttestationError, EvidenceLogError)):  # these know it themselves
            failure.prompt_sent = attempts.prompt_sent
        raise failure

    async def _send_until_released(self, request: Request, attempts: _Attempts) -> dict[str, Any]:
        # Before anything is sent, including the request for the server's key.
        if request.admission is not None:
            with _not_admitted():
                request.admission.check()
        self._queue.check(request.api_key, attempts.seconds_left())
        pair = await self.keyring.get()
        failure: APIConnectionError | APIStatusError | None = None
        encrypted: tuple[str, bytes] | None = None  # fingerprint of the server's key, package encrypted to it
        key_refreshed = False
        while True:
            try:
                attempts.stage = "key"
                server_key = await self.server_keys.get()
                attempts.stage = ""
                if encrypted is None or encrypted[0] != server_key.fingerprint:
                    encrypted = server_key.fingerprint, await self.encrypt(request.payload, server_key)
                await self._queue.wait_turn(request.api_key, attempts.seconds_left, self._sleep)
                preflight = None
                if request.admission is not None:
                    with _not_admitted():
                        preflight = await request.admission.admit(server_key.fingerprint)
                    if (await self.server_keys.get()).fingerprint != server_key.fingerprint:
                        continue  # the canary was encrypted to another key
                attempts.stage = "completion"
                attempts.sent += 1
                reply = await self._post(request.headers(pair), encrypted[1], attempts)
                if reply.status == 200:
                    # An error of the gate is never retried.
                    return await self.gate.release(
                        reply.body,
                        pair.private,
                        request.payload_id,
                        policy=request.policy,
                        gated=request.gated,
                        tier=request.tier,
                        secrets=request.content_texts(),
                        server_key=server_key,
                        preflight=preflight,
                        canary=request.canary,
                        on_affirmed=partial(request.on_affirmed, server_key.fingerprint),
                    )
                if strict_json.size_hint(request.payload) < strict_json.LONG_TEXT:
                    failure = self._status_error(reply, request)
                else:  # removing a long prompt's texts from the error is slow
                    failure = await asyncio.to_thread(self._status_error, reply, request)
                if reply.status == 400 and not key_refreshed:
                    # A server that cannot decrypt the package responds with 400: its key may have been rotated.
                    key_refreshed = True
                    if await self._was_rotated(server_key):
                        continue
            except QueueFullError:
                if failure is None:
                    raise
                raise failure from None  # the error of the previous attempt is more specific
            except SecurityError as error:
                if encrypted is not None and not isinstance(error, ServerKeyError):
                    error.server_key = encrypted[0]
                raise
            except (APIConnectionError, APIStatusError) as error:
                failure = error
                failure.stage = failure.stage or attempts.stage
                if attempts.stage == "completion" and isinstance(error, APIConnectionError):
                    attempts.maybe_processed |= error.maybe_processed
            if isinstance(failure, APIStatusError) and pauses_calls(failure.status_code) and failure.retry_after:
                self._queue.pause(request.api_key, failure.retry_after)
            wait = attempts.wait_after(failure, self._random)
            if wait is None:
                raise failure
            logger.info("%s at the %s stage; retrying in %.1f s", type(failure).__name__, failure.stage, wait)
            await self._sleep(wait)

    async def _post(self, headers: dict[str, str], package: bytes, attempts: _Attempts) -> Reply:
        """Send a request once, and record how much of it was sent."""
        exchange = Exchange()
        sent: bool | None = None
        try:
            reply = await self._transport.post(self._base + COMPLETION_PATH, headers, package, exchange)
            sent = attempts.maybe_processed = True
        except ResponseError:
            sent = True
            raise
        except APIConnectionError as error:
            sent = exchange.sent if error.maybe_processed or exchange.sent else False
            raise
        except BaseException:
            sent = exchange.sent
            raise
        finally:
            attempts.note(sent)
        return reply

    async def encrypt(self, payload: dict[str, Any], server_key: ServerKey) -> bytes:
        """Encode and encrypt a payload, in a thread if it is long. Raises `ArgumentError` if it cannot be sent."""
        if strict_json.size_hint(payload) < strict_json.LONG_TEXT:
            return self._encrypt_now(payload, server_key)
        return await asyncio.to_thread(self._encrypt_now, payload, server_key)

    def _encrypt_now(self, payload: dict[str, Any], server_key: ServerKey) -> bytes:
        text = strict_json.encode(payload)
        with SecureBuffer(text, lock=self._lock) as plaintext:
            if len(plaintext) > PAYLOAD_MAX:
                error = ArgumentError(f"Payload too large: {len(plaintext)} bytes (max: {PAYLOAD_MAX})")
                error.too_large = True
                raise error
            return envelope.encrypt(plaintext.data, server_key.key)

    def _status_error(self, reply: Reply, request: Request) -> APIStatusError:
        error = status_error(reply.status, reply.headers, reply.body, secrets=request.content_texts())
        error.stage = "completion"
        error.retryable = is_retryable(reply.status, request.tier, error.retry_after)
        return error

    async def _was_rotated(self, used: ServerKey) -> bool:
        """Whether the server's key has changed; False if it cannot be fetched."""
        try:
            return (await self.server_keys.refresh()).fingerprint != used.fingerprint
        except (APIConnectionError, APIStatusError):
            return False
        except ServerKeyError as error:
            if error.code == KEY_NOT_PINNED:  # perhaps an attacker's key, which matters more than the 400
                raise
            return False

    async def _fetch_key(self) -> bytes:
        try:
            async with asyncio.timeout(KEY_TIMEOUT):
                reply = await self._transport.get(self._base + KEY_PATH, maximum=KEY_RESPONSE_MAX)
        except TimeoutError as error:
            if isinstance(error, APITimeoutError):
                raise
            problem = f"the server's key was not received within {KEY_TIMEOUT:g} s"
            raise APITimeoutError(f"{CONNECTION_FAILED}{urllib.parse.urlsplit(self._base).netloc}: {problem}") from None
        except ResponseError:
            raise ServerKeyError(_KEY_RESPONSE_REFUSED) from None
        if reply.status == 200:
            return reply.body
        # The body is not quoted: this request contained no prompt, but an earlier one to this server may have.
        retry_headers = {name: reply.headers[name] for name in _RETRY_HEADERS if name in reply.headers}
        failure = status_error(reply.status, retry_headers, b"")
        failure.message = (
            f"Failed to fetch server's public key: HTTP {reply.status}{_base_url_hint(reply.status, self._base)}"
        )
        failure.args = (failure.message,)
        failure.retryable = is_retryable(reply.status, None, failure.retry_after)
        raise failure


def _base_url_hint(status: int, base: str) -> str:
    """Return a hint for a base URL that looks like an OpenAI-compatible API's; empty for any other URL."""
    path = urllib.parse.urlsplit(base).path
    found = re.search(r"/v1(/chat(/completions)?)?$", path)
    if status != HTTPStatus.NOT_FOUND or found is None:
        return ""
    return f". The base URL ends with {found[0]}; remove {found[0]}, since the client appends its own paths"
