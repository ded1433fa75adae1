"""Files of one record each, read where they are appraised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nomyo_attest.audit.chunk import RawRecord
from nomyo_attest.audit.sources.kinds import Source
from nomyo_attest.audit.sources.parts import TOO_LARGE, Part
from nomyo_attest.audit.sources.stored import DamageError, Stored, changed_since, open_regular, os_problem
from nomyo_attest.audit.sources.unpack import unpacked
from nomyo_attest.evidence.content import one_record_problem, wrong_content
from nomyo_attest.evidence.strict_json import TEXT_MAX


class _Content(NamedTuple):
    text: bytes | None
    sha256: str | None
    problem: str = ""
    line: int = 1


class Whole(Part):
    """A file of one record: its text is what is in the file, packed or not."""

    def __init__(self, source: Source, progress: int) -> None:
        self.progress, self.weight = progress, source.size or 0
        self._source = source

    def records(self) -> Iterator[RawRecord]:
        source = self._source
        content = _content(source)
        self.end = source.ended(content.sha256, content.problem)
        yield RawRecord(source.number, source.name, content.line, content.text, content.problem)


def _content(source: Source) -> _Content:
    assert source.size is not None
    try:
        file = open_regular(source.path, source.within)
    except DamageError as damage:
        return _Content(None, None, str(damage), line=0)
    except (OSError, ValueError) as error:
        return _Content(None, None, os_problem(error), line=0)
    with file:
        if changed := changed_since(file, source.size, source.mtime, may_grow=False):
            return _Content(None, None, changed, line=0)
        stored = Stored(file, source.size)
        problem, text, line = "", b"", 1
        try:
            text = _text(stored, source)
            line = 0 if (problem := one_record_problem(text, named=True)) else 1
        except DamageError as damage:
            problem = str(damage)
        stored.drain()
        problem = changed_since(file, source.size, source.mtime, may_grow=False) or problem
        return _Content(None if problem else text, stored.sha256, problem, line)


def _text(stored: Stored, source: Source) -> bytes:
    """The text, packed or not. Raises `DamageError`, also if there is more than a record may have."""
    text = bytearray()
    for piece in unpacked(stored.blocks(), source.packing):
        text += piece
        if len(text) > TEXT_MAX:
            size = f"{source.size}" if not source.packing else f"more than {TEXT_MAX} unpacked"
            raise DamageError(wrong_content(bytes(text[:64]), named=True) or f"{size} {TOO_LARGE} {TEXT_MAX}")
    return bytes(text)
