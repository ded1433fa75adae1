"""No text from outside moves a terminal's cursor, changes its colour, forges a line or hides a part of one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.report.clean import TEXT_MAX, clean, short


@given(st.text(st.characters()))
def test_clean_text_prints_and_is_clean_for_good(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.isprintable()
    assert clean(cleaned) == cleaned


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"])))
def test_text_that_prints_is_left_as_it_is(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\r\t\x00", "a\\nb\\r\\t\\x00"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\u2028\u200b\ufeff", "\\u2028\\u200b\\ufeff"),
        ("\udc80", "\\udc80"),
        ("\U000e0041", "\\U000e0041"),
        ("Grüße, 世界", "Grüße, 世界"),
    ],
)
def test_what_does_not_print_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_long_text_is_cut_and_its_length_told() -> None:
    assert short("x" * TEXT_MAX) == "x" * TEXT_MAX
    assert short("x" * (TEXT_MAX + 1)) == "x" * TEXT_MAX + f"… ({TEXT_MAX + 1} characters)"
    assert len(short("\x00" * 10_000_000)) < 4 * TEXT_MAX + 40
