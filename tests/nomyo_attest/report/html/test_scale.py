from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.report.html.scale import TICKS_MAXIMUM, number_ticks, time_ticks

DAY = 86400
START = int(datetime(2026, 11, 2, tzinfo=UTC).timestamp())


def labels(start: int, seconds: int) -> list[str]:
    return [f"{tick.label} {tick.above}".strip() for tick in time_ticks(start, start + seconds)]


@pytest.mark.parametrize(
    ("seconds", "first"),
    [
        (5, ["00:00:00 2 Nov 2026", "00:00:01", "00:00:02"]),
        (3600, ["00:00 2 Nov 2026", "00:10", "00:20"]),
        (2 * DAY, ["00:00 2 Nov 2026", "06:00", "12:00", "18:00", "00:00 3 Nov 2026"]),
        (7 * DAY, ["2 Nov 2026", "3 Nov", "4 Nov"]),
        (40 * DAY, ["2 Nov 2026", "9 Nov", "16 Nov"]),
        (100 * DAY, ["9 Nov 2026", "23 Nov", "7 Dec", "21 Dec", "4 Jan 2027"]),
        (240 * DAY, ["Dec 2026", "Jan 2027", "Feb"]),
        (4 * 365 * DAY, ["Jan 2027", "Jul", "Jan 2028"]),
        (60 * 365 * DAY, ["2030", "2040", "2050"]),
    ],
)
def test_marks_stand_at_round_times_and_say_what_changed(seconds: int, first: list[str]) -> None:
    assert labels(START, seconds)[: len(first)] == first


@given(st.integers(-(2**40), 253402300799), st.integers(1, 2**40))
def test_marks_are_few_in_order_and_inside_whatever_the_times(start: int, seconds: int) -> None:
    ticks = time_ticks(start, start + seconds)
    assert len(ticks) <= TICKS_MAXIMUM + 1
    assert all(one.at < other.at for one, other in pairwise(ticks))
    assert len(ticks) < 2 or all(start <= tick.at < start + seconds for tick in ticks)


@given(st.integers(0, 10**12))
def test_numbers_go_from_nothing_to_the_most_in_few_even_steps(most: int) -> None:
    ticks = number_ticks(most)
    assert ticks[0] == 0
    assert ticks[-2] < max(most, 1) <= ticks[-1]
    assert len({b - a for a, b in pairwise(ticks)}) == 1
    assert len(ticks) <= 6


def test_numbers_are_round() -> None:
    assert number_ticks(310) == [0, 100, 200, 300, 400]
    assert number_ticks(1) == [0, 1]
    assert number_ticks(7) == [0, 2, 4, 6, 8]
