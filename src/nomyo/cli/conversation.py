"""Send one question to a server, or hold a conversation on a terminal."""

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
    """The response contains no text to print, for example only tool calls."""


@dataclass(frozen=True, slots=True)
class Chat:
    """Sends messages to a server, and prints completions and verdicts.

    Attributes:
        runner: the event loop.
        client: the client, which requires attestation if it has a policy.
        host: host and port of the server, for messages.
        options: arguments of `create` except the messages.
        as_json: whether to print the whole response instead of its text.
    """

    runner: asyncio.Runner
    client: SecureChatCompletion
    host: str
    options: Mapping[str, Any]
    as_json: bool = False

    def ask(self, messages: Sequence[Message]) -> str:
        """Send the messages, print the completion and the verdict, and return the completion's text.

        Raises `NomyoError`, and `NoTextError` if the response has no text and `as_json` is not set.
        """
        with _show_progress(f"asking {self.host} …"):
            response = self.runner.run(
                self.client.create(messages=[dict(message) for message in messages], **self.options)
            )
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
    """Return the text and the finish reason of the first choice; the text is None if it is missing or not a string."""
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else None, choice.get("finish_reason")


@contextmanager
def _show_progress(text: str) -> Iterator[None]:
    """Show `text` on a terminal while the context is active."""
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


def converse(chat: Chat, initial_messages: Sequence[Message]) -> None:
    """Send each typed line with the conversation so far, until Ctrl-D.

    If a different question or a later attempt may succeed, the error is printed, and the question is not added to the
    conversation. Raises `NomyoError` for any other error: after a refusal, nothing more is sent.
    """
    history = list(initial_messages)
    for question in _read_questions():
        messages = [*history, {"role": "user", "content": question}]
        try:
            completion = chat.ask(messages)
        except KeyboardInterrupt:
            print_error("canceled; the server may have received the question")
        except NoTextError as error:
            print_error(str(error))
        except NomyoError as error:
            if not _may_succeed_later(error):
                raise
            print_error(str(command_error(error, chat.host)))
        else:
            text = completion.encode("utf-8", "replace").decode()  # a completion may contain half a surrogate pair
            history = [*messages, {"role": "assistant", "content": text}]
        print_stderr("")  # an empty line before the next question


def _may_succeed_later(error: NomyoError) -> bool:
    """Whether a different question, or the same question later, may succeed."""
    return isinstance(error, (ArgumentError, InvalidRequestError)) or (
        isinstance(error, (APIError, APIConnectionError)) and error.retryable
    )


def _read_questions() -> Iterator[str]:
    """Read lines from the terminal until Ctrl-D, and skip empty lines."""
    _enable_line_editing()
    while True:
        try:
            line = _read_typed_line()
        except EOFError:
            print_stderr("")  # end the line of the prompt
            return
        if line.strip():
            yield line


def _read_typed_line() -> str:
    if sys.stdout is not None and sys.stdout.isatty():
        return input(PROMPT)  # the line editor must know the prompt, to redraw it
    if sys.stderr is not None:
        print(PROMPT, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def _enable_line_editing() -> None:
    """Enable line editing if readline is available, so that pasted text with newlines is one question."""
    try:
        import readline
    except ImportError:
        return
    readline.parse_and_bind("set enable-bracketed-paste on")
