"""What is written as TOML is read back as it was."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from nomyo_attest.policy.toml import toml_comment, toml_string


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_string_is_read_back_as_it_was(text: str) -> None:
    written = toml_string(text)
    assert written.isprintable()
    assert tomllib.loads(f"key = {written}") == {"key": text}


@given(st.text(st.characters()))
def test_a_comment_stays_a_comment(text: str) -> None:
    comment = toml_comment(text)
    assert comment.isprintable()
    assert tomllib.loads(f"# {comment}\nkey = 1") == {"key": 1}


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert tomllib.loads(f"key = {toml_string(chr(0xDC80))}") == {"key": "\ufffd"}
