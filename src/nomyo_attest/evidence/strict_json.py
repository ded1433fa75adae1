"""Parse hostile JSON text in bounded time and memory, and report duplicate keys.

The memory that a text needs depends on its containers (objects and arrays): 16 MiB of ``[],`` become five million lists
that take 500 MB. Containers are therefore counted before any object is created. Scalars and text inside strings are
cheap and are not counted. A table with a million commas in a prompt is within the bound, and so is a response with the
log probabilities of 20 alternatives for each token.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from itertools import accumulate
from typing import Any, Final

import msgspec

from nomyo_attest.errors import EvidenceError

RECORD_BYTES_MAX: Final = 16 * 1024 * 1024
"""Maximum size of a record, in bytes. The protocol's largest prompt is 10 MiB."""

DEPTH_MAX: Final = 500
"""Maximum nesting of objects and arrays. The limit of Python's parser differs between versions and depends on the depth
of the call stack.
"""

CONTAINERS_BASE: Final = 10_000
"""Objects and arrays that a text of any length may contain."""

BYTES_PER_CONTAINER: Final = 24
"""Bytes of text required for each further object or array. Log probabilities take about 45 bytes each, tool calls far
more.
"""

FULL_PARSE_MAX: Final = 1024 * 1024
"""Maximum bytes of a record, or of its `_metadata`, that is converted to Python objects as a whole."""

_BYTES_PER_ITEM: Final = {
    "objects and arrays": (b"[{", 30),
    "strings": (b'"', 15),
    "members": (b":", 24),
    "values": (b",", 8),
}
"""Bounds of a record longer than `FULL_PARSE_MAX` that has to be parsed as a whole: for each kind of item, the
characters that are counted, and the bytes of text required for each occurrence.
"""

_METADATA: Final = "_metadata"
_BLOCK: Final = "tpm_attestation"
_AVAILABLE: Final = "is_available"

_METADATA_KEY: Final = re.compile(
    ('"' + "".join(rf"(?:{letter}|\\u{ord(letter):04x})" for letter in _METADATA) + '"').encode(), re.IGNORECASE
)
"""The key `_metadata`, with or without escapes, in any case. A different case only causes the record to be parsed as a
whole.
"""

_INTEGER_DIGITS_MAX: Final = 1000
"""Maximum digits of an integer that is converted. A longer one becomes infinity: conversion takes quadratic time."""

_AS_DIGITS: Final = bytes(0x31 if 0x30 <= byte <= 0x39 else 0 for byte in range(256))
_TOO_MANY_DIGITS: Final = b"1" * (_INTEGER_DIGITS_MAX + 1)
"""A text translated by `_AS_DIGITS` contains this if it contains an integer that is too long."""

_BOM: Final = b"\xef\xbb\xbf"
_PIECE: Final = 1024 * 1024
_ALL_BYTES: Final = bytes(range(256))


class JsonObject(dict[str, Any]):
    """A JSON object with duplicate keys.

    Attributes:
        duplicates: the keys that occur more than once in the text; the dict contains the last value of each.
    """

    __slots__ = ("duplicates",)
    duplicates: frozenset[str]


class TooManyContainersError(ValueError):
    """A JSON text contains more objects and arrays than its length allows.

    Attributes:
        found: the number of objects and arrays in the text.
        limit: the number allowed.
    """

    def __init__(self, found: int, limit: int) -> None:
        self.found = found
        self.limit = limit
        super().__init__(found, limit)

    def __str__(self) -> str:
        return f"{self.found} objects and arrays, more than the {self.limit} that a text of this length may contain"


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    duplicates = {key for key, _ in pairs if key in seen or seen.add(key)}  # type: ignore[func-returns-value]  # add() returns None
    result = JsonObject(members)
    result.duplicates = frozenset(duplicates)
    return result


def _convert_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INTEGER_DIGITS_MAX else float("inf")


_decoder: Final = json.JSONDecoder(object_pairs_hook=_build_object, parse_int=_convert_integer)
_decoder_without_long_integers: Final = json.JSONDecoder(object_pairs_hook=_build_object)
"""For long texts without an integer that is too long: avoids millions of calls to `_convert_integer`."""


