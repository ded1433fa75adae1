"""Taking out of what a service says the texts that it was sent: it might echo a prompt or an API key.

Taken out are texts as a whole; every run of `RUN` characters that stands in one of them, as in a quotation of a part;
and the beginning of one at the end of what was cut off. Large and small letters of ASCII count as the same, since names
of headers do. A text in which one of these stands as JSON, Python or HTML escape it is dropped altogether. What a
service encodes in another way is not recognized.

The work is bounded: blocks of what was sent are looked up among those of what is told, in C, and where more is found
than an echo of an error's body could hold, nothing of what is told is left.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

REDACTED: Final = "[redacted]"

SECRET_MINIMUM: Final = 8
"""Characters of the shortest text that is taken out: shorter ones, such as "user", stand in any message."""

RUN: Final = 16
"""Characters in a row that are taken out where they stand in a secret: fewer stand there by chance."""

_BLOCK: Final = 8
"""Bytes looked up at once. Secrets are cut into such blocks: of a run of `RUN`, one block at least is whole."""

_TOLD_MAX: Final = 256 * 1024
"""Bytes of what is told, with what it says unescaped. Of more, nothing is told; the body of an error has 64 KiB."""

_SENT_MAX: Final = 16 * 1024 * 1024
"""Bytes of all secrets, more than a payload has. Where there are more, nothing is told."""

_SECRETS_MAX: Final = 20_000
"""Secrets at the most. Where there are more, nothing is told."""

_FOUND_MAX: Final = 10_000
"""Blocks of secrets, and secrets, that are followed up where they stand in what is told: an echo of 64 KiB has 8,192
blocks.
"""

_PART: Final = 1024 * 1024
"""Bytes of secrets that are looked up in one call."""

_DEPTH_MAX: Final = 20

_END: Final = 256
"""Characters at the end of a text that is cut off which the beginning of a secret may take, however it is escaped."""

_MARK: Final = b"\1"
_MARKED: Final = re.compile(_MARK + b"+")

_HEX: Final = "[0-9a-fA-F]"
_ESCAPE: Final = re.compile(rf"\\(?:u({_HEX}{{4}})|x({_HEX}{{2}})|U({_HEX}{{8}})|(.))", re.DOTALL)
_ESCAPE_CUT: Final = re.compile(r"(?:\\ud[89ab][0-9a-f]{2})?(?:\\[ux]?[0-9a-f]{0,7}|&[#\w]{0,8})?\Z", re.IGNORECASE)
_LETTERS: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_CONTINUED: Final = bytes(range(0x80, 0xC0))
"""Bytes that begin no character in UTF-8."""


def texts(value: object) -> Iterator[str]:
    """Every text in a value of JSON, but for keys, and for roles and types, which are words of the API."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            left += [inner for key, inner in one.items() if key not in ("role", "type")]
        elif isinstance(one, (list, tuple)):
            left += one


class Redaction:
    """Takes secrets out of values of JSON.

    Args:
        secrets: the texts; those of fewer than `SECRET_MINIMUM` characters are left out.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        whole = {one for one in secrets if len(one) >= SECRET_MINIMUM}
        self._too_much = len(whole) > _SECRETS_MAX or sum(map(len, whole)) > _SENT_MAX
        self._secrets = [] if self._too_much else [_folded(one) for one in whole]

    def __call__(self, value: Any) -> Any:
        """`value` without the secrets, in its keys, too. Bytes that hold one become text, what is nested more than 20
        levels deep becomes None, and where looking would take long, every text of `SECRET_MINIMUM` characters is taken
        out.
        """
        told = {text for text in _told(value, 0) if len(text) >= SECRET_MINIMUM}
        without = self._without(told)
        if without is None:
            without = dict.fromkeys(told, REDACTED)
        return _rebuilt(value, without, 0)

    def _without(self, told: set[str]) -> dict[str, str] | None:
        """The texts that hold a secret, without it; None if looking would take long."""
        if self._too_much or sum(map(len, told)) > _TOLD_MAX:
            return None
        if not self._secrets or not told:
            return {}
        forms = {text: [_folded(form) for form in (text, *_unescaped(text))] for text in told}
        everything = b"\0".join(form for several in forms.values() for form in several)
        if len(everything) > _TOLD_MAX:
            return None
        blocks: set[int] = set().union(*(_blocks(everything[shift:]) for shift in range(_BLOCK)))
        begun = [one for one in self._secrets if int.from_bytes(one[:_BLOCK], sys.byteorder) in blocks]
        sent = b"\0".join(self._secrets)
        common: set[int] = set()
        for part in range(0, len(sent), _PART):  # other threads have their turn in between
            common |= blocks.intersection(_blocks(sent[part : part + _PART]))
        if not begun and not common:
            return {}
        found = (at for at, block in enumerate(_blocks(sent)) if block in common)
        places = list(islice(found, _FOUND_MAX + 1)) if common else []
        if max(len(begun), len(places)) > _FOUND_MAX:
            return None
        around = {sent[max(0, at - 1) * _BLOCK : (at + 2) * _BLOCK] for at in places}
        finder = _Finder(begun, {one[at : at + RUN] for one in around for at in range(len(one) - RUN + 1)})
        return {text: _cut(text, finder, *several) for text, several in forms.items()}


class _Finder:
    """Finds runs of secrets, short secrets, and the beginning of one at the end.

    Args:
        begun: the secrets whose first block is told.
        runs: every `RUN` bytes of the secrets that have a block which is told.
    """

    def __init__(self, begun: list[bytes], runs: set[bytes]) -> None:
        self._runs = runs
        self._short: dict[bytes, set[bytes]] = {}
        self._beginnings: set[bytes] = set()
        for secret in begun:
            ends = [at for at in range(1, min(len(secret), 4 * RUN) + 1) if not _amid_character(secret, at)]
            self._beginnings.update(secret[:end] for end in ends[SECRET_MINIMUM - 1 : RUN])
            if len(ends) < RUN:
                self._short.setdefault(secret[:_BLOCK], set()).add(secret)
        self._lengths = {len(one) for one in self._beginnings}

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Start and end of what is found, in order, none touching another."""
        marks = bytearray(len(data))
        for at in range(len(data) - RUN + 1) if self._runs else ():
            if data[at : at + RUN] in self._runs:
                marks[at : at + RUN] = _MARK * RUN
        for found in _MARKED.finditer(bytes(marks)):  # of RUN bytes, but perhaps of fewer characters
            start, end = found.span()
            if len(data[start:end].translate(None, _CONTINUED)) < RUN:
                marks[start:end] = bytes(end - start)
        if self._short:
            for at in range(len(data) - _BLOCK + 1):
                for secret in self._short.get(data[at : at + _BLOCK], ()):
                    if data.startswith(secret, at):
                        marks[at : at + len(secret)] = _MARK * len(secret)
        for length in self._lengths:
            last = data[-length:]
            if last in self._beginnings:
                marks[-len(last) :] = _MARK * len(last)
        return [found.span() for found in _MARKED.finditer(bytes(marks))]


