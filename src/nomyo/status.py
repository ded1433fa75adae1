"""Map HTTP statuses other than 200 to exceptions, and decide whether and when to retry.

`STATUSES` is the table. The body of an error response is not authenticated: it is shortened and quoted, and no decision
depends on it. A service might echo the request, so the API key and the texts of the prompt are removed from the body
(see `redaction`). A message may be printed in a log, so characters that could control a terminal or a CI system are
escaped in it; the attributes contain the text as received.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

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
from nomyo_attest.report.formatting import sanitize


class Status(msgspec.Struct, frozen=True):
    """How the client treats one status.

    Attributes:
        error: class of the exception.
        prefix: beginning of its message, as in nomyo 0.2.9; None to name the status instead.
        default: rest of the message if the body contains no detail.
        not_json: rest of the message if the body is not JSON; empty for `default`.
        retryable: whether the same request may be sent again.
        pauses: whether a response with Retry-After pauses all calls with the same API key.
        has_details: whether a JSON object in the body becomes `error_details`.
    """

    error: type[APIStatusError] = APIStatusError
    prefix: str | None = None
    default: str = "unknown"
    not_json: str = ""
    retryable: bool = False
    pauses: bool = False
    has_details: bool = True


# fmt: off
STATUSES: Final[Mapping[int, Status]] = {
    400: Status(InvalidRequestError, "Bad request: ", "Unknown error", "Invalid response format"),
    401: Status(AuthenticationError, "", "Invalid API key or authentication failed"),
    403: Status(ForbiddenError, "Forbidden: ", "Model not allowed for the requested security tier"),
    404: Status(NotFoundError, "Endpoint not found: ", "Secure inference not enabled"),
    # 408 and 425 allow a retry (RFC 9110, 15.5.9; RFC 8470, 5.2).
    408: Status(retryable=True, has_details=False),
    425: Status(retryable=True, has_details=False),
    # nomyo 0.2.9 also retries 429, 500, 502, 503 and 504.
    429: Status(RateLimitError, "Rate limit exceeded: ", retryable=True, pauses=True),
    500: Status(ServerError, "Server error: ", retryable=True),
    502: Status(retryable=True),
    503: Status(ServiceUnavailableError, "Service unavailable: ", retryable=True, pauses=True),
    504: Status(retryable=True),
    # Cloudflare: the origin is down, unreachable or too slow, which other proxies report as 502 and 504.
    520: Status(retryable=True, has_details=False),
    521: Status(retryable=True, has_details=False),
    522: Status(retryable=True, has_details=False),
    523: Status(retryable=True, has_details=False),
    524: Status(retryable=True, has_details=False),
    # Overloaded.
    529: Status(retryable=True, has_details=False),
}
# fmt: on

OTHER_STATUS: Final = Status(has_details=False)
"""The entry for a status that is not in the table."""

RETRY_AFTER_MAX: Final = 60.0
"""Maximum wait in seconds that a server can request; the client does not retry if the server requests more."""

BACKOFF_MAX: Final = 30.0
"""Maximum wait between two attempts in seconds, if the server does not request one."""

BODY_MAX: Final = 64 * 1024
"""Number of bytes that are read from the body of an error response."""

DETAIL_MAX: Final = 500
"""Maximum length in characters of a detail in a message."""

NOT_FROM_ROUTER: Final = "not the router's response: it may come from a gateway or proxy"
"""Part of the message about a body that is not in the router's form."""

_HTML: Final = re.compile(
    r"\s*(<!--.{0,200}?-->\s*)?<(!doctype\s+html|html|head|body|title|h1|center)\b", re.IGNORECASE | re.DOTALL
)


def status_error(
    status: int, headers: Mapping[str, str], body: bytes, *, secrets: Iterable[str] = (), now: datetime | None = None
) -> APIStatusError:
    """Create the exception for an HTTP response.

    Args:
        status: HTTP status, not 200.
        headers: its headers, with names in lower case.
        body: the body as received; `BODY_MAX` bytes of it are used.
        secrets: texts to remove from the error.
        now: the time, for a Retry-After date in a response without a Date header; None for the current time.
    """
    document, is_json = _parse_body(body)
    redact = Redaction(secrets)
    document, redacted_headers = redact([document, dict(headers)])
    if not is_json:
        document = document[: 4 * DETAIL_MAX] or None
    entry = STATUSES.get(status, OTHER_STATUS)
    prefix = f"Unexpected status code: {status} " if entry.prefix is None else entry.prefix
    foreign = _describe_foreign_body(document)
    if foreign:
        message = f"{prefix or f'HTTP {status}: '}{foreign}"
    elif is_json:
        message = prefix + (_error_detail(document) or entry.default)
    else:
        message = prefix + (entry.not_json or entry.default)
    error = entry.error(sanitize(message), status)
    if isinstance(document, dict) and entry.has_details:
        error.error_details = document
    error.headers = redacted_headers
    error.body = document
    error.retry_after = retry_after(headers, now or datetime.now(UTC))
    return error


