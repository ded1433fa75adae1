from __future__ import annotations

import pytest

from nomyo_attest.audit.place import Place
from nomyo_attest.report.document import Digest, Mark
from nomyo_attest.report.html.markup import Markup, element, escape, fit, join, render, render_mark, untrusted
from tests.nomyo_attest.report.html.parsed import parse


def test_text_is_escaped_and_markup_is_left_alone() -> None:
    assert element("p", "<b> & \"'", element("b", "x")) == "<p>&lt;b&gt; &amp; &quot;&#x27;<b>x</b></p>"


def test_an_attribute_cannot_be_left_by_what_is_in_it() -> None:
    assert element("a", href='" onclick="x') == '<a href="&quot; onclick=&quot;x"></a>'


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\n", "\u202e", "\u2066", "\u200b", "\ud800", "\ufeff", "\u2028"])
def test_characters_that_do_not_print_are_written_as_escapes(char: str) -> None:
    page = element("p", f"a{char}b", title=char)
    assert char not in page
    assert "\\" in page
    page.encode()


def test_markup_joined_to_text_is_text_again_and_so_is_escaped() -> None:
    assert escape(Markup("<b>") + "<i>") == "&lt;b&gt;&lt;i&gt;"
    assert escape(f"{Markup('<b>')}") == "&lt;b&gt;"
    assert type(join([Markup("<b>"), "<"])) is Markup


def test_an_attribute_that_is_none_is_left_out() -> None:
    assert element("td", class_=None, aria_hidden="true", width=0) == '<td aria-hidden="true" width="0"></td>'


def test_a_void_element_has_no_end() -> None:
    assert element("br") == "<br>"


def test_parts_are_taken_as_long_as_there_is_room() -> None:
    parts = [Markup("aaa"), Markup("bb"), Markup("cc"), Markup("")]
    assert fit(parts, 5) == ["aaa", "bb"]
    assert fit(parts, 7) == parts
    assert fit(parts, 2) == []


def test_text_from_outside_is_cut_and_says_how_long_it_was() -> None:
    assert untrusted("x" * 1_000_000, 50) == f"<bdi>{'x' * 50}</bdi>… (1,000,000 characters)"


def test_text_from_outside_cannot_turn_the_direction_of_what_is_around_it() -> None:
    assert untrusted("a\u202eb") == "<bdi>a\\u202eb</bdi>"


def test_marks_piled_on_a_letter_are_written_as_escapes_from_the_third_on() -> None:
    assert untrusted("e\u0301") == "<bdi>e\u0301</bdi>"
    assert untrusted("Z" + "\u0301" * 4) == "<bdi>Z\u0301\u0301\\u0301\\u0301</bdi>"


def test_a_verdict_has_a_symbol_and_a_word_beside_its_color() -> None:
    node = parse(render_mark(Mark("contraindicated", "contraindicated")))
    assert node.words == "✗ contraindicated"
    assert node.get("class") == "v v-contraindicated"


def test_a_verdict_that_is_none_of_ours_is_text() -> None:
    assert parse(render_mark(Mark('x"', '<b> "'))).words == '? <b> "'


def test_names_in_backticks_are_set_as_code() -> None:
    assert render("say `a<b`; then") == "say <code>a&lt;b</code>; then"


def test_a_digest_is_whole_and_may_break_after_each_eight_bytes() -> None:
    digest = "0123456789abcdef" * 4
    node = parse(render(Digest(digest)))
    assert node.text == digest
    assert len(node.all("wbr")) == 3


def test_digits_that_differ_from_a_digest_nearly_alike_are_marked() -> None:
    digest = "0123456789abcdef" * 4
    other = digest[:20] + "ff" + digest[22:]
    assert [mark.text for mark in parse(render(Digest(digest, near=other))).all("mark")] == ["4", "5"]
    assert parse(render(Digest(digest, near=digest[::-1]))).all("mark") == []
    assert parse(render(Digest(digest, near=digest))).all("mark") == []


@pytest.mark.parametrize("text", ["<script>", "x" * 5000, "", "é" * 20])
def test_what_is_no_digest_is_any_text(text: str) -> None:
    node = parse(render(Digest(text)))
    assert node.text.startswith(text[:100])
    assert len(node.text) < 300


def test_a_place_has_source_line_and_time() -> None:
    assert parse(f"<p>{render(Place('a<b.json', 7, 0))}</p>").words == "a<b.json:7 1970-01-01 00:00:00Z"
