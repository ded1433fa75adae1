"""How far long work has come, on a terminal that shows nothing else of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO, TypeVar

T = TypeVar("T")

LONG = 200
"""Items that take long enough to be shown: about a tenth of a second of appraisals."""


def tracked(items: Sequence[T], what: str, *, out: TextIO | None = None, err: TextIO | None = None) -> Iterable[T]:
    """The `items`, with a bar on standard error while they are gone through.

    Shown only for `LONG` items or more, where standard error is a terminal and standard output is not: on a terminal
    the results themselves show how far the work has come.
    """
    out, err = out or sys.stdout, err or sys.stderr
    if len(items) < LONG or not err.isatty() or out.isatty():
        return items
    return _with_bar(items, what, err)


def _with_bar(items: Sequence[T], what: str, err: TextIO) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=err), transient=True) as progress:
        yield from progress.track(items, description=what)
