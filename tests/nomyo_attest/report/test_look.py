"""The shapes that all reports are made of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.report.look import Look, count, sentence


@given(
    text=st.text(st.characters(categories=["L", "N", "P", "Zs"])), width=st.integers(40, 120), indent=st.integers(0, 20)
)
def test_wrapped_text_keeps_its_words_and_the_width(text: str, width: int, indent: int) -> None:
    lines = Look(width=width).wrap(text, " " * indent)
    assert all(len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_digest_that_only_fits_by_itself_has_a_line_of_its_own() -> None:
    digest = "ab" * 32
    assert Look(width=80).beside("  name".ljust(12), digest) == ["  name".ljust(12) + digest]
    assert Look(width=80).beside("  name".ljust(20), digest) == ["  name", "    " + digest]
    assert Look(width=80).beside(" " * 20, digest) == ["    " + digest]


def test_long_hex_is_cut_after_a_multiple_of_eight_bytes() -> None:
    lines = Look(width=80).beside("  sig  ", "0123456789abcdef" * 16)
    assert [len(line) - 7 for line in lines] == [64, 64, 64, 64]
    assert lines[0].startswith("  sig  0123")
    assert all(line.startswith(" " * 7) for line in lines[1:])


def test_pairs_stand_in_columns() -> None:
    assert Look(width=20).pairs([("a", "one two three four"), ("long", "x")]) == [
        "  a     one two",
        "        three four",
        "  long  x",
    ]
    assert Look().pairs([]) == []


def test_paint_does_nothing_without_color() -> None:
    assert Look().paint("x", "bad") == "x"
    assert Look(color=True).paint("x", "good") == "\x1b[32mx\x1b[0m"


def test_words() -> None:
    assert [count(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert sentence("not so") == "Not so."
    assert sentence("qualifiedSigner is none") == "qualifiedSigner is none."
    assert sentence("self_asserted: no") == "self_asserted: no."
    assert sentence("is it?") == "Is it?"
    assert sentence("done.") == "Done."


def test_a_command_in_backticks_is_not_broken_over_lines() -> None:
    lines = Look(width=40).wrap("unwrap the records before: `jq -c '.log | fromjson'` and audit them")
    assert any("`jq -c '.log | fromjson'`" in line for line in lines)
    assert all(len(line) <= 40 for line in lines)
    long = "`" + "command " * 12 + "`"
    assert " ".join(Look(width=40).wrap(long)).replace("  ", " ").count("command") >= 10
