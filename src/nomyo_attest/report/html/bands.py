"""The PCR profiles over time: a lane each, so that a roll-out, or one odd machine, is seen at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.summary import PROFILES_OVER_TIME, Profile, Summary
from nomyo_attest.report.formatting import count, duration, moment, number, shares
from nomyo_attest.report.html.chart import Scale, bar_height, figure, label, line, rect, time_axis
from nomyo_attest.report.html.markup import Markup, element, join
from nomyo_attest.report.html.wording import SYMBOLS

_LANE: Final = 64
_BAR: Final = 30
_BAND: Final = 6


def usual(profile: Profile) -> str:
    """The verdict that most records of a profile have; the worse one of two that are alike."""
    return max(reversed(VERDICTS), key=lambda name: int(getattr(profile.counts, name)))


def bands(summary: Summary) -> Markup:
    """The chart; empty where no profile has numbers over time."""
    lanes = [(place, one) for place, one in enumerate(summary.profiles, 1) if any(one.over_time)]
    lanes = lanes[:PROFILES_OVER_TIME]
    if not lanes or not summary.timeline:
        return Markup()
    scale = Scale(summary.timeline, summary.bucket_seconds)
    whole = summary.counts.total
    of_all = shares([one.counts.total for one in summary.profiles], whole)
    drawn = [_lane(scale, place, one, of_all[place - 1], top * _LANE) for top, (place, one) in enumerate(lanes)]
    height = len(lanes) * _LANE
    description = (
        f"A lane for each PCR profile, from {moment(scale.start)} to {moment(scale.end)} UTC. The band tells when it "
        f"was in use; the bars how much, in each {duration(summary.bucket_seconds)}, on a scale of its own."
    )
    if len(lanes) < summary.profiles_total:
        description += f" {len(lanes)} of {number(summary.profiles_total)} profiles are drawn."
    return figure("bands", "PCR profiles over time", description, height, [*drawn, time_axis(scale, height + 4)])


def _lane(scale: Scale, place: int, profile: Profile, share: str, top: float) -> Markup:
    counts = profile.over_time[: scale.count]
    most, foot, kind = max(counts, default=0), top + _LANE - _BAND, usual(profile)
    symbols = " ".join(SYMBOLS[name] for name in VERDICTS if getattr(profile.counts, name))
    named = f"P{place} {symbols} {count(profile.counts.total, 'record')}, {share}"
    said = join([named, element("tspan", f" of all; at most {number(most)} a bar", class_="wide")])
    parts = [label("0", foot - _BAR - 8, said, "lane"), line(foot + _BAND / 2, "grid")]
    for bucket, records in enumerate(counts):
        height = bar_height(records, most, _BAR)
        if height:
            tip = element("title", f"P{place}, {moment(scale.start + bucket * scale.seconds)}: {number(records)}")
            parts.append(rect(scale.left(bucket), foot - 2 - height, scale.bar, height, f"l-{kind}", tip))
    parts += [
        rect(first * scale.slot, foot, (last - first) * scale.slot, _BAND, f"b-{kind}") for first, last in _runs(counts)
    ]
    return join(parts)


def _runs(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Stretches of buckets with records: first, and one behind the last."""
    runs: list[tuple[int, int]] = []
    for place, records in enumerate(counts):
        if not records:
            continue
        if runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return runs
