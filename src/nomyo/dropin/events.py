"""Write a chat completion as the server-sent events of OpenAI's streaming API.

The completion is complete and has passed the gate before the first event is written. So there are two events for each
choice, one with the whole message and one with the reason why it ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TypeGuard

_SHARED: Final = ("id", "created", "model", "system_fingerprint", "service_tier")
"""Fields of a completion that every event repeats."""

_DONE: Final = b"data: [DONE]\n\n"


def is_chat_completion(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a value is an object with at least one choice, each of which has a message.

    An SDK would take anything else for a success without content, or fail.
    """
    choices = value.get("choices") if isinstance(value, dict) else None
    return isinstance(choices, list) and bool(choices) and all(map(_has_message, choices))


def _has_message(choice: object) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return False
    calls = message.get("tool_calls")
    return calls is None or (isinstance(calls, list) and all(isinstance(call, dict) for call in calls))


def event_stream(completion: dict[str, Any], *, include_usage: bool) -> bytes:
    """Return the body of a streaming response.

    Args:
        completion: a chat completion (`is_chat_completion`). Its ``_metadata`` is not part of any event.
        include_usage: whether to add an event with the token counts and no choices, if the completion has them.

    Raises `ValueError` or `TypeError` if JSON cannot represent it.
    """
    shared = {name: completion[name] for name in _SHARED if name in completion} | {"object": "chat.completion.chunk"}
    documents = [{**shared, "choices": [choice]} for choice in _choices(completion["choices"])]
    if include_usage and isinstance(completion.get("usage"), dict):
        documents.append({**shared, "choices": [], "usage": completion["usage"]})
    events = [f"data: {json.dumps(document, allow_nan=False)}\n\n".encode("ascii") for document in documents]
    return b"".join([*events, _DONE])


def _choices(choices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the two events' choices for each choice of a completion."""
    for position, choice in enumerate(choices):
        delta = dict(choice["message"])
        if delta.get("tool_calls") is not None:
            delta["tool_calls"] = [{**call, "index": index} for index, call in enumerate(delta["tool_calls"])]
        index = choice.get("index", position)
        whole = {"index": index, "delta": delta, "finish_reason": None}
        if "logprobs" in choice:
            whole["logprobs"] = choice["logprobs"]
        yield whole
        rest = {name: value for name, value in choice.items() if name not in ("message", "logprobs")}
        yield {**rest, "index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
