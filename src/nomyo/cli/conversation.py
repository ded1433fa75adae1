"""Questions typed at a terminal, one after the other, to a server that is told all that was said before."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

from nomyo.cli.asking import Asking, Message, NoTextError
from nomyo.cli.errors import complain
from nomyo.cli.failures import failure
from nomyo.errors import APIConnectionError, APIError, ArgumentError, InvalidRequestError, NomyoError
from nomyo_attest.cli.errors import remark

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
            complain("dropped; the server may have read the question all the same")
        except NoTextError as error:
            complain(str(error))
        except NomyoError as error:
            if not _passing(error):
                raise
            complain(str(failure(error, asking.host)))
        else:
            text = answer.encode("utf-8", "replace").decode()  # a model may end amid a character; the client sends none
            said = [*asked, {"role": "assistant", "content": text}]
        remark("")  # sets one question apart from the next


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
            remark("")  # the cursor stands behind the prompt
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
