"""Draw the verdicts and the PCR profiles over time, as SVG.

Horizontal positions are percentages, vertical ones are pixels, and there is no `viewBox`: bars grow with the page but
text does not, so that a drawing fits both a phone and a wide screen. No information depends on color alone: each kind
of bar has a pattern too, and each chart has a table of the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.summary import PROFILES_OVER_TIME, Bucket, Counts, Gap, Profile, Summary
from nomyo_attest.report.document import VERDICT_SYMBOLS, Mark
from nomyo_attest.report.formatting import compact, count, duration, moment, number, shares
from nomyo_attest.report.html import markers
from nomyo_attest.report.html.markup import Markup, element, join, render_mark
from nomyo_attest.report.html.scale import Scale, number_ticks, percent, pixels, time_ticks
from nomyo_attest.report.sections.fleet import drawable_gaps, most_frequent_verdict, unusual_gaps

BAR_MINIMUM: Final = 2.0
"""Minimum height of a bar that is not empty, in pixels: one record among a million must be visible."""

_AXIS: Final = 40
"""Height of the time axis below a chart, in pixels."""


def rect(x: float, y: float, width: float, height: float, kind: str, *children: str) -> Markup:
    """Draw a rectangle: `x` and `width` in percent, `y` and `height` in pixels."""
    return element(
        "rect",
        *children,
        x=percent(x),
        y=pixels(y),
        width=percent(width),
        height=pixels(max(height, 0)),
        class_=kind,
    )


def line(y: float, kind: str) -> Markup:
    """Draw a line across the chart."""
    return element("line", x1="0", x2="100%", y1=pixels(y), y2=pixels(y), class_=kind)


def label(x: str, y: float, text: str, kind: str) -> Markup:
    """Draw a label."""
    return element("text", text, x=x, y=pixels(y), class_=kind)


def bar_height(records: int, highest: int, height: float) -> float:
    """Return the height of a bar in pixels: at least `BAR_MINIMUM` unless it is empty."""
    return max(BAR_MINIMUM, height * records / highest) if records else 0.0


def time_axis(scale: Scale, y: float) -> Markup:
    """Draw the time axis at the bottom of a chart. A narrow page shows every other label."""
    parts = [line(y, "axis")]
    for position, tick in enumerate(time_ticks(scale.start, scale.end)):
        x = percent(scale.at(tick.at))
        parts.append(element("line", x1=x, x2=x, y1=pixels(y), y2=pixels(y + 5), class_="axis"))
        parts.append(label(x, y + 18, tick.label, "tick wide" if position % 2 else "tick"))
        if tick.above:
            parts.append(label(x, y + 33, tick.above, "tick sub"))
    return join(parts)


def draw_gaps(scale: Scale, gaps: Iterable[Gap], top: float, bottom: float, letter: str, kind: str) -> Markup:
    """Draw gaps from `top` to `bottom`, hatched and numbered: ``G1``, ``G2``."""
    parts, label_end = [], -1.0
    for position, gap in enumerate(gaps, 1):
        x, end = scale.at(gap.begins), scale.at(gap.ends)
        parts.append(rect(x, top, max(end - x, 0.4), bottom - top, kind))
        if (middle := (x + end) / 2) >= label_end:
            parts.append(label(percent(middle), top + 12, f"{letter}{position}", "mark"))
            label_end = middle + 4
    return join(parts)


def figure(name: str, title: str, description: str, height: float, shapes: Iterable[str], *below: str) -> Markup:
    """Build a figure: the drawing, its description for screen readers, and the elements below it."""
    drawing = element(
        "svg",
        element("title", title, id=f"{name}-svg-title"),
        element("desc", description, id=f"{name}-svg-desc"),
        *shapes,
        class_="chart",
        role="img",
        width="100%",
        height=pixels(height + _AXIS),
        aria_labelledby=f"{name}-svg-title {name}-svg-desc",
    )
    return element("figure", drawing, element("figcaption", description), *below)


def patterns() -> Markup:
    """Define the fills of each verdict and of gaps; needed once on a page."""
    strokes: dict[str, list[tuple[str, float]]] = {
        "warning": [("M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4", 2.5)],
        "contraindicated": [("M0,0 l8,8 M0,8 l8,-8", 1)],
        "none": [("M2,2 h1.6 M6,6 h1.6", 1.6)],
        "unreadable": [("M0,2 h8 M0,6 h8", 1.5)],
    }
    defined = [_pattern(kind, f"f-{kind}", paths) for kind, paths in strokes.items()]
    defined.append(_pattern("gap", "f-gap", [("M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4", 1)]))
    defined.append(_pattern("outage", "f-gap", [("M2,2 h2 M6,6 h2", 2)]))
    return element("svg", element("defs", *defined), class_="defs", width=0, height=0, aria_hidden="true")


def _pattern(name: str, background: str, paths: Iterable[tuple[str, float]]) -> Markup:
    strokes = [element("path", d=d, stroke_width=pixels(width), class_=f"s-{name}") for d, width in paths]
    return element(
        "pattern",
        element("rect", width=8, height=8, class_=background),
        *strokes,
        id=f"p-{name}",
        width=8,
        height=8,
        patternUnits="userSpaceOnUse",
    )


def swatch(kind: str) -> Markup:
    """Draw a square with a verdict's fill, for a legend."""
    filled = element("rect", width=16, height=16, class_=f"b-{kind}")
    return element("svg", filled, class_="swatch", width=16, height=16, aria_hidden="true")


