"""Progress is shown where nothing else shows it, and nowhere else."""

from __future__ import annotations

import io

import pytest

from nomyo_attest.cli.progress import LONG, tracked


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def shown(count: int, *, out_is_terminal: bool, err_is_terminal: bool) -> str:
    err = Stream(terminal=err_is_terminal)
    items = list(range(count))
    assert list(tracked(items, "appraising", out=Stream(terminal=out_is_terminal), err=err)) == items
    return err.getvalue()


def test_long_work_whose_output_goes_elsewhere_shows_a_bar_on_the_terminal() -> None:
    assert "appraising" in shown(LONG, out_is_terminal=False, err_is_terminal=True)


@pytest.mark.parametrize(
    ("count", "out_is_terminal", "err_is_terminal"),
    [(LONG - 1, False, True), (LONG, True, True), (LONG, False, False), (0, False, True)],
)
def test_nothing_is_shown_of_short_work_in_pipes_or_beside_the_results(
    count: int, out_is_terminal: bool, err_is_terminal: bool
) -> None:
    assert shown(count, out_is_terminal=out_is_terminal, err_is_terminal=err_is_terminal) == ""
