"""Mark incidents in the chart of verdicts over time: a numbered disc at the first record, and a line to the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from nomyo_attest.audit.summary import Summary
from nomyo_attest.report.formatting import excerpt, number
from nomyo_attest.report.html.markup import Markup, element, join, untrusted
from nomyo_attest.report.html.scale import Scale, percent, pixels
from nomyo_attest.report.incidents import Incident, incidents
from nomyo_attest.report.sections.incident_list import SEVERITY_KINDS

ROW: Final = 22
"""Height of a row of markers, in pixels."""

MARKERS_MAXIMUM: Final = 24
"""Maximum incidents that are drawn."""

_RADIUS: Final = 9
_DISTANCE_MINIMUM: Final = 7.5
"""Minimum distance of two markers in a row, in percent of the width: a disc is 18 pixels of at least 240."""


class Marker(NamedTuple):
    """An incident in the chart.

    Attributes:
        position: the incident's position in the list, from 1.
        incident: the incident.
        begins, ends: the positions of its first and its last record, in percent of the width.
        row: the row, from the top, beginning with 0.
    """

    position: int
    incident: Incident
    begins: float
    ends: float
    row: int


def place_markers(summary: Summary, scale: Scale) -> list[Marker]:
    """Place the incidents that have a time within the chart, each in the first row that has room."""
    placed: list[Marker] = []
    row_ends: list[float] = []
    for position, incident in enumerate(incidents(summary), 1):
        first = incident.first.processed_at if incident.first else None
        last = incident.last.processed_at if incident.last else None
        if first is None or not scale.start <= first < scale.end:
            continue
        begins = scale.at(first)
        ends = max(begins, scale.at(first if last is None else last))
        row = next((row for row, end in enumerate(row_ends) if begins >= end), len(row_ends))
        row_ends[row : row + 1] = [ends + _DISTANCE_MINIMUM]
        placed.append(Marker(position, incident, begins, ends, row))
        if len(placed) == MARKERS_MAXIMUM:
            break
    return placed


def height_of(placed: Sequence[Marker]) -> float:
    """Return the height of all rows, in pixels."""
    return ROW * (1 + max((marker.row for marker in placed), default=-1))


def draw_markers(placed: Sequence[Marker], baseline: float) -> Markup:
    """Draw the markers at the top of the chart, each with a dashed line down to `baseline`."""
    parts: list[str] = []
    for marker in placed:
        x, y = percent(marker.begins), pixels(marker.row * ROW + _RADIUS + 1)
        kind = SEVERITY_KINDS[marker.incident.severity]
        parts.append(element("line", x1=x, x2=x, y1=y, y2=pixels(baseline), class_=f"incident i-{kind}"))
    for marker in placed:
        x, y = percent(marker.begins), pixels(marker.row * ROW + _RADIUS + 1)
        kind = SEVERITY_KINDS[marker.incident.severity]
        tip = element("title", f"{number(marker.position)}: {excerpt(marker.incident.title)}")
        if marker.ends > marker.begins:
            parts.append(element("line", x1=x, x2=percent(marker.ends), y1=y, y2=y, class_=f"lasting i-{kind}"))
        disc = element("circle", tip, cx=x, cy=y, r=_RADIUS, class_=f"disc d-{kind}")
        label = element(
            "text", str(marker.position), x=x, y=pixels(marker.row * ROW + _RADIUS + 5), class_="disc-number"
        )
        parts += [disc, label]
    return join(parts)


def marker_legend(placed: Sequence[Marker]) -> Markup:
    """List the incidents that are drawn, each with a link to its card."""
    items = [
        element(
            "li",
            element("span", str(marker.position), class_=f"badge d-{SEVERITY_KINDS[marker.incident.severity]}"),
            " ",
            element("a", untrusted(marker.incident.title, 300), href=f"#incident-{marker.position}"),
        )
        for marker in placed
    ]
    return element("ol", *items, class_="marks") if items else Markup()
