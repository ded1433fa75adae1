"""Show the progress of an appraisal of many files, or of an audit, on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from nomyo_attest.audit.run import Progress as AuditProgress

T = TypeVar("T")

ITEMS_MINIMUM = 200
"""The minimum number of items for which a bar is shown; 200 appraisals take about a tenth of a second."""


def track_items(items: Sequence[T], label: str, *, out: TextIO | None = None, err: TextIO | None = None) -> Iterable[T]:
    """Iterate over `items` and show a bar on standard error.

    The bar is shown for `ITEMS_MINIMUM` items or more, if standard error is a terminal and standard output is not: on a
    terminal the results themselves show the progress.

    Args:
        items: the items to iterate over.
        label: the label of the bar, such as ``"appraising"``.
        out, err: standard output and standard error, by default those of this process.
    """
    out, err = out or sys.stdout, err or sys.stderr
    if len(items) < ITEMS_MINIMUM or not err.isatty() or out.isatty():
        return items
    return _items_with_bar(items, label, err)


def _items_with_bar(items: Sequence[T], label: str, err: TextIO) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=err), transient=True) as progress:
        yield from progress.track(items, description=label)


def track_audit(steps: Iterator[AuditProgress], err: TextIO | None = None) -> Iterable[AuditProgress]:
    """Iterate over the steps of an audit and show percentage, records per second and time left on standard error.

    They are shown if standard error is a terminal. Standard output may be one too: the summary is printed after the bar
    is removed.
    """
    err = err or sys.stderr
    return steps if err is None or not err.isatty() else _audit_with_bar(steps, err)


def _audit_with_bar(steps: Iterator[AuditProgress], err: TextIO) -> Iterator[AuditProgress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("appraising"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(file=err), transient=True) as bar:
        task = bar.add_task("", total=None, rate="", left="")
        start = time.monotonic()
        for step in steps:
            rate = rate_text(step, time.monotonic() - start)
            bar.update(task, total=step.size or None, completed=step.read, rate=rate, left="left" if step.size else "")
            yield step
        bar.refresh()
        bar.columns = (TextColumn("running the cross-record checks"), TimeElapsedColumn())
        bar.refresh()


def rate_text(step: AuditProgress, seconds: float) -> str:
    """Describe the number of records, and the rate of those appraised in this run (not those of a resumed audit)."""
    text = f"{step.records:,} records"
    return f"{text}, {step.new_records / seconds:,.0f}/s" if seconds >= 1 else text
