"""When to try again and after how long: every form of Retry-After, and bounds that no answer can move."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nomyo import status

RETRYABLE = [408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def after(text: str | None = None, ms: str | None = None) -> float | None:
    """Seconds asked for by the headers ``retry-after`` and ``retry-after-ms``."""
    headers = {"retry-after": text, "retry-after-ms": ms}
    return status.retry_after({name: value for name, value in headers.items() if value is not None}, NOW)


def test_the_bounds_are_these() -> None:
    assert (status.RETRY_AFTER_MAX, status.BACKOFF_MAX) == (60.0, 30.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("5", 5.0), ("005", 5.0), (" 5 ", 5.0), ("5.5", 5.5), (".5", 0.5), ("5.", 5.0), ("3600", 3600.0)],
)
def test_retry_after_may_be_seconds(text: str, seconds: float) -> None:
    assert after(text) == seconds


@pytest.mark.parametrize("text", [
    "", " ", ".", "-5", "+5", "1e3", "1_0", "nan", "NaN", "inf", "Infinity", "-inf", "0x10", "5s", "5,5", "1.2.3",
    "\u0665", "\u096b", "²", "soon", "None", "5 5", "\x00", "9" * 400, "1" + "0" * 5000, "2026-01-02T03:04:05Z", "Fri",
    "Fri, 99 Jan",
])  # fmt: skip
def test_what_is_neither_seconds_nor_a_date_asks_for_nothing(text: str) -> None:
    assert after(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Fri, 02 Jan 2026 03:04:15 GMT", 10.0),
        ("Friday, 02-Jan-26 03:04:15 GMT", 10.0),
        ("Fri Jan  2 03:04:15 2026", 10.0),
        ("Fri, 02 Jan 2026 03:04:15", 10.0),
        ("Fri, 02 Jan 2026 03:04:15 -0000", 10.0),
        ("Fri, 02 Jan 2026 04:04:15 +0100", 10.0),
        ("Fri, 02 Jan 2026 03:04:05 GMT", 0.0),
        ("Fri, 02 Jan 2026 03:04:04 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
    ],
)
def test_retry_after_may_be_a_date_of_http(text: str, seconds: float) -> None:
    assert after(text) == seconds


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Fri, 02 Jan 2026 02:04:15 GMT", 3600.0),
        ("Fri, 02 Jan 2026 04:04:15 GMT", 0.0),
        ("Friday, 02-Jan-26 03:04:00 GMT", 15.0),
        ("soon", 10.0),
        ("Fri, 02 Jan 99999999999 03:04:15 GMT", 10.0),
    ],
)
def test_a_date_is_compared_with_the_date_of_the_response(date: str, seconds: float) -> None:
    headers = {"retry-after": "Fri, 02 Jan 2026 03:04:15 GMT", "date": date}
    assert status.retry_after(headers, NOW) == seconds


@pytest.mark.parametrize("year", ["10000", "99999999999", "9" * 30])
def test_a_year_that_no_calendar_has_asks_for_nothing(year: str) -> None:
    assert after(f"Fri, 02 Jan {year} 03:04:15 GMT") is None


def test_milliseconds_go_before_seconds() -> None:
    assert after("5", "1500") == 1.5
    assert after(ms="250.5") == 0.2505
    assert after("5", "soon") == 5.0
    assert after("5", "-1") == 5.0
    assert after() is None


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.integers().map(str),
    st.floats().map(repr),
    st.text("0123456789.,-+eE_ \t", max_size=30),
    st.lists(st.sampled_from(["Fri,", "02", "Jan", "2026", "03:04:15", "GMT", "-0000", "+9999", "-", ":", "0", "99999",
                              "1:1", "(", ")", '"', "\\", "AM", "\n", "9" * 20])).map(" ".join),
)  # fmt: skip


@given(text=st.none() | HOSTILE, ms=st.none() | HOSTILE)
@example(text="1 Jan 99999999999999999999 1:1:1", ms=None)
@example(text="Fri, 31 Dec 9999 23:59:59 -2359", ms="9" * 309)
def test_whatever_a_server_asks_for_is_a_finite_number_of_seconds_from_zero_or_nothing(
    text: str | None, ms: str | None
) -> None:
    seconds = after(text, ms)
    if seconds is not None:
        assert type(seconds) is float
        assert math.isfinite(seconds)
        assert seconds >= 0


@given(
    moment=st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(9999, 1, 1)),  # noqa: DTZ001 - hypothesis wants it so
    hours=st.integers(-12, 14),
)
def test_a_date_is_read_as_the_moment_it_is(moment: datetime, hours: int) -> None:
    moment = moment.replace(microsecond=0, tzinfo=timezone(timedelta(hours=hours)))
    assert after(format_datetime(moment)) == max(0.0, (moment - NOW).total_seconds())


@given(fraction=st.floats(0, 1), count=st.integers(0, 5000))
def test_the_wait_without_a_word_from_the_server_lies_between_nothing_and_a_doubling_bound(
    fraction: float, count: int
) -> None:
    wait = status.backoff(count, fraction)
    assert 0 <= wait <= min(30.0, 2.0 ** min(count, 5))
    assert status.backoff(count, 1.0) == min(30.0, 2.0 ** min(count, 5))
    assert status.backoff(count, 0.5) == status.backoff(count, 1.0) / 2


def test_the_bounds_double_from_one_second_to_thirty() -> None:
    assert [status.backoff(count, 1.0) for count in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize("tier", [None, "standard", "high", "maximum"])
@pytest.mark.parametrize("wait", [None, 0.0, 5.0])
def test_some_statuses_may_be_retried_but_not_a_503_that_means_no_tpm(tier: str | None, wait: float | None) -> None:
    expected = set(RETRYABLE)
    if tier == "maximum" and wait is None:
        expected -= {503}
    assert {code for code in range(100, 600) if status.is_retryable(code, tier, wait)} == expected


def draw() -> float:
    return 0.5


def nobody() -> float:
    raise AssertionError("no random number is asked for where the server says how long")


def test_what_the_server_asks_for_is_waited_and_no_more() -> None:
    assert status.retry_delay(0, 5.0, 100.0, nobody) == 5.0
    assert status.retry_delay(7, 0.0, 100.0, nobody) == 0.0
    assert status.retry_delay(0, 60.0, 100.0, nobody) == 60.0


def test_more_than_a_minute_is_not_waited_for() -> None:
    assert status.retry_delay(0, 60.001, math.inf, nobody) is None
    assert status.retry_delay(0, 1800.0, math.inf, nobody) is None


def test_a_wait_that_would_last_to_the_deadline_is_not_begun() -> None:
    assert status.retry_delay(0, 5.0, 5.001, nobody) == 5.0
    assert status.retry_delay(0, 5.0, 5.0, nobody) is None
    assert status.retry_delay(0, 0.0, 0.0, nobody) is None
    assert status.retry_delay(2, None, 2.0, draw) is None
    assert status.retry_delay(2, None, 2.1, draw) == 2.0
    assert status.retry_delay(0, None, -1.0, draw) is None


@given(
    deadline=st.floats(0.001, 10_000),
    asked=st.lists(st.none() | st.floats(0, 200), min_size=1, max_size=50),
    fraction=st.floats(0, 1),
)
def test_all_waits_of_a_call_together_stay_below_its_deadline(
    deadline: float, asked: list[float | None], fraction: float
) -> None:
    left = deadline
    for count, each in enumerate(asked):
        wait = status.retry_delay(count, each, left, lambda: fraction)
        if wait is None:
            break
        assert 0 <= wait <= 60
        left -= wait
        assert left > 0
