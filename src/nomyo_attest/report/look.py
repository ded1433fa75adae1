"""How text is to look: width, color, and the few shapes that all reports are made of."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Ink: TypeAlias = Literal["good", "warn", "bad", "dim", "bold"]

_INKS: Final[dict[Ink, str]] = {"good": "32", "warn": "33", "bad": "31;1", "dim": "2", "bold": "1"}
"""Select Graphic Rendition parameters (ECMA-48, 8.3.117) that light and dark terminals both show legibly."""

_HEX: Final = re.compile(r"(?:sha\d+:)?[0-9a-f]+", re.ASCII)
_HEX_STEP: Final = 16
"""Digits: long hex is cut after a multiple of eight bytes."""

_COMMAND: Final = re.compile(r"`[^`]{1,100}`")
_GLUE: Final = "\0"

_OWN_LINE: Final = 4
"""Columns before a digest that stands on a line of its own."""


@dataclass(frozen=True)
class Look:
    """What a report is laid out for.

    Attributes:
        width: columns of a line.
        color: whether the terminal shows color.
        verbose: everything that is known, digests in full.
        terminal: whether a person looks on. Elsewhere the first line of a file's verdict stays one line, however long.
    """

    width: int = 80
    color: bool = False
    verbose: bool = False
    terminal: bool = False

    def paint(self, text: str, ink: Ink) -> str:
        """`text` in a color, if there is color. Lay text out first: the escape sequences have no width."""
        return f"\x1b[{_INKS[ink]}m{text}\x1b[0m" if self.color else text

    def wrap(self, text: str, first: str = "", then: str | None = None) -> list[str]:
        """`text` in lines of `width` columns, the first begun with `first`, the others with `then` (blanks as wide).

        A command in backticks is not broken, unless it is longer than a line.
        """
        hang = " " * len(first) if then is None else then
        glued = _COMMAND.sub(lambda found: found[0].replace(" ", _GLUE), text)
        lines = textwrap.wrap(
            glued, self.width, initial_indent=first, subsequent_indent=hang, break_on_hyphens=False
        ) or [first.rstrip()]
        return [line.replace(_GLUE, " ") for line in lines]

    def beside(self, first: str, text: str) -> list[str]:
        """`text` beside `first`. A digest that only fits by itself has a line of its own; longer hex is cut evenly."""
        room = self.width - len(first)
        if not _HEX.fullmatch(text) or len(text) <= room:
            return self.wrap(text, first)
        if _OWN_LINE + len(text) <= self.width:
            return [*([first.rstrip()] if first.strip() else []), " " * _OWN_LINE + text]
        step = max(room - room % _HEX_STEP, 2)
        parts = [text[i : i + step] for i in range(0, len(text), step)]
        return [(first if i == 0 else " " * len(first)) + part for i, part in enumerate(parts)]

    def pairs(self, rows: Iterable[tuple[str, str]], indent: int = 2, gap: int = 2) -> list[str]:
        """Names in a column, texts beside them."""
        rows = list(rows)
        column = indent + max((len(name) for name, _ in rows), default=0) + gap
        return [line for name, text in rows for line in self.beside((" " * indent + name).ljust(column), text)]


def count(number: int, noun: str) -> str:
    """``"1 file"``, ``"2 files"``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def sentence(text: str) -> str:
    """`text` with a full stop, and with a capital unless it begins with a name such as ``qualifiedSigner``."""
    first = text.partition(" ")[0].rstrip(".,:;")
    capital = f"{text[:1].upper()}{text[1:]}" if first.isalpha() and first.islower() else text
    return capital + "." * (text[-1:] not in {".", "…", "?"})
