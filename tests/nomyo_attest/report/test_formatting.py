"""Hostile text cannot drive a terminal; lines, numbers, times and digests are formatted in one way."""

from __future__ import annotations

import json
import re
from typing import Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nomyo_attest.report.formatting import (
    EXCERPT_MAX,
    TextStyle,
    compact,
    count,
    digests,
    duration,
    escape_commands,
    excerpt,
    firmware_text,
    firmware_version,
    moment,
    sanitize,
    sanitize_json,
    sentence,
    share,
    shares,
    size,
)


@given(st.text(st.characters()))
def test_sanitized_text_prints_and_stays_as_it_is(text: str) -> None:
    sanitized = sanitize(text)
    assert sanitized.isprintable()
    assert sanitize(sanitized) == sanitized


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"])))
def test_text_that_prints_and_is_no_command_is_left_as_it_is(text: str) -> None:
    assume("##" not in text and not text.startswith("::"))
    assert sanitize(text) == text


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
    assert sanitize(text) == shown


@pytest.mark.parametrize(
    "text", ["a::b", "https://[::1]:8443", "x.attest.json::record", "# ## [y]", "## a [b]", "#vso[x]"]
)
def test_what_is_no_command_is_left_as_it_is(text: str) -> None:
    assert sanitize(text) == escape_commands(text) == text


def test_commands_are_found_in_every_line_behind_blanks_and_colors() -> None:
    text = "a::b\n  ::add-mask::x\n##[group]g ##vso[x]v\n\x1b[31;1m::error::\x1b[0m"
    assert escape_commands(text) == (
        "a::b\n  \\x3a:add-mask::x\n\\x23#[group]g \\x23#vso[x]v\n\x1b[31;1m\\x3a:error::\x1b[0m"
    )


@given(st.text(st.sampled_from("#:[] vso\n\x1b0m")))
def test_no_text_is_a_command_afterwards(text: str) -> None:
    for line in escape_commands(text).split("\n"):
        assert not re.match(r"(\s|\x1b\[[0-9;]*m)*::", line)
        assert not re.search(r"##[a-z]*\[", line, re.IGNORECASE)


@given(st.recursive(st.text(st.sampled_from('#[vso\\"\n\x7f\x9b\u202e\U000e0041é')) | st.none(), st.lists))
def test_sanitized_json_has_the_same_value_and_prints(value: object) -> None:
    for indent in (None, 1):
        text = sanitize_json(json.dumps(value, indent=indent, ensure_ascii=False))
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
    assert sanitize(text) == shown


def test_long_text_is_cut_and_its_length_told() -> None:
    assert excerpt("x" * EXCERPT_MAX) == "x" * EXCERPT_MAX
    assert excerpt("x" * (EXCERPT_MAX + 1)) == "x" * EXCERPT_MAX + f"… ({EXCERPT_MAX + 1} characters)"
    assert len(excerpt("\x00" * 10_000_000)) < 4 * EXCERPT_MAX + 40


