from __future__ import annotations

from typing import Any

import pytest

from nomyo.router.echo import echo


def said(*contents: Any, **more: Any) -> dict[str, Any]:
    """The echo of user messages with these contents."""
    return echo({"model": "m", "messages": [{"role": "user", "content": one} for one in contents], **more})


def content(completion: dict[str, Any]) -> Any:
    return completion["choices"][0]["message"]["content"]


def test_the_last_user_message_comes_back_in_openai_s_form() -> None:
    completion = said("first", "Grüße, and more")
    assert completion["object"] == "chat.completion"
    assert completion["model"] == "m"
    assert completion["id"].startswith("chatcmpl-")
    assert completion["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Grüße, and more"}, "finish_reason": "stop"}
    ]
    assert completion["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}


def test_what_others_said_is_not_echoed() -> None:
    messages = [{"role": "user", "content": "mine"}, {"role": "assistant", "content": "yours"}]
    assert content(echo({"model": "m", "messages": messages})) == "mine"
    assert content(echo({"model": "m", "messages": [{"role": "system", "content": "be kind"}]})) == ""


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}], "a\nb"),
        ([], ""), (None, ""), (["a"], ""), ([{"type": "text"}], ""), ({"text": "a"}, ""),
    ],
)  # fmt: skip
def test_content_in_parts_is_read(parts: object, text: str) -> None:
    assert content(said(parts)) == text


def test_max_tokens_cuts_after_so_many_words() -> None:
    completion = said("one two  three four", max_tokens=3)
    assert content(completion) == "one two  three"
    assert completion["choices"][0]["finish_reason"] == "length"
    assert completion["usage"]["completion_tokens"] == 3
    assert said("one two", max_completion_tokens=1)["choices"][0]["finish_reason"] == "length"
    assert said("one two", max_tokens=2)["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("most", [True, -1, "3", 1.0, None])
def test_max_tokens_that_are_no_number_cut_nothing(most: object) -> None:
    assert content(said("one two", max_tokens=most)) == "one two"


@pytest.mark.parametrize(("n", "choices"), [(3, 3), (1, 1), (0, 1), (-1, 1), ("2", 1), (True, 1), (10**9, 16)])
def test_as_many_choices_as_asked_for_within_reason(n: object, choices: int) -> None:
    completion = said("a b", n=n)
    assert [choice["index"] for choice in completion["choices"]] == list(range(choices))
    assert completion["usage"]["completion_tokens"] == 2 * choices


def test_a_cut_keeps_what_stands_before_the_first_word() -> None:
    assert content(said("  one two", max_tokens=1)) == "  one"
    assert content(said("one two", max_tokens=0)) == ""
    assert said("", max_tokens=0)["choices"][0]["finish_reason"] == "stop"


def test_a_long_prompt_is_counted_nearly_exactly() -> None:
    usage = said("word " * 200_000)["usage"]
    assert 200_000 <= usage["prompt_tokens"] <= 200_016
