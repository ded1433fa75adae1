"""One question to a server, and its answer on standard output."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nomyo.chat import SecureChatCompletion
from nomyo.cli.errors import CommandError, complain
from nomyo.cli.terminal import say_completion
from nomyo.cli.verdict import NOT_APPRAISED, verdict_line
from nomyo_attest.cli.console import say_json, text_style
from nomyo_attest.cli.errors import remark

Message = Mapping[str, str]


class NoTextError(CommandError):
    """A response without text where its text is wanted, such as one with tool calls alone."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How questions are asked.

    Attributes:
        runner: the event loop.
        client: whom they go to; its gate is open or shut.
        host: what the server is called.
        options: what `create` is given besides the messages.
        as_json: print all that came, not the text alone.
    """

    runner: asyncio.Runner
    client: SecureChatCompletion
    host: str
    options: Mapping[str, Any]
    as_json: bool = False

    def ask(self, messages: Sequence[Message]) -> str:
        """Ask, print the answer, say the verdict; returns the answer's text.

        Raises `NomyoError`, and `NoTextError` for a response without text where its text is wanted.
        """
        with _waiting(f"asking {self.host} …"):
            response = self.runner.run(self.client.create(messages=[dict(one) for one in messages], **self.options))
        text, reason = _first_choice(response)
        if self.as_json:
            say_json(response)
        elif text is None:
            raise NoTextError(f"{self.host}: the response has no text; --format json shows what came")
        else:
            say_completion(text)
        if reason == "length":
            complain("notice: the answer is cut off: the limit of the model, or --max-tokens, is reached")
        result = response["_metadata"].get("attestation_result")
        there = text_style(stream=sys.stderr)
        remark(there.paint(NOT_APPRAISED, "dim") if result is None else verdict_line(result, there))
        return text or ""


def _first_choice(response: Mapping[str, Any]) -> tuple[str | None, object]:
    """Text and finish reason, as far as the answer has the shape of one: its content is the server's to choose."""
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else None, choice.get("finish_reason")


@contextmanager
def _waiting(text: str) -> Iterator[None]:
    """Show `text` on a terminal for as long as this takes."""
    stream = sys.stderr
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    print(text, end="", file=stream, flush=True)
    try:
        yield
    finally:
        print("\r\x1b[K", end="", file=stream, flush=True)
