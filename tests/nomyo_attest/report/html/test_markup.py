from __future__ import annotations

import pytest

from nomyo_attest.report.html.markup import Markup, element, escape, fit, join


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
