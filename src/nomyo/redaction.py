"""Remove secrets, the texts of a request, from the response, which might echo a prompt or an API key.

This removes whole secrets, every run of `RUN` characters of a secret (a partial quotation), and the beginning of a
secret at the end of a truncated text. The case of ASCII letters is ignored. A text that contains a secret in JSON,
Python or HTML escapes is removed entirely. Other encodings are not recognized.

The work is bounded: blocks of the secrets are searched in the received texts, in C. If there are more matches than an
echo in the body of an error response can have, all received texts are removed.
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
"""Minimum length in characters of a secret that is removed: shorter ones, such as "user", occur in any message."""

RUN: Final = 16
"""Minimum length in characters of a part of a secret that is removed: shorter parts occur by chance."""

_BLOCK: Final = 8
"""Size of a block in bytes. Secrets are divided into blocks, and a run of `RUN` contains at least one whole block."""

_RECEIVED_MAX: Final = 256 * 1024
"""Maximum size in bytes of the received texts and their unescaped forms. If it is exceeded, all texts are removed.
The client reads at most 64 KiB of the body of an error response.
"""

_SECRETS_LENGTH_MAX: Final = 16 * 1024 * 1024
"""Maximum total length of all secrets in characters, more than any payload has. Above it, all texts are removed."""

_SECRETS_MAX: Final = 20_000
"""Maximum number of secrets. If it is exceeded, all texts are removed."""

_MATCHES_MAX: Final = 10_000
"""Maximum number of matching blocks, and of matching secrets: an echo of 64 KiB consists of 8,192 blocks."""

_SCAN_BYTES: Final = 1024 * 1024
"""Bytes of secrets that are compared at a time, so that other threads can run in between."""

_DEPTH_MAX: Final = 20

_TAIL_LENGTH: Final = 256
"""Characters at the end of a truncated text that the beginning of a secret may occupy, escaped or not."""

_MARK: Final = b"\1"
_MARKED_RUN: Final = re.compile(_MARK + b"+")

_HEX: Final = "[0-9a-fA-F]"
_ESCAPE: Final = re.compile(rf"\\(?:u({_HEX}{{4}})|x({_HEX}{{2}})|U({_HEX}{{8}})|(.))", re.DOTALL)
_CUT_ESCAPE: Final = re.compile(r"(?:\\ud[89ab][0-9a-f]{2})?(?:\\[ux]?[0-9a-f]{0,7}|&[#\w]{0,8})?\Z", re.IGNORECASE)
_ESCAPED_LETTERS: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_CONTINUATION_BYTES: Final = bytes(range(0x80, 0xC0))
"""Continuation bytes of UTF-8."""


def content_texts(value: object) -> Iterator[str]:
    """Yield every text in a JSON value except keys, roles and types, whose values the API defines."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            pending += [member for key, member in item.items() if key not in ("role", "type")]
        elif isinstance(item, (list, tuple)):
            pending += item


class Redaction:
    """Removes secrets from JSON values.

    Args:
        secrets: the texts to remove; those of fewer than `SECRET_MINIMUM` characters are ignored.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        unique = {secret for secret in secrets if len(secret) >= SECRET_MINIMUM}
        self._removes_everything = len(unique) > _SECRETS_MAX or sum(map(len, unique)) > _SECRETS_LENGTH_MAX
        self._secrets = [] if self._removes_everything else [_fold_case(secret) for secret in unique]

    def __call__(self, value: Any) -> Any:
        """Return `value` without the secrets, including those in keys.

        Bytes that contain a secret become text, values nested more than 20 levels deep become None, and if the search
        would be slow, every text of `SECRET_MINIMUM` or more characters is removed.
        """
        received = {text for text in _iter_texts(value, 0) if len(text) >= SECRET_MINIMUM}
        redacted = self._redacted_forms(received)
        if redacted is None:
            redacted = dict.fromkeys(received, REDACTED)
        return _with_texts_replaced(value, redacted, 0)

    def _redacted_forms(self, received: set[str]) -> dict[str, str] | None:
        """Map each text that contains a secret to its redacted form. Returns None if the search would be slow."""
        if self._removes_everything or sum(map(len, received)) > _RECEIVED_MAX:
            return None
        if not self._secrets or not received:
            return {}
        forms = {text: [_fold_case(form) for form in (text, *_unescaped_forms(text))] for text in received}
        everything = b"\0".join(form for text_forms in forms.values() for form in text_forms)
        if len(everything) > _RECEIVED_MAX:
            return None
        blocks: set[int] = set().union(*(_blocks(everything[shift:]) for shift in range(_BLOCK)))
        candidates = [secret for secret in self._secrets if int.from_bytes(secret[:_BLOCK], sys.byteorder) in blocks]
        sent = b"\0".join(self._secrets)
        common: set[int] = set()
        for start in range(0, len(sent), _SCAN_BYTES):
            common |= blocks.intersection(_blocks(sent[start : start + _SCAN_BYTES]))
        if not candidates and not common:
            return {}
        matches = (index for index, block in enumerate(_blocks(sent)) if block in common)
        indexes = list(islice(matches, _MATCHES_MAX + 1)) if common else []
        if max(len(candidates), len(indexes)) > _MATCHES_MAX:
            return None
        surroundings = {sent[max(0, index - 1) * _BLOCK : (index + 2) * _BLOCK] for index in indexes}
        finder = _Finder(
            candidates, {data[at : at + RUN] for data in surroundings for at in range(len(data) - RUN + 1)}
        )
        return {text: _redact(text, finder, *text_forms) for text, text_forms in forms.items()}


class _Finder:
    """Finds runs of secrets, short secrets, and the beginning of a secret at the end of a text.

    Args:
        candidates: the secrets whose first block was received.
        runs: every sequence of `RUN` bytes of the secrets around a received block.
    """

    def __init__(self, candidates: list[bytes], runs: set[bytes]) -> None:
        self._runs = runs
        self._short: dict[bytes, set[bytes]] = {}
        self._beginnings: set[bytes] = set()
        for secret in candidates:
            ends = [at for at in range(1, min(len(secret), 4 * RUN) + 1) if not _inside_character(secret, at)]
            self._beginnings.update(secret[:end] for end in ends[SECRET_MINIMUM - 1 : RUN])
            if len(ends) < RUN:
                self._short.setdefault(secret[:_BLOCK], set()).add(secret)
        self._lengths = {len(beginning) for beginning in self._beginnings}

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Return start and end of each match, in order; adjacent matches are merged."""
        marks = bytearray(len(data))
        for at in range(len(data) - RUN + 1) if self._runs else ():
            if data[at : at + RUN] in self._runs:
                marks[at : at + RUN] = _MARK * RUN
        for found in _MARKED_RUN.finditer(bytes(marks)):  # RUN bytes or more, but perhaps fewer characters
            start, end = found.span()
            if len(data[start:end].translate(None, _CONTINUATION_BYTES)) < RUN:
                marks[start:end] = bytes(end - start)
        if self._short:
            for at in range(len(data) - _BLOCK + 1):
                for secret in self._short.get(data[at : at + _BLOCK], ()):
                    if data.startswith(secret, at):
                        marks[at : at + len(secret)] = _MARK * len(secret)
        for length in self._lengths:
            end_of_data = data[-length:]
            if end_of_data in self._beginnings:
                marks[-len(end_of_data) :] = _MARK * len(end_of_data)
        return [found.span() for found in _MARKED_RUN.finditer(bytes(marks))]


