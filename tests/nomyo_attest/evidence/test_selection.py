"""PCR selections as text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.errors import EvidenceError
from nomyo_attest.evidence import parse_selection
from nomyo_attest.evidence.selection import INDICES

BANKS = ["sha1", "sha256", "sha384", "sha512", "sm3_256", "sha3_256", "sha3_384", "sha3_512"]
some_selections = st.dictionaries(
    st.sampled_from(BANKS), st.lists(st.integers(0, 23), min_size=1, unique=True), min_size=1
)


def written(selection: dict[str, list[int]]) -> str:
    return "+".join(f"{bank}:{','.join(map(str, indices))}" for bank, indices in selection.items())


@given(some_selections)
def test_a_selection_reads_as_it_was_written_in_its_order(selection: dict[str, list[int]]) -> None:
    parsed = parse_selection(written(selection))
    assert list(parsed.items()) == [(bank, tuple(indices)) for bank, indices in selection.items()]


def test_the_indices_are_0_to_23_in_one_spelling() -> None:
    assert {str(index): index for index in range(24)} == INDICES


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "''"),
        ("+", "''"),
        ("sha256", "sha256 without a PCR"),
        ("sha256:", "sha256 without a PCR"),
        ("sha256:,", "''"),
        ("sha256:0,", "''"),
        ("sha256:,0", "''"),
        ("sha256:0,,7", "''"),
        ("sha256:0+", "''"),
        ("+sha256:0", "''"),
        (":0", "''"),
        ("sha256:24", "'24'"),
        ("sha256:-1", "'-1'"),
        ("sha256:+7", "sha256 without a PCR"),
        ("sha256:00", "'00'"),
        ("sha256:07", "'07'"),
        ("sha256:0x7", "'0x7'"),
        ("sha256:7.0", "'7.0'"),
        ("sha256: 7", "' 7'"),
        ("sha256:7 ", "'7 '"),
        ("sha256:7\n", r"'7\\n'"),
        ("sha256:1_0", "'1_0'"),
        ("sha256:\u0667", "'\u0667'"),
        ("sha256:\uff17", "'\uff17'"),
        ("sha256:\u00b2", "'\u00b2'"),
        ("sha256:0-7", "'0-7'"),
        ("sha256:all", "'all'"),
        ("sha256:0:7", "'0:7'"),
        ("sha256;0", "'sha256;0'"),
        ("SHA256:0", "'SHA256'"),
        ("sha256 :0", "'sha256 '"),
        (" sha256:0", "' sha256'"),
        ("sha-256:0", "'sha-256'"),
        ("sha2:0", "'sha2'"),
        ("md5:0", "'md5'"),
        ("0x000b:0", "'0x000b'"),
        ("sha\u0662\u0665\u0666:0", "'sha\u0662\u0665\u0666'"),
        ("sha256:0+sha256:7", "sha256 twice"),
        ("sha256:0+sha1:0+sha256:0", "sha256 twice"),
        ("sha256:0,7,0", "0 twice"),
        ("sha256:0\x00", r"'0\\x00'"),
    ],
)
def test_anything_else_is_refused_and_shown(text: str, got: str) -> None:
    with pytest.raises(EvidenceError, match=f"got {got}$") as caught:
        parse_selection(text, "here")
    assert caught.value.where == "here"


def test_what_is_shown_is_short() -> None:
    for text in ("x" * 1000, "sha256:" + "9" * 1000):
        with pytest.raises(EvidenceError) as caught:
            parse_selection(text)
        assert len(caught.value.got) <= 24


@given(st.one_of(st.text(), st.from_regex(re.compile(r"(sha[0-9_]{1,6}:[0-9,]{0,9}\+?){1,4}"))))
def test_any_text_is_refused_or_is_the_one_way_to_write_its_selection(text: str) -> None:
    try:
        selection = parse_selection(text)
    except EvidenceError:
        return
    assert written({bank: list(indices) for bank, indices in selection.items()}) == text
