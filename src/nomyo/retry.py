"""When to try again, and after how long. Arithmetic only: no clock, no sleep, no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

RETRYABLE: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
"""Statuses of the published client (429, 500, 502, 503, 504), and three more that ask for another try: 408 and 425
(RFC 9110, 15.5.9; RFC 8470, 5.2) and 529, overloaded.
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
    """Seconds that an answer asks to wait; None if it does not say, or not in a form that can be read.

    ``retry-after-ms`` in milliseconds goes before ``retry-after`` in seconds or as a date (RFC 9110, 10.2.3).

    Args:
        headers: names in lower case.
        now: the time of the answer, with an offset.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a year of twenty digits
        return None
    if moment.tzinfo is None:  # RFC 9110, 5.6.7: a date of HTTP is in UTC
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


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
