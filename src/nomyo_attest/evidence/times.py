"""Read a time in a record: seconds since 1970, or ISO 8601 text with an offset from UTC."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Final

TIME_MAX: Final = 2**53
"""Exclusive bound on seconds before or after 1970: every JSON reader represents integers below it exactly."""

_ISO_8601_MAX: Final = 64
"""Maximum characters of a time in ISO 8601."""


def seconds_of(time: object) -> int | None:
    """Return whole seconds since 1970 UTC, rounded down; None for a value that is not a time.

    Args:
        time: an integer or a finite number of seconds; or ISO 8601 text, including RFC 3339, with an offset from UTC.
            Text without an offset is not a time, because the local time zone is unknown.
    """
    if type(time) is str:
        return _seconds_of_text(time)
    if type(time) is float and math.isfinite(time):
        time = math.floor(time)
    return time if type(time) is int and abs(time) < TIME_MAX else None


def _seconds_of_text(text: str) -> int | None:
    if not text.isascii() or len(text) > _ISO_8601_MAX:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return None if moment.utcoffset() is None else math.floor(moment.timestamp())
