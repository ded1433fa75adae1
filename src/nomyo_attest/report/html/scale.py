"""Compute the positions of bars on the time axis, and ticks at round numbers and at round times in UTC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from nomyo_attest.audit.summary import Bucket
from nomyo_attest.report.formatting import to_datetime

BAR_WIDTH: Final = 0.86
"""Width of a bar as a fraction of its bucket's width."""

BAR_WIDTH_MAXIMUM: Final = 6.0
"""Maximum width of a bar, in percent of the whole width."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEPS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE * n for n in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * n for n in (1, 2, 3, 6, 12)),
    *(_DAY * n for n in (1, 2, 7, 14)),
)
"""Seconds between two ticks, up to two weeks. Longer steps are months and years, whose lengths vary."""

_MONTHS: Final = (1, 2, 3, 6, *(12 * n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)))
_MONTH: Final = 2_629_746
"""Average length of a month in seconds, over the 400 years after which the calendar repeats."""

_MONDAY: Final = 4 * _DAY
"""The first Monday after 1970-01-01, which was a Thursday."""

_NAMES: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

TICKS_MAXIMUM: Final = 8


class Scale:
    """A time axis on which all buckets are equally wide."""

    def __init__(self, timeline: Sequence[Bucket], seconds: int) -> None:
        self.count = len(timeline)
        self.start = timeline[0].at
        self.seconds = max(seconds, 1)
        self.end = self.start + self.count * self.seconds
        self.slot = 100 / self.count
        self.bar = min(self.slot * BAR_WIDTH, BAR_WIDTH_MAXIMUM)

    def left(self, bucket: int) -> float:
        """Return the left edge of a bucket's bar, in percent."""
        return bucket * self.slot + (self.slot - self.bar) / 2

    def at(self, time: float) -> float:
        """Return the position of a time, in percent; times outside are clamped to the edge."""
        return 100 * min(max((time - self.start) / (self.end - self.start), 0.0), 1.0)


def percent(value: float) -> str:
    """Format a length in percent, without trailing zeros."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + "%"


def pixels(value: float) -> str:
    """Format a length in pixels, without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


class Tick(NamedTuple):
    """A tick of the time axis.

    Attributes:
        at: its time, in seconds since 1970.
        label: the label, such as the day.
        above: a label for the enclosing unit, such as the year; empty if it is that of the previous tick.
    """

    at: int
    label: str
    above: str


def time_ticks(start: int, end: int, maximum: int = TICKS_MAXIMUM) -> list[Tick]:
    """Return at most `maximum` ticks at round times from `start` to before `end`."""
    span = max(end - start, 1)
    step = next((seconds for seconds in _STEPS if span / seconds <= maximum), None)
    if step:
        times = _evenly_spaced(start, end, step)
    else:
        months = next((count for count in _MONTHS if span / (count * _MONTH) <= maximum), _MONTHS[-1])
        step = months * _MONTH
        times = list(_month_starts(start, end, months))[: maximum + 1]
    ticks, group = [], ""
    for time in times:
        label, above = _labels(to_datetime(time), step)
        ticks.append(Tick(time, label, above if above != group else ""))
        group = above
    return ticks


def _evenly_spaced(start: int, end: int, step: int) -> list[int]:
    origin = _MONDAY if step >= 7 * _DAY else 0
    first = start + (origin - start) % step
    return list(range(first, max(end, first + 1), step))


def _month_starts(start: int, end: int, months: int) -> Iterator[int]:
    """Yield the first days of every `months` months, counted from the year 0."""
    day = to_datetime(start)
    count = -(-(day.year * 12 + day.month - 1) // months) * months
    while (year := count // 12) <= 9999:
        if year:
            time = int(datetime(year, count % 12 + 1, 1, tzinfo=UTC).timestamp())
            if time >= end:
                return
            if time >= start:
                yield time
        count += months


def _labels(time: datetime, step: int) -> tuple[str, str]:
    day = f"{time.day} {_NAMES[time.month - 1]}"
    if step < _MINUTE:
        return time.strftime("%H:%M:%S"), f"{day} {time.year}"
    if step < _DAY:
        return time.strftime("%H:%M"), f"{day} {time.year}"
    if step < 28 * _DAY:
        return day, str(time.year)
    if step < 360 * _DAY:
        return _NAMES[time.month - 1], str(time.year)
    return str(time.year), ""


def number_ticks(maximum: int, marks: int = 5) -> list[int]:
    """Return numbers from 0 in steps of 1, 2 or 5 times a power of ten, the last at or above `maximum`."""
    maximum = max(maximum, 1)
    step = 1
    while step * marks < maximum:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return list(range(0, maximum + step, step))