# ---- verdicts over time

_HEIGHT: Final = 200
_HEAD: Final = 18
"""Height above the bars for the numbers of gaps, in pixels."""

_LANE: Final = 56
_LANE_BAR: Final = 24
_BAND: Final = 6
"""Heights in pixels of a lane, of its highest bar, and of the band below the bars of a PCR profile."""

UNAVAILABLE: Final = "without evidence"
"""The lane of records without evidence. It is not a verdict; these records usually also count as `none`."""


def draw_timeline(summary: Summary) -> Markup:
    """Draw the verdicts as stacked bars and, below them, each verdict other than affirming on a separate scale."""
    scale = Scale(summary.timeline, summary.bucket_seconds)
    buckets = summary.timeline
    ticks = number_ticks(max(bucket.counts.total for bucket in buckets))
    placed = markers.place_markers(summary, scale)
    header = _HEAD + markers.height_of(placed)
    baseline = header + _HEIGHT
    parts: list[str] = [markers.draw_markers(placed, baseline)]
    for tick in ticks:
        y = baseline - _HEIGHT * tick / ticks[-1]
        parts += [line(y, "grid"), label("-8", y + 4, compact(tick), "count")]
    top = header - _HEAD
    parts += [draw_gaps(scale, drawable_gaps(summary, unusual_gaps(summary)), top, baseline, "G", "b-gap")]
    parts += [draw_gaps(scale, drawable_gaps(summary, summary.unavailable), top, baseline, "E", "b-outage")]
    parts += [_stack(scale, index, bucket, ticks[-1], baseline) for index, bucket in enumerate(buckets)]
    lanes = _lanes(buckets)
    for index, (name, counts) in enumerate(lanes):
        kind = "none" if name == UNAVAILABLE else name
        parts.append(_lane(scale, name, number(sum(counts)), counts, baseline + index * _LANE, kind))
    height = baseline + len(lanes) * _LANE
    parts += [line(baseline, "axis"), time_axis(scale, height + 4)]
    description = (
        f"Records by verdict, each bar {duration(summary.bucket_seconds)}, from {moment(scale.start)} to "
        f"{moment(scale.end)}. Below the stacked bars, each verdict other than affirming has a separate scale."
    )
    if placed:
        description += (
            " A numbered disc above marks the first record of each incident, and a line leads to its last one."
        )
    below = [_legend(summary, lanes), markers.marker_legend(placed)]
    return figure("timeline", "Verdicts over time", description, height, parts, *below)


def _count(counts: Counts, name: str) -> int:
    return int(getattr(counts, name))


def _stack(scale: Scale, index: int, bucket: Bucket, highest: int, baseline: float) -> Markup:
    """Draw the bar of one bucket, from the bottom up."""
    y, parts = baseline, []
    for name in VERDICTS:
        height = bar_height(_count(bucket.counts, name), highest, _HEIGHT)
        if height:
            y -= height
            parts.append(rect(scale.left(index), y, scale.bar, height, f"b-{name}"))
    counts_text = [f"{number(_count(bucket.counts, name))} {name}" for name in VERDICTS if _count(bucket.counts, name)]
    tip = element("title", f"{moment(bucket.at)}: {', '.join(counts_text) or 'no record'}")
    parts.append(rect(index * scale.slot, baseline - _HEIGHT, scale.slot, _HEIGHT, "tip", tip))
    return join(parts)


