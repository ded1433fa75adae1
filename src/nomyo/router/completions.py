"""Get completions from an upstream, which is any OpenAI-compatible server, or repeat the prompt.

The router does not forward error texts of the upstream: they may quote the prompt, and errors are sent unencrypted. It
only recognizes a few codes in them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
import uuid
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import httpx
from starlette.concurrency import run_in_threadpool

from nomyo import strict_json
from nomyo.router.errors import Refusal
from nomyo_attest.evidence.strict_json import TooManyContainersError

logger = logging.getLogger("nomyo.router")

COMPLETION_MAX: Final = 64 * 1024 * 1024
"""Maximum size of a completion in bytes."""

UPSTREAM_CONNECT_SECONDS: Final = 10.0
"""Timeout for connecting to the upstream, in seconds."""

UPSTREAM_KEEP_ALIVE_SECONDS: Final = 4.0
"""Seconds that an idle connection to the upstream stays open. Many servers, such as uvicorn and Node.js, close idle
connections after 5 seconds, and a request that is sent at that moment is lost.
"""

_OK: Final = 200
_REFUSED: Final = 400
UNUSABLE: Final = 424
"""Status for a permanent fault of the upstream: Failed Dependency (RFC 4918, 11.4). It is not a 5xx, since
clients retry a 502 and would pay for each attempt, and a proxy may retry any 5xx.
"""

_DETAILS: Final = {
    400: "The inference server refused the request",
    404: "The inference server does not have the model",
    413: "The request is too large for the inference server",
    422: "The inference server refused the request",
    429: "The inference server is busy",
    503: "The inference server is not available",
}
"""Upstream status that concerns the caller → detail of the response."""

_DETAILS_BY_CODE: Final = {
    "context_length_exceeded": "The messages and max_tokens exceed the model's context length",
    "exceed_context_size_error": "The messages exceed the model's context length",
    "model_not_found": "The inference server does not have the model",
}
"""`code` or `type` of an upstream's error with a status that becomes 400 → detail that replaces the one of the status.
OpenAI and llama-cpp-python send the first as a code; llama.cpp's own server sends the second as a type.
"""

_ERROR_MAX: Final = 64 * 1024
"""Number of bytes of an upstream's error that are read. Some servers quote the whole prompt in it."""

_ERROR_SECONDS: Final = 5.0
"""Seconds that the rest of an upstream's error may take."""

_MAPPED: Final = {404: 400, 413: 400, 422: 400}
"""Upstream status → status that the client gets instead. In this protocol, 404 means that secure inference is not
enabled, and 413 and 422 are not defined.
"""

_TEMPORARY: Final = frozenset({408, 425, 500, 502, 504, *range(520, 531)})
"""Upstream statuses after which a retry may succeed; they become 502. Statuses from 520 on come from proxies and
overloaded services. All others (401, 403, redirects, 501 …) become `UNUSABLE`.
"""

_RETRY_AFTER: Final = re.compile(r"[ -~]{1,64}")
"""A number of seconds or a date, in ASCII, since other characters are not allowed in a header field."""

_NO_COMPLETION: Final = "The inference server's response is not a chat completion"