@given(
    text=st.text(st.characters(categories=["L", "N", "P", "Zs"])), width=st.integers(40, 120), indent=st.integers(0, 20)
)
def test_wrapped_text_keeps_its_words_and_the_width(text: str, width: int, indent: int) -> None:
    lines = TextStyle(width=width).wrap(text, " " * indent)
    assert all(len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_digest_that_only_fits_by_itself_has_a_line_of_its_own() -> None:
    digest = "ab" * 32
    assert TextStyle(width=80).beside("  name".ljust(12), digest) == ["  name".ljust(12) + digest]
    assert TextStyle(width=80).beside("  name".ljust(20), digest) == ["  name", "    " + digest]
    assert TextStyle(width=80).beside(" " * 20, digest) == ["    " + digest]


def test_long_hex_is_cut_after_a_multiple_of_eight_bytes() -> None:
    lines = TextStyle(width=80).beside("  sig  ", "0123456789abcdef" * 16)
    assert [len(line) - 7 for line in lines] == [64, 64, 64, 64]
    assert lines[0].startswith("  sig  0123")
    assert all(line.startswith(" " * 7) for line in lines[1:])


def test_pairs_stand_in_columns() -> None:
    assert TextStyle(width=20).pairs([("a", "one two three four"), ("long", "x")]) == [
        "  a     one two",
        "        three four",
        "  long  x",
    ]
    assert TextStyle().pairs([]) == []


def test_paint_does_nothing_without_color() -> None:
    assert TextStyle().paint("x", "bad") == "x"
    assert TextStyle(color=True).paint("x", "good") == "\x1b[32mx\x1b[0m"


def test_words() -> None:
    assert [count(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert sentence("not so") == "Not so."
    assert sentence("qualifiedSigner is none") == "qualifiedSigner is none."
    assert sentence("self_asserted: no") == "self_asserted: no."
    assert sentence("is it?") == "Is it?"
    assert sentence("done.") == "Done."


def test_a_command_in_backticks_is_not_broken_over_lines() -> None:
    lines = TextStyle(width=40).wrap("unwrap the records before: `jq -c '.log | fromjson'` and audit them")
    assert any("`jq -c '.log | fromjson'`" in line for line in lines)
    assert all(len(line) <= 40 for line in lines)
    long = "`" + "command " * 12 + "`"
    assert " ".join(TextStyle(width=40).wrap(long)).replace("  ", " ").count("command") >= 10


def test_a_share_is_0_or_100_only_where_it_is_exactly_that() -> None:
    assert [share(part, 100_000) for part in (0, 1, 99_999, 100_000, 97_400)] == [
        "0.0%",
        "<0.1%",
        ">99.9%",
        "100.0%",
        "97.4%",
    ]
    assert share(0, 0) == ""
    assert [share(part, 30) for part in (1, 10, 20)] == ["3.3%", "33.3%", "66.7%"]


def tenths(text: str) -> int:
    """A share in tenths of a percent; those of less than one, and of less than all, as the number they are beside."""
    return {"<0.1%": 0, ">99.9%": 1000}.get(text) or round(10 * float(text.removesuffix("%").lstrip("<>")))


@pytest.mark.parametrize(
    "parts", [[1, 1, 1], [1] * 6, [1] * 7, [2, 2, 3], [9_999, 1], [1, 1, 10**9], [5, 0, 0], [333, 333, 334]]
)
def test_the_shares_of_a_whole_add_up_to_100_percent(parts: list[int]) -> None:
    found = shares(parts)
    assert sum(0 if one == "<0.1%" else tenths(one) for one in found) == 1000
    assert all((one == "0.0%") == (part == 0) for one, part in zip(found, parts, strict=True))
    assert all((one == "100.0%") == (part == sum(parts)) for one, part in zip(found, parts, strict=True))


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8), st.integers(0, 10**6))
def test_shares_are_right_to_a_tenth_and_add_up_however_many_are_listed(parts: list[int], rest: int) -> None:
    whole = sum(parts) + rest
    found = shares([*parts, rest], whole)
    assert shares(parts, whole) == found[:-1]
    if not whole:
        assert set(found) == {""}
        return
    assert sum(0 if one == "<0.1%" else tenths(one) for one in found) == 1000
    for one, part in zip(found, [*parts, rest], strict=True):
        exact = 1000 * part / whole
        assert abs((0 if one == "<0.1%" else tenths(one)) - exact) < 1


def test_shares_of_more_than_the_whole_are_no_error() -> None:
    assert shares([3, 3], 4) == ["75.0%", "75.0%"]


def test_times_are_utc_and_those_of_no_year_are_shown_as_they_are() -> None:
    assert moment(1793577600) == "2026-11-02 00:00:00Z"
    assert moment(-62135596801) == "-62135596801 s"
    assert moment(2**53 - 1) == "9007199254740991 s"
    assert moment(None) == "no time"


def test_numbers_are_grouped_and_nouns_follow_them() -> None:
    assert count(1, "record") == "1 record"
    assert count(10_000_000, "record") == "10,000,000 records"
    assert count(0, "process", "processes") == "0 processes"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (999, "999"), (1000, "1k"), (250_000, "250k"), (1_500_000, "1.5M"), (2 * 10**9, "2G")]
)
def test_numbers_of_an_axis_are_short(value: int, text: str) -> None:
    assert compact(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.5, "2.5 s"),
        (0.0421, "0.0421 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (5400, "1 h 30 min"),
        (29_520, "8 h 12 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 day"),
        (255_744, "2.96 days"),
        (172_800, "2 days"),
        (86_400 * 1_234.5, "1,234 days"),
    ],
)
def test_a_duration_is_in_days_or_below_a_day_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0x0003000700000005, "3.7.0.5 (0x0003000700000005)"),
        (0x0007003F000D1900, "7.63.13.6400 (0x0007003f000d1900)"),
        (0x2024012500120000, "2024-01-25 (0x2024012500120000)"),
        (0x2024131500120000, "0x2024131500120000"),
        (0x9E3779B97F4A7C15, "0x9e3779b97f4a7c15"),
        (0, "0.0.0.0 (0x0000000000000000)"),
    ],
)
def test_a_firmware_version_has_the_form_that_people_know_and_the_hexadecimal_one(value: int, text: str) -> None:
    assert firmware_version(value) == text
    assert firmware_text(f"0x{value:016x}") == text


