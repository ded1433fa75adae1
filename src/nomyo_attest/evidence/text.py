"""JSON text → objects that remember which of their keys stood twice, and words for what stands in them."""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from typing import Any, Final

import msgspec

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence.json_bounds import (
    TooManyContainersError,
    check_containers,
    count_strings,
    is_deeper,
    outside_strings,
)

TEXT_MAX: Final = 16 * 1024 * 1024
"""Bytes of the largest response read: above the largest prompt that the protocol allows, 10 MiB."""

_INTEGER_DIGITS_MAX: Final = 1000
"""Longer integers become an infinite float: nothing read here is one, and working them out takes quadratic time."""

DEPTH_MAX: Final = 500
"""Levels of objects and arrays in each other. Said here, since where the parser gives up differs from one Python to the
next, and from one caller to another: it counts the calls that lead to it, too.
"""

LONG: Final = 1024 * 1024
"""Bytes of the longest text, or of the longest `_metadata`, of which every value is made into an object."""

_WHOLE: Final = {"objects and arrays": (b"[{", 30), "strings": (b'"', 15), "members": (b":", 24), "values": (b",", 8)}
"""What a text longer than `LONG` that has to be read as a whole may hold: what marks it, and how many bytes of text
there must be for each.
"""

_HOLDER: Final = "_metadata"
_BESIDE: Final = ("tpm_attestation", "is_available")

_HOLDER_KEY: Final = re.compile(
    ('"' + "".join(rf"(?:{one}|\\u{ord(one):04x})" for one in _HOLDER) + '"').encode(), re.IGNORECASE
)
"""The key `_metadata`, with or without escapes. Letters in the other case match too, which does no harm."""

_AS_DIGITS: Final = bytes(0x31 if 0x30 <= byte <= 0x39 else 0 for byte in range(256))
_DIGITS: Final = b"1" * (_INTEGER_DIGITS_MAX + 1)
"""A text, translated so, with these in it has an integer that is too long."""

_BOM: Final = b"\xef\xbb\xbf"


class _Response(msgspec.Struct):
    metadata: msgspec.Raw = msgspec.field(name=_HOLDER)
    block: msgspec.Raw = msgspec.field(name=_BESIDE[0], default_factory=msgspec.Raw)
    available: msgspec.Raw = msgspec.field(name=_BESIDE[1], default_factory=msgspec.Raw)


_response: Final = msgspec.json.Decoder(_Response)


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


_decoder: Final = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)
_plain_decoder: Final = json.JSONDecoder(object_pairs_hook=_object)
"""For texts without an integer that is too long: `_integer` would be called millions of times."""


def parse_json(text: str | bytes) -> Any:
    """Parse one JSON text, UTF-8 with or without a byte order mark (RFC 8259, 8.1). Raises `EvidenceError`.

    An object with a key twice comes back as `JsonObject`, so that a reader can refuse it where it matters.
    """
    _check_bounds(text, text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return _parsed(text)


def parse_record(text: str | bytes) -> Any:
    """The same as `parse_json`, but that of a response longer than `LONG` only what a reader of evidence looks at is
    made into objects: `_metadata`, and null for `tpm_attestation` and `is_available` where they stand beside it.

    A long record that is not such a response, or whose `_metadata` is long itself, is read as a whole. It has to be in
    the bounds of `_WHOLE`. Raises `EvidenceError`.
    """
    if not LONG < len(text) <= TEXT_MAX:
        return parse_json(text)
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    _check_bounds(text, data)
    response = _metadata_of(data.removeprefix(_BOM))
    if response is not None:
        return response
    for what, (marks, size) in _WHOLE.items():
        found = count_strings(data) if marks == b'"' else len(outside_strings(data, marks))
        if found > len(data) // size:
            expected = f"at most {len(data) // size} {what} in a record of this length"
            raise EvidenceError("response", expected, f"{found}")
    return _parsed(text)


def parse_long(text: bytes) -> dict[str, Any] | None:
    """What `parse_record` makes of a response longer than `LONG` if it reads `_metadata` alone; None for any other."""
    return _metadata_of(text.removeprefix(_BOM)) if len(text) > LONG else None


def _metadata_of(text: bytes) -> dict[str, Any] | None:
    """A long response without what is not read; None if it has to be read as a whole, also to say what is wrong."""
    try:
        response = _response.decode(text)
        metadata = bytes(response.metadata)
        if len(metadata) > LONG or sum(1 for _ in _HOLDER_KEY.finditer(text)) != 1:
            return None  # the latter: it may stand twice, or be the key of something in a completion
        _check_utf8(text)  # the decoder does not look into strings that it skips
        beside = zip(_BESIDE, (response.block, response.available), strict=True)
        return {_HOLDER: _parsed(metadata), **{name: None for name, raw in beside if bytes(raw)}}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _check_bounds(text: str | bytes, data: bytes) -> None:
    """Raises `EvidenceError` for a text, `data` in UTF-8, that is too long, has too many containers, or is too deep."""
    if len(text) > TEXT_MAX:
        raise EvidenceError("response", f"at most {TEXT_MAX} bytes", f"{len(text)}")
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
    return EvidenceError("response", "JSON of sensible depth", "objects or arrays nested too deep")


def _check_utf8(text: bytes) -> None:
    """Raises `UnicodeDecodeError`. Works in pieces: one emoji makes a str of four bytes a character."""
    if not text.isascii():
        decoder = getincrementaldecoder("utf-8")()
        for start in range(0, len(text), LONG):
            decoder.decode(text[start : start + LONG], final=start + LONG >= len(text))


def _parsed(text: str | bytes) -> Any:
    # What the standard library raises carries the whole text with it: it must be gone before ours is raised.
    try:
        plain = isinstance(text, bytes) and len(text) > LONG and _DIGITS not in text.translate(_AS_DIGITS)
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        decoder = _plain_decoder if plain else _decoder
        return decoder.decode(text.removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        expected, got = "JSON in UTF-8", f"byte 0x{error.object[error.start]:02x} at {error.start}"
    except json.JSONDecodeError as error:
        expected, got = "JSON", f"{error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}"
    except RecursionError:  # the caller is deep itself
        raise _too_deep() from None
    raise EvidenceError("response", expected, got)


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