def _redact(text: str, finder: _Finder, plain: bytes, *unescaped: bytes) -> str:
    """Remove the matches from a text. Returns `REDACTED` if one of its unescaped forms has a match."""
    if any(finder.spans(form) for form in unescaped):
        return REDACTED
    data = text.encode("utf-8", "surrogatepass")  # of the same length as `plain`
    result, done = b"", 0
    for start, end in finder.spans(plain):
        while _inside_character(data, start):
            start -= 1
        while _inside_character(data, end):
            end += 1
        result += data[done:start] + REDACTED.encode()
        done = end
    return (result + data[done:]).decode("utf-8", "surrogatepass")


def _fold_case(text: str) -> bytes:
    """Encode as UTF-8 with ASCII letters in lower case, which does not change the length."""
    return text.encode("utf-8", "surrogatepass").lower()


def _blocks(data: bytes) -> memoryview[int]:
    """Return the whole blocks in `data` as integers."""
    return memoryview(data)[: len(data) // _BLOCK * _BLOCK].cast("Q")


def _inside_character(data: bytes, at: int) -> bool:
    """Whether the byte at `at` is a continuation byte of UTF-8."""
    return at < len(data) and data[at] & 0xC0 == 0x80


def _unescaped_forms(text: str) -> set[str]:
    """Return the forms of a text without JSON, Python or HTML escapes.

    If the text was truncated inside an escape, the forms of its end before that escape are included.
    """
    if "\\" not in text and "&" not in text:
        return set()
    end = text[-_TAIL_LENGTH:]
    before = _CUT_ESCAPE.sub("", end)
    forms = {before} if before != end else set()
    for form in (text, *forms):
        pairs = _ESCAPE.sub(_unescape, form) if "\\" in form else form
        forms |= {html.unescape(form), pairs.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")}
    return forms - {text}


def _unescape(escape: re.Match[str]) -> str:
    """Decode an escape of JSON or Python."""
    code = escape[1] or escape[2] or escape[3]
    if not code:
        return _ESCAPED_LETTERS.get(escape[4], escape[4])
    return chr(int(code, 16)) if int(code, 16) <= sys.maxunicode else escape[0]


def _iter_texts(value: Any, depth: int) -> Iterator[str]:
    """Yield every text in a JSON value, including keys, and bytes as text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield _decode(value)
    elif isinstance(value, dict) and depth <= _DEPTH_MAX:
        for key, member in value.items():
            yield from _iter_texts(key, depth)
            yield from _iter_texts(member, depth + 1)
    elif isinstance(value, (list, tuple)) and depth <= _DEPTH_MAX:
        for item in value:
            yield from _iter_texts(item, depth + 1)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _with_texts_replaced(value: Any, redacted: dict[str, str], depth: int) -> Any:
    """Copy a JSON value with its texts replaced by their redacted forms."""
    if isinstance(value, str):
        return redacted.get(value, value)
    if isinstance(value, bytes):
        return value if redacted.get(_decode(value)) in (None, _decode(value)) else REDACTED
    if depth > _DEPTH_MAX:
        return None
    if isinstance(value, dict):
        return {
            _with_texts_replaced(key, redacted, 0): _with_texts_replaced(member, redacted, depth + 1)
            for key, member in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_with_texts_replaced(item, redacted, depth + 1) for item in value]
    return value
