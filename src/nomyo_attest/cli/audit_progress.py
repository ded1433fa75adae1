"""How far an audit is, on a terminal: percent, records a second, and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from nomyo_attest.audit.run import Progress


def shown(steps: Iterator[Progress], err: TextIO | None = None) -> Iterable[Progress]:
    """The `steps`, with a bar on standard error while they are gone through, if that is a terminal.

    The summary comes when the bar is gone, so standard output may be a terminal, too.
    """
    err = err or sys.stderr
    return steps if err is None or not err.isatty() else _with_bar(steps, err)


def _with_bar(steps: Iterator[Progress], err: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("appraising"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Bar(*columns, console=Console(file=err), transient=True) as bar:
        task = bar.add_task("", total=None, told="", left="")
        began = time.monotonic()
        for step in steps:
            told = told_of(step, time.monotonic() - began)
            bar.update(task, total=step.size or None, completed=step.read, told=told, left="left" if step.size else "")
            yield step
        bar.refresh()
        bar.columns = (TextColumn("looking across all records"), TimeElapsedColumn())
        bar.refresh()


def told_of(step: Progress, seconds: float) -> str:
    """Records, and how many a second; those of an audit that was interrupted were appraised before."""
    told = f"{step.records:,} records"
    return f"{told}, {step.fresh / seconds:,.0f}/s" if seconds >= 1 else told
