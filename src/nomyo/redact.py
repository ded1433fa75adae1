"""Taking out of what a service says the texts that it was sent: it might echo a prompt or an API key.

Taken out are texts as a whole, plain or as JSON, Python, HTML and names of headers write them; every run of `RUN`
characters that stands in one of them, too, as in a quotation of a part; and the beginning of one at the end of what was
cut off. What a service encodes in another way is not recognised.
"""

from __future__ import annotations

import html
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any, Final

REDACTED: Final = "[redacted]"

SECRET_LEAST: Final = 8
"""Characters of the shortest text that is taken out: shorter ones, such as "user", stand in any message."""

RUN: Final = 16
"""Characters in a row that are taken out where they stand in a secret: fewer stand there by chance."""

_BLOCK: Final = RUN // 2
"""A secret is cut into blocks of this size: of a run of `RUN` characters, one block at least is whole."""

_PLACES: Final = 4
"""Places in the secrets that are tried for one block: prompts repeat themselves, and one place is enough."""

_SEARCHED: Final = 4 * 1024 * 1024
"""Characters of all secrets that are searched for runs, a tenth of a second's work, and done in a thread."""

_ESCAPED: Final = 64 * 1024
"""Characters of a secret that are also looked for as they are escaped: the body of an error holds no more."""

_FORMED: Final = 1024 * 1024
"""Characters of all secrets that are written in other forms, some 20 milliseconds' work. Of more, nothing is told."""

_WORK: Final = 32 * 1024 * 1024
"""Characters gone through in the search for whole secrets, some 20 milliseconds' work."""

_DEPTH_MAX: Final = 20


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
        secrets: the texts; those of fewer than `SECRET_LEAST` characters are left out.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        whole = {one for one in secrets if len(one) >= SECRET_LEAST}
        self._too_many = sum(min(len(one), _ESCAPED) for one in whole) > _FORMED
        forms = set() if self._too_many else {form for one in whole for form in _forms(one[:_ESCAPED])} | whole
        self._secrets = tuple(sorted(forms, key=len, reverse=True))
        self._sizes = [-len(one) for one in self._secrets]
        self._beginnings = {
            secret[:length] for secret in self._secrets for length in range(SECRET_LEAST, min(RUN, len(secret)) + 1)
        }

    def __call__(self, value: Any) -> Any:
        """`value` without the secrets, in its keys, too. What is nested more than 20 levels deep becomes None.

        Where that would take long, since there are many secrets and much is told, nothing of what is told is left.
        """
        told = set(_told(value, 0))
        if self._too_many or self._work(told) > _WORK:
            return _rebuilt(value, lambda _: REDACTED, 0)
        if not self._secrets:
            return _rebuilt(value, str, 0)
        places = self._places(list(told))
        without = {text: self._without(text, places) for text in told}
        return _rebuilt(value, lambda text: without.get(text, REDACTED), 0)

    def _work(self, told: set[str]) -> int:
        """Characters that are gone through to look for every secret in every text that is as long."""
        return sum(len(text) * (len(self._secrets) - bisect_left(self._sizes, -len(text)) + 1) for text in told)

    def _without(self, text: str, places: dict[str, list[tuple[str, int]]]) -> str:
        for secret in self._secrets[bisect_left(self._sizes, -len(text)) :]:
            text = text.replace(secret, REDACTED)
        kept, done = [], 0
        for start, end in _runs(text, places):
            kept += [text[done:start], REDACTED]
            done = end
        text = "".join([*kept, text[done:]])
        for length in range(RUN, SECRET_LEAST - 1, -1):
            if text[-length:] in self._beginnings:
                return text[:-length] + REDACTED
        return text

    def _places(self, told: list[str]) -> dict[str, list[tuple[str, int]]]:
        """The blocks that stand in what is `told` and in secrets, with the secrets and the places in them."""
        known = {text[start : start + _BLOCK] for text in told for start in range(len(text) - _BLOCK + 1)}
        places: dict[str, list[tuple[str, int]]] = {}
        left = _SEARCHED
        for secret in self._secrets:
            for start in range(0, min(len(secret), left) - _BLOCK + 1, _BLOCK):
                block = secret[start : start + _BLOCK]
                if block in known and len(found := places.setdefault(block, [])) < _PLACES:
                    found.append((secret, start))
            left = max(0, left - len(secret))
        return places


def _forms(secret: str) -> Iterator[str]:
    """A text as it stands in Python, HTML, JSON and names of headers."""
    yield repr(secret)[1:-1]
    yield html.escape(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield secret.lower()


def _told(value: Any, depth: int) -> Iterator[str]:
    """Every text in a value of JSON, keys and all."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) and depth <= _DEPTH_MAX:
        for key, one in value.items():
            yield key
            yield from _told(one, depth + 1)
    elif isinstance(value, list) and depth <= _DEPTH_MAX:
        for one in value:
            yield from _told(one, depth + 1)


def _rebuilt(value: Any, change: Any, depth: int) -> Any:
    """A value of JSON with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if depth > _DEPTH_MAX:
        return None
    if isinstance(value, dict):
        return {change(key): _rebuilt(one, change, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_rebuilt(one, change, depth + 1) for one in value]
    return value


def _runs(text: str, places: dict[str, list[tuple[str, int]]]) -> Iterator[tuple[int, int]]:
    """Where `text` has runs of secrets: start and end, in order, none touching another."""
    done = start = 0
    while places and start <= len(text) - _BLOCK:
        longest = (0, 0)
        for secret, offset in places.get(text[start : start + _BLOCK], ()):
            before = _shared(text[max(done, start - RUN) : start][::-1], secret[max(0, offset - RUN) : offset][::-1])
            near = _shared(text[start : start + RUN], secret[offset : offset + RUN])
            if before + near >= RUN:  # looked at in full only then: a hostile text has many beginnings of runs
                after = _shared(text[start : start + len(secret) - offset], secret[offset:])
                longest = max(longest, (before + after, after))
        if longest[0]:
            yield start + longest[1] - longest[0], start + longest[1]
            done = start = start + longest[1]
        else:
            start += 1


def _shared(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[:middle] == other[:middle]:
            least = middle
        else:
            most = middle - 1
    return least
