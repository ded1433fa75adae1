"""The client's rate limiter: calls are spaced, and pauses hold for every call with the same key."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo import (
    APITimeoutError,
    ArgumentError,
    RateLimitError,
    SecureChatCompletion,
    ServiceUnavailableError,
)
from nomyo.errors import ArgumentTypeError
from nomyo.rate_limit import PAUSE_MAX, RATE_MIN, CallQueue, RateLimiter, check_rate_limit, limiter_for
from nomyo.router import RouterOptions, RunningRouter
from nomyo.SecureCompletionClient import SecureCompletionClient
from tests.nomyo.client_calls import API_KEY, PROMPT, Wire, ask, content, error_facts, run
from tests.nomyo.wire.plain_router import Reply

ORIGIN = ("https", "api.example", 443)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def limiter(clock: Clock, chance: float = 0.0) -> RateLimiter:
    return RateLimiter(clock, lambda: chance)


def reserved(one: RateLimiter, rate: float, left: float = math.inf) -> float:
    slot = one.reserve(rate, left)
    assert slot is not None
    return slot.at


def test_calls_are_spaced_evenly_and_the_first_goes_at_once() -> None:
    clock = Clock()
    one = limiter(clock)
    assert [reserved(one, 2.0) for _ in range(4)] == [100.0, 100.5, 101.0, 101.5]
    clock.now = 105.0
    assert [reserved(one, 2.0) for _ in range(2)] == [105.0, 105.5]


def test_a_call_that_cannot_be_sent_in_time_reserves_nothing() -> None:
    clock = Clock()
    one = limiter(clock)
    assert [reserved(one, 1.0, 10.0) for _ in range(3)] == [100.0, 101.0, 102.0]
    assert one.reserve(1.0, 3.0) is None
    assert reserved(one, 1.0, 3.001) == 103.0


def test_the_time_of_a_call_that_was_given_up_goes_to_the_next_one() -> None:
    clock = Clock()
    one = limiter(clock)
    slots = [one.reserve(1.0, math.inf) for _ in range(4)]
    assert slots[2] is not None
    one.cancel(slots[2])
    assert [reserved(one, 1.0) for _ in range(2)] == [102.0, 104.0]


def test_a_time_that_has_passed_is_not_given_to_another_call() -> None:
    clock = Clock()
    one = limiter(clock)
    slots = [one.reserve(1.0, math.inf) for _ in range(2)]
    clock.now = 101.5
    assert slots[1] is not None
    one.cancel(slots[1])
    assert reserved(one, 1.0) == 102.0


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["reserve", "return", "pause"]), st.floats(0, 3), st.floats(0, 1)), max_size=60
    ),
    rate=st.floats(0.2, 20),
)
def test_no_two_calls_are_sent_closer_together_than_the_rate_allows(
    steps: list[tuple[str, float, float]], rate: float
) -> None:
    clock = Clock()
    chance = 0.0
    one = RateLimiter(clock, lambda: chance)
    waiting: list[Any] = []
    sent: list[float] = []
    for what, seconds, chance in steps:  # noqa: B007 - the limiter reads it
        until = clock.now + seconds
        while waiting and (first := min(waiting, key=lambda slot: slot.at)).at <= until:
            waiting.remove(first)
            clock.now = max(clock.now, first.at)
            if one.is_overtaken_by_pause(first):
                waiting.append(one.reserve(rate, math.inf))
            else:
                sent.append(first.at)
        clock.now = until
        if what == "pause":
            one.pause(seconds)
        elif what == "return" and waiting:
            one.cancel(waiting.pop())
        else:
            waiting.append(one.reserve(rate, math.inf))
    sent = sorted(sent + [slot.at for slot in waiting if not one.is_overtaken_by_pause(slot)])
    assert all(later - earlier >= 1 / rate - 1e-6 for earlier, later in pairwise(sent))


def test_a_pause_holds_for_every_call_and_ends_with_one_call_at_a_time() -> None:
    clock = Clock()
    one = limiter(clock, 0.5)
    before = one.reserve(math.inf, math.inf)
    one.pause(10.0)
    assert before is not None
    assert one.is_overtaken_by_pause(before)
    times = [reserved(one, math.inf) for _ in range(5)]
    assert 110.0 < times[0] <= 111.0
    assert all(0.05 <= later - earlier <= 0.15 for earlier, later in pairwise(times))
    clock.now = times[-1] + 1
    assert reserved(one, math.inf) == clock.now
    assert reserved(one, math.inf) == clock.now


def test_a_pause_shorter_than_the_queue_does_not_give_times_out_twice() -> None:
    clock = Clock()
    one = limiter(clock)
    before = [one.reserve(2.0, math.inf) for _ in range(10)]
    one.pause(1.2)
    after = [reserved(one, 2.0) for _ in range(3)]
    kept = [slot.at for slot in before if slot is not None and not one.is_overtaken_by_pause(slot)]
    assert kept == [101.5, 102.0, 102.5, 103.0, 103.5, 104.0, 104.5]
    assert after == [105.0, 105.5, 106.0]


def test_a_shorter_pause_does_not_end_a_longer_one_and_none_is_endless() -> None:
    clock = Clock()
    one = limiter(clock)
    one.pause(20.0)
    one.pause(5.0)
    assert reserved(one, 1.0) == 120.0
    one.pause(1e12)
    assert reserved(one, 1.0) == 100.0 + PAUSE_MAX


@pytest.mark.parametrize(("host", "most"), [("api.nomyo.ai", 1800.0), ("router.example", 60.0)])
def test_a_forged_pause_stops_another_server_for_a_minute_only(host: str, most: float) -> None:
    one = limiter_for(("https", host, 443), API_KEY)
    one.pause(99_999_999.0)
    assert most - 1 < one.wait(1.0) <= most + 10


def test_calls_that_miss_their_time_because_the_loop_stood_still_are_not_sent_together() -> None:
    one = RateLimiter()
    queue = CallQueue(ORIGIN, 20.0, lambda _: one)
    sent: list[float] = []

    async def call() -> None:
        await queue.wait_turn(None, lambda: math.inf, asyncio.sleep)
        sent.append(time.monotonic())

    async def main() -> None:
        calls = [asyncio.create_task(call()) for _ in range(20)]
        await asyncio.sleep(0.01)
        time.sleep(0.8)  # noqa: ASYNC251 - what a program must not do, and does
        await asyncio.gather(*calls)

    run(main())
    after = [at for at in sent if at > sent[0] + 0.5]
    assert len(after) == 19
    # At most the calls of the quarter of a second that may be missed go at once.
    assert sum(at < after[0] + 0.05 for at in after) <= 8
    assert after[-1] - after[0] > 0.45


def test_threads_never_get_the_same_time() -> None:
    one = RateLimiter()
    times: list[float] = []
    lock = threading.Lock()

    def work() -> None:
        mine = [reserved(one, 1000.0) for _ in range(200)]
        with lock:
            times.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    assert all(later - earlier > 0.0009 for earlier, later in pairwise(times))


def test_a_limiter_belongs_to_a_service_and_an_api_key_and_keeps_no_key() -> None:
    one = limiter_for(ORIGIN, API_KEY)
    assert limiter_for(ORIGIN, API_KEY) is one
    assert limiter_for(ORIGIN, None) is not one
    assert limiter_for(("https", "api.example", 8443), API_KEY) is not one
    assert not [found for found in gc.get_referents(one, one.__dict__) if found == API_KEY]


@pytest.mark.parametrize(
    ("url", "given", "rate"),
    [
        ("https://api.nomyo.ai", None, 1.8),
        ("https://api.nomyo.ai/eu", None, 1.8),
        ("https://router.example", None, math.inf),
        ("https://api.nomyo.ai", 0.5, 0.5),
        ("https://api.nomyo.ai", math.inf, math.inf),
        ("https://router.example", 7, 7.0),
    ],
)
def test_the_public_service_has_a_rate_by_default_and_others_have_none(
    url: str, given: float | None, rate: float
) -> None:
    assert SecureCompletionClient(url, rate_limit=given)._service._queue.rate == rate
    assert SecureChatCompletion(url, rate_limit=given).client._service._queue.rate == rate


@pytest.mark.parametrize("value", [5e-324, 1e-320, 1e-5])
def test_a_rate_that_would_stop_other_clients_is_refused(value: float) -> None:
    with pytest.raises(ArgumentError, match="rate_limit: expected one request an hour"):
        SecureChatCompletion(rate_limit=value)
    assert check_rate_limit(RATE_MIN) == RATE_MIN


@pytest.mark.parametrize("value", [0, -1, -0.0, math.nan, -math.inf])
def test_a_rate_that_is_not_above_zero_is_refused(value: float) -> None:
    with pytest.raises(ArgumentError, match=r"rate_limit: expected a number above 0"):
        SecureCompletionClient(rate_limit=value)


@pytest.mark.parametrize("value", ["2", True, [2]])
def test_a_rate_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="rate_limit"):
        SecureCompletionClient(rate_limit=value)


def test_calls_at_once_leave_one_after_another_whichever_client_makes_them(wire: Wire) -> None:
    async def calls() -> None:
        async with wire.client(rate_limit=10) as one, wire.client(rate_limit=10) as other:
            await asyncio.gather(*(ask(client) for client in (one, other) * 4))

    began = time.monotonic()
    run(calls())
    assert time.monotonic() - began > 0.7
    assert len(wire.posts) == 8


def test_a_call_that_cannot_be_sent_in_time_fails_at_once_and_sends_nothing(wire: Wire) -> None:
    async def calls() -> tuple[APITimeoutError, float]:
        async with wire.client(rate_limit=0.01) as client:
            await ask(client)
            seen = wire.router.connections
            began = time.monotonic()
            with pytest.raises(APITimeoutError) as caught:
                await ask(client, timeout=20)
            assert wire.router.connections == seen
            return caught.value, time.monotonic() - began

    error, seconds = run(calls())
    assert seconds < 5
    assert "rate limiter for localhost" in str(error)
    assert "(rate_limit)" in str(error)
    assert error_facts(error) == ("", 0, "", True)
    assert error.maybe_processed is False
    assert len(wire.posts) == 1


def test_a_call_during_a_pause_that_outlasts_it_fails_at_once_and_says_who_asked_for_it(wire: Wire) -> None:
    wire.router.answer(Reply(503, [("Retry-After", "1800")]))
    wire.refused(ServiceUnavailableError)
    error = wire.refused(APITimeoutError)
    assert "the service requested a pause (Retry-After)" in str(error)
    assert len(wire.posts) == 1
    assert content(wire.ask(api_key="another-bearer-key")) == PROMPT


@pytest.mark.parametrize("status", [429, 503])
def test_a_response_that_asks_to_wait_holds_every_call_with_that_key(wire: Wire, status: int) -> None:
    wire.router.answer(Reply(status, [("Retry-After", "1")]))
    with pytest.raises((RateLimitError, ServiceUnavailableError)):
        wire.ask()
    began = time.monotonic()
    wire.ask()
    assert time.monotonic() - began > 0.9


def test_retries_do_not_arrive_together(wire: Wire) -> None:
    arrivals: list[float] = []
    lock = threading.Lock()

    def busy_at_first(_: Any) -> Reply | None:
        with lock:
            arrivals.append(time.monotonic())
            return Reply(429, [("Retry-After", "1")]) if len(arrivals) <= 8 else None

    wire.router.answer(busy_at_first)

    async def calls() -> None:
        async with wire.client(max_retries=2) as client:
            await asyncio.gather(*(ask(client) for _ in range(8)))

    run(calls())
    again = sorted(arrivals[8:])
    assert len(again) == 8
    assert again[0] - arrivals[0] > 0.9
    assert again[-1] - again[0] > 7 * 0.05 * 0.8


def test_a_call_that_is_given_up_leaves_its_turn_to_another(wire: Wire) -> None:
    async def calls() -> float:
        async with wire.client(rate_limit=0.5) as client:
            await ask(client)
            waiting = [asyncio.create_task(ask(client, timeout=300)) for _ in range(20)]
            await asyncio.sleep(0.2)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            began = time.monotonic()
            await ask(client)
            return time.monotonic() - began

    assert run(calls()) < 10
    assert len(wire.posts) == 2


@pytest.mark.slow
def test_two_dozen_calls_at_once_are_all_answered_by_a_router_with_the_services_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with RunningRouter(RouterOptions(tpm="soft", rate_limit=True)) as router:
        monkeypatch.setenv("SSL_CERT_FILE", str(router.ca))

        async def calls() -> list[dict[str, Any]]:
            async with SecureChatCompletion(router.url, api_key="k", rate_limit=1.8, max_retries=0) as client:
                return await asyncio.gather(*(ask(client, f"question {number}") for number in range(24)))

        assert [content(one) for one in run(calls())] == [f"question {number}" for number in range(24)]
