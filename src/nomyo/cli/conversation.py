"""Ask a server one question, or hold a conversation at a terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from nomyo.chat import SecureChatCompletion
from nomyo.cli.connection import command_error
from nomyo.cli.terminal import NOT_APPRAISED, print_completion, print_error, verdict_line
from nomyo.errors import APIConnectionError, APIError, ArgumentError, InvalidRequestError, NomyoError
from nomyo_attest.cli.console import print_json, text_style
from nomyo_attest.cli.errors import CommandError, print_stderr

Message = Mapping[str, str]


class NoTextError(CommandError):
    """A response contains no text to print, such as one with tool calls only."""


@dataclass(frozen=True, slots=True)
class Chat:
    """Send messages to a server, print the completions and their verdicts.

    Attributes:
        runner: the event loop.
        client: the client; with a policy, it requires attestation.
        host: host and port of the server, for messages.
        options: arguments of `create` besides the messages.
        as_json: print the whole response, not only its text.
    """

    runner: asyncio.Runner
    client: SecureChatCompletion
    host: str
    options: Mapping[str, Any]
    as_json: bool = False

    def ask(self, messages: Sequence[Message]) -> str:
        """Send the messages, print completion and verdict, and return the completion's text.

        Raises `NomyoError`, and `NoTextError` if the text is to be printed and there is none.
        """
        with _waiting(f"asking {self.host} …"):
            response = self.runner.run(self.client.create(messages=[dict(one) for one in messages], **self.options))
        text, reason = _first_choice(response)
        if self.as_json:
            print_json(response)
        elif text is None:
            raise NoTextError(f"{self.host}: the response has no text; --format json prints the whole response")
        else:
            print_completion(text)
        if reason == "length":
            print_error("notice: the completion is cut off at the limit of the model or of --max-tokens")
        result = response["_metadata"].get("attestation_result")
        style = text_style(stream=sys.stderr)
        print_stderr(style.paint(NOT_APPRAISED, "dim") if result is None else verdict_line(result, style))
        return text or ""


def _first_choice(response: Mapping[str, Any]) -> tuple[str | None, object]:
    """Return text and finish reason of the first choice; None for what is missing or of another type."""
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else None, choice.get("finish_reason")


@contextmanager
def _waiting(text: str) -> Iterator[None]:
    """Show `text` on a terminal while the context lasts."""
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


def converse(chat: Chat, begin: Sequence[Message]) -> None:
    """Send each line that is typed, with all messages before it, until Ctrl-D.

    An error that another question or waiting may avoid is printed, and its question is left out of the conversation.
    Raises `NomyoError` for any other error: after a refusal nothing more is sent.
    """
    history = list(begin)
    for question in _questions():
        asked = [*history, {"role": "user", "content": question}]
        try:
            completion = chat.ask(asked)
        except KeyboardInterrupt:
            print_error("canceled; the server may have received the question")
        except NoTextError as error:
            print_error(str(error))
        except NomyoError as error:
            if not _may_succeed_later(error):
                raise
            print_error(str(command_error(error, chat.host)))
        else:
            text = completion.encode("utf-8", "replace").decode()  # a model may end in the middle of a character
            history = [*asked, {"role": "assistant", "content": text}]
        print_stderr("")  # an empty line before the next question


def _may_succeed_later(error: NomyoError) -> bool:
    """Whether another question, or the same one later, may succeed."""
    return isinstance(error, (ArgumentError, InvalidRequestError)) or (
        isinstance(error, (APIError, APIConnectionError)) and error.retryable
    )


def _questions() -> Iterator[str]:
    """Read lines from the terminal until Ctrl-D; empty lines are skipped."""
    _edit_lines()
    while True:
        try:
            line = _read_typed_line()
        except EOFError:
            print_stderr("")  # the cursor is still behind the prompt
            return
        if line.strip():
            yield line


def _read_typed_line() -> str:
    if sys.stdout is not None and sys.stdout.isatty():
        return input(PROMPT)  # the line editor redraws the prompt, so it must know it
    if sys.stderr is not None:
        print(PROMPT, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def _edit_lines() -> None:
    """Enable line editing, if there is a line editor; pasted text with line ends stays one question."""
    try:
        import readline
    except ImportError:
        return
    readline.parse_and_bind("set enable-bracketed-paste on")
