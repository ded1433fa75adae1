"""A model that the router forwards to: it replies to what a request asks for, and its server counts the prompts."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.nomyo.router.openai_server import ReceivedRequest, ScriptedReply

USAGE: Final = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
TEXT: Final = "Oslo"
NUMBER: Final = 7


def reply_to(request: ReceivedRequest) -> ScriptedReply:
    """Reply with a tool call, with JSON, or with a text, as the request asks."""
    return ScriptedReply(body=json.dumps(completion(request.payload)).encode())


def completion(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the completion for a request."""
    message, reason = _message(payload)
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1767225600,
        "model": payload["model"],
        "choices": [
            {"index": index, "message": message, "finish_reason": reason, "logprobs": None}
            for index in range(payload.get("n") or 1)
        ],
        "usage": USAGE,
    }


def text_of(payload: dict[str, Any]) -> str:
    """Return the last message of a request."""
    content = payload["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _message(payload: dict[str, Any]) -> tuple[dict[str, Any], str]:
    tools = {tool["function"]["name"]: tool["function"] for tool in payload.get("tools") or ()}
    choice = payload.get("tool_choice")
    wanted = [choice["function"]["name"]] if isinstance(choice, dict) else list(tools)
    if tools and choice != "none" and payload["messages"][-1]["role"] != "tool":
        calls = [_call(position, tools[name]) for position, name in enumerate(wanted)]
        return {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
    wanted_format = payload.get("response_format") or {}
    if wanted_format.get("type") == "json_schema":
        content = json.dumps(example(wanted_format["json_schema"]["schema"]))
    elif wanted_format.get("type") == "json_object":
        content = json.dumps({"city": TEXT, "population": NUMBER})
    else:
        content = f"reply to {text_of(payload)}"
    return {"role": "assistant", "content": content, "refusal": None}, "stop"


def _call(position: int, function: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(example(function.get("parameters") or {}))
    return {
        "id": f"call_{position}",
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def example(schema: dict[str, Any], definitions: dict[str, Any] | None = None) -> Any:
    """Return a value that a JSON schema describes."""
    definitions = schema.get("$defs", {}) if definitions is None else definitions
    if "$ref" in schema:
        return example(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            return example(schema[name][0], definitions)
    kind = schema.get("type", "object")
    if kind == "object":
        return {name: example(inner, definitions) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema.get("items", {"type": "string"}), definitions)]
    return {"string": TEXT, "integer": NUMBER, "number": NUMBER, "boolean": True}[kind]
