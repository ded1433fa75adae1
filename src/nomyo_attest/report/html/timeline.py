"""The verdicts over time: stacked bars, and below them what is rare on a scale of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from nomyo_attest.audit.row import VERDICTS
from nomyo_attest.audit.summary import Bucket, Counts, Gap, Summary
from nomyo_attest.report.formatting import compact, count, duration, moment, number
from nomyo_attest.report.html.chart import (
    Scale,
    bar_height,
    figure,
    label,
    line,
    rect,
    spans,
    swatch,
    time_axis,
)
from nomyo_attest.report.html.markup import Markup, element, join
from nomyo_attest.report.html.scale import number_ticks
from nomyo_attest.report.html.tables import columns, fold, listing, row, section, table
from nomyo_attest.report.html.wording import stamp, verdict

_HEIGHT: Final = 200
_HEAD: Final = 18
"""Pixels above the bars, for the numbers of gaps."""

_LANE: Final = 50
_LANE_BAR: Final = 24

_STRETCH: Final = ("mark", "from (UTC)", "until (UTC)", "for", "#records", "what is missing")
_SHORT: Final = "Shorter than a bar, and so not drawn: the longest"

UNAVAILABLE: Final = "unavailable"
"""The lane of records without evidence: not a verdict, but part of `none` as a rule."""


def timeline(summary: Summary) -> Markup:
    """The section."""
    if not summary.timeline:
        return section("timeline", "Verdicts over time", element("p", _undated(summary)))
    scale = Scale(summary.timeline, summary.bucket_seconds)
    return section("timeline", "Verdicts over time", _chart(summary, scale), _stretches(summary), _table(summary))


def _undated(summary: Summary) -> str:
    if not summary.counts.total:
        return "There is no record to show."
    if not summary.timeline:
        return "No record says when it was made, so there is nothing to show over time."
    if not summary.undated:
        return "Every record says when it was made."
    return f"{count(summary.undated, 'record')} without a time: counted everywhere, but not shown here."


def _count(counts: Counts, name: str) -> int:
    return int(getattr(counts, name))


def _chart(summary: Summary, scale: Scale) -> Markup:
    buckets = summary.timeline
    ticks = number_ticks(max(bucket.counts.total for bucket in buckets))
    foot = _HEAD + _HEIGHT
    drawn: list[str] = []
    for tick in ticks:
        y = foot - _HEIGHT * tick / ticks[-1]
        drawn += [line(y, "grid"), label("-8", y + 4, compact(tick), "count")]
    drawn += [spans(scale, _long(summary, summary.gaps), foot, "G", "b-gap")]
    drawn += [spans(scale, _long(summary, summary.unavailable), foot, "E", "b-outage")]
    drawn += [_stack(scale, place, bucket, ticks[-1], foot) for place, bucket in enumerate(buckets)]
    lanes = _lanes(buckets)
    for place, (name, counts) in enumerate(lanes):
        drawn.append(_lane(scale, name, counts, foot + place * _LANE))
    height = foot + len(lanes) * _LANE
    drawn += [line(foot, "axis"), time_axis(scale, height + 4)]
    description = (
        f"Records by verdict, each bar {duration(summary.bucket_seconds)}, from {moment(scale.start)} to "
        f"{moment(scale.end)} UTC. Below the stacked bars what is not affirming, each on a scale of its own. "
        f"{_undated(summary)}"
    )
    return figure("timeline", "Verdicts over time", description, height, drawn, _legend(summary, lanes))


def _stack(scale: Scale, place: int, bucket: Bucket, most: int, foot: float) -> Markup:
    """The bar of one bucket, from its foot up."""
    y, parts = foot, []
    for name in VERDICTS:
        height = bar_height(_count(bucket.counts, name), most, _HEIGHT)
        if height:
            y -= height
            parts.append(rect(scale.left(place), y, scale.bar, height, f"b-{name}"))
    said = [f"{number(_count(bucket.counts, name))} {name}" for name in VERDICTS if _count(bucket.counts, name)]
    tip = element("title", f"{moment(bucket.at)}: {', '.join(said) or 'no record'}")
    parts.append(rect(place * scale.slot, 0, scale.slot, foot, "tip", tip))
    return join(parts)


def _lanes(buckets: Sequence[Bucket]) -> list[tuple[str, list[int]]]:
    lanes = [(name, [_count(bucket.counts, name) for bucket in buckets]) for name in VERDICTS[1:]]
    lanes.append((UNAVAILABLE, [bucket.unavailable for bucket in buckets]))
    return [(name, counts) for name, counts in lanes if any(counts)]


def _lane(scale: Scale, name: str, counts: list[int], top: float) -> Markup:
    """One kind of record on a scale of its own."""
    foot, most = top + _LANE, max(counts)
    words = "without evidence" if name == UNAVAILABLE else name
    said = join([f"{words}: {number(sum(counts))}", element("tspan", f", at most {number(most)} a bar", class_="wide")])
    parts = [label("0", foot - _LANE_BAR - 6, said, "lane")]
    for place, records in enumerate(counts):
        height = bar_height(records, most, _LANE_BAR)
        if height:
            kind = "none" if name == UNAVAILABLE else name
            tip = element("title", f"{moment(scale.start + place * scale.seconds)}: {number(records)} {words}")
            parts.append(rect(scale.left(place), foot - height, scale.bar, height, f"b-{kind}", tip))
    parts.append(line(foot, "grid"))
    return join(parts)


def _legend(summary: Summary, lanes: list[tuple[str, list[int]]]) -> Markup:
    shown = ["affirming", *(name for name, _ in lanes if name != UNAVAILABLE)]
    items = [join([swatch(name), " ", verdict(name)]) for name in shown]
    if _long(summary, summary.gaps):
        items.append(join([swatch("gap"), " G: no records"]))
    if _long(summary, summary.unavailable):
        items.append(join([swatch("outage"), " E: records without evidence only"]))
    return listing(items, class_="legend")


def _long(summary: Summary, gaps: Iterable[Gap]) -> list[Gap]:
    """The ones that are as long as a bar is wide, and so can be drawn. What is shorter is listed only."""
    return [gap for gap in gaps if gap.ends - gap.begins >= max(summary.bucket_seconds, 1)]


def _stretches(summary: Summary) -> Markup:
    """Gaps, and times with nothing but missing evidence, as a table; folded where none of them can be seen above."""
    groups = [("G", summary.gaps, "records: none at all"), ("E", summary.unavailable, "evidence: no record has any")]
    drawn: list[Markup] = []
    short: list[Markup] = []
    for letter, gaps, missing in groups:
        drawn += [_stretch(gap, f"{letter}{at}", missing) for at, gap in enumerate(_long(summary, gaps), 1)]
        short += [_stretch(gap, "", missing) for gap in gaps if gap not in _long(summary, gaps)]
    of = columns(*_STRETCH)
    parts = []
    if drawn:
        caption = "Times without records, or without evidence, that are as long as a bar or longer"
        parts.append(table("stretches", caption, of, drawn))
    else:
        parts.append(element("p", "No time as long as a bar is without records, or without evidence in all of them."))
    if short:
        title = f"{count(len(short), 'shorter time')} without records, or without evidence"
        parts.append(fold(title, table("short", _SHORT, columns(*_STRETCH[1:]), short)))
    return join(parts)


def _stretch(gap: Gap, mark: str, missing: str) -> Markup:
    cells = [stamp(gap.begins), stamp(gap.ends), duration(gap.ends - gap.begins), number(gap.records), missing]
    return row(columns(*_STRETCH), [mark, *cells]) if mark else row(columns(*_STRETCH[1:]), cells)


def _table(summary: Summary) -> Markup:
    of = columns("from (UTC)", *(f"#{name}" for name in VERDICTS), "#all", "#without evidence")
    rows = [
        row(
            of,
            [
                stamp(bucket.at),
                *(number(_count(bucket.counts, name)) for name in VERDICTS),
                number(bucket.counts.total),
                number(bucket.unavailable),
            ],
        )
        for bucket in summary.timeline
    ]
    dated = Counts(**{name: sum(_count(bucket.counts, name) for bucket in summary.timeline) for name in VERDICTS})
    foot = row(
        of,
        [
            "all with a time",
            *(number(_count(dated, name)) for name in VERDICTS),
            number(dated.total),
            number(sum(bucket.unavailable for bucket in summary.timeline)),
        ],
    )
    adds = f"{number(dated.total)} with a time and {number(summary.undated)} without: {number(summary.counts.total)}."
    if dated.total + summary.undated != summary.counts.total:
        adds = f"These do not add up to the {number(summary.counts.total)} records of the audit."
    caption = f"The numbers of the chart, by {duration(summary.bucket_seconds)}. {adds}"
    return fold("The chart as a table", table("buckets", caption, of, rows, [foot]))
