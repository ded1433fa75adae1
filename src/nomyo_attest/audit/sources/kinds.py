"""What a source is, told by its name: of which kind, how packed, and under which name its records are reported."""

from __future__ import annotations

import os
from typing import Final, Literal, NamedTuple

from nomyo_attest.audit.chunk import SourceEnd

Kind = Literal["json", "jsonl", "parquet"]
Packing = Literal["", "gz", "zst"]

STANDARD_INPUT: Final = "-"

_KINDS: Final[dict[str, Kind]] = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_PACKINGS: Final[dict[str, Packing]] = {".gz": "gz", ".zst": "zst"}

ENDINGS_TOLD: Final = ".json, .jsonl, .ndjson (each also .gz or .zst) or .parquet"


class Source(NamedTuple):
    """One source, as the inventory found it.

    Attributes:
        number: from 0 in the order read.
        name: what its records are reported under: always UTF-8.
        path: what it is opened by; ``"-"`` is standard input.
        kind: its kind; of what cannot be opened, what it would be.
        packing: how it is packed; of standard input its first bytes tell.
        size: bytes as stored; None where they are not known: a pipe, what is not there.
        mtime: time of its last change, in nanoseconds; None where `size` is.
        problem: why it cannot be read; empty as far as the inventory knows.
        within: real path of the folder that the file must be in when it is opened; empty for anywhere.
    """

    number: int
    name: str
    path: str
    kind: Kind
    packing: Packing
    size: int | None
    mtime: int | None
    problem: str = ""
    within: str = ""

    def ended(self, sha256: str | None, problem: str, blank: int = 0) -> SourceEnd:
        """What is known of it when all of it has been read, as far as that was possible."""
        return SourceEnd(
            source=self.number,
            name=self.name,
            kind=self.kind,
            size=self.size,
            sha256=sha256,
            blank=blank,
            problem=problem,
        )


def kind_of(name: str) -> tuple[Kind, Packing] | None:
    """Kind and packing that the ending of `name` tells, whatever its case; None if it is no record's."""
    lower = name.lower()
    if lower.endswith(".parquet"):
        return "parquet", ""
    packing: Packing = ""
    for ending, packed in _PACKINGS.items():
        if lower.endswith(ending):
            lower, packing = lower.removesuffix(ending), packed
            break
    for ending, kind in _KINDS.items():
        if lower.endswith(ending):
            return kind, packing
    return None


def display(path: str) -> str:
    r"""`path` as text that can be written down: bytes that are no UTF-8 stand as ``\xff``."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        try:
            return os.fsencode(path).decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:  # not what a file system gave out
            return path.encode("utf-8", "backslashreplace").decode("utf-8")
    return path
