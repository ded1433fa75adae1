"""Keyboard, screen reader, print, and eyes that see colors differently."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from nomyo_attest.report.html import html_report
from nomyo_attest.report.html.style import DARK, LIGHT, STYLE
from tests.nomyo_attest.report.audit_samples import summary
from tests.nomyo_attest.report.html.parsed import Node, parse


@pytest.fixture(scope="module")
def page() -> Node:
    return parse(html_report(summary()))


def test_headings_go_down_one_level_at_a_time_from_a_single_first_one(page: Node) -> None:
    levels = [int(one.name[1]) for one in page.walk() if re.fullmatch("h[1-6]", one.name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_there_is_one_of_each_landmark_and_a_way_past_the_contents(page: Node) -> None:
    assert [one.name for one in page.walk() if one.name in {"header", "nav", "main", "footer"}] == [
        *("header", "nav", "main", "footer")
    ]
    assert page.all("a", "skip")[0].get("href") == "#result"
    assert page.get("lang") == "en"


def test_no_id_stands_twice_and_every_reference_finds_its_own(page: Node) -> None:
    ids = [one.get("id") for one in page.walk() if one.get("id")]
    assert len(ids) == len(set(ids))
    named = {name for one in page.walk() for name in one.get("aria-labelledby").split()}
    linked = {one.get("href").removeprefix("#") for one in page.all("a")}
    filled = set(re.findall(r"url\(#([\w-]+)\)", STYLE))
    assert named | linked | filled <= set(ids)
    assert len(filled) == 6


def test_every_table_has_a_caption_and_its_headings_say_of_what(page: Node) -> None:
    tables = page.all("table")
    assert len(tables) > 8
    for table in tables:
        (caption,) = table.all("caption")
        assert caption.words
        assert {one.get("scope") for one in table.all("thead")[0].all("th")} == {"col"}
        assert all(one.words for one in table.all("thead")[0].all("th"))
        width = len(table.all("thead")[0].all("th"))
        for row in table.all("tr")[1:]:
            assert len(row.all("th") + row.all("td")) == width
            assert [one.get("scope") for one in row.all("th")] == ["row"]


def test_every_region_that_scrolls_can_be_reached_and_has_a_name(page: Node) -> None:
    regions = page.all("div", "scroll")
    assert len(regions) == len(page.all("table"))
    assert all(one.get("tabindex") == "0" and one.get("role") == "region" for one in regions)
    assert all(one.get("aria-labelledby") for one in regions)


def test_every_drawing_has_words_or_is_decoration(page: Node) -> None:
    charts = 0
    for svg in page.all("svg"):
        if svg.get("aria-hidden") == "true":
            continue
        charts += 1
        assert svg.get("role") == "img"
        title, description = (svg.all(name)[0] for name in ("title", "desc"))
        assert svg.get("aria-labelledby").split() == [title.get("id"), description.get("id")]
        assert title.words
        assert description.words
    assert charts == 2


def test_what_is_a_symbol_only_is_kept_from_a_screen_reader_and_has_a_word_beside_it(page: Node) -> None:
    shown = page.all("span", "v")
    assert len(shown) > 200
    for one in shown:
        spoken = [part if isinstance(part, str) else part.words for part in one.inside if not _hidden(part)]
        assert "".join(spoken).strip().isascii()
        assert len("".join(spoken).strip()) >= 3


def _hidden(part: Node | str) -> bool:
    return isinstance(part, Node) and part.get("aria-hidden") == "true"


def test_each_verdict_but_the_good_one_has_a_pattern_of_its_own(page: Node) -> None:
    drawn = {one.get("id"): [path.get("d") for path in one.all("path")] for one in page.all("pattern")}
    assert set(drawn) == {*("p-warning", "p-contraindicated", "p-none", "p-unreadable", "p-gap", "p-outage")}
    verdicts = [str(drawn[f"p-{name}"]) for name in ("warning", "contraindicated", "none", "unreadable")]
    assert len(set(verdicts)) == 4


def luminance(color: str) -> float:
    """WCAG 2.2, "relative luminance"."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, "contrast ratio"."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_measured_as_wcag_has_it() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_contrast_enough_on_every_ground(colors: dict[str, str]) -> None:
    assert set(LIGHT) == set(DARK)
    for name in ("fg", "soft", "link", "affirming", "warning", "contraindicated", "none", "unreadable"):
        for ground in ("bg", "panel"):
            assert contrast(colors[name], colors[ground]) >= 4.5, (name, ground)
    assert contrast(colors["fg"], colors["mark"]) >= 4.5


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_the_patterns_of_the_bars_can_be_made_out(colors: dict[str, str]) -> None:
    for name, ground in (
        ("warning", "warning-ground"),
        ("contraindicated", "contraindicated-line"),
        ("none", "none-ground"),
        ("unreadable", "unreadable-ground"),
    ):
        assert contrast(colors[name], colors[ground]) >= 3, name


def test_every_color_that_the_style_names_is_there() -> None:
    assert set(re.findall(r"var\(--([\w-]+)\)", STYLE)) <= set(LIGHT)


def test_paper_is_light_and_shows_what_is_folded() -> None:
    assert "@media screen and (prefers-color-scheme:dark)" in STYLE
    printed = STYLE.partition("@media print")[2]
    assert "details::details-content{content-visibility:visible" in printed
    assert ".scroll{overflow:visible" in printed


def test_what_has_the_keyboard_is_marked() -> None:
    assert ":focus-visible{outline:3px solid" in STYLE
    assert "outline:none" not in STYLE
