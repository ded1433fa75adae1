from __future__ import annotations

import time

import pytest

from nomyo.router import rate_limit
from nomyo.router.errors import Refusal
from nomyo.router.rate_limit import ABUSE, CALLERS_MAX, COOL_DOWN, Limiter


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Asking:
    """A limiter under a clock that stands still unless a test moves it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.limiter = Limiter(self.clock)

    def ask(self, who: str = "a") -> tuple[int, str]:
        """Status and Retry-After; 200 for a request that is let in."""
        try:
            self.limiter.admit(who)
        except Refusal as refusal:
            return refusal.status, refusal.headers["Retry-After"]
        return 200, ""

    def statuses(self, count: int, who: str = "a") -> list[int]:
        return [self.ask(who)[0] for _ in range(count)]


@pytest.fixture
def asking() -> Asking:
    return Asking()


def test_four_requests_at_once_are_let_in_and_the_fifth_is_not(asking: Asking) -> None:
    assert asking.statuses(5) == [200, 200, 200, 200, 429]


def test_a_burst_is_there_once_in_ten_seconds(asking: Asking) -> None:
    asking.statuses(4)
    for second in range(1, 10):
        asking.clock.now = 1000.0 + second
        assert asking.statuses(3) == [200, 200, 429], second
    asking.clock.now = 1010.0
    assert asking.statuses(5) == [200, 200, 200, 200, 429]


def test_two_a_second_for_ever_are_let_in(asking: Asking) -> None:
    for half in range(100):
        asking.clock.now = 1000.0 + half / 2
        assert asking.ask() == (200, ""), half


def test_a_window_slides_and_knows_no_full_seconds(asking: Asking) -> None:
    asking.statuses(4)  # the burst is spent
    asking.clock.now = 1001.9
    assert asking.statuses(2) == [200, 200]
    asking.clock.now = 1002.1
    assert asking.ask() == (429, "1")
    asking.clock.now = 1002.9
    assert asking.ask() == (200, "")


def test_callers_are_counted_on_their_own(asking: Asking) -> None:
    asking.statuses(5)
    assert asking.statuses(5, "b") == [200, 200, 200, 200, 429]


def test_whoever_keeps_asking_is_locked_out_for_thirty_minutes(asking: Asking) -> None:
    assert asking.statuses(4) == [200] * 4
    assert asking.statuses(ABUSE - 1) == [429] * (ABUSE - 1)
    assert asking.ask() == (503, "1800")
    asking.clock.now += COOL_DOWN / 2
    assert asking.ask() == (503, "900")
    assert asking.ask("b") == (200, "")
    asking.clock.now += COOL_DOWN / 2
    assert asking.ask() == (200, "")


def test_refusals_far_apart_lock_nobody_out(asking: Asking) -> None:
    for minute in range(2 * ABUSE):
        asking.clock.now = 1000.0 + 10 * minute
        assert asking.statuses(5) == [200, 200, 200, 200, 429]


def test_callers_long_gone_are_forgotten_and_locked_ones_are_not(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "CALLERS_MAX", 3)
    asking.statuses(4 + ABUSE, "abuser")
    for number in range(50):
        asking.clock.now += 61
        assert asking.ask(f"caller {number}") == (200, "")
        if asking.clock.now < 1000.0 + COOL_DOWN:
            assert asking.ask("abuser")[0] == 503
    assert len(asking.limiter._callers) == 3


def test_fresh_callers_and_locked_ones_fill_no_more_than_their_tables(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "CALLERS_MAX", 3)
    for number in range(50):
        assert asking.statuses(4 + ABUSE, f"abuser {number}")[-1] == 503
        assert asking.ask(f"caller {number}") == (200, "")
    assert (len(asking.limiter._callers), len(asking.limiter._locked_out)) == (3, 3)
    assert asking.ask("abuser 49")[0] == 503


def test_whoever_asked_last_is_remembered_longest(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "CALLERS_MAX", 3)
    asking.statuses(4, "busy")
    for number in range(50):
        assert asking.ask(f"caller {number}") == (200, "")
        if number < ABUSE - 1:
            assert asking.ask("busy")[0] == 429


def test_a_new_caller_costs_no_look_at_the_others(asking: Asking) -> None:
    def fastest(begin: int) -> float:
        times = []
        for number in range(begin, begin + 200):
            began = time.perf_counter()
            asking.ask(f"caller {number}")
            times.append(time.perf_counter() - began)
        return min(times)

    few = fastest(0)
    for number in range(1000, 1000 + CALLERS_MAX):
        asking.ask(f"caller {number}")
    assert fastest(100_000) < 20 * few  # a scan of all takes hundreds of times as long


def test_a_bearer_key_is_not_kept(asking: Asking) -> None:
    asking.ask("hunter2")
    assert "hunter2" not in repr(vars(asking.limiter))
