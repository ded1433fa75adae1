"""TPM 2.0 structures as bytes, written from the specification by hand: the parser has no part in it.

A structure is written as a list of pieces, each under the name of the field that a parser must blame when the bytes end
inside that piece. What goes in are plain dicts; what a parser gives back, made plain again, must be the same dict.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import strategies as st

from nomyo_attest.errors import ParseError
from nomyo_attest.tpm.codec import Structure

Fields = Mapping[str, Any]
Pieces = list[tuple[str, bytes]]


def number(name: str, code: str, value: int) -> Pieces:
    """An integer, big-endian; `code` as `struct` has it."""
    return [(name, struct.pack(f">{code}", value))]


def sized(name: str, content: bytes, code: str = "H") -> Pieces:
    """A buffer behind its size."""
    return [(name, struct.pack(f">{code}", len(content))), (name, content)]


def join(pieces: Pieces) -> bytes:
    return b"".join(content for _, content in pieces)


def plain(value: object) -> Any:
    """A parsed structure as dicts, lists and numbers."""
    if isinstance(value, Structure):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return int(value) if isinstance(value, IntEnum) else value


def check_round_trip(kind: type[Structure], write: Callable[[Any], Pieces], fields: Fields) -> None:
    """What was written is what is read."""
    assert plain(kind.parse(join(write(fields)))) == fields


def check_every_truncation(kind: type[Structure], pieces: Pieces) -> None:
    """However short the blob is cut, the error names the field that is cut and the byte where it begins."""
    blob = join(pieces)
    begin = 0
    for where, content in pieces:
        for end in range(begin, begin + len(content)):
            with pytest.raises(ParseError) as caught:
                kind.parse(blob[:end])
            assert (caught.value.where, caught.value.offset) == (where, begin), f"cut after byte {end}"
        begin += len(content)


def check_leftovers(kind: type[Structure], pieces: Pieces, more: bytes) -> None:
    """Bytes behind the structure are refused, and the error says where they begin and how many there are."""
    blob = join(pieces)
    with pytest.raises(ParseError) as caught:
        kind.parse(blob + more)
    assert (caught.value.where, caught.value.offset) == (kind.__name__, len(blob))
    assert caught.value.got == ("1 byte more" if len(more) == 1 else f"{len(more)} bytes more")


def attempt(kind: type[Structure], data: bytes) -> Structure | ParseError:
    """The structure that `data` is, or why it is none. Any other exception is a bug, and goes through."""
    try:
        return kind.parse(data)
    except ParseError as error:
        return error


def check_any_bytes(kind: type[Structure], write: Callable[[Any], Pieces], data: bytes) -> None:
    """Any bytes are refused with a whole `ParseError`, or are a structure that writes as those very bytes."""
    parsed = attempt(kind, data)
    if isinstance(parsed, ParseError):
        assert 0 <= parsed.offset <= len(data)
        assert parsed.structure.startswith("TPM")
        assert parsed.expected
        assert parsed.got
    else:
        assert join(write(plain(parsed))) == data


def refused(kind: type[Structure], blob: bytes) -> ParseError:
    """The error with which a blob is refused."""
    with pytest.raises(ParseError) as caught:
        kind.parse(blob)
    return caught.value


def mutations(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Valid bytes with a few octets overwritten, inserted or removed."""
    edit = st.tuples(st.integers(0, 1000), st.sampled_from(["set", "insert", "remove"]), st.integers(0, 255))

    def edited(blob: bytes, edits: list[tuple[int, str, int]]) -> bytes:
        changed = bytearray(blob)
        for position, how, octet in edits:
            at = position % (len(changed) + 1)
            changed[at : at + (how != "insert")] = b"" if how == "remove" else bytes([octet])
        return bytes(changed)

    return st.builds(edited, valid, st.lists(edit, min_size=1, max_size=4))
