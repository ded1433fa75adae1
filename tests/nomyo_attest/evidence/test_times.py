"""Times in records: seconds since 1970, or text with an offset from UTC."""

from __future__ import annotations

import math

import pytest

from nomyo_attest.evidence.times import TIME_MAX, seconds_of

NOON = 1767268800  # 2026-01-01T12:00:00Z


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (NOON, NOON),
        (NOON + 0.9, NOON),
        (-0.5, -1),
        (TIME_MAX - 1, TIME_MAX - 1),
        (1 - TIME_MAX, 1 - TIME_MAX),
        ("2026-01-01T12:00:00Z", NOON),
        ("2026-01-01t12:00:00z", NOON),
        ("2026-01-01T14:00:00.9+02:00", NOON),
    ],
)
def test_a_time_is_read_as_whole_seconds_since_1970(time: object, seconds: int) -> None:
    assert seconds_of(time) == seconds


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-01T12:00:00",
        "2026-13-01T12:00:00Z",
        "2026-01-01T12:00:00Z" + " " * 60,
        "\u0662026-01-01T12:00:00Z",
        "",
        TIME_MAX,
        -TIME_MAX,
        float(TIME_MAX),
        math.inf,
        math.nan,
        True,
        None,
        [NOON],
    ],
)
def test_other_values_are_not_times(time: object) -> None:
    assert seconds_of(time) is None
