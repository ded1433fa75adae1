"""Space the calls to a service. All clients in the process share one limiter per service and API key.

The service allows two requests per second for an API key, and locks the key out for half an hour after repeated abuse.
Therefore concurrent calls are sent one after another, slightly below that rate, and a response that asks to wait (429
or 503 with Retry-After) delays every call with the same service and key, not only the one that received it.

A limiter does no I/O and does not sleep: it computes the time of each call.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec

from nomyo.errors import ArgumentError, ArgumentTypeError

QUEUE_FULL_PREFIX: Final = "rate limiter for "
"""Beginning of the message about a call that cannot be sent before its deadline."""

SERVICE_HOST: Final = "api.nomyo.ai"
"""The public service, whose limits are known."""

SERVICE_RATE: Final = 1.8
"""Default requests per second to the public service. It allows 2 (its page on rate limits), and requests may arrive
closer together than they were sent.
"""

RATE_MIN: Final = 1 / 3600
"""Minimum rate in requests per second. A rate such as 1e-320 would block the shared limiter forever."""

PAUSE_MAX: Final = 60.0
"""Maximum pause in seconds. The response that requests a pause is not authenticated, so after this time the next call
checks whether the server still refuses.
"""

SERVICE_PAUSE_MAX: Final = 30 * 60.0
"""Maximum pause for the public service in seconds: the time for which it locks an API key out."""

LIMITERS_MAX: Final = 1024
"""Maximum number of limiters; the least recently used limiter is dropped first."""

_RESUME_INTERVAL: Final = (0.05, 0.15)
"""Range in seconds of the random interval between calls that resume after a pause, if there is no rate limit."""

_JITTER: Final = 0.1
"""Maximum random delay after a pause, as a fraction of it, so that processes do not resume together."""

_JITTER_MAX: Final = 10.0
"""Maximum random delay after a pause, in seconds."""

_DELAY_MAX: Final = 0.25
"""Maximum seconds between the time of a slot and the moment its call is sent; the interval between two calls if that is
longer. A call that is later than that, because the event loop was blocked, reserves a new slot. Otherwise all delayed
calls would be sent together.
"""

_RANDOM: Final = secrets.SystemRandom()


class Slot(msgspec.Struct, frozen=True):
    """When a call may be sent.

    Attributes:
        at: time in seconds of the limiter's clock.
    """

    at: float


class RateLimiter:
    """Spaces the calls to one service with one API key. Thread-safe.

    Args:
        clock: monotonic clock in seconds.
        random: returns a random number from 0 to 1.
        pause_max: maximum pause in seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _RANDOM.random,
        *,
        pause_max: float = PAUSE_MAX,
    ) -> None:
        self.clock = clock
        self._random = random
        self._pause_max = pause_max
        self._lock = threading.Lock()
        self._next = -math.inf  # the earliest free time
        self._canceled: list[float] = []  # heap of canceled slots' times before `_next`
        self._paused_until = -math.inf
        self._interval = 0.0  # between the last two reserved slots
        self._spread_until = -math.inf

    def reserve(self, rate: float, left: float) -> Slot | None:
        """Reserve the earliest slot for a call. Returns None if that is not before the call's deadline.

        Args:
            rate: requests per second; `math.inf` for no limit except pauses.
            left: seconds until the call's deadline.
        """
        with self._lock:
            now = self.clock()
            at = self._earliest(rate, now)
            if at > now and at - now >= left:
                return None
            self._mark_reserved(at, rate, now)
            return Slot(at)

    def wait(self, rate: float) -> float:
        """Return the seconds until a call could be sent if it were reserved now."""
        with self._lock:
            now = self.clock()
            return self._earliest(rate, now) - now

    def pause_left(self) -> float:
        """Return the seconds until the pause that the service requested ends."""
        with self._lock:
            return max(0.0, self._paused_until - self.clock())

    def cancel(self, slot: Slot) -> None:
        """Give up a slot whose call is not sent, so that another call can use it."""
        with self._lock:
            if slot.at > self.clock() and slot.at >= self._paused_until:
                heapq.heappush(self._canceled, slot.at)

    def is_overtaken_by_pause(self, slot: Slot) -> bool:
        """Whether a pause that began after this slot was reserved covers it, so that the call needs a new slot."""
        with self._lock:
            return slot.at < self._paused_until

    def pause(self, seconds: float) -> None:
        """Pause for `seconds`, at most `pause_max`, plus a random delay.

        Slots after the end of the pause remain valid.
        """
        with self._lock:
            seconds = min(seconds, self._pause_max)
            jitter = self._random() * min(_JITTER * seconds, _JITTER_MAX)
            until = self.clock() + max(seconds + jitter, self._interval)
            if until > self._paused_until:
                self._paused_until = until
                self._next = max(self._next, until)
                self._canceled = sorted(at for at in self._canceled if at >= until)

    def _earliest(self, rate: float, now: float) -> float:
        while self._canceled and self._canceled[0] < now:
            heapq.heappop(self._canceled)
        if math.isinf(rate):
            # Only calls delayed by a pause are spaced.
            return max(now, self._next) if now < max(self._paused_until, self._spread_until) else now
        return self._canceled[0] if self._canceled else max(now, self._next)

    def _mark_reserved(self, at: float, rate: float, now: float) -> None:
        if self._canceled and self._canceled[0] == at:
            heapq.heappop(self._canceled)
        elif not math.isinf(rate):
            self._interval = 1 / rate
            self._next = at + self._interval
        elif at > now:
            low, high = _RESUME_INTERVAL
            self._next = self._spread_until = at + low + self._random() * (high - low)