class _Response(msgspec.Struct):
    metadata: msgspec.Raw = msgspec.field(name=_METADATA)
    block: msgspec.Raw = msgspec.field(name=_BLOCK, default_factory=msgspec.Raw)
    available: msgspec.Raw = msgspec.field(name=_AVAILABLE, default_factory=msgspec.Raw)


_response: Final = msgspec.json.Decoder(_Response)


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON text in UTF-8, with or without a byte order mark (RFC 8259, section 8.1).

    An object with a duplicate key is returned as a `JsonObject`, so that a reader can reject it where it matters.

    Raises:
        EvidenceError: the text is not JSON, or exceeds `RECORD_BYTES_MAX`, `DEPTH_MAX` or the limit of containers.
    """
    _check_bounds(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return _parse(text)


def parse_record(text: str | bytes) -> Any:
    """Parse a record like `parse_json`, but only the evidence of a response longer than `FULL_PARSE_MAX`.

    The result for such a response contains its `_metadata`, and null for the keys `tpm_attestation` and `is_available`
    beside it. A long record without `_metadata`, or whose `_metadata` is itself longer than `FULL_PARSE_MAX`, is parsed
    as a whole within the bounds of `_BYTES_PER_ITEM`.

    Raises:
        EvidenceError: as `parse_json` does.
    """
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    _check_bounds(data)
    if len(data) <= FULL_PARSE_MAX:
        return _parse(text)
    response = _parse_metadata(data.removeprefix(_BOM))
    if response is not None:
        return response
    for items, (characters, size) in _BYTES_PER_ITEM.items():
        found = count_strings(data) if characters == b'"' else len(outside_strings(data, characters))
        if found > len(data) // size:
            expected = f"at most {len(data) // size} {items} in a record of this length"
            raise EvidenceError("response", expected, f"{found}")
    return _parse(text)


def parse_long_response(text: bytes) -> dict[str, Any] | None:
    """Parse the `_metadata` of a response longer than `FULL_PARSE_MAX`, as `parse_record` does.

    Returns None for any other record.
    """
    return _parse_metadata(text.removeprefix(_BOM)) if len(text) > FULL_PARSE_MAX else None


def _parse_metadata(text: bytes) -> dict[str, Any] | None:
    """Return the part of a long response that contains evidence; None if the text is invalid or needs a full parse."""
    try:
        response = _response.decode(text)
        metadata = bytes(response.metadata)
        # A second `_metadata` may be a duplicate, which the decoder does not report, or a key in a completion.
        if len(metadata) > FULL_PARSE_MAX or sum(1 for _ in _METADATA_KEY.finditer(text)) != 1:
            return None
        _check_utf8(text)  # the decoder does not check strings that it skips
        siblings = ((_BLOCK, response.block), (_AVAILABLE, response.available))
        return {_METADATA: _parse(metadata), **{key: None for key, raw in siblings if bytes(raw)}}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _check_bounds(data: bytes) -> None:
    """Raise `EvidenceError` for UTF-8 text that is too long, has too many containers, or is nested too deeply."""
    if len(data) > RECORD_BYTES_MAX:
        raise EvidenceError("response", f"at most {RECORD_BYTES_MAX} bytes", f"{len(data)}")
    if data.count(b"[") + data.count(b"{") <= DEPTH_MAX:
        return  # too few for either limit
    try:
        check_containers(data)
    except TooManyContainersError as error:
        limit, found = error.limit, error.found
    else:
        if is_deeper(data, DEPTH_MAX):
            raise _too_deep()
        return
    raise EvidenceError("response", f"at most {limit} objects and arrays in a text of this length", f"{found}")


def _too_deep() -> EvidenceError:
    return EvidenceError(
        "response", f"JSON nested at most {DEPTH_MAX} levels deep", "objects or arrays nested too deep"
    )


def _check_utf8(text: bytes) -> None:
    """Raise `UnicodeDecodeError` for invalid UTF-8.

    Decodes in pieces, because a single emoji makes a str use four bytes for each character.
    """
    if not text.isascii():
        decoder = getincrementaldecoder("utf-8")()
        for start in range(0, len(text), FULL_PARSE_MAX):
            decoder.decode(text[start : start + FULL_PARSE_MAX], final=start + FULL_PARSE_MAX >= len(text))


def _parse(text: str | bytes) -> Any:
    # The standard library's exceptions contain the whole text: drop them before raising EvidenceError.
    try:
        skip_check = (
            isinstance(text, bytes)
            and len(text) > FULL_PARSE_MAX
            and _TOO_MANY_DIGITS not in text.translate(_AS_DIGITS)
        )
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return (_decoder_without_long_integers if skip_check else _decoder).decode(text.removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        expected, got = "JSON in UTF-8", f"byte 0x{error.object[error.start]:02x} at {error.start}"
    except json.JSONDecodeError as error:
        expected, got = "JSON", f"text that is not JSON, from line {error.lineno}, column {error.colno}"
    except RecursionError:  # if the call stack was already deep
        raise _too_deep() from None
    raise EvidenceError("response", expected, got)


def check_containers(text: bytes | bytearray) -> None:
    """Raise `TooManyContainersError` if a JSON text contains more objects and arrays than its length allows.

    The count is exact for valid JSON. In invalid text it is exact up to the first error, where a parser stops.
    """
    limit = containers_max(len(text))
    if text.count(b"[") + text.count(b"{") <= limit:  # a cheap upper bound, which counts brackets in strings too
        return
    found = len(outside_strings(text, b"[{"))
    if found > limit:
        raise TooManyContainersError(found, limit)


def containers_max(length: int) -> int:
    """Return the number of objects and arrays that a text of `length` bytes may contain."""
    return CONTAINERS_BASE + length // BYTES_PER_CONTAINER


def is_deeper(text: bytes | bytearray, levels: int) -> bool:
    """Whether objects and arrays are nested more than `levels` deep."""
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    steps = outside_strings(text, b"[]{}").translate(bytes.maketrans(b"[{]}", b"\1\1\0\0"))
    return max(accumulate(map((-1, 1).__getitem__, steps)), default=0) > levels


def count_strings(text: bytes | bytearray) -> int:
    """Count the strings in a JSON text, including keys."""
    return _without_escapes(text).count(b'"') // 2


def outside_strings(text: bytes | bytearray, characters: bytes) -> bytes:
    """Return the occurrences of `characters` outside the strings of a JSON text, in order.

    Args:
        text: the JSON text.
        characters: ASCII characters except ``"`` and ``\\``.
    """
    marks = bytes(_without_escapes(text).translate(None, bytes({*_ALL_BYTES} - {*characters, 0x22})))
    # Two adjacent quotation marks enclose a string without any of these characters, or end one string and begin the
    # next. Removing the pair does not change which other characters are inside a string.
    marks = marks.replace(b'""', b"")
    if b'"' not in marks:
        return marks
    outside, inside = [], 0
    for start in range(0, len(marks), _PIECE):
        parts = marks[start : start + _PIECE].split(b'"')
        outside.append(b"".join(parts[inside::2]))
        inside ^= (len(parts) - 1) & 1  # whether the next piece starts inside a string
    return b"".join(outside)


def _without_escapes(text: bytes | bytearray) -> bytes | bytearray:
    """Remove escaped backslashes and quotation marks, so that each remaining quotation mark begins or ends a string."""
    if b"\\" not in text:
        return text
    return text.replace(b"\\\\", b"").replace(b'\\"', b"")


def require_object(value: Any, where: str) -> dict[Any, Any]:
    """Return `value` if it is a JSON object. Raises `EvidenceError`, which names the field `where`."""
    if not isinstance(value, dict):
        raise EvidenceError(where, "a JSON object", describe_type(value))
    return value


def describe_type(value: object) -> str:
    """Return the JSON type of a value, for an error message that must not contain the value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {str: "a string", int: "a number", float: "a number", list: "an array", dict: "an object"}
    name = names.get(type(value), f"a {type(value).__name__}")
    return "an empty string" if type(value) is str and not value else name
