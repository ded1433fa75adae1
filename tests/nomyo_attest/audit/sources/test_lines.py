"""Text of JSON Lines, cut into blobs."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from nomyo_attest.audit.sources.lines import Blob, LineCutter, TooLong, is_blank, lines_of

BLOB, MAXIMUM = 16, 24

texts = st.lists(
    st.sampled_from([b"{}", b"\n", b"\r\n", b"\r", b" ", b"\t", b"\xef\xbb\xbf", b"\0", b"12345678", b"{" + b"x" * 30])
    | st.binary(max_size=4),
    max_size=40,
).map(b"".join)


def cut(text: bytes, places: list[int], *, broken: bool = False) -> tuple[list[Blob | TooLong], LineCutter]:
    """The text, fed in pieces that end at `places`."""
    cutter = LineCutter(BLOB, MAXIMUM)
    pieces: list[Blob | TooLong] = []
    for begin, end in pairwise([0, *sorted(place % (len(text) + 1) for place in places), len(text)]):
        pieces += cutter.feed(text[begin:end])
    pieces += cutter.abandon() if broken else cutter.finish()
    return pieces, cutter


def by_line(pieces: list[Blob | TooLong]) -> dict[int, bytes | int]:
    """Line → its text, or its length if it is too long."""
    told: dict[int, bytes | int] = {}
    for piece in pieces:
        if isinstance(piece, TooLong):
            told[piece.line] = piece.length
        else:
            told |= {line: text for line, text in enumerate(lines_of(piece.text), piece.first) if not is_blank(text)}
    return told


def expected(text: bytes) -> tuple[dict[int, bytes | int], int, int]:
    """The same, told line by line; and how many are blank, and how many there are."""
    lines = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    lines = [line.removesuffix(b"\r") for line in lines]
    told = {
        number: line if len(line) <= MAXIMUM else len(line)
        for number, line in enumerate(lines, 1)
        if len(line) > MAXIMUM or line.strip(b" \t\r")
    }
    return told, len(lines) - len(told), len(lines)


@given(texts, st.lists(st.integers(0, 2000), max_size=20))
@example(b"\xef\xbb\xbf\n{}", [1, 2])
@example(b"x" * 25 + b"\r\n{}", [24, 25, 26])
@example(b"x" * 24 + b"\r\n{}", [24, 25, 26])
@example(b" " * 30 + b"\n{}", [3])
def test_every_line_is_a_record_or_blank_or_too_long_however_the_text_comes(text: bytes, places: list[int]) -> None:
    pieces, cutter = cut(text, places)
    told, blank, lines = expected(text)
    assert by_line(pieces) == told
    assert (cutter.blank, cutter.line) == (blank, lines + 1)


@given(texts, st.lists(st.integers(0, 2000), max_size=20))
def test_the_blobs_are_the_same_however_the_text_comes(text: bytes, places: list[int]) -> None:
    assert cut(text, places)[0] == cut(text, [])[0]


@given(texts, st.lists(st.integers(0, 2000), max_size=20))
def test_a_blob_is_small_or_one_line(text: bytes, places: list[int]) -> None:
    for piece in cut(text, places)[0]:
        if isinstance(piece, Blob):
            assert len(piece.text) <= BLOB or len(lines_of(piece.text)) == 1


@given(texts, st.lists(st.integers(0, 2000), max_size=20))
def test_of_a_text_that_breaks_off_the_whole_lines_are_left(text: bytes, places: list[int]) -> None:
    pieces, cutter = cut(text, places, broken=True)
    whole, _, incomplete = text.rpartition(b"\n")
    told, _, lines = expected(whole + b"\n" if b"\n" in text else b"")
    assert by_line(pieces) == told
    assert cutter.line == lines + 1, incomplete


def test_an_endless_line_takes_no_more_memory_than_the_longest_record() -> None:
    cutter = LineCutter(BLOB, MAXIMUM)
    for _ in range(1000):
        assert not list(cutter.feed(b"x" * 100))
        assert len(cutter._buffer) <= MAXIMUM + 100
    assert list(cutter.feed(b"\n{}\n")) == [TooLong(1, 100_000)]
    assert list(cutter.finish()) == [Blob(2, b"{}\n")]


def test_white_space_that_json_does_not_have_is_no_blank_line() -> None:
    assert by_line(cut(b"\f\n\v\n\xc2\xa0\n", [])[0]) == {1: b"\f", 2: b"\v", 3: b"\xc2\xa0"}
