"""JSON text → objects that remember which of their keys stood twice, and words for what stands in them."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from nomyo_attest.errors import EvidenceError

TEXT_MAX: Final = 16 * 1024 * 1024
"""Bytes of the largest response read: above the largest prompt that the protocol allows, 10 MiB."""

_INTEGER_DIGITS_MAX: Final = 1000
"""Longer integers become an infinite float: nothing read here is one, and working them out takes quadratic time."""

DEPTH_MAX: Final = 500
"""Levels of objects and arrays in each other. Said here, since where the parser gives up differs from one Python to the
next, and from one caller to another: it counts the calls that lead to it, too.
"""

_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A string, or what begins as one and never ends: no text is looked at twice, and nothing is remembered of it."""

_NO_BRACKETS: Final = re.compile(r"[^\[\]{}]+")


class JsonObject(dict[str, Any]):
    """A JSON object; `duplicates` holds the keys that stood in it more than once (the last value won)."""

    __slots__ = ("duplicates",)
    duplicates: frozenset[str]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    seen: set[str] = set()
    twice = {key for key, _ in pairs if key in seen or seen.add(key)}  # type: ignore[func-returns-value]  # add() is the point
    marked = JsonObject(plain)
    marked.duplicates = frozenset(twice)
    return marked


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INTEGER_DIGITS_MAX else float("inf")


def parse_json(text: str | bytes) -> Any:
    """Parse one JSON text, UTF-8 with or without a byte order mark (RFC 8259, 8.1). Raises `EvidenceError`.

    An object with a key twice comes back as `JsonObject`, so that a reader can refuse it where it matters.
    """
    if len(text) > TEXT_MAX:
        raise EvidenceError("response", f"at most {TEXT_MAX} bytes", f"{len(text)}")
    # What the standard library raises carries the whole text with it: it must be gone before ours is raised.
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        if _is_deep(text):
            raise RecursionError
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_object, parse_int=_integer)
    except UnicodeDecodeError as error:
        expected, got = "JSON in UTF-8", f"byte 0x{error.object[error.start]:02x} at {error.start}"
    except json.JSONDecodeError as error:
        expected, got = "JSON", f"{error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}"
    except RecursionError:
        expected, got = "JSON of sensible depth", "objects or arrays nested too deep"
    raise EvidenceError("response", expected, got)


def _is_deep(text: str) -> bool:
    """Whether a text is nested deeper than `DEPTH_MAX`; of one that is no JSON it may be either."""
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return False
    depth = 0
    for bracket in _NO_BRACKETS.sub("", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > DEPTH_MAX:
            return True
    return False


def the_object(value: Any, path: str, key: str) -> dict[Any, Any]:
    """`value` itself, if it is a JSON object; it stands at `key` behind `path`. Raises `EvidenceError`."""
    if not isinstance(value, dict):
        raise EvidenceError(path + key, "a JSON object", kind_of(value))
    return value


def kind_of(value: object) -> str:
    """What a value is, in JSON's words, without showing it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {str: "a string", int: "a number", float: "a number", list: "an array", dict: "an object"}
    name = names.get(type(value), f"a {type(value).__name__}")
    return "an empty string" if type(value) is str and not value else name
