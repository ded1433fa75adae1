"""The names in a folder, sorted, in less memory than a list of them takes."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from typing import Final

RUN: Final = 20_000
"""Names sorted at once."""

_SEPARATOR: Final = b"/"  # what no name of a file contains


def sorted_names(folder: str) -> Iterator[str]:
    """The names in `folder`, sorted by their bytes, in UTF-8 the order of code points. Raises `OSError`, and at once.

    A million names as text take 100 MB, as sorted runs of bytes that are merged about 40.
    """
    runs: list[bytes] = []
    names: list[bytes] = []
    with os.scandir(os.fsencode(folder)) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) == RUN:
                runs.append(_run(names))
                names = []
    if not runs:
        return map(os.fsdecode, sorted(names))
    if names:
        runs.append(_run(names))
    return map(os.fsdecode, heapq.merge(*map(_names, runs)))


def _run(names: list[bytes]) -> bytes:
    return _SEPARATOR.join(sorted(names)) + _SEPARATOR


def _names(run: bytes) -> Iterator[bytes]:
    begin = 0
    while (end := run.find(_SEPARATOR, begin)) >= 0:
        yield run[begin:end]
        begin = end + 1
