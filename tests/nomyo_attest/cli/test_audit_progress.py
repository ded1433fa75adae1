"""How far an audit is: on a terminal only, and gone when the summary comes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest

from nomyo_attest.audit.run import Progress
from nomyo_attest.cli.audit_progress import shown, told_of


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def steps(size: int = 1000) -> Iterator[Progress]:
    for part in range(1, 11):
        yield Progress(records=5000 + part * 1000, fresh=part * 1000, read=part * 100, size=size)


def told(size: int, *, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "120")
    err = Stream(terminal=terminal)
    assert list(shown(steps(size), err)) == list(steps(size))
    return err.getvalue()


def test_a_terminal_shows_a_bar_that_is_gone_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    text = told(1000, terminal=True, monkeypatch=monkeypatch)
    assert "100%" in text
    assert re.search(r"\d:\d\d:\d\d *left", re.sub(r"\x1b\[[\d;]*m", "", text))
    assert "looking across all records" in text
    assert text.endswith("\x1b[2K")


def test_of_a_pipe_nobody_knows_how_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = told(0, terminal=True, monkeypatch=monkeypatch)
    assert "%" not in text
    assert "left" not in text


def test_nothing_is_shown_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(1000, terminal=False, monkeypatch=monkeypatch) == ""


def test_the_rate_is_that_of_this_run() -> None:
    step = Progress(records=1_006_000, fresh=6000, read=5, size=10)
    assert told_of(step, 0.5) == "1,006,000 records"
    assert told_of(step, 4.0) == "1,006,000 records, 1,500/s"
