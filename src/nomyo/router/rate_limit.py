"""Limit the requests of each caller according to the service's documented rules.

- A caller may send two requests in any second.
- Once in ten seconds, it may send up to four requests in a second.
- A caller whose requests are refused 20 times within a minute is locked out for 30 minutes.

The table of callers and the table of locked-out callers are limited in size. A full table drops the caller whose last
request is oldest, or whose lockout ends first, so memory and the time per request do not grow with the number of
callers.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from nomyo.router.errors import Refusal

RATE: Final = 2
"""Requests per second."""

BURST: Final = 4
"""Requests per second that are allowed once in `BURST_EVERY`."""

BURST_EVERY: Final = 10.0
"""Minimum interval between two bursts, in seconds."""

ABUSE: Final = 20
"""Number of refusals within `ABUSE_WITHIN` that locks a caller out. The service does not publish its own limit."""

ABUSE_WITHIN: Final = 60.0
"""Period in which refusals are counted, in seconds."""

COOL_DOWN: Final = 30 * 60.0
"""Duration of a lockout in seconds."""

CALLERS_MAX: Final = 10_000
"""Maximum size of the table of callers, and of the table of locked-out callers."""

_SECOND: Final = 1.0

_Value = TypeVar("_Value")


@dataclass(slots=True)
class _Caller:
    """The times of a caller's last requests, admitted and refused, and of the start of its last burst."""

    admitted: deque[float] = field(default_factory=lambda: deque(maxlen=BURST))
    refused: deque[float] = field(default_factory=lambda: deque(maxlen=ABUSE))
    burst_began: float = -math.inf


class Limiter:
    """Count the requests of each caller, and refuse those above the limits. Thread-safe.

    Args:
        clock: monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._callers: OrderedDict[bytes, _Caller] = OrderedDict()  # least recently seen first
        # Caller → end of its lockout. All lockouts are equally long, so the first entry ends first.
        self._locked_out: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, identity: str) -> None:
        """Admit a request of the caller `identity`: its API key or address.

        Raises `Refusal`: 429 above the rate limit, 503 during a lockout.
        """
        caller_id = hashlib.sha256(identity.encode()).digest()  # a digest, so that no bearer key is stored
        with self._lock:
            now = self._clock()
            locked_until = self._locked_out.get(caller_id, -math.inf)
            if now < locked_until:
                raise _lockout_refusal(locked_until - now)
            self._locked_out.pop(caller_id, None)
            caller = self._callers.pop(caller_id, None) or _Caller()
            _append(self._callers, caller_id, caller)
            if _is_within_limits(caller, now):
                caller.admitted.append(now)
                return
            caller.refused.append(now)
            if len(caller.refused) == ABUSE and now - caller.refused[0] <= ABUSE_WITHIN:
                del self._callers[caller_id]  # its counts are outdated long before the lockout ends
                _append(self._locked_out, caller_id, now + COOL_DOWN)
                raise _lockout_refusal(COOL_DOWN)
            wait = caller.admitted[-RATE] + _SECOND - now
        raise Refusal(
            429,
            f"{RATE} requests per second are allowed, and {BURST} once in {BURST_EVERY:g} seconds",
            _retry_after(wait),
        )


def _append(table: OrderedDict[bytes, _Value], caller_id: bytes, value: _Value) -> None:
    """Append an entry, and drop the first entry of a full table."""
    table[caller_id] = value
    if len(table) > CALLERS_MAX:
        table.popitem(last=False)


def _is_within_limits(caller: _Caller, now: float) -> bool:
    count = sum(now - moment < _SECOND for moment in caller.admitted)
    if count < RATE:
        return True
    if count >= BURST:
        return False
    if now - caller.burst_began >= BURST_EVERY:
        caller.burst_began = now
        return True
    return now - caller.burst_began < _SECOND


def _lockout_refusal(seconds: float) -> Refusal:
    return Refusal(503, "Locked out: too many requests were refused", _retry_after(seconds))


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
