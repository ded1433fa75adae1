"""Progress is shown where nothing else shows it, and nowhere else."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest

from nomyo_attest.audit.run import Progress
from nomyo_attest.cli.progress import ITEMS_MINIMUM, rate_text, track_audit, track_items


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def items_progress(count: int, *, out_is_terminal: bool, err_is_terminal: bool) -> str:
    err = Stream(terminal=err_is_terminal)
    items = list(range(count))
    assert list(track_items(items, "appraising", out=Stream(terminal=out_is_terminal), err=err)) == items
    return err.getvalue()


def test_long_work_whose_output_goes_elsewhere_shows_a_bar_on_the_terminal() -> None:
    assert "appraising" in items_progress(ITEMS_MINIMUM, out_is_terminal=False, err_is_terminal=True)


@pytest.mark.parametrize(
    ("count", "out_is_terminal", "err_is_terminal"),
    [(ITEMS_MINIMUM - 1, False, True), (ITEMS_MINIMUM, True, True), (ITEMS_MINIMUM, False, False), (0, False, True)],
)
def test_nothing_is_shown_of_short_work_in_pipes_or_beside_the_results(
    count: int, out_is_terminal: bool, err_is_terminal: bool
) -> None:
    assert items_progress(count, out_is_terminal=out_is_terminal, err_is_terminal=err_is_terminal) == ""


def steps(size: int = 1000) -> Iterator[Progress]:
    for part in range(1, 11):
        yield Progress(records=5000 + part * 1000, new_records=part * 1000, read=part * 100, size=size)


def audit_progress(size: int, *, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "120")
    err = Stream(terminal=terminal)
    assert list(track_audit(steps(size), err)) == list(steps(size))
    return err.getvalue()


def test_a_terminal_shows_a_bar_that_is_gone_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    text = audit_progress(1000, terminal=True, monkeypatch=monkeypatch)
    assert "100%" in text
    assert re.search(r"\d:\d\d:\d\d *left", re.sub(r"\x1b\[[\d;]*m", "", text))
    assert "running the cross-record checks" in text
    assert text.endswith("\x1b[2K")


def test_of_a_pipe_nobody_knows_how_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = audit_progress(0, terminal=True, monkeypatch=monkeypatch)
    assert "%" not in text
    assert "left" not in text


def test_nothing_is_shown_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert audit_progress(1000, terminal=False, monkeypatch=monkeypatch) == ""


def test_the_rate_is_that_of_this_run() -> None:
    step = Progress(records=1_006_000, new_records=6000, read=5, size=10)
    assert rate_text(step, 0.5) == "1,006,000 records"
    assert rate_text(step, 4.0) == "1,006,000 records, 1,500/s"
