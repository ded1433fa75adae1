"""SVG that is as wide as the page and as high as it was drawn.

Places along the time are percentages, heights are pixels, and there is no `viewBox`: so bars grow with the page and
letters do not, and one drawing serves a phone and a wide screen. Nothing says its meaning by color alone: each kind of
bar has a pattern too, and beside every chart stands a table of the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from nomyo_attest.audit.summary import Bucket, Gap
from nomyo_attest.report.html.markup import Markup, element, join
from nomyo_attest.report.html.scale import time_ticks

BAR: Final = 0.86
"""Of the room that a bucket has, what its bar takes."""

BAR_WIDEST: Final = 6.0
"""Per cent of the whole width."""

MINIMUM: Final = 2.0
"""Pixels of the smallest bar that is not nothing: one record among a million is to be seen."""

_AXIS: Final = 40
"""Pixels below a chart for the marks of time."""


class Scale:
    """The axis of time of a timeline: each bucket has an equal share of the width."""

    def __init__(self, timeline: Sequence[Bucket], seconds: int) -> None:
        self.count = len(timeline)
        self.start = timeline[0].at
        self.seconds = max(seconds, 1)
        self.end = self.start + self.count * self.seconds
        self.slot = 100 / self.count
        self.bar = min(self.slot * BAR, BAR_WIDEST)

    def left(self, bucket: int) -> float:
        """Where the bar of a bucket begins, in per cent."""
        return bucket * self.slot + (self.slot - self.bar) / 2

    def at(self, time: float) -> float:
        """Where a time is, in per cent; what is outside is held to the edge."""
        return 100 * min(max((time - self.start) / (self.end - self.start), 0.0), 1.0)


def percent(value: float) -> str:
    """A length in per cent, without needless digits."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + "%"


def pixels(value: float) -> str:
    """A length in pixels, without needless digits."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def rect(x: float, y: float, width: float, height: float, kind: str, *inside: str) -> Markup:
    """A rectangle: `x` and `width` in per cent, `y` and `height` in pixels."""
    return element(
        "rect",
        *inside,
        x=percent(x),
        y=pixels(y),
        width=percent(width),
        height=pixels(max(height, 0)),
        class_=kind,
    )


def line(y: float, kind: str) -> Markup:
    """A line across the chart."""
    return element("line", x1="0", x2="100%", y1=pixels(y), y2=pixels(y), class_=kind)


def label(x: str, y: float, text: str, kind: str) -> Markup:
    """A word in a chart."""
    return element("text", text, x=x, y=pixels(y), class_=kind)


def bar_height(count: int, most: int, height: float) -> float:
    """Pixels of a bar; one that is not nothing can be seen."""
    return max(MINIMUM, height * count / most) if count else 0.0


def time_axis(scale: Scale, y: float) -> Markup:
    """Marks of time at the foot of a chart. On a narrow page every other label is left out."""
    parts = [line(y, "axis")]
    for place, tick in enumerate(time_ticks(scale.start, scale.end)):
        x = percent(scale.at(tick.at))
        parts.append(element("line", x1=x, x2=x, y1=pixels(y), y2=pixels(y + 5), class_="axis"))
        parts.append(label(x, y + 18, tick.label, "tick wide" if place % 2 else "tick"))
        if tick.above:
            parts.append(label(x, y + 33, tick.above, "tick sub"))
    return join(parts)


def spans(scale: Scale, gaps: Iterable[Gap], height: float, letter: str, kind: str) -> Markup:
    """Stretches of time, hatched and numbered: ``G1``, ``G2``."""
    parts, free = [], -1.0
    for place, gap in enumerate(gaps, 1):
        x, end = scale.at(gap.begins), scale.at(gap.ends)
        parts.append(rect(x, 0, max(end - x, 0.4), height, kind))
        if (middle := (x + end) / 2) >= free:
            parts.append(label(percent(middle), 12, f"{letter}{place}", "mark"))
            free = middle + 4
    return join(parts)


def figure(name: str, title: str, description: str, height: float, drawn: Iterable[str], *below: str) -> Markup:
    """A drawing with an axis of time, its words for those who do not see it, and what stands below it."""
    drawing = element(
        "svg",
        element("title", title, id=f"{name}-svg-title"),
        element("desc", description, id=f"{name}-svg-desc"),
        *drawn,
        class_="chart",
        role="img",
        width="100%",
        height=pixels(height + _AXIS),
        aria_labelledby=f"{name}-svg-title {name}-svg-desc",
    )
    return element("figure", drawing, element("figcaption", description), *below)


def patterns() -> Markup:
    """What the bars of each verdict, and stretches of time, are filled with; once on a page."""
    strokes: dict[str, list[tuple[str, float]]] = {
        "warning": [("M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4", 2.5)],
        "contraindicated": [("M0,0 l8,8 M0,8 l8,-8", 1)],
        "none": [("M2,2 h1.6 M6,6 h1.6", 1.6)],
        "unreadable": [("M0,2 h8 M0,6 h8", 1.5)],
    }
    made = [_pattern(kind, f"f-{kind}", paths) for kind, paths in strokes.items()]
    made.append(_pattern("gap", "f-gap", [("M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4", 1)]))
    made.append(_pattern("outage", "f-gap", [("M2,2 h2 M6,6 h2", 2)]))
    return element("svg", element("defs", *made), class_="defs", width=0, height=0, aria_hidden="true")


def _pattern(name: str, ground: str, paths: Iterable[tuple[str, float]]) -> Markup:
    drawn = [element("path", d=d, stroke_width=pixels(width), class_=f"s-{name}") for d, width in paths]
    return element(
        "pattern",
        element("rect", width=8, height=8, class_=ground),
        *drawn,
        id=f"p-{name}",
        width=8,
        height=8,
        patternUnits="userSpaceOnUse",
    )


def swatch(kind: str) -> Markup:
    """A piece of a verdict's fill, for a legend."""
    filled = element("rect", width=16, height=16, class_=f"b-{kind}")
    return element("svg", filled, class_="swatch", width=16, height=16, aria_hidden="true")
