"""JSON out as the protocol has it, JSON in without its ambiguities.

Out: the layout of `json.dumps` with its defaults (RFC 8259, non-ASCII escaped), without NaN. Long strings are written
in slices, so that a thread that writes them lets others run: the C encoder would hold the interpreter for a whole one.

In: no key twice in an object, no NaN, no infinity.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring_ascii
from typing import Any, Final, NoReturn

from nomyo.errors import ArgumentError, ArgumentTypeError
from nomyo_attest.evidence.strict_json import DEPTH_MAX, check_containers, is_deeper

LONG: Final = 128 * 1024
"""Characters of a slice, in which longer strings are written: a slice takes about half a millisecond."""

_ITEMS: Final = 1000
"""Items of a long list that are written at a time."""

_PROTOCOL_KEYS: Final = frozenset(
    {
        *("arguments", "audio", "content", "description", "function", "functions", "image_url", "input_audio", "name"),
        *("json_schema", "messages", "metadata", "parameters", "properties", "required", "response_format", "role"),
        *("schema", "text", "tool_call_id", "tool_calls", "tools", "type", "url"),
    }
)
"""Keys that error messages may contain: those of the protocol. Any other may be a user's text. At the top level, which
has the names of the parameters, every identifier may appear.
"""

_HINT: Final = "decode it with the right encoding, or replace it: text.encode('utf-8', 'replace').decode()"
"""What to do about a lone surrogate: half of a UTF-16 pair, or a byte that Python could not decode (PEP 383)."""

_PLAIN: Final = frozenset({str, bool, type(None)})
"""Types whose values JSON can always say, and that never change."""

_DEPTH_MAX: Final = 200
"""Levels of nesting that are searched for what cannot be written; honest payloads have ten."""


def size_hint(value: object) -> int:
    """Characters of `value` as JSON, roughly, up to `LONG`: enough to distinguish long from short."""
    total, left = 0, [value]
    seen: set[int] = set()  # a list may hold itself
    while left and total < LONG:
        if len(left) >= LONG:
            return LONG
        one = left.pop()
        if isinstance(one, str):
            total += len(one)
        elif isinstance(one, (dict, list, tuple)):
            if id(one) not in seen:
                seen.add(id(one))
                left += one.values() if isinstance(one, dict) else one
        else:
            total += 8
    return min(total, LONG)


def snapshot(value: object) -> Any:
    """A copy of `value` that later changes of it do not touch: dicts and lists are new, strings the same.

    Raises as `encode` does, so that what JSON cannot say is refused before anything is sent. Text with a lone surrogate
    raises `ArgumentError` as well: JSON can write it as an escape, but most readers refuse or replace it.
    """
    try:
        return _copied(value, 0)
    except (TypeError, ValueError, RecursionError, RuntimeError):
        pass  # `_complain` raises a better error
    return _complain(value)


def _copied(value: Any, depth: int) -> Any:
    """Raises ValueError or TypeError. A million of numbers or a hundred thousand messages pass through here at once,
    so whatever can be done by one call for a whole list is.
    """
    if depth > _DEPTH_MAX:
        raise ValueError
    if isinstance(value, dict):
        if not {str}.issuperset(map(type, value)) or not all(map(str.isascii, value)):
            _check_keys(value)
        if _PLAIN.issuperset(map(type, value.values())):
            _check_texts(value.values())
            return dict(value)
        return {key: _copied(one, depth + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        kinds = set(map(type, value))
        if kinds == {str} and all(map(str.isascii, value)):
            return list(value)
        if kinds <= _PLAIN:
            _check_texts(value)
            return list(value)
        if kinds == {float} and all(map(math.isfinite, value)):
            return list(value)
        if kinds == {int} and _has_decimals(max(value)) and _has_decimals(min(value)):
            return list(value)
        return [_copied(one, depth + 1) for one in value]
    if _unwritable(value, "", 0, set()) is not None:
        raise ValueError
    return value


def _check_keys(value: dict[Any, Any]) -> None:
    if _unwritable(dict.fromkeys(value), "", 0, set()) is not None:
        raise ValueError


def _check_texts(values: Iterable[object]) -> None:
    """Raise `ValueError` for a str among `values` that UTF-8 cannot encode."""
    if not all(is_text(one) for one in values if isinstance(one, str)):
        raise ValueError


def is_text(value: str) -> bool:
    """Whether UTF-8 can encode a str, which it can unless there is a lone surrogate in it."""
    if value.isascii():
        return True
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


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
        for place, (key, part) in enumerate(value.items() if isinstance(value, dict) else _parts(value)):
            if place:
                yield ", "
            if pairs:
                yield _key(key) + ": "
                yield from _pieces(part, depth + 1)
            elif size_hint(part) < LONG:
                yield json.dumps(part, allow_nan=False)[1:-1]
            else:
                for index, one in enumerate(part):
                    if index:
                        yield ", "
                    yield from _pieces(one, depth + 1)
        yield "}" if pairs else "]"
    else:
        yield json.dumps(value, allow_nan=False)


def _parts(value: list[Any] | tuple[Any, ...]) -> Iterator[tuple[None, list[Any] | tuple[Any, ...]]]:
    """A list in parts, in the form of a dict's items."""
    for start in range(0, len(value), _ITEMS):
        yield None, value[start : start + _ITEMS]


