"""JSON out as the protocol has it, JSON in without its ambiguities.

Out: the layout of `json.dumps` with its defaults (RFC 8259, non-ASCII escaped), without NaN. Long strings are written
in slices, so that a thread that writes them lets others run: the C encoder would hold the interpreter for a whole one.

In: no key twice in an object, no NaN, no infinity.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from json.encoder import encode_basestring_ascii
from typing import Any, Final, NoReturn

from nomyo.errors import ArgumentError, ArgumentTypeError

LONG: Final = 128 * 1024
"""Characters of a string that is written in slices of as many: a slice takes about half a millisecond."""

_PLACE_MAX: Final = 80
"""Characters of a place in a message, the last ones: keys are the caller's, and can be of any length."""

_DEPTH_MAX: Final = 200
"""Levels of nesting that are searched for what cannot be written; honest payloads have ten."""


def size_hint(value: object) -> int:
    """Characters of all strings in `value`, roughly: enough to tell a long payload from a short one."""
    total, left = 0, [value]
    seen: set[int] = set()  # a list may hold itself
    while left:
        one = left.pop()
        if isinstance(one, str):
            total += len(one)
        elif isinstance(one, (dict, list, tuple)) and id(one) not in seen and len(left) < LONG:
            seen.add(id(one))
            left += one.values() if isinstance(one, dict) else one
        if total >= LONG:
            break
    return total


def check(value: object) -> None:
    """Whether JSON can say `value`; looks at everything but the length of strings. Raises as `encode` does."""
    found = _unwritable(value, "", 0, set())
    if found is not None:
        place, problem, kind = found
        raise kind(f"{place or 'payload'}: {problem}")


def encode(value: object) -> bytearray:
    """`value` as JSON text in UTF-8, in the layout of `json.dumps`, in a buffer that the caller can wipe.

    Raises:
        ArgumentTypeError: for what JSON cannot say, naming its place, such as ``messages[0].content``.
        ArgumentError: for NaN and infinities, circular or too deep nesting, naming the place.
    """
    if size_hint(value) < LONG:
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            text = ""  # complained of below, where what json raises has gone
        if text:
            return bytearray(text, "ascii")
    else:
        buffer = bytearray()
        if _write(value, buffer):
            return buffer
    return _complain(value)


def _write(value: object, buffer: bytearray) -> bool:
    """Append `value`, long strings in slices; False if it cannot be written."""
    try:
        for piece in _pieces(value, 0):
            buffer += piece.encode("ascii")
    except (TypeError, ValueError, RecursionError):
        buffer[:] = bytes(len(buffer))
        return False
    return True


def _pieces(value: object, depth: int) -> Iterator[str]:
    if depth > _DEPTH_MAX:
        raise ValueError
    if isinstance(value, str) and len(value) >= LONG:
        yield '"'
        for start in range(0, len(value), LONG):
            yield encode_basestring_ascii(value[start : start + LONG])[1:-1]
        yield '"'
    elif isinstance(value, (dict, list, tuple)) and size_hint(value) >= LONG:
        pairs = isinstance(value, dict)
        yield "{" if pairs else "["
        for place, one in enumerate(value):
            if place:
                yield ", "
            if isinstance(value, dict):
                yield _key(one) + ": "
                one = value[one]
            yield from _pieces(one, depth + 1)
        yield "}" if pairs else "]"
    else:
        yield json.dumps(value, allow_nan=False)


def _key(key: object) -> str:
    """A key as `json.dumps` writes it, which turns numbers, booleans and None into strings."""
    return json.dumps({key: 0}, allow_nan=False)[1:-4]


def _complain(value: object) -> NoReturn:
    check(value)
    raise ArgumentError("payload: it cannot be written as JSON")


def _unwritable(value: object, place: str, depth: int, around: set[int]) -> tuple[str, str, type[ArgumentError]] | None:
    """The first thing that JSON cannot say: its place, what it is, and what to raise. Never what it holds."""
    if isinstance(value, float) and not math.isfinite(value):
        return place, "a number that is finite is expected, not NaN or an infinity", ArgumentError
    if isinstance(value, int) and not _has_decimals(value):
        return place, "a number of more digits than Python writes", ArgumentError
    if value is None or isinstance(value, (str, bool, int, float)):
        return None
    if not isinstance(value, (dict, list, tuple)):
        return place, f"JSON has no {type(value).__name__}; give text, a number, a list or a dict", ArgumentTypeError
    if id(value) in around:
        return place, "it holds itself", ArgumentError
    if depth > _DEPTH_MAX:
        return place, "it is nested too deep", ArgumentError
    around = around | {id(value)}
    if isinstance(value, dict):
        for key in value:
            if not (key is None or isinstance(key, (str, bool, int, float))):
                return place, f"a key must be a string, not {type(key).__name__}", ArgumentTypeError
            if isinstance(key, float) and not math.isfinite(key):
                return place, "a key must not be NaN or an infinity", ArgumentError
            if isinstance(key, int) and not _has_decimals(key):
                return place, "a key must not be a number of more digits than Python writes", ArgumentError
        inner: Any = (
            (f"{place}.{key}"[-_PLACE_MAX:] if place else str(key)[:_PLACE_MAX], one) for key, one in value.items()
        )
    else:
        inner = ((f"{place}[{index}]", one) for index, one in enumerate(value))
    for where, one in inner:
        found = _unwritable(one, where, depth + 1, around)
        if found:
            return found
    return None


def _has_decimals(number: int) -> bool:
    """Whether Python writes a number in decimal: it refuses those of thousands of digits, which take it long."""
    if number.bit_length() < 2000:  # sys.set_int_max_str_digits takes no limit below 640 digits
        return True
    try:
        int.__repr__(number)
    except ValueError:
        return False
    return True


def decode(data: bytes | bytearray) -> Any:
    """One JSON text in UTF-8 → its value. Raises `ValueError`, which says nothing of the text."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        pass  # what json raises carries the whole text
    raise ValueError("not JSON, or ambiguous")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) != len(pairs):
        raise ValueError
    return plain


def _refuse(_: str) -> NoReturn:
    raise ValueError


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number
