"""The incidents on the page: a card for each, and the same numbers in the chart over time."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from nomyo_attest.audit.place import Place
from nomyo_attest.report.html import html_report, markers
from nomyo_attest.report.html.scale import Scale
from nomyo_attest.report.html.style import STYLE
from nomyo_attest.report.incidents import Incident, Kind, Severity, incidents
from tests.nomyo_attest.report.audit_samples import START, STEP, summary
from tests.nomyo_attest.report.html.parsed import Node, parse


@pytest.fixture(scope="module")
def page() -> Node:
    return parse(html_report(summary()))


def test_each_incident_has_a_card_with_its_number_what_happened_when_how_many_where_and_what_to_do(page: Node) -> None:
    cards = page.by_id("incidents").all("li", "card")
    found = incidents(summary())
    assert [one.get("id") for one in cards] == [f"incident-{at}" for at in range(1, len(found) + 1)]
    for at, (card, incident) in enumerate(zip(cards, found, strict=True), 1):
        assert card.all("span", "badge")[0].words == str(at)
        assert card.all("h3")[0].words == incident.title.replace("`", "")
        names = {one.words for one in card.all("dt")}
        assert "records" in names
        assert not incident.first or {"when", "first"} <= names or incident.first.processed_at is None
        assert "remediation" not in names
        assert bool(card.all("div", "remedy")) is bool(incident.remediation)


def test_the_chart_has_a_disc_and_a_link_for_each_incident_with_a_time(page: Node) -> None:
    section = page.by_id("timeline")
    dated = [
        at
        for at, one in enumerate(incidents(summary()), 1)
        if one.first is not None and one.first.processed_at is not None
    ]
    assert dated
    numbers = [one.words for one in section.all("text", "disc-number")]
    assert sorted(map(int, numbers)) == dated
    links = [one.get("href") for one in section.all("ol", "marks")[0].all("a")]
    assert sorted(links) == sorted(f"#incident-{at}" for at in dated)
    assert len(section.all("line", "incident")) == len(dated)


def test_markers_in_one_row_do_not_overlap_and_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [
        Incident(
            kind=Kind.REPLAY,
            severity=Severity.HIGH,
            title=f"incident {at}",
            records=2,
            first=Place("a", at, START + at * 60),
            last=Place("a", at, START + at * 60 + (at % 7) * STEP),
        )
        for at in range(60)
    ]
    monkeypatch.setattr(markers, "incidents", lambda _: many)
    whole = summary()
    placed = markers.place_markers(whole, Scale(whole.timeline, whole.bucket_seconds))
    assert len(placed) == markers.MARKERS_MAXIMUM
    for row in {one.row for one in placed}:
        inside = sorted((one.begins, one.ends) for one in placed if one.row == row)
        assert all(end < begin for (_, end), (begin, _) in pairwise(inside))


def test_an_incident_outside_the_chart_is_not_drawn_and_has_its_card() -> None:
    whole = summary()
    group = msgspec.structs.replace(whole.cause_groups[0], first=Place("a", 1, START - 10 * STEP))
    page = parse(html_report(summary(cause_groups=[group, *whole.cause_groups[1:]])))
    cards = len(page.by_id("incidents").all("li", "card"))
    assert len(page.by_id("timeline").all("text", "disc-number")) < cards


def test_a_page_without_incidents_has_no_card_and_no_disc() -> None:
    nothing: dict[str, Any] = {"cause_groups": [], "cross_record": [], "cross_record_rules": [], "rules": []}
    nothing |= {"places": [], "failures": [], "failures_total": 0, "sources": [], "sources_unreadable": 0}
    page = parse(html_report(summary(**nothing)))
    assert page.by_id("incidents").words == "Incidents No incidents."
    assert page.all("text", "disc-number") == []


def test_on_a_narrow_page_the_rows_of_wide_tables_are_cards_whose_cells_name_their_columns(page: Node) -> None:
    tables = page.all("table", "stacked")
    assert {re.sub("t-", "", one.get("class").split()[0]) for one in tables} >= {"profiles", "sources", "values"}
    for table in tables:
        titles = [one.words for one in table.all("thead")[0].all("th")]
        for row in table.all("tbody")[0].all("tr"):
            for title, cell in zip(titles[1:], row.all("td"), strict=True):
                assert cell.get("data-label") == title or cell.words in ("0", "")
    narrow = STYLE.partition("@media (max-width:40rem)")[2].partition("@media")[0]
    assert "content:attr(data-label)" in narrow


def test_on_paper_a_card_is_not_cut() -> None:
    printed = STYLE.partition("@media print")[2]
    (rule,) = re.findall(r"([^{}]*)\{break-inside:avoid\}", printed)
    assert ".card" in rule.strip().split(",")
