"""The model of a router without an upstream: it answers with the last thing the user said."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

_WORD: Final = re.compile(r"\S+\s*")

_CHOICES_MAX: Final = 16
_SLICE: Final = 64 * 1024


def echo(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion in OpenAI's form, whose content is that of the last user message.

    A token is a word here: `usage` counts words, and `max_tokens` cuts the answer after that many.
    """
    messages = [message for message in payload["messages"] if isinstance(message, dict)]
    said = next((text_of(one.get("content")) for one in reversed(messages) if one.get("role") == "user"), "")
    most = payload.get("max_tokens", payload.get("max_completion_tokens"))
    content, finish = said, "stop"
    if type(most) is int and most >= 0:
        words = _WORD.finditer(said)
        kept = list(islice(words, most))
        if next(words, None) is not None:
            content, finish = said[: kept[-1].end()].rstrip() if kept else "", "length"
    asked = payload.get("n")
    choices = min(asked, _CHOICES_MAX) if type(asked) is int and asked > 0 else 1
    prompt_tokens = sum(_words(text_of(message.get("content"))) for message in messages)
    completion_tokens = choices * _words(content)
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": payload["model"],
        "choices": [
            {"index": index, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
            for index in range(choices)
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def _words(text: str) -> int:
    """Words, counted a slice at a time, so that other threads get their turn; one on a border may count twice."""
    return sum(len(text[start : start + _SLICE].split()) for start in range(0, len(text), _SLICE))


def text_of(content: object) -> str:
    """The text of a message's content: a string, or a list of parts of which those of type text count."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""