def _parse_body(body: bytes) -> tuple[Any, bool]:
    """Return the body as a JSON value, or as text if it is not JSON, and whether it is JSON."""
    text = body[:BODY_MAX].decode("utf-8", "replace")
    try:
        return json.loads(text), True
    except (ValueError, RecursionError):
        return text, False


def _describe_foreign_body(document: Any) -> str:
    """Describe a body that the router did not write: an HTML page, or a gateway's JSON. Empty for a router's body."""
    if isinstance(document, str):
        return f"an HTML page, {NOT_FROM_ROUTER}" if _HTML.match(document) else ""
    if not isinstance(document, dict) or "detail" in document:
        return ""
    error = document.get("error", document)
    text = error.get("message") if isinstance(error, dict) else error
    return f"{_shorten(text)} ({NOT_FROM_ROUTER})" if isinstance(text, str) and text else ""


def _error_detail(document: Any) -> str:
    """Return the shortened error message of a body: its `detail`, or the body itself if it is a list or a string."""
    detail = document.get("detail") if isinstance(document, dict) else document
    if detail is None:
        return ""
    return _shorten(detail if isinstance(detail, str) else json.dumps(detail, ensure_ascii=False))


def _shorten(text: str) -> str:
    return text if len(text) <= DETAIL_MAX else f"{text[:DETAIL_MAX]}…"


def is_retryable(status: int, tier: str | None, wait: float | None) -> bool:
    """Whether the request may be retried after a response with this status.

    A 503 at the tier `maximum` without Retry-After means that the server has no TPM, so a retry would fail as well.

    Args:
        tier: the requested security tier; None if none was requested.
        wait: seconds that the response asks to wait; None if it does not ask.
    """
    if status == 503 and tier == "maximum" and wait is None:
        return False
    return STATUSES.get(status, OTHER_STATUS).retryable


def pauses_calls(status: int | None) -> bool:
    """Whether a response with this status and Retry-After pauses all calls with the same API key."""
    return status is not None and STATUSES.get(status, OTHER_STATUS).pauses


def backoff(retry: int, fraction: float) -> float:
    """Return the seconds before a retry: up to 1, 2, 4 … seconds, with full jitter.

    Args:
        retry: number of retries already made.
        fraction: a random number from 0 to 1, so that clients that failed together do not retry together.
    """
    return fraction * min(BACKOFF_MAX, 2.0 ** min(retry, 10))


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that a response asks to wait; None if it does not ask, or if the header is invalid.

    ``retry-after-ms`` in milliseconds overrides ``retry-after`` in seconds or as a date (RFC 9110, 10.2.3). A date is
    compared with the response's own ``date`` (RFC 9110, 6.6.1), so that a wrong clock on this machine has no effect.

    Args:
        headers: names in lower case.
        now: this machine's time, with an offset, for a response without ``date``.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    until = _date(text)
    return None if until is None else max(0.0, (until - (_date(headers.get("date", "")) or now)).total_seconds())


def _date(text: str) -> datetime | None:
    """Parse an HTTP date; None for any other text."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # OverflowError: a year with twenty digits
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)  # RFC 9110, 5.6.7: HTTP dates are in UTC


def _number(text: str | None) -> float | None:
    """Parse a decimal number without sign or exponent; None for any other text, such as ``1e9`` or ``nan``."""
    if text is None or not text.strip().replace(".", "", 1).isdecimal() or not text.isascii():
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def retry_delay(retry: int, requested: float | None, left: float, random: Callable[[], float]) -> float | None:
    """Return the seconds to wait before the next attempt; None if the request must not be retried.

    Args:
        retry: number of retries already made.
        requested: seconds that the server asked to wait; None if it did not ask.
        left: seconds until the deadline of the call.
        random: a number from 0 to 1.
    """
    if requested is not None and requested > RETRY_AFTER_MAX:
        return None
    wait = backoff(retry, random()) if requested is None else requested
    return wait if wait < left else None
