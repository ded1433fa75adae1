"""What a service sends back of a request is taken out: whole, in part, escaped, in keys, however long the request."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from time import thread_time
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nomyo.redaction import REDACTED, RUN, SECRET_MINIMUM, Redaction, content_texts

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


@given(secret=st.text("abcdefgh 01234", min_size=SECRET_MINIMUM), text=st.text("ijklmnop {}[]💡 01"))
def test_what_has_little_in_common_with_a_secret_is_left(secret: str, text: str) -> None:
    assume(
        not any(text[at : at + SECRET_MINIMUM] in secret for at in range(max(1, len(text) - SECRET_MINIMUM + 1)))
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
    start = thread_time()
    found = redact({"detail": told})["detail"]
    assert thread_time() - start < 2.0
    assert runs(SECRET, found) == [] or SECRET not in secret


def test_a_text_that_begins_many_runs_and_goes_on_with_none_takes_little_time() -> None:
    secret = "".join(f"abcdefgh{number:08}" for number in range(50_000))
    told = "".join(f"abcdefgh{chr(0x4E00 + number % 5000)}" for number in range(7_000))
    start = thread_time()
    assert Redaction([secret])(told) == REDACTED  # too many of its blocks are told
    assert Redaction([secret[:80_000]])(told) == told
    assert thread_time() - start < 2.0


def test_texts_are_all_but_keys_roles_and_types() -> None:
    value = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, ("b",)],
        "tools": [{"type": "function", "function": {"name": "c", "parameters": {"d": {"enum": ["e"]}}}}],
        "n": 1,
    }
    assert sorted(content_texts(value)) == ["a", "b", "c", "e"]
    assert list(content_texts(None)) == []


@pytest.mark.parametrize(
    "secrets",
    [
        [f"message number {number} of a long conversation" for number in range(30_000)],
        ["y" * 1_000_000 + str(number) for number in range(17)],
        [f"a message {number}" for number in range(15_000)],
    ],
    ids=["many", "long", "alike"],
)
def test_where_looking_would_take_long_nothing_is_told(secrets: list[str]) -> None:
    start = thread_time()
    assert Redaction(secrets)({"detail": ["a message", 5, "short"]}) == {"detail": [REDACTED, 5, "short"]}
    assert thread_time() - start < 2.0


def test_of_very_much_nothing_is_told() -> None:
    assert Redaction([SECRET])([str(number) * 9 for number in range(10_000)]) == [REDACTED] * 10_000
    assert Redaction([SECRET])("ä" * 200_000) == REDACTED


TALK = [f"{number}: " + " ".join(f"{number * word:x}" for word in range(1, 180))[:1000] for number in range(2000)]
BODY = 64 * 1024


@pytest.mark.parametrize(
    "told",
    [
        ["ab"] * (BODY // 5),
        [f"{number:08}" for number in range(BODY // 11)],
        [talk[:9] for talk in TALK],
        [TALK[number % 2000][at : at + 8] for number in range(BODY // 88) for at in range(0, 64, 8)],
        "".join(TALK)[:BODY],
        "|".join(talk[:20] for talk in TALK),
        "a" * BODY,
        "\\n" * (BODY // 2),
        "&a" * (BODY // 2),
        "\ufffd" * BODY,
    ],
    ids=["twos", "eights", "beginnings", "blocks", "echo", "runs", "one", "escapes", "entities", "unreadable"],
)
def test_a_long_talk_and_a_body_made_to_cost_much_take_little_time(told: object) -> None:
    start = thread_time()
    Redaction(TALK)({"detail": told})
    assert thread_time() - start < 1.0  # a twentieth of that where nothing else runs


ESCAPES: dict[str, Callable[[str], str]] = {
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "Python": lambda text: repr(text)[1:-1],
    "Python in ASCII": lambda text: ascii(text)[1:-1],
    "HTML": html.escape,
    "nothing": str,
}


@given(
    secret=st.text("ab\n\t\"'<&\\é€😀", min_size=SECRET_MINIMUM, max_size=60),
    length=st.integers(SECRET_MINIMUM, 60),
    rest=st.integers(0, 11),
)
@pytest.mark.parametrize("name", ESCAPES)
def test_a_secret_does_not_come_back_escaped_or_cut_amid_an_escape(
    name: str, secret: str, length: int, rest: int
) -> None:
    escaped = ESCAPES[name]
    part, following = escaped(secret[:length]), escaped(secret[length : length + 1])
    amid = following[: min(rest, max(0, len(following) - 1))]
    assert REDACTED in Redaction([secret])(f"Cannot read: {part}{amid}")


@pytest.mark.parametrize("text", ["12345678", "1234567€", "€€€€€€€€", "\"<&\n\\'é😀"])
@pytest.mark.parametrize("name", ESCAPES)
def test_a_short_secret_does_not_come_back_escaped_either(name: str, text: str) -> None:
    form = ESCAPES[name](text)
    for told in (form, f"at '{form}' in it", f"at {form}"):
        assert REDACTED in Redaction([text])(told)


def test_large_and_small_letters_are_the_same() -> None:
    assert Redaction([SECRET])(f"<<{SECRET.upper()}>>") == f"<<{REDACTED}>>"


def test_a_run_of_blocks_that_stand_in_many_places_is_taken_out_all_the_same() -> None:
    secret = "".join(f"{'        '}{number:04}wxyz" for number in range(500)) + "keep=        =it!"
    told = f"on line 5: {secret[-RUN - 1 :]}"
    assert Redaction([secret])(told) == f"on line 5: {REDACTED}"


def test_a_run_is_of_characters_and_none_is_cut_in_two() -> None:
    secret = "我们把宝藏埋在哪里了那天晚上还有谁在那里呢谁知道"
    assert Redaction([secret])(f"【{secret[:RUN]}】") == f"【{REDACTED}】"
    assert Redaction([secret])(f"【{secret[3:18]}】") == f"【{secret[3:18]}】"
    assert Redaction([secret])(f"【{secret[:8]}") == f"【{REDACTED}"


def test_bytes_that_hold_a_secret_are_taken_out_and_others_are_left() -> None:
    told = [{"sha256:0": SECRET.encode()[:32], "sha256:1": bytes(range(32))}, (b"\xff" * 32,)]
    assert Redaction([SECRET])(told) == [{"sha256:0": REDACTED, "sha256:1": bytes(range(32))}, [b"\xff" * 32]]


def test_short_texts_are_told_however_long_the_conversation_is() -> None:
    many = [f"message number {number} of a long conversation" for number in range(2000)]
    assert Redaction(many)({"detail": "too long", "code": ["ab"] * 20_000}) == {
        "detail": "too long",
        "code": ["ab"] * 20_000,
    }
    assert Redaction(many)(f"no: {many[7]}") == f"no: {REDACTED}"
