"""What a service sends back of a request is taken out: whole, in part, escaped, in keys, however long the request."""

from __future__ import annotations

import time
from time import perf_counter
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nomyo.redact import REDACTED, RUN, SECRET_LEAST, Redaction, texts

SECRET = "Where did we bury the treasure, and who else was there on that night?"
# Nothing of these letters is part of the word that takes their place.
LETTERS = st.text("ABCDEFGHIJ äöü€😀\n\"'<&\\", max_size=200)


def runs(secret: str, told: str) -> list[str]:
    """The runs of a secret that stand in a text."""
    return [secret[at : at + RUN] for at in range(len(secret) - RUN + 1) if secret[at : at + RUN] in told]


@pytest.mark.parametrize("start", range(len(SECRET) - RUN))
@pytest.mark.parametrize("length", [RUN, RUN + 1, 24, 40])
def test_a_quotation_of_any_part_is_taken_out(start: int, length: int) -> None:
    part = SECRET[start : start + length]
    assert Redaction([SECRET])(f"<<{part}>>") == f"<<{REDACTED}>>"


@given(
    secret=LETTERS.map(lambda text: f"{text}{text[::-1]}AHA, DEAR ÖÄÜ"), before=LETTERS, after=LETTERS, data=st.data()
)
def test_no_run_of_a_secret_is_left(secret: str, before: str, after: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(secret)))
    end = data.draw(st.integers(start, len(secret)))
    told = Redaction([secret])({"a": [before + secret[start:end] + after], secret[start:end]: 1})
    assert runs(secret, told["a"][0]) == []
    assert [run for key in told for run in runs(secret, key)] == []


@given(secret=st.text("abcdefgh 01234", min_size=SECRET_LEAST), text=st.text("ijklmnop {}[]💡 01"))
def test_what_has_little_in_common_with_a_secret_is_left(secret: str, text: str) -> None:
    assume(
        not any(text[at : at + SECRET_LEAST] in secret for at in range(max(1, len(text) - SECRET_LEAST + 1)))
        or not text
    )
    assert Redaction([secret])([text, {text: None}, 1, True, 2.5]) == [text, {text: None}, 1, True, 2.5]


def test_several_parts_in_one_text_are_taken_out_each() -> None:
    text = f"at first {SECRET[3:25]}, then {SECRET[30:60]}!"
    assert Redaction([SECRET, "another one"])(text) == f"at first {REDACTED}, then {REDACTED}!"


def test_a_secret_in_lower_case_is_taken_out_of_names() -> None:
    assert Redaction(["Bearer-KEY-0123456789"])({"x-bearer-key-0123456789": 1}) == {f"x-{REDACTED}": 1}


def test_without_secrets_a_value_stays_but_for_its_depths() -> None:
    value: Any = "text"
    for _ in range(19):
        value = [value]
    assert Redaction([])(value) == value
    assert Redaction(["short"])(value) == value
    assert "text" not in str(Redaction([])([[[value]]]))


@pytest.mark.parametrize("secret", [SECRET * 140_000, "a" * 9_000_000, "ab" * 5_000_000], ids=["words", "a", "ab"])
@pytest.mark.parametrize(
    "told", [SECRET[10:40], "a" * 60_000, "ab" * 30_000, SECRET * 900], ids=["part", "a", "ab", "all"]
)
def test_a_prompt_of_megabytes_is_searched_in_little_time(secret: str, told: str) -> None:
    redact = Redaction([secret])
    start = perf_counter()
    found = redact({"detail": told})["detail"]
    assert perf_counter() - start < 2.0
    assert runs(SECRET, found) == [] or SECRET not in secret


def test_a_text_that_begins_many_runs_and_goes_on_with_none_takes_little_time() -> None:
    secret = "".join(f"abcdefgh{number:08}" for number in range(50_000))
    told = "".join(f"abcdefgh{chr(0x4E00 + number % 5000)}" for number in range(7_000))
    start = perf_counter()
    assert Redaction([secret])(told) == told
    assert perf_counter() - start < 2.0


def test_texts_are_all_but_keys_roles_and_types() -> None:
    value = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, ("b",)],
        "tools": [{"type": "function", "function": {"name": "c", "parameters": {"d": {"enum": ["e"]}}}}],
        "n": 1,
    }
    assert sorted(texts(value)) == ["a", "b", "c", "e"]
    assert list(texts(None)) == []


def test_where_looking_would_take_long_nothing_is_told() -> None:
    many = [f"message number {number} of a long conversation" for number in range(2000)]
    told = {"detail": "x" * 60_000, "list": ["abcdefgh" * 1000, 5]}
    began = time.perf_counter()
    found = Redaction(many)(told)
    assert found == {REDACTED: [REDACTED, 5]}
    assert Redaction(["y" * 2000 + str(number) for number in range(1000)])(["short"]) == [REDACTED]
    assert time.perf_counter() - began < 5  # it was minutes


def test_short_texts_are_told_however_long_the_conversation_is() -> None:
    many = [f"message number {number} of a long conversation" for number in range(2000)]
    assert Redaction(many)({"detail": "too long", "code": ["ab"] * 20_000}) == {
        "detail": "too long",
        "code": ["ab"] * 20_000,
    }
    assert Redaction(many)(f"no: {many[7]}") == f"no: {REDACTED}"
