"""Limit the requests of each caller, by the service's documented rules.

- Two requests in any second.
- Up to four in a second, once in ten seconds.
- A caller that is refused 20 times within a minute is locked out for 30 minutes.

The router names the caller (`Limiter.admit`). There is a table of callers and one of locked-out callers, each of a
limited size. A full table drops the caller whose last request is oldest, or whose lockout ends first. So neither memory
nor the time per request grows with the number of callers.
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
"""Requests in a second."""

BURST: Final = 4
"""Requests in a second, once in `BURST_EVERY`."""

BURST_EVERY: Final = 10.0
"""Minimum interval between two bursts, in seconds."""

ABUSE: Final = 20
"""Refusals within `ABUSE_WITHIN` that lock a caller out. The service does not publish its number."""

ABUSE_WITHIN: Final = 60.0
"""Period in which refusals are counted, in seconds."""

COOL_DOWN: Final = 30 * 60.0
"""Duration of a lockout in seconds."""

CALLERS_MAX: Final = 10_000
"""Maximum number of counted callers, and of locked-out callers."""

_SECOND: Final = 1.0

_Value = TypeVar("_Value")


@dataclass(slots=True)
class _Caller:
    admitted: deque[float] = field(default_factory=lambda: deque(maxlen=BURST))
    refused: deque[float] = field(default_factory=lambda: deque(maxlen=ABUSE))
    burst_began: float = -math.inf


class Limiter:
    """Counts requests by caller. Thread-safe.

    Args:
        clock: monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._callers: OrderedDict[bytes, _Caller] = OrderedDict()  # least recent first
        self._locked: OrderedDict[bytes, float] = (
            OrderedDict()
        )  # end of the lockout; all are equally long, so the next to end is first
        self._lock = threading.Lock()

    def admit(self, identity: str) -> None:
        """Admit a request of the caller with this identity. Raises `Refusal`: 429, or 503 for a locked-out caller."""
        name = hashlib.sha256(identity.encode()).digest()  # so that no bearer key is stored
        with self._lock:
            now = self._clock()
            locked_until = self._locked.get(name, -math.inf)
            if now < locked_until:
                raise _locked_out(locked_until - now)
            self._locked.pop(name, None)
            caller = self._callers.pop(name, None) or _Caller()
            _append(self._callers, name, caller)
            if _fits(caller, now):
                caller.admitted.append(now)
                return
            caller.refused.append(now)
            if len(caller.refused) == ABUSE and now - caller.refused[0] <= ABUSE_WITHIN:
                del self._callers[name]  # its counts are outdated long before the lockout ends
                _append(self._locked, name, now + COOL_DOWN)
                raise _locked_out(COOL_DOWN)
            wait = caller.admitted[-RATE] + _SECOND - now
        raise Refusal(
            429, f"{RATE} requests a second are allowed, {BURST} once in {BURST_EVERY:g} seconds", _retry_after(wait)
        )


def _append(table: OrderedDict[bytes, _Value], name: bytes, value: _Value) -> None:
    """Append an entry, and drop the first if there are too many."""
    table[name] = value
    if len(table) > CALLERS_MAX:
        table.popitem(last=False)


def _fits(caller: _Caller, now: float) -> bool:
    within = sum(now - moment < _SECOND for moment in caller.admitted)
    if within < RATE:
        return True
    if within >= BURST:
        return False
    if now - caller.burst_began >= BURST_EVERY:
        caller.burst_began = now
        return True
    return now - caller.burst_began < _SECOND


def _locked_out(seconds: float) -> Refusal:
    return Refusal(503, "Locked out: too many requests were refused", _retry_after(seconds))


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
