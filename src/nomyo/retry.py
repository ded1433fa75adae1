"""When to try again, and after how long. Arithmetic only: no clock, no sleep, no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

RETRYABLE: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses that may be retried: those of nomyo 0.2.9 (429, 500, 502, 503, 504); 408 and 425, which ask for another try
(RFC 9110, 15.5.9; RFC 8470, 5.2); 520 to 524, with which Cloudflare reports an origin that is down, unreachable or too
slow, as 502 and 504 do; and 529, overloaded.
"""

RETRY_AFTER_MAX: Final = 60.0
"""Seconds of the longest wait that a server can ask for; longer ones are left to the caller."""

BACKOFF_MAX: Final = 30.0
"""Seconds of the longest wait between two tries where the server does not say."""


def backoff(retry: int, fraction: float) -> float:
    """Seconds before a retry, of which `retry` were made already: up to 1, 2, 4 … seconds, with full jitter.

    Args:
        fraction: from 0 to 1, at random, so that clients that failed together do not come back together.
    """
    return fraction * min(BACKOFF_MAX, 2.0 ** min(retry, 10))


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a response asks to wait; None if it does not say, or not in a form that can be read.

    ``retry-after-ms`` in milliseconds goes before ``retry-after`` in seconds or as a date (RFC 9110, 10.2.3). A date is
    compared with the response's own ``date`` (RFC 9110, 6.6.1), so that a wrong clock on this machine changes nothing.

    Args:
        headers: names in lower case.
        now: this machine's time, with an offset, for a response without a date of its own.
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
    """A date of HTTP; None for any other text."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a year of twenty digits
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)  # RFC 9110, 5.6.7: HTTP dates are in UTC


def _number(text: str | None) -> float | None:
    """A number of HTTP: digits, with or without a fraction. `float` would take ``1e9``, ``nan`` and ``1_0``, too."""
    if text is None or not text.strip().replace(".", "", 1).isdecimal() or not text.isascii():
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def status_may_be_retried(status: int, tier: str | None, wait: float | None) -> bool:
    """Whether an answer of this status may be followed by another try.

    A 503 for the tier `maximum` says that there is no TPM, unless it says when to come back: another try would find
    none either.

    Args:
        tier: the security tier requested; None for none.
        wait: what `retry_after` found.
    """
    if status not in RETRYABLE:
        return False
    return not (status == 503 and tier == "maximum" and wait is None)


def wait_before(retry: int, asked: float | None, left: float, random: Callable[[], float]) -> float | None:
    """Seconds to wait before the next try; None if there is not to be one.

    Args:
        retry: how many retries were made already.
        asked: what the server asked for, in seconds; None if it did not.
        left: seconds until the deadline of the call.
        random: a number from 0 to 1.
    """
    if asked is not None and asked > RETRY_AFTER_MAX:
        return None
    wait = backoff(retry, random()) if asked is None else asked
    return wait if wait < left else None
