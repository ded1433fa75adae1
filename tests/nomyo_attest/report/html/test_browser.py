"""The report in a real browser. Needs Chromium; skips without one, and fails there with NOMYO_REQUIRE_BROWSER=1."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nomyo_attest.report.html import html_report
from nomyo_attest.report.html.style import DARK, LIGHT
from tests.nomyo_attest.report.audit_samples import summary
from tests.nomyo_attest.report.html import browser
from tests.nomyo_attest.report.html.browser import Picture, Ran
from tests.nomyo_attest.report.html.parsed import parse
from tests.nomyo_attest.report.html.test_hostile import with_text

pytestmark = pytest.mark.browser

# Written by a script outside the report, which looks into it: the report itself may run none.
MEASURE = """<!doctype html><meta charset="utf-8"><pre id="found"></pre>
<iframe id="w360" src="report.html" width="360" height="800"></iframe>
<iframe id="w768" src="report.html" width="768" height="800"></iframe>
<iframe id="w1600" src="report.html" width="1600" height="800"></iframe>
<script>
addEventListener("load", () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, view = frame.contentWindow;
    const box = one => { const r = one.getBoundingClientRect(); return [r.left, r.right, r.top, r.bottom] };
    const shown = one => view.getComputedStyle(one).display !== "none";
    found[frame.id] = {
      scroll: page.documentElement.scrollWidth,
      texts: [...page.querySelectorAll("svg.chart")].map(svg =>
        [...svg.querySelectorAll("text")].filter(shown).map(one => [one.textContent, ...box(one)])),
      sizes: [...page.querySelectorAll("svg.chart text")].map(one => parseFloat(view.getComputedStyle(one).fontSize)),
      bars: [...page.querySelectorAll("svg.chart .b-affirming")].map(one => box(one)[1] - box(one)[0]),
      rows: [...page.querySelectorAll("tr, .entries > li")].filter(one => !one.closest("details")).map(one =>
        [one.textContent, one.getClientRects().length, one.offsetHeight]),
    };
  }
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>
"""


@pytest.fixture(scope="module")
def chromium() -> str:
    program = browser.find()
    if program is None:
        lacks = "no Chromium on this machine"
        if os.environ.get("NOMYO_REQUIRE_BROWSER") == "1":
            pytest.fail(f"NOMYO_REQUIRE_BROWSER=1, and there is {lacks}")
        pytest.skip(lacks)
    return program


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(html_report(summary()), encoding="utf-8")
    (folder / "measure.html").write_text(MEASURE, encoding="utf-8")
    return folder


def shoot(chromium: str, folder: Path, name: str, *, dark: bool = False) -> tuple[Ran, Picture]:
    picture = folder / f"{name}.png"
    page = (folder / "report.html").as_uri()
    ran = browser.run(chromium, folder, "--window-size=500,900", f"--screenshot={picture}", page, dark=dark)
    return ran, Picture.load(picture)


@pytest.fixture(scope="module")
def light(chromium: str, folder: Path) -> tuple[Ran, Picture]:
    return shoot(chromium, folder, "light")


@pytest.fixture(scope="module")
def dark(chromium: str, folder: Path) -> tuple[Ran, Picture]:
    return shoot(chromium, folder, "dark", dark=True)


@pytest.fixture(scope="module")
def measured(chromium: str, folder: Path) -> dict[str, Any]:
    ran = browser.run(chromium, folder, "--window-size=1700,2600", "--dump-dom", (folder / "measure.html").as_uri())
    text = ran.output.partition('<pre id="found">')[2].partition("</pre>")[0]
    found = json.loads(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert isinstance(found, dict)
    return found


def color(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("#"))


def test_the_page_is_drawn_in_the_colors_of_its_style(light: tuple[Ran, Picture]) -> None:
    picture = light[1]
    found = picture.colors()
    assert (picture.width, picture.height) == (500, 900)
    assert found[color(LIGHT["bg"])] > 0.5 * 500 * 900
    for name in ("contraindicated", "affirming", "panel", "link", "fg"):
        assert found.get(color(LIGHT[name]), 0) > 50, name


def test_a_reader_who_wants_it_dark_gets_it_dark(dark: tuple[Ran, Picture]) -> None:
    found = dark[1].colors()
    assert found[color(DARK["bg"])] > 0.5 * 500 * 900
    assert found.get(color(LIGHT["bg"]), 0) < 500
    for name in ("contraindicated", "affirming", "panel", "link", "fg"):
        assert found.get(color(DARK[name]), 0) > 50, name


def test_the_browser_has_nothing_to_complain_of_and_asks_for_nothing(
    light: tuple[Ran, Picture], dark: tuple[Ran, Picture]
) -> None:
    for ran, _ in (light, dark):
        assert ran.console == []
        assert ran.asked == []


def test_what_gets_into_the_page_in_spite_of_all_is_neither_run_nor_loaded_nor_sent(
    chromium: str, folder: Path
) -> None:
    """Also the proof that a complaint, and a request, would be seen: the second page has no policy."""
    bad = '<img src="http://in.example/"><script>fetch("http://script.example/")</script><style>p{color:red}</style>'
    page = html_report(summary(failures=[])).replace("<main>", f"<main>{bad}")
    assert bad in page
    (folder / "bad.html").write_text(page, encoding="utf-8")
    (folder / "free.html").write_text(page.replace("Content-Security-Policy", "X"), encoding="utf-8")
    held = browser.run(chromium, folder, "--dump-dom", (folder / "bad.html").as_uri())
    assert held.asked == []
    assert sum("Content Security Policy" in line for line in held.console) == 3
    free = browser.run(chromium, folder, "--dump-dom", (folder / "free.html").as_uri())
    assert {one.split("//")[-1] for one in free.asked} == {"in.example/", "script.example/"}


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_the_page_is_as_wide_as_the_window_and_no_wider(measured: dict[str, Any], width: int) -> None:
    assert measured[f"w{width}"]["scroll"] <= width


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_the_words_of_the_charts_can_be_read_at_any_width(measured: dict[str, Any], width: int) -> None:
    found = measured[f"w{width}"]
    assert min(found["sizes"]) >= 12
    assert max(found["sizes"]) <= 14
    assert len(found["texts"]) == 2
    for texts in found["texts"]:
        assert len(texts) > 6
        for at, (text, left, right, top, bottom) in enumerate(texts):
            assert 0 <= left < right <= width, text
            for other, *box in texts[at + 1 :]:
                apart = right <= box[0] or box[1] <= left or bottom <= box[2] or box[3] <= top
                assert apart, f"{text!r} lies over {other!r}"


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_every_row_and_every_entry_is_shown_at_any_width(measured: dict[str, Any], width: int) -> None:
    found = measured[f"w{width}"]["rows"]
    assert len(found) > 250
    for text, boxes, height in found:
        assert boxes == 1, text
        assert height > 10, text


def test_bars_grow_with_the_page(measured: dict[str, Any]) -> None:
    narrow, wide = (min(measured[name]["bars"]) for name in ("w360", "w1600"))
    assert 2 < narrow < 6
    assert wide > 2.5 * narrow


def test_a_browser_reads_a_hostile_page_as_it_was_written(chromium: str, folder: Path) -> None:
    page = html_report(with_text(lambda old: f"{old}</code></table><script>alert(1)</script>\u202e\x00<!--\"'&lt;"))
    (folder / "hostile.html").write_text(page, encoding="utf-8")
    ran = browser.run(chromium, folder, "--dump-dom", (folder / "hostile.html").as_uri())
    assert ran.console == []
    written, read = (sorted(one.name for one in parse(text).walk()) for text in (page, ran.output))
    assert [name.lower() for name in read] == [name.lower() for name in written]


def test_it_prints_on_several_pages(chromium: str, folder: Path) -> None:
    paper = folder / "report.pdf"
    (folder / "short.html").write_text(
        html_report(summary(failures=[], timeline=summary().timeline[:4])), encoding="utf-8"
    )
    browser.run(chromium, folder, f"--print-to-pdf={paper}", "--no-pdf-header-footer", (folder / "short.html").as_uri())
    data = paper.read_bytes()
    assert data.startswith(b"%PDF-")
    assert data.count(b"/Type /Page\n") > 3