@pytest.mark.parametrize("text", ["", "2.4", "0x", "0x00030007000000050", "0xZZ", "\u0663"])
def test_any_other_text_is_no_firmware_version_and_stays(text: str) -> None:
    assert firmware_text(text) == text


def test_sizes_are_exact() -> None:
    assert size(1_048_576) == "1,048,576 bytes"
    assert size(None) == "not known"


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")


@given(st.sets(st.binary(min_size=32, max_size=32), max_size=6))
def test_different_values_are_written_differently(values: set[bytes]) -> None:
    written = digests(values)
    assert len(set(written.values())) == len(values)


@given(value=st.binary(min_size=32, max_size=64), bits=st.sets(st.integers(0, 255), min_size=1, max_size=4))
def test_values_that_differ_in_one_bit_are_written_differently(value: bytes, bits: set[int]) -> None:
    values = {value, *(flipped(value, bit) for bit in bits)}
    written = digests(values)
    assert len(set(written.values())) == len(values)


@given(value=st.binary(min_size=32, max_size=64), bit=st.integers(0, 255))
def test_two_values_are_cut_at_the_same_places(value: bytes, bit: int) -> None:
    one, other = digests([value, flipped(value, bit)]).values()
    differing = [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    assert differing
    assert [i for i, char in enumerate(one) if char == "…"] == [i for i, char in enumerate(other) if char == "…"]
    assert len(one) <= 22


def test_short_values_and_verbose_ones_are_whole() -> None:
    assert digests([bytes(16), bytes(20)]) == {bytes(16): "00" * 16, bytes(20): "00" * 20}
    assert digests([bytes(32)], in_full=True) == {bytes(32): "00" * 32}
    assert digests([]) == {}


def test_a_cut_value_shows_its_ends_and_the_place_of_the_difference() -> None:
    value = bytes(range(32))
    assert digests([value])[value] == "00010203…1e1f"
    other = flipped(value, 8 * (31 - 16))
    assert digests([value, other]) == {value: "00010203…10111213…1e1f", other: "00010203…11111213…1e1f"}
    behind = flipped(value, 8 * (31 - 4))
    assert digests([value, behind]) == {value: "0001020304050607…1e1f", behind: "0001020305050607…1e1f"}
