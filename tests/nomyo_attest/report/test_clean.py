"""No text from outside moves a terminal's cursor, changes its color, forges a line or hides a part of one."""

from __future__ import annotations

import json
import re
from typing import Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nomyo_attest.report.clean import TEXT_MAX, clean, clean_json, no_commands, short


@given(st.text(st.characters()))
def test_clean_text_prints_and_is_clean_for_good(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.isprintable()
    assert clean(cleaned) == cleaned


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"])))
def test_text_that_prints_and_is_no_command_is_left_as_it_is(text: str) -> None:
    assume("##" not in text and not text.startswith("::"))
    assert clean(text) == text


COMMANDS: Final = [
    ("::error::x", "\\x3a:error::x"),
    (" \t::add-mask::x", " \\t::add-mask::x"),
    (":::error::", "\\x3a::error::"),
    ("a##vso[task.setvariable variable=PATH]v", "a\\x23#vso[task.setvariable variable=PATH]v"),
    ("##VSO[x]", "\\x23#VSO[x]"),
    ("##[group]g", "\\x23#[group]g"),
    ("###[error]e", "#\\x23#[error]e"),
    ("##teamcity[x]", "\\x23#teamcity[x]"),
]


@pytest.mark.parametrize(("text", "shown"), COMMANDS)
def test_a_command_to_a_ci_system_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize(
    "text", ["a::b", "https://[::1]:8443", "x.attest.json::record", "# ## [y]", "## a [b]", "#vso[x]"]
)
def test_what_is_no_command_is_left_as_it_is(text: str) -> None:
    assert clean(text) == no_commands(text) == text


def test_commands_are_found_in_every_line_behind_blanks_and_colors() -> None:
    text = "a::b\n  ::add-mask::x\n##[group]g ##vso[x]v\n\x1b[31;1m::error::\x1b[0m"
    assert no_commands(text) == (
        "a::b\n  \\x3a:add-mask::x\n\\x23#[group]g \\x23#vso[x]v\n\x1b[31;1m\\x3a:error::\x1b[0m"
    )


@given(st.text(st.sampled_from("#:[] vso\n\x1b0m")))
def test_no_text_is_a_command_afterwards(text: str) -> None:
    for line in no_commands(text).split("\n"):
        assert not re.match(r"(\s|\x1b\[[0-9;]*m)*::", line)
        assert not re.search(r"##[a-z]*\[", line, re.IGNORECASE)


@given(st.recursive(st.text(st.sampled_from('#[vso\\"\n\x7f\x9b\u202e\U000e0041é')) | st.none(), st.lists))
def test_clean_json_has_the_same_value_and_prints(value: object) -> None:
    for indent in (None, 1):
        text = clean_json(json.dumps(value, indent=indent, ensure_ascii=False))
        assert "##" not in text
        assert text.replace("\n", "").isprintable()
        assert json.loads(text) == value


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
