"""How often a caller may ask: the service's documented rules, for each bearer key on its own.

- Two requests in any second.
- Up to four in a second, once in ten seconds.
- Whoever keeps asking while refused, 20 times within a minute, is locked out for 30 minutes.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nomyo.router.errors import Refusal

RATE: Final = 2
"""Requests in a second."""

BURST: Final = 4
"""Requests in a second, once in `BURST_EVERY`."""

BURST_EVERY: Final = 10.0
"""Seconds."""

ABUSE: Final = 20
"""Refusals within `ABUSE_WITHIN` that lock a caller out. The service does not publish its number."""

ABUSE_WITHIN: Final = 60.0
"""Seconds."""

COOL_DOWN: Final = 30 * 60.0
"""Seconds that a caller is locked out for."""

_CALLERS_MAX: Final = 10_000
_SECOND: Final = 1.0


@dataclass(slots=True)
class _Caller:
    admitted: deque[float] = field(default_factory=lambda: deque(maxlen=BURST))
    refused: deque[float] = field(default_factory=lambda: deque(maxlen=ABUSE))
    burst_began: float = -math.inf
    locked_until: float = -math.inf


class Limiter:
    """Counts requests by caller. Safe in several threads.

    Args:
        clock: gives seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._callers: dict[bytes, _Caller] = {}
        self._lock = threading.Lock()

    def admit(self, who: str) -> None:
        """Let one request of a caller in, or raise `Refusal`: 429, or 503 for a caller that is locked out."""
        name = hashlib.sha256(who.encode()).digest()  # a bearer key is kept nowhere
        with self._lock:
            now = self._clock()
            caller = self._callers.get(name)
            if caller is None:
                self._forget_idle(now)
                caller = self._callers[name] = _Caller()
            if now < caller.locked_until:
                raise _locked_out(caller.locked_until - now)
            if _fits(caller, now):
                caller.admitted.append(now)
                return
            caller.refused.append(now)
            if len(caller.refused) == ABUSE and now - caller.refused[0] <= ABUSE_WITHIN:
                caller.refused.clear()
                caller.locked_until = now + COOL_DOWN
                raise _locked_out(COOL_DOWN)
            wait = caller.admitted[-RATE] + _SECOND - now
        raise Refusal(
            429, f"{RATE} requests a second are allowed, {BURST} once in {BURST_EVERY:g} seconds", _retry_after(wait)
        )

    def _forget_idle(self, now: float) -> None:
        if len(self._callers) >= _CALLERS_MAX:
            self._callers = {
                name: caller
                for name, caller in self._callers.items()
                if now < caller.locked_until or (caller.admitted and now - caller.admitted[-1] < ABUSE_WITHIN)
            }


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
    return Refusal(503, "Too many requests after too many refusals; locked out for a while", _retry_after(seconds))


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