class QueueFullError(Exception):
    """A call cannot be sent before its deadline. It did not wait, and nothing was sent."""


class CallQueue:
    """The queue of the calls of one client.

    Args:
        origin: scheme, host and port of the service.
        rate: requests per second, `math.inf` for no limit; None for the default of the service.
        limiter: returns the limiter for an API key; replaced in tests.
    """

    def __init__(
        self,
        origin: tuple[str, str, int],
        rate: float | None = None,
        limiter: Callable[[str | None], RateLimiter] | None = None,
    ) -> None:
        self.rate = _default_rate(origin[1]) if rate is None else rate
        self._host = origin[1]
        self._limiter = limiter or partial(limiter_for, origin)

    def check(self, api_key: str | None, left: float) -> None:
        """Raise `QueueFullError` if a call that begins now could not be sent within `left` seconds."""
        limiter = self._limiter(api_key)
        wait = limiter.wait(self.rate)
        if wait > 0 and wait >= left:
            raise self._queue_full_error(limiter, wait, left)

    async def wait_turn(
        self, api_key: str | None, left: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        """Wait until a call may be sent.

        Args:
            left: returns the seconds until the call's deadline.
            sleep: sleeps for a number of seconds.

        Raises:
            QueueFullError: the call cannot be sent before its deadline.
        """
        limiter = self._limiter(api_key)
        while True:
            seconds = left()
            slot = limiter.reserve(self.rate, seconds)
            if slot is None:
                raise self._queue_full_error(limiter, limiter.wait(self.rate), seconds)
            wait = slot.at - limiter.clock()
            if wait <= 0:
                return
            try:
                await sleep(wait)
            except BaseException:
                limiter.cancel(slot)
                raise
            late = limiter.clock() - slot.at
            if late <= max(1 / self.rate, _DELAY_MAX) and not limiter.is_overtaken_by_pause(slot):
                return

    def pause(self, api_key: str | None, seconds: float) -> None:
        """Pause all calls with this API key, as the service requested."""
        self._limiter(api_key).pause(seconds)

    def _queue_full_error(self, limiter: RateLimiter, wait: float, left: float) -> QueueFullError:
        paused = limiter.pause_left()
        if paused:
            reason = f"the service requested a pause (Retry-After), which ends in {paused:.0f} s"
            advice = "Call again later"
        else:
            reason = f"the calls ahead of it are sent at {self.rate:g} per second (rate_limit)"
            advice = "Start fewer calls at once, or set a longer timeout"
        return QueueFullError(
            f"{QUEUE_FULL_PREFIX}{self._host}: this call could be sent in {wait:.1f} s, but only "
            f"{max(0.0, left):.1f} s of its timeout are left: {reason}. Nothing was sent. {advice}"
        )


def check_rate_limit(value: object) -> float | None:
    """Return a rate limit: requests per second, `RATE_MIN` or more; `math.inf` for no limit, None for the default.

    Raises `ArgumentError`.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ArgumentTypeError(f"rate_limit: expected requests per second as a number, got {type(value).__name__}")
    rate = float(min(value, 10**9)) if isinstance(value, int) else value
    if not rate > 0:
        raise ArgumentError(f"rate_limit: expected a number above 0, got {rate}; math.inf sets no limit")
    if rate < RATE_MIN:
        raise ArgumentError(
            f"rate_limit: expected one request an hour ({RATE_MIN:.2g} per second) or more, got {rate:g}"
        )
    return rate


def _default_rate(host: str) -> float:
    """Return the default of `rate_limit`: `SERVICE_RATE` for the public service, no limit for any other."""
    return SERVICE_RATE if host == SERVICE_HOST else math.inf


_LIMITERS: Final[OrderedDict[tuple[tuple[str, str, int], bytes], RateLimiter]] = OrderedDict()
_SALT: Final = secrets.token_bytes(16)
_LIMITERS_LOCK = threading.Lock()


def limiter_for(origin: tuple[str, str, int], api_key: str | None) -> RateLimiter:
    """Return the limiter that all clients of this process share for a service and an API key.

    Args:
        origin: scheme, host and port of the service.
        api_key: the bearer token, of which only a salted digest is stored; None if there is none.
    """
    cache_key = origin, hashlib.sha256(_SALT + (api_key or "").encode()).digest()
    with _LIMITERS_LOCK:
        limiter = _LIMITERS.pop(cache_key, None) or RateLimiter(
            pause_max=SERVICE_PAUSE_MAX if origin[1] == SERVICE_HOST else PAUSE_MAX
        )
        _LIMITERS[cache_key] = limiter
        if len(_LIMITERS) > LIMITERS_MAX:
            _LIMITERS.popitem(last=False)
        return limiter


def reset_limiters() -> None:
    """Drop all limiters in a forked child, where a lock held by another thread would never be released."""
    global _LIMITERS_LOCK  # noqa: PLW0603 - the thread that holds the lock does not exist in the child
    _LIMITERS_LOCK = threading.Lock()
    _LIMITERS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=reset_limiters)
