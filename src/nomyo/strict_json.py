"""Encode JSON as the protocol requires, and decode JSON strictly.

`encode` produces the output of `json.dumps` with its defaults (RFC 8259, non-ASCII escaped) and refuses NaN. It encodes
long strings in slices, so that other threads can run: the C encoder would hold the GIL for a whole string.

`decode` refuses duplicate keys, NaN and infinities.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring_ascii
from typing import Any, Final, NoReturn

from nomyo.errors import ArgumentError, ArgumentTypeError
from nomyo_attest.evidence.strict_json import DEPTH_MAX, check_containers, is_deeper

LONG_TEXT: Final = 128 * 1024
"""Length of the slices in which longer strings are encoded. A slice takes about half a millisecond."""

_SLICE_ITEMS: Final = 1000
"""Number of items of a long list that are encoded at a time."""

_PROTOCOL_KEYS: Final = frozenset(
    {
        *("arguments", "audio", "content", "description", "function", "functions", "image_url", "input_audio", "name"),
        *("json_schema", "messages", "metadata", "parameters", "properties", "required", "response_format", "role"),
        *("schema", "text", "tool_call_id", "tool_calls", "tools", "type", "url"),
    }
)
"""Keys that error messages may contain: those of the protocol. Any other key may be a user's text. Keys at the top
level are names of parameters, so error messages may contain any identifier there.
"""

_SURROGATE_HINT: Final = "decode it with the right encoding, or replace it: text.encode('utf-8', 'replace').decode()"
"""Hint for a lone surrogate: half of a UTF-16 pair, or a byte that Python could not decode (PEP 383)."""

_IMMUTABLE_TYPES: Final = frozenset({str, bool, type(None)})
"""Immutable types whose values JSON can always represent, apart from lone surrogates."""

_DEPTH_MAX: Final = 200
"""Maximum depth of nesting; a typical payload has ten levels."""


def size_hint(value: object) -> int:
    """Estimate the length of `value` as JSON, up to `LONG_TEXT`: enough to distinguish long from short."""
    total, pending = 0, [value]
    seen: set[int] = set()  # a list may contain itself
    while pending and total < LONG_TEXT:
        if len(pending) >= LONG_TEXT:
            return LONG_TEXT
        item = pending.pop()
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, (dict, list, tuple)):
            if id(item) not in seen:
                seen.add(id(item))
                pending += item.values() if isinstance(item, dict) else item
        else:
            total += 8
    return min(total, LONG_TEXT)


def snapshot(value: object) -> Any:
    """Copy `value`, so that later changes to it have no effect: dicts and lists are copied, strings are shared.

    Raises the errors of `encode`, so that a value that JSON cannot represent is refused before anything is sent. Text
    with a lone surrogate also raises `ArgumentError`: JSON can escape it, but most parsers refuse or replace it.
    """
    try:
        return _copy_checked(value, 0)
    except (TypeError, ValueError, RecursionError, RuntimeError):
        pass  # `_raise_problem` raises a more specific error
    return _raise_problem(value)


def _copy_checked(value: Any, depth: int) -> Any:
    """Copy and check a value. Raises `ValueError` or `TypeError`.

    A payload may contain a million numbers or a hundred thousand messages, so whole lists are checked in one call.
    """
    if depth > _DEPTH_MAX:
        raise ValueError
    if isinstance(value, dict):
        if not {str}.issuperset(map(type, value)) or not all(map(str.isascii, value)):
            _check_keys(value)
        if _IMMUTABLE_TYPES.issuperset(map(type, value.values())):
            _check_texts(value.values())
            return dict(value)
        return {key: _copy_checked(member, depth + 1) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        kinds = set(map(type, value))
        if kinds == {str} and all(map(str.isascii, value)):
            return list(value)
        if kinds <= _IMMUTABLE_TYPES:
            _check_texts(value)
            return list(value)
        if kinds == {float} and all(map(math.isfinite, value)):
            return list(value)
        if kinds == {int} and _converts_to_decimal(max(value)) and _converts_to_decimal(min(value)):
            return list(value)
        return [_copy_checked(item, depth + 1) for item in value]
    if _find_problem(value, "", 0, set()) is not None:
        raise ValueError
    return value


def _check_keys(value: dict[Any, Any]) -> None:
    if _find_problem(dict.fromkeys(value), "", 0, set()) is not None:
        raise ValueError


def _check_texts(values: Iterable[object]) -> None:
    """Raise `ValueError` if UTF-8 cannot encode a str among `values`."""
    if not all(is_text(value) for value in values if isinstance(value, str)):
        raise ValueError


def is_text(value: str) -> bool:
    """Whether UTF-8 can encode a str, that is, whether it contains no lone surrogate."""
    if value.isascii():
        return True
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def encode(value: object) -> bytearray:
    """Encode `value` as JSON in UTF-8, in the layout of `json.dumps`, into a buffer that the caller can wipe.

    The errors name the place of the invalid value, such as ``messages[0].content``.

    Raises:
        ArgumentTypeError: JSON cannot represent the type of a value.
        ArgumentError: a number is NaN or infinite, or the nesting is circular or too deep.
    """
    if size_hint(value) < LONG_TEXT:
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            text = ""  # `_raise_problem` raises below, outside this handler, since the error of json quotes the value
        if text:
            return bytearray(text, "ascii")
    else:
        buffer = bytearray()
        if _write(value, buffer):
            return buffer
    return _raise_problem(value)


def _write(value: object, buffer: bytearray) -> bool:
    """Append `value` to `buffer`, long strings in slices. Returns False if it cannot be encoded."""
    try:
        for part in _encoded_slices(value, 0):
            buffer += part.encode("ascii")
    except (TypeError, ValueError, RecursionError):
        buffer[:] = bytes(len(buffer))
        return False
    return True


def _encoded_slices(value: object, depth: int) -> Iterator[str]:
    if depth > _DEPTH_MAX:
        raise ValueError
    if isinstance(value, str) and len(value) >= LONG_TEXT:
        yield '"'
        for start in range(0, len(value), LONG_TEXT):
            yield encode_basestring_ascii(value[start : start + LONG_TEXT])[1:-1]
        yield '"'
    elif isinstance(value, (dict, list, tuple)) and size_hint(value) >= LONG_TEXT:
        pairs = isinstance(value, dict)
        yield "{" if pairs else "["
        for place, (key, part) in enumerate(value.items() if isinstance(value, dict) else _list_slices(value)):
            if place:
                yield ", "
            if pairs:
                yield _encode_key(key) + ": "
                yield from _encoded_slices(part, depth + 1)
            elif size_hint(part) < LONG_TEXT:
                yield json.dumps(part, allow_nan=False)[1:-1]
            else:
                for index, item in enumerate(part):
                    if index:
                        yield ", "
                    yield from _encoded_slices(item, depth + 1)
        yield "}" if pairs else "]"
    else:
        yield json.dumps(value, allow_nan=False)


def _list_slices(value: list[Any] | tuple[Any, ...]) -> Iterator[tuple[None, list[Any] | tuple[Any, ...]]]:
    """Yield a list in slices, each as the value of a pair, as in the items of a dict."""
    for start in range(0, len(value), _SLICE_ITEMS):
        yield None, value[start : start + _SLICE_ITEMS]


def _encode_key(key: object) -> str:
    """Encode a key as `json.dumps` does, which converts numbers, booleans and None to strings."""
    return json.dumps({key: 0}, allow_nan=False)[1:-4]


def _raise_problem(value: object) -> NoReturn:
    """Raise `ArgumentError` or `ArgumentTypeError` for a value that cannot be encoded."""
    found = _find_problem(value, "", 0, set())
    if found is not None:
        place, problem, kind = found
        raise kind(f"{place or 'payload'}: {problem}")
    raise ArgumentError("payload: cannot be encoded as JSON")


def _find_problem(
    value: object, place: str, depth: int, ancestors: set[int]
) -> tuple[str, str, type[ArgumentError]] | None:
    """Return the place, problem and exception for the first value that JSON cannot represent, without quoting it."""
    if isinstance(value, float) and not math.isfinite(value):
        return place, "expected a finite number, got NaN or an infinity", ArgumentError
    if isinstance(value, int) and not _converts_to_decimal(value):
        return place, "expected a number with fewer digits: Python does not convert it to decimal", ArgumentError
    if isinstance(value, str) and not is_text(value):
        return place, f"expected text that UTF-8 can encode, got a lone surrogate; {_SURROGATE_HINT}", ArgumentError
    if value is None or isinstance(value, (str, bool, int, float)):
        return None
    if not isinstance(value, (dict, list, tuple)):
        return place, f"expected text, a number, a list or a dict, got {type(value).__name__}", ArgumentTypeError
    if id(value) in ancestors:
        return place, "contains itself", ArgumentError
    if depth > _DEPTH_MAX:
        return place, "nested too deeply", ArgumentError
    ancestors = ancestors | {id(value)}
    if isinstance(value, dict):
        for key in value:
            if not (key is None or isinstance(key, (str, bool, int, float))):
                return place, f"expected a string as a key, got {type(key).__name__}", ArgumentTypeError
            if isinstance(key, str) and not is_text(key):
                return (
                    place,
                    f"expected a key that UTF-8 can encode, got a lone surrogate; {_SURROGATE_HINT}",
                    ArgumentError,
                )
            if isinstance(key, float) and not math.isfinite(key):
                return place, "expected a finite number as a key, got NaN or an infinity", ArgumentError
            if isinstance(key, int) and not _converts_to_decimal(key):
                return place, "expected a key with fewer digits: Python does not convert it to decimal", ArgumentError
        members: Any = ((_path_of(place, key), member) for key, member in value.items())
    else:
        members = ((f"{place}[{index}]", item) for index, item in enumerate(value))
    for member_place, member in members:
        found = _find_problem(member, member_place, depth + 1, ancestors)
        if found:
            return found
    return None


def _path_of(place: str, key: object) -> str:
    """Return the place of a key's value. A key that may be a user's text is replaced by ``…``."""
    if not place:
        return key if isinstance(key, str) and key.isidentifier() and len(key) <= 40 else "…"
    return f"{place}.{key}" if isinstance(key, str) and key in _PROTOCOL_KEYS else f"{place}.…"


def _converts_to_decimal(number: int) -> bool:
    """Whether Python converts a number to decimal: it refuses numbers with thousands of digits, which would be slow."""
    if number.bit_length() < 2000:  # sys.set_int_max_str_digits accepts no limit below 640 digits
        return True
    try:
        int.__repr__(number)
    except ValueError:
        return False
    return True


# The limits are those of `nomyo_attest.evidence.strict_json`. Its `parse_json` is meant for a verifier: it marks
# duplicate keys instead of refusing them, replaces integers that are too long, and describes the text in its errors.
def decode(data: bytes | bytearray, *, values_max: int | None = None) -> Any:
    """Decode one JSON text in UTF-8.

    Args:
        values_max: approximate maximum number of values: commas and opening brackets are counted, including those in
            strings. None for the limit of `nomyo_attest.evidence.strict_json` on objects and arrays.

    Raises `ValueError`, which does not quote the text: `TooManyContainersError` if it exceeds that limit.
    """
    if values_max is None:
        check_containers(data)
    elif sum(map(data.count, (b",", b"[", b"{"))) > values_max:
        raise ValueError(f"more than {values_max} values")
    # The parser's own limit on depth depends on the version of Python and on the depth of the call stack.
    if not is_deeper(data, DEPTH_MAX):
        try:
            return json.loads(
                data.decode("utf-8"),
                object_pairs_hook=_reject_duplicates,
                parse_constant=_reject_constant,
                parse_float=_parse_finite,
            )
        except (ValueError, RecursionError):
            pass  # the error of json contains the whole text
    raise ValueError("not JSON, or ambiguous")


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) != len(pairs):
        raise ValueError
    return plain


def _reject_constant(_: str) -> NoReturn:
    raise ValueError


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number
