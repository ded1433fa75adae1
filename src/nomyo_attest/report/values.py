"""The values that a finding states, in words: long digests cut, but not where they differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, IntEnum
from typing import Any, Final

from nomyo_attest.report.clean import short
from nomyo_attest.tpm.constants import specification_name

_SHOWN_WHOLE: Final = 40
"""Hexadecimal digits that need no cutting: those of a nonce (32) and of a SHA-1 digest (40) fit beside their name."""

_HEAD, _WINDOW, _TAIL = 8, 8, 4
"""Digits shown of a longer value: at its start, where it begins to differ from its counterpart, at its end."""

Digests = Mapping[bytes, str]
"""How each of some byte strings is written."""


def digests(values: Iterable[bytes], *, whole: bool = False) -> Digests:
    """How to write some byte strings that are to be compared: in hex, cut so that what differs still looks different.

    A cut value has its first 8 and last 4 digits; where those of another value are the same, also 8 digits from about
    the place where the two part.
    """
    known = {value: value.hex() for value in values}
    if whole or all(len(text) <= _SHOWN_WHOLE for text in known.values()):
        return known
    cut = {value: _cut(text, None) for value, text in known.items()}
    if len(set(cut.values())) == len(cut):
        return cut
    places = {
        value: _parting(text, [other for other in known.values() if other != text]) for value, text in known.items()
    }
    cut = {value: _cut(text, places[value]) for value, text in known.items()}
    return cut if len(set(cut.values())) == len(cut) else known


def _parting(text: str, others: list[str]) -> int:
    """The first digit at which `text` differs from the value that is longest like it."""
    return max(next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), 0) for other in others)


def _cut(text: str, place: int | None) -> str:
    if len(text) <= _SHOWN_WHOLE:
        return text
    head, tail = text[:_HEAD], text[-_TAIL:]
    if place is None or place < _HEAD or place >= len(text) - _TAIL:
        return f"{head}…{tail}"
    start = place - place % 4
    if start == _HEAD:
        return f"{text[: start + _WINDOW]}…{tail}"
    return f"{head}…{text[start : start + _WINDOW]}…{tail}"


def _attributes(value: Any) -> str:
    if not isinstance(value, (list, tuple)):
        return str(value)
    return ", ".join(map(str, value)) or "none"


def _claim(value: Any) -> str:
    """As JSON, so that the text "true" is not taken for the truth value."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return " or ".join(short(json.dumps(one, ensure_ascii=False)) for one in values)


def _period(value: Any) -> str:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return str(value)
    start, end = value
    return " ".join([f"from {start}"] * bool(start) + [f"until {end}"] * bool(end))


_OF_RULES: Final[Mapping[str, Callable[[Any], str]]] = {
    "key.attributes": _attributes,
    "policy.period": _period,
}
"""Rules whose values say more than their type does."""

_LISTS_ALLOWED: Final = frozenset({"key.hierarchy", "signature.hash", "pcr.bank", "firmware.version"})
"""Rules whose expected list is a choice."""


def value_text(rule: str, value: Any, written: Digests | None = None) -> str:
    """One value of a finding as one line of clean text; `written` says how digests are cut, if they are."""
    if value is None:
        return "nothing"
    if rule.startswith("claims."):
        return _claim(value)
    if rule in _OF_RULES:
        return short(_OF_RULES[rule](value))
    if isinstance(value, bytes):
        return (written or {}).get(value) or value.hex() or "no bytes"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, IntEnum):
        return specification_name(value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (list, tuple)):
        joint = " or " if rule in _LISTS_ALLOWED else ", "
        return joint.join(value_text(rule, one, written) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{short(str(key))} = {value_text(rule, one, written)}" for key, one in value.items())
    return short(str(value))