def _cut(text: str, finder: _Finder, plain: bytes, *unescaped: bytes) -> str:
    """A text without what is found in it; nothing of it if something is found in what it says unescaped."""
    if any(finder.spans(one) for one in unescaped):
        return REDACTED
    data = text.encode("utf-8", "surrogatepass")  # of the same length as `plain`
    kept, done = b"", 0
    for start, end in finder.spans(plain):
        while _amid_character(data, start):
            start -= 1
        while _amid_character(data, end):
            end += 1
        kept += data[done:start] + REDACTED.encode()
        done = end
    return (kept + data[done:]).decode("utf-8", "surrogatepass")


def _folded(text: str) -> bytes:
    """UTF-8 with the large letters of ASCII made small: of the same length as without."""
    return text.encode("utf-8", "surrogatepass").lower()


def _blocks(data: bytes) -> memoryview[int]:
    """The whole blocks in `data`, as numbers."""
    return memoryview(data)[: len(data) // _BLOCK * _BLOCK].cast("Q")


def _amid_character(data: bytes, at: int) -> bool:
    """Whether a cut before the byte at `at` would cut a character in two."""
    return at < len(data) and data[at] & 0xC0 == 0x80


def _unescaped(text: str) -> set[str]:
    """What a text says if it is escaped as in JSON or Python, or as in HTML; of one that is cut off amid an escape,
    the end before it, too.
    """
    if "\\" not in text and "&" not in text:
        return set()
    end = text[-_END:]
    before = _ESCAPE_CUT.sub("", end)
    forms = {before} if before != end else set()
    for one in (text, *forms):
        pairs = _ESCAPE.sub(_character, one) if "\\" in one else one
        forms |= {html.unescape(one), pairs.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")}
    return forms - {text}


def _character(escape: re.Match[str]) -> str:
    """What an escape of JSON or Python stands for."""
    code = escape[1] or escape[2] or escape[3]
    if not code:
        return _LETTERS.get(escape[4], escape[4])
    return chr(int(code, 16)) if int(code, 16) <= sys.maxunicode else escape[0]


def _told(value: Any, depth: int) -> Iterator[str]:
    """Every text in a value of JSON, keys and all, and bytes as the text they are."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield _text(value)
    elif isinstance(value, dict) and depth <= _DEPTH_MAX:
        for key, one in value.items():
            yield from _told(key, depth)
            yield from _told(one, depth + 1)
    elif isinstance(value, (list, tuple)) and depth <= _DEPTH_MAX:
        for one in value:
            yield from _told(one, depth + 1)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _rebuilt(value: Any, without: dict[str, str], depth: int) -> Any:
    """A value of JSON with every text in it as it is without secrets."""
    if isinstance(value, str):
        return without.get(value, value)
    if isinstance(value, bytes):
        return value if without.get(_text(value)) in (None, _text(value)) else REDACTED
    if depth > _DEPTH_MAX:
        return None
    if isinstance(value, dict):
        return {_rebuilt(key, without, 0): _rebuilt(one, without, depth + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rebuilt(one, without, depth + 1) for one in value]
    return value