def _key(key: object) -> str:
    """A key as `json.dumps` writes it, which turns numbers, booleans and None into strings."""
    return json.dumps({key: 0}, allow_nan=False)[1:-4]


def _complain(value: object) -> NoReturn:
    found = _unwritable(value, "", 0, set())
    if found is not None:
        place, problem, kind = found
        raise kind(f"{place or 'payload'}: {problem}")
    raise ArgumentError("payload: it cannot be written as JSON")


def _unwritable(value: object, place: str, depth: int, around: set[int]) -> tuple[str, str, type[ArgumentError]] | None:
    """The first thing that JSON cannot say: its place, what it is, and what to raise. Never what it holds."""
    if isinstance(value, float) and not math.isfinite(value):
        return place, "a number that is finite is expected, not NaN or an infinity", ArgumentError
    if isinstance(value, int) and not _has_decimals(value):
        return place, "a number of more digits than Python writes", ArgumentError
    if isinstance(value, str) and not is_text(value):
        return place, f"text that UTF-8 can encode is expected, not a lone surrogate; {_HINT}", ArgumentError
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
            if isinstance(key, str) and not is_text(key):
                return (
                    place,
                    f"a key must be text that UTF-8 can encode, without a lone surrogate; {_HINT}",
                    ArgumentError,
                )
            if isinstance(key, float) and not math.isfinite(key):
                return place, "a key must not be NaN or an infinity", ArgumentError
            if isinstance(key, int) and not _has_decimals(key):
                return place, "a key must not be a number of more digits than Python writes", ArgumentError
        inner: Any = ((_place_of(place, key), one) for key, one in value.items())
    else:
        inner = ((f"{place}[{index}]", one) for index, one in enumerate(value))
    for where, one in inner:
        found = _unwritable(one, where, depth + 1, around)
        if found:
            return found
    return None


def _place_of(place: str, key: object) -> str:
    """The place of a key's value. A key that may be a user's text is not shown."""
    if not place:
        return key if isinstance(key, str) and key.isidentifier() and len(key) <= 40 else "…"
    return f"{place}.{key}" if isinstance(key, str) and key in _PROTOCOL_KEYS else f"{place}.…"


def _has_decimals(number: int) -> bool:
    """Whether Python writes a number in decimal: it refuses those of thousands of digits, which take it long."""
    if number.bit_length() < 2000:  # sys.set_int_max_str_digits takes no limit below 640 digits
        return True
    try:
        int.__repr__(number)
    except ValueError:
        return False
    return True


# `nomyo_attest.evidence.strict_json` has the bounds, but its `parse_json` serves a verifier: it marks duplicate keys
# instead of refusing them, replaces integers that are too long, and says in its errors what is wrong with the text.
def decode(data: bytes | bytearray, *, values_max: int | None = None) -> Any:
    """One JSON text in UTF-8 → its value.

    Args:
        values_max: how many values a text may hold that never has many, roughly: commas and brackets are counted, also
            those within strings. None for the bound of `nomyo_attest.evidence.strict_json`, on objects and arrays.

    Raises `ValueError`, which quotes nothing of the text: `TooManyContainersError` for one that is beyond the bound.
    """
    if values_max is None:
        check_containers(data)
    elif sum(map(data.count, (b",", b"[", b"{"))) > values_max:
        raise ValueError("more values than any honest text holds")
    # The parser's own limit on depth differs from one Python to the next, and counts the calls that lead to it.
    if not is_deeper(data, DEPTH_MAX):
        try:
            return json.loads(
                data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite
            )
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