class Upstream:
    """An HTTP client for an OpenAI-compatible server. Use and close it in one event loop.

    Args:
        base_url: such as ``"http://127.0.0.1:8080/v1"``.
        api_key: bearer key for the server.
        timeout: seconds to wait for a response, and before that, for one of the `concurrency` slots.
        concurrency: maximum number of concurrent requests.
    """

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout: float = 600.0, concurrency: int = 100
    ) -> None:
        self._timeout = timeout
        self._slots = asyncio.Semaphore(concurrency)
        self._url = base_url.rstrip("/") + "/chat/completions"
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, UPSTREAM_CONNECT_SECONDS)),
            limits=httpx.Limits(
                max_connections=None,  # `_slots` limits them
                max_keepalive_connections=concurrency,
                keepalive_expiry=UPSTREAM_KEEP_ALIVE_SECONDS,
            ),
            trust_env=False,  # a proxy from the environment must not see prompts
            verify=ssl.create_default_context(),
        )

    async def complete(self, body: bytes) -> dict[str, Any]:
        """Request a completion. Canceling the call ends the request to the upstream.

        Args:
            body: the result of `encode_request`.

        Raises `Refusal`: 400, 429 or 503 as the upstream responded; 502 or 504 for a temporary fault; `UNUSABLE`
        for any other fault.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._slots.acquire()
        except TimeoutError:
            logger.warning("no upstream slot became free within %g s", self._timeout)
            raise Refusal(503, "The inference server is busy", {"Retry-After": "5"}) from None
        try:
            text = await self._post(body)
        finally:
            self._slots.release()
        try:
            completion = await run_in_threadpool(strict_json.decode, text)
        except TooManyContainersError as error:
            logger.warning("the upstream's response has %s", error)
            raise Refusal(UNUSABLE, f"The inference server's response has {error}") from None
        except ValueError:
            completion = None
        if not isinstance(completion, dict) or not isinstance(completion.get("choices"), list):
            logger.warning("the upstream's response is not a chat completion")
            raise Refusal(UNUSABLE, _NO_COMPLETION)
        return completion

    async def _post(self, body: bytes) -> bytearray:
        try:
            async with self._client.stream("POST", self._url, content=body) as response:
                if response.status_code != _OK:
                    raise _refusal_for(response, await _error_detail(response))
                return await _read_limited(response)
        except httpx.TimeoutException:
            logger.warning("the upstream did not respond in time")
            raise Refusal(504, "The inference server did not respond in time") from None
        except httpx.DecodingError:
            logger.warning("the upstream's response cannot be decompressed")
            raise Refusal(UNUSABLE, _NO_COMPLETION) from None
        except httpx.HTTPError as error:
            fault = _tls_fault(error) if isinstance(error, httpx.ConnectError) else None
            if fault is not None:
                logger.warning("no connection to the upstream: %s", fault)
                raise Refusal(UNUSABLE, fault) from None
            if isinstance(error, httpx.ConnectError):
                logger.warning("the upstream cannot be reached")
                raise Refusal(502, "The inference server cannot be reached") from None
            logger.warning("the upstream ended the connection: %s", type(error).__name__)
            raise Refusal(502, "The inference server ended the connection before its response was complete") from None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def encode_request(payload: Mapping[str, Any]) -> bytes:
    """Encode a payload as the body of a request to the upstream."""
    return bytes(strict_json.encode({**payload, "stream": False}))


async def _read_limited(response: httpx.Response) -> bytearray:
    text = bytearray()
    async for piece in response.aiter_bytes():
        text += piece
        if len(text) > COMPLETION_MAX:
            logger.warning("the upstream's response is larger than %d bytes", COMPLETION_MAX)
            raise Refusal(UNUSABLE, f"The inference server's response is larger than {COMPLETION_MAX} bytes")
    return text


def _tls_fault(error: BaseException | None) -> str | None:
    """Describe the permanent TLS error that caused `error`; None if the cause is another error, such as a reset."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return "The inference server's certificate is not trusted"
        if isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return "TLS cannot be established with the inference server"
        error = error.__cause__ or error.__context__
    return None


async def _error_detail(response: httpx.Response) -> str | None:
    """Return the detail for the code in an upstream's error; None if there is no such code."""
    if _MAPPED.get(response.status_code, response.status_code) != _REFUSED:
        return None
    text = bytearray()
    try:
        async with asyncio.timeout(_ERROR_SECONDS):
            async for piece in response.aiter_bytes():
                text += piece
                if len(text) > _ERROR_MAX:
                    return None
        document = strict_json.decode(text)
    except (TimeoutError, httpx.HTTPError, ValueError, RecursionError):
        return None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return None
    codes = [error.get("code"), error.get("type")]
    return next((_DETAILS_BY_CODE[code] for code in codes if isinstance(code, str) and code in _DETAILS_BY_CODE), None)


def _refusal_for(response: httpx.Response, detail: str | None) -> Refusal:
    status, retry_after = response.status_code, response.headers.get("retry-after")
    logger.warning("the upstream responded with status %d", status)
    if status in _DETAILS:
        headers = {}
        if status in (429, 503) and retry_after is not None and _RETRY_AFTER.fullmatch(retry_after):
            headers["Retry-After"] = retry_after
        return Refusal(_MAPPED.get(status, status), detail or _DETAILS[status], headers)
    return Refusal(502 if status in _TEMPORARY else UNUSABLE, f"The inference server failed (HTTP {status})")


_WORD: Final = re.compile(r"\S+\s*")

_CHOICES_MAX: Final = 16
_SLICE: Final = 64 * 1024


def echo(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Build an OpenAI chat completion that repeats the last user message.

    Words stand for tokens: `usage` counts words, and `max_tokens` limits them.
    """
    messages = [message for message in payload["messages"] if isinstance(message, dict)]
    prompt = next((text_of(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")
    maximum = payload.get("max_tokens", payload.get("max_completion_tokens"))
    content, finish = prompt, "stop"
    if type(maximum) is int and maximum >= 0:
        words = _WORD.finditer(prompt)
        first = list(islice(words, maximum))
        if next(words, None) is not None:
            content, finish = prompt[: first[-1].end()].rstrip() if first else "", "length"
    requested = payload.get("n")
    choices = min(requested, _CHOICES_MAX) if type(requested) is int and requested > 0 else 1
    prompt_tokens = sum(_count_words(text_of(message.get("content"))) for message in messages)
    completion_tokens = choices * _count_words(content)
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": payload["model"],
        "choices": [
            {"index": index, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
            for index in range(choices)
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def _count_words(text: str) -> int:
    """Count words in slices, so that other threads can run in between. A word that two slices share counts twice."""
    return sum(len(text[start : start + _SLICE].split()) for start in range(0, len(text), _SLICE))


def text_of(content: object) -> str:
    """Return the text of a message's content: a string, or the parts of type text in a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""
