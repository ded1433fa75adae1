"""The model of a router with an upstream: any server that speaks OpenAI's chat completions.

Nothing the upstream says in an error is passed on: errors travel unsealed, and it may quote the prompt.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Any, Final

import httpx
from starlette.concurrency import run_in_threadpool

from nomyo import jsontext
from nomyo.router.errors import Refusal
from nomyo_attest.evidence.json_bounds import TooManyContainersError

logger = logging.getLogger("nomyo.router")

ANSWER_MAX: Final = 64 * 1024 * 1024
"""Bytes of the largest completion that is taken."""

CONNECT_SECONDS: Final = 10.0

_OK: Final = 200
UNUSABLE: Final = 424
"""Status for a response of the upstream that cannot be passed on and would be the same another time: Failed Dependency
(RFC 4918, 11.4). Clients retry a 502 and would pay for each.
"""

_PASSED_ON: Final = {
    400: "The inference server refused the request",
    404: "The inference server does not have the model",
    413: "The request is too large for the inference server",
    422: "The inference server refused the request",
    429: "The inference server is busy",
    503: "The inference server is not available",
}
"""Statuses that concern the caller, with what it is told; every other one is a 502."""

_MAPPED: Final = {404: 400, 413: 400, 422: 400}
"""404 means that secure inference is not enabled here, and clients know no 413 or 422."""


class Upstream:
    """An OpenAI-compatible server. Used and closed in one event loop.

    Args:
        base_url: such as ``"http://127.0.0.1:8080/v1"``.
        api_key: bearer key for it.
        timeout: seconds to wait for its answer.
    """

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout: float = 600.0) -> None:
        self._url = base_url.rstrip("/") + "/chat/completions"
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            trust_env=False,  # a proxy of the environment is not to see prompts
            verify=ssl.create_default_context(),
        )

    async def complete(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Ask it. Raises `Refusal`: 400, 429 or 503 as it said, 502 for what is no completion, 504 in silence."""
        body = await run_in_threadpool(_encoded, payload)
        try:
            async with self._client.stream("POST", self._url, content=body) as answer:
                if answer.status_code != _OK:
                    raise _refusal(answer.status_code, answer.headers.get("retry-after"))
                text = await _limited(answer)
        except httpx.TimeoutException:
            logger.warning("the upstream did not answer in time")
            raise Refusal(504, "The inference server did not answer in time") from None
        except httpx.HTTPError as error:
            logger.warning("the upstream cannot be reached: %s", type(error).__name__)
            raise Refusal(502, "The inference server cannot be reached") from None
        try:
            completion = await run_in_threadpool(jsontext.decode, text)
        except TooManyContainersError as error:
            logger.warning("the upstream's response has %s", error)
            raise Refusal(UNUSABLE, f"The inference server's response has {error}") from None
        except ValueError:
            completion = None
        if not isinstance(completion, dict) or not isinstance(completion.get("choices"), list):
            logger.warning("the upstream's answer is no chat completion")
            raise Refusal(502, "The inference server's answer is no chat completion")
        return completion

    async def aclose(self) -> None:
        """End its connections."""
        await self._client.aclose()


def _encoded(payload: Mapping[str, Any]) -> bytes:
    return bytes(jsontext.encode({**payload, "stream": False}))


async def _limited(answer: httpx.Response) -> bytearray:
    text = bytearray()
    async for piece in answer.aiter_bytes():
        text += piece
        if len(text) > ANSWER_MAX:
            raise Refusal(UNUSABLE, f"The inference server's response is larger than {ANSWER_MAX} bytes")
    return text


def _refusal(status: int, retry_after: str | None) -> Refusal:
    logger.warning("the upstream answered with status %d", status)
    if status not in _PASSED_ON:
        return Refusal(502, f"The inference server failed (HTTP {status})")
    headers = {"Retry-After": retry_after} if retry_after and status in (429, 503) else {}
    return Refusal(_MAPPED.get(status, status), _PASSED_ON[status], headers)