def _lanes(buckets: Sequence[Bucket]) -> list[tuple[str, list[int]]]:
    lanes = [(name, [_count(bucket.counts, name) for bucket in buckets]) for name in VERDICTS[1:]]
    lanes.append((UNAVAILABLE, [bucket.unavailable for bucket in buckets]))
    return [(name, counts) for name, counts in lanes if any(counts)]


def _lane(scale: Scale, name: str, total_text: str, counts: Sequence[int], top: float, kind: str) -> Markup:
    """Draw counts over time on a separate scale.

    Args:
        scale: the time axis.
        name: what is counted.
        total_text: the total, as text.
        counts: the count of each bucket.
        top: the distance from the top of the chart, in pixels.
        kind: the verdict whose fill the bars have.
    """
    baseline, highest = top + _LANE - _BAND, max(counts, default=0)
    note = element("tspan", f"; at most {number(highest)} per bar", class_="wide")
    parts = [
        label("0", baseline - _LANE_BAR - 6, join([f"{name}: {total_text}", note]), "lane"),
        line(baseline + _BAND / 2, "grid"),
    ]
    for bucket, records in enumerate(counts):
        height = bar_height(records, highest, _LANE_BAR)
        if height:
            tip = element("title", f"{moment(scale.start + bucket * scale.seconds)}: {number(records)} {name}")
            parts.append(rect(scale.left(bucket), baseline - 1 - height, scale.bar, height, f"l-{kind}", tip))
    return join(parts)


def _legend(summary: Summary, lanes: list[tuple[str, list[int]]]) -> Markup:
    shown = ["affirming", *(name for name, _ in lanes if name != UNAVAILABLE)]
    items = [join([swatch(name), " ", render_mark(Mark(name, name))]) for name in shown]
    if drawable_gaps(summary, unusual_gaps(summary)):
        items.append(join([swatch("gap"), " G: no records"]))
    if drawable_gaps(summary, summary.unavailable):
        items.append(join([swatch("outage"), " E: records without evidence only"]))
    return element("ul", *(element("li", item) for item in items), class_="legend")


# ---- PCR profiles over time


def draw_profiles(summary: Summary) -> Markup:
    """Draw the PCR profiles over time; empty if no profile has counts over time."""
    lanes = [(position, profile) for position, profile in enumerate(summary.profiles, 1) if any(profile.over_time)]
    lanes = lanes[:PROFILES_OVER_TIME]
    if not lanes or not summary.timeline:
        return Markup()
    scale = Scale(summary.timeline, summary.bucket_seconds)
    whole = summary.counts.total
    profile_shares = shares([profile.counts.total for profile in summary.profiles], whole)
    parts = [
        _profile_lane(scale, position, profile, profile_shares[position - 1], index * _LANE)
        for index, (position, profile) in enumerate(lanes)
    ]
    height = len(lanes) * _LANE
    description = (
        f"A lane for each PCR profile, from {moment(scale.start)} to {moment(scale.end)}. The band shows when it "
        f"was in use; the bars how much, in each {duration(summary.bucket_seconds)}, on a separate scale."
    )
    if len(lanes) < summary.profiles_total:
        description += f" {len(lanes)} of {number(summary.profiles_total)} profiles are drawn."
    return figure("bands", "PCR profiles over time", description, height, [*parts, time_axis(scale, height + 4)])


def _profile_lane(scale: Scale, position: int, profile: Profile, share: str, top: float) -> Markup:
    counts, kind = profile.over_time[: scale.count], most_frequent_verdict(profile)
    symbols = " ".join(VERDICT_SYMBOLS[name] for name in VERDICTS if getattr(profile.counts, name))
    total_text = f"{symbols} {count(profile.counts.total, 'record')}, {share} of all"
    baseline = top + _LANE - _BAND
    bands = [
        rect(first * scale.slot, baseline, (last - first) * scale.slot, _BAND, f"b-{kind}")
        for first, last in _runs(counts)
    ]
    return join([_lane(scale, f"P{position}", total_text, counts, top, kind), *bands])


def _runs(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Return the runs of consecutive buckets with records, as half-open ranges."""
    runs: list[tuple[int, int]] = []
    for index, records in enumerate(counts):
        if not records:
            continue
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs
