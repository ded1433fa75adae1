from __future__ import annotations

import pytest

from nomyo_attest.audit.summary import Place
from nomyo_attest.report.html.wording import digits, outside, place, prose, verdict
from tests.nomyo_attest.report.html.parsed import parse


def test_text_from_outside_is_cut_and_says_how_long_it_was() -> None:
    assert outside("x" * 1_000_000, 50) == f"<bdi>{'x' * 50}</bdi>… (1,000,000 characters)"


def test_text_from_outside_cannot_turn_the_direction_of_what_is_around_it() -> None:
    assert outside("a\u202eb") == "<bdi>a\\u202eb</bdi>"


def test_marks_piled_on_a_letter_are_written_as_escapes_from_the_third_on() -> None:
    assert outside("e\u0301") == "<bdi>e\u0301</bdi>"
    assert outside("Z" + "\u0301" * 4) == "<bdi>Z\u0301\u0301\\u0301\\u0301</bdi>"


def test_a_verdict_has_a_symbol_and_a_word_beside_its_color() -> None:
    node = parse(verdict("contraindicated"))
    assert node.words == "✗ contraindicated"
    assert node.get("class") == "v v-contraindicated"


def test_a_verdict_that_is_none_of_ours_is_text() -> None:
    assert parse(verdict('<b> "')).words == '<b> "'


def test_names_in_backticks_are_set_as_code() -> None:
    assert prose("say `a<b`; then") == "say <code>a&lt;b</code>; then"


def test_a_digest_is_whole_and_may_break_after_each_eight_bytes() -> None:
    digest = "0123456789abcdef" * 4
    node = parse(digits(digest))
    assert node.text == digest
    assert len(node.all("wbr")) == 3


def test_digits_that_differ_from_a_digest_nearly_alike_are_marked() -> None:
    digest = "0123456789abcdef" * 4
    other = digest[:20] + "ff" + digest[22:]
    assert [mark.text for mark in parse(digits(digest, other)).all("mark")] == ["4", "5"]
    assert parse(digits(digest, digest[::-1])).all("mark") == []
    assert parse(digits(digest, digest)).all("mark") == []


@pytest.mark.parametrize("text", ["<script>", "x" * 5000, "", "é" * 20])
def test_what_is_no_digest_is_any_text(text: str) -> None:
    node = parse(digits(text))
    assert node.text.startswith(text[:100])
    assert len(node.text) < 300


def test_a_place_has_source_line_and_time() -> None:
    assert parse(f"<p>{place(Place('a<b.json', 7, 0))}</p>").words == "a<b.json:7 1970-01-01 00:00:00Z"
