"""Text on its way to a terminal."""

from __future__ import annotations

import unicodedata

import pytest

from nomyo.cli.terminal import harmless


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "two\nlines\tand a tab\n",
        "größer, 世界, नमस्ते",
        "\U0001f469\u200d\U0001f4bb joined",  # ZERO WIDTH JOINER
        "\u0645\u06cc\u200c\u062e\u0648",  # ZERO WIDTH NON-JOINER
        "\u2714\ufe0f soft\u00adhyphen no\u00a0break",
    ],
)
def test_text_stays_text(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J", r"\x9b2J"),
        ("a\r\nb\rc", "a\nb\\rc"),
        ("\x00\x07\x08\x0b\x0c\x7f", r"\x00\x07\x08\x0b\x0c\x7f"),
        ("user\u202e\u2066admin", r"user\u202e\u2066admin"),
        ("a\u2028b\x85c", r"a\u2028b\x85c"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_drives_a_terminal_becomes_an_escape(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_no_control_character_passes_but_line_feed_and_tab() -> None:
    controls = {chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in {"Cc", "Cs"}}
    passed = {char for char in controls if harmless(char) == char}
    assert passed == {"\n", "\t"}
    bidirectional = {chr(c) for c in range(0x110000) if unicodedata.bidirectional(chr(c)) in _EMBEDDING}
    assert {char for char in bidirectional if harmless(char) == char} == set()


_EMBEDDING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
