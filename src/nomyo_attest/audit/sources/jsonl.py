"""JSON Lines, from a file or standard input: read once, cut into blobs, to be split where they are appraised."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Final

from nomyo_attest.audit.sources.kinds import STANDARD_INPUT, Source
from nomyo_attest.audit.sources.lines import Blob, LineCutter, TooLong
from nomyo_attest.audit.sources.parts import TOO_LARGE, End, Lines, Part, Unread, failed
from nomyo_attest.audit.sources.stored import DamageError, Stored, changed_since, open_regular, os_problem
from nomyo_attest.audit.sources.unpack import packing_of, unpacked
from nomyo_attest.evidence.content import EMPTY, enough_of_lines, lines_problem
from nomyo_attest.evidence.strict_json import TEXT_MAX

_CLOSED: Final = "standard input is closed; name a file"


def jsonl_parts(source: Source, before: int) -> Iterator[Part]:
    """The parts of a source of JSON Lines; `before` are the bytes on disk of the sources in front of it."""
    try:
        opened = _open(source)
    except DamageError as damage:
        yield from failed(source, str(damage), before + (source.size or 0))
        return
    except (OSError, ValueError) as error:
        yield from failed(source, os_problem(error), before + (source.size or 0))
        return
    with opened as file:
        stored, lines = Stored(file, source.size), LineCutter()
        problem, whole, empty = "", False, True
        try:
            for text in _recognized(_texts(source, stored)):
                for piece in lines.feed(text):
                    empty = False
                    yield _part(source, piece, before + stored.count)
        except DamageError as damage:
            problem, whole = str(damage), isinstance(damage, _NotLinesError)
        for piece in lines.abandon() if problem else lines.finish():
            empty = False
            yield _part(source, piece, before + stored.count)
        stored.drain()
        if not problem and source.size is not None:
            problem = changed_since(file, source.size, source.mtime, may_grow=True)
        if not problem and empty:
            problem, whole = EMPTY, True
        progress = before + (stored.count if source.size is None else source.size)
        if problem:
            yield Unread(source, 0 if whole else lines.line, problem, progress)
        yield End(source.ended(stored.sha256, problem, lines.blank), progress)


class _NotLinesError(DamageError):
    """The source is not JSON Lines."""


def _recognized(texts: Iterator[bytes]) -> Iterator[bytes]:
    """The same text, from where its beginning shows that there is a record on each line. Raises `DamageError`."""
    head, ended = bytearray(), False
    damage: DamageError | None = None
    try:
        while not (ended or enough_of_lines(bytes(head))):
            text = next(texts, None)
            ended = text is None
            head += text or b""
    except DamageError as error:
        damage = error
    if problem := lines_problem(bytes(head), ended=ended):
        raise _NotLinesError(problem)
    if head:
        yield bytes(head)
    if damage is not None:
        raise damage
    yield from texts


def _open(source: Source) -> AbstractContextManager[BinaryIO]:
    """The source, open. Raises `OSError`, `ValueError`, `DamageError`."""
    if source.path != STANDARD_INPUT:
        return open_regular(source.path, source.within)
    if sys.stdin is None:
        raise DamageError(_CLOSED)
    return contextlib.nullcontext(sys.stdin.buffer)


def _texts(source: Source, stored: Stored) -> Iterator[bytes]:
    """Its text. Raises `DamageError`."""
    if source.path != STANDARD_INPUT:
        return unpacked(stored.blocks(), source.packing)
    first = stored.block()
    return unpacked(itertools.chain([first] if first else [], stored.blocks()), packing_of(first))


def _part(source: Source, piece: Blob | TooLong, progress: int) -> Part:
    if isinstance(piece, Blob):
        return Lines(source, piece, progress)
    return Unread(source, piece.line, f"{piece.length} {TOO_LARGE} {TEXT_MAX}", progress)
