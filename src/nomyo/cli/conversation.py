"""One question to a server, and its answer on standard output."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from nomyo.chat import SecureChatCompletion
from nomyo.cli.connection import failure
from nomyo.cli.terminal import NOT_APPRAISED, print_completion, print_error, verdict_line
from nomyo.errors import APIConnectionError, APIError, ArgumentError, InvalidRequestError, NomyoError
from nomyo_attest.cli.console import print_json, text_style
from nomyo_attest.cli.errors import CommandError, print_stderr

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
            print_json(response)
        elif text is None:
            raise NoTextError(f"{self.host}: the response has no text; --format json shows what came")
        else:
            print_completion(text)
        if reason == "length":
            print_error("notice: the answer is cut off: the limit of the model, or --max-tokens, is reached")
        result = response["_metadata"].get("attestation_result")
        there = text_style(stream=sys.stderr)
        print_stderr(there.paint(NOT_APPRAISED, "dim") if result is None else verdict_line(result, there))
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


PROMPT: Final = "> "


def converse(asking: Asking, begin: Sequence[Message]) -> None:
    """Ask what is typed, until Ctrl-D.

    What may be mended by another question, or by waiting, is said and passed over: that question counts as not asked.
    Raises `NomyoError` for anything else; whoever is refused once is told nothing more.
    """
    said = list(begin)
    for question in _questions():
        asked = [*said, {"role": "user", "content": question}]
        try:
            answer = asking.ask(asked)
        except KeyboardInterrupt:
            print_error("dropped; the server may have read the question all the same")
        except NoTextError as error:
            print_error(str(error))
        except NomyoError as error:
            if not _passing(error):
                raise
            print_error(str(failure(error, asking.host)))
        else:
            text = answer.encode("utf-8", "replace").decode()  # a model may end amid a character; the client sends none
            said = [*asked, {"role": "assistant", "content": text}]
        print_stderr("")  # sets one question apart from the next


def _passing(error: NomyoError) -> bool:
    """Whether the next question may fare better."""
    return isinstance(error, (ArgumentError, InvalidRequestError)) or (
        isinstance(error, (APIError, APIConnectionError)) and error.retryable
    )


def _questions() -> Iterator[str]:
    """What is typed, a line at a time, until Ctrl-D; empty lines are passed over."""
    _edit_lines()
    while True:
        try:
            line = _typed()
        except EOFError:
            print_stderr("")  # the cursor stands behind the prompt
            return
        if line.strip():
            yield line


def _typed() -> str:
    if sys.stdout is not None and sys.stdout.isatty():
        return input(PROMPT)  # the line editor has to know the prompt, to draw it anew
    if sys.stderr is not None:
        print(PROMPT, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def _edit_lines() -> None:
    """Arrow keys and earlier lines where there is a line editor; a text pasted with line ends stays one question."""
    try:
        import readline
    except ImportError:
        return
    readline.parse_and_bind("set enable-bracketed-paste on")
