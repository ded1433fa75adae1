"""An HTTP response whose status is not 200 → the exception to raise.

The body is not authenticated: it is quoted, shortened, and nothing depends on it. A service might echo what it was
sent, so the API key and the texts of the prompt are removed from it first (see `redaction`). A message ends in a
program's log, so characters that could drive a terminal or a CI system are escaped in it; the attributes have the text
as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from nomyo.errors import (
    APIStatusError,
    AuthenticationError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RateLimitError,
    ServerError,
    ServiceUnavailableError,
)
from nomyo.redaction import Redaction
from nomyo.retry import retry_after
from nomyo_attest.report.formatting import sanitize

BODY_MAX: Final = 64 * 1024
"""Bytes of an error's body that are read."""

DETAIL_MAX: Final = 500
"""Characters of a detail in a message."""

NOT_THE_ROUTERS: Final = "not the router's response: a gateway or proxy may have answered"
"""Said of a body that is not in the router's form."""

_HTML: Final = re.compile(
    r"\s*(<!--.{0,200}?-->\s*)?<(!doctype\s+html|html|head|body|title|h1|center)\b", re.IGNORECASE | re.DOTALL
)

# status → class, what the message begins with, and what it says where the service gives no detail in JSON, or no JSON
# fmt: off
_KINDS: Final[Mapping[int, tuple[type[APIStatusError], str, str, str]]] = {
    400: (InvalidRequestError, "Bad request: ", "Unknown error", "Invalid response format"),
    401: (AuthenticationError, "", "Invalid API key or authentication failed",
          "Invalid API key or authentication failed"),
    403: (ForbiddenError, "Forbidden: ", "Model not allowed for the requested security tier",
          "Model not allowed for the requested security tier"),
    404: (NotFoundError, "Endpoint not found: ", "Secure inference not enabled", "Secure inference not enabled"),
    429: (RateLimitError, "Rate limit exceeded: ", "unknown", "unknown"),
    500: (ServerError, "Server error: ", "unknown", "unknown"),
    503: (ServiceUnavailableError, "Service unavailable: ", "unknown", "unknown"),
}
# fmt: on


def status_error(
    status: int, headers: Mapping[str, str], body: bytes, *, secrets: Iterable[str] = (), now: datetime | None = None
) -> APIStatusError:
    """The exception for an answer.

    Args:
        status: HTTP status, not 200.
        headers: names in lower case.
        body: whatever came, `BODY_MAX` bytes at the most.
        secrets: texts to be taken out wherever they stand.
        now: the time, for a Retry-After date in a response that has no date of its own; None for now.
    """
    document, is_json = _document(body)
    without_secrets = Redaction(secrets)
    document, told = without_secrets([document, dict(headers)])
    if not is_json:
        document = document[: 4 * DETAIL_MAX] or None
    kind, start, no_detail, no_json = _KINDS.get(
        status, (APIStatusError, f"Unexpected status code: {status} ", "unknown", "unknown")
    )
    what = _foreign(document)
    if what:
        message = f"{start or f'HTTP {status}: '}{what}"
    else:
        message = start + ((_detail(document) or no_detail) if is_json else no_json)
    error = kind(sanitize(message), status)
    if isinstance(document, dict) and (status in _KINDS or status in (502, 504)):
        error.error_details = document
    error.headers = told
    error.body = document
    error.retry_after = retry_after(headers, now or datetime.now(UTC))
    return error


def _document(body: bytes) -> tuple[Any, bool]:
    """The body as a JSON value, or as text if it is none; and whether it was JSON."""
    text = body[:BODY_MAX].decode("utf-8", "replace")
    try:
        return json.loads(text), True
    except (ValueError, RecursionError):
        return text, False


def _foreign(document: Any) -> str:
    """What a body is that the router did not write: an HTML page, or an error in a gateway's JSON. Empty otherwise."""
    if isinstance(document, str):
        return f"an HTML page, {NOT_THE_ROUTERS}" if _HTML.match(document) else ""
    if not isinstance(document, dict) or "detail" in document:
        return ""
    error = document.get("error", document)
    text = error.get("message") if isinstance(error, dict) else error
    return f"{_shortened(text)} ({NOT_THE_ROUTERS})" if isinstance(text, str) and text else ""


def _detail(document: Any) -> str:
    """What a body says went wrong: its `detail`, or the body itself where it is a list or a string. Shortened."""
    detail = document.get("detail") if isinstance(document, dict) else document
    if detail is None:
        return ""
    return _shortened(detail if isinstance(detail, str) else json.dumps(detail, ensure_ascii=False))


def _shortened(text: str) -> str:
    return text if len(text) <= DETAIL_MAX else f"{text[:DETAIL_MAX]}…"
