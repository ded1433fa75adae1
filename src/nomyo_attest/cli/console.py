"""Print to standard output, and choose the width and color of text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

from nomyo_attest.cli.errors import CommandError
from nomyo_attest.report.formatting import escape_commands, sanitize_json

if TYPE_CHECKING:
    from nomyo_attest.report.formatting import TextStyle

DEFAULT_WIDTH: Final = 80
WIDTH_MINIMUM: Final = 40
WIDTH_MAXIMUM: Final = 100
"""In columns. Longer lines are hard to read even on a wide terminal."""


class OutputClosedError(Exception):
    """The process that reads standard output has closed it."""


def print_output(text: str, *, commands: bool = False) -> None:
    """Print `text` on standard output. Characters that its encoding lacks are written as escapes.

    Args:
        text: the text, already sanitized.
        commands: do not escape lines that a CI system would execute as commands.

    Raises:
        OutputClosedError: the reader of standard output has closed it.
        CommandError: standard output cannot be written for another reason.
    """
    stream = sys.stdout
    if stream is None:  # the parent process closed it
        return
    encoding = stream.encoding or "utf-8"
    with _output_errors():
        # Flushed, so that output and error messages appear in the order in which they were written.
        shown = text if commands else escape_commands(text)
        print(shown.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def print_bytes(pieces: Iterable[bytes]) -> None:
    """Write bytes to standard output, unchanged. Raises the same errors as `print_output`."""
    if sys.stdout is None:
        return
    with _output_errors():
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


@contextmanager
def _output_errors() -> Iterator[None]:
    """Turn an `OSError` of a write to standard output into the error that the program handles."""
    try:
        yield
    except BrokenPipeError:
        _discard_output()
        raise OutputClosedError from None
    except OSError as error:
        _discard_output()
        reason = error.strerror or type(error).__name__
        raise CommandError(f"standard output cannot be written: {reason}; check whether the disk is full") from None


def _discard_output() -> None:
    """Discard buffered output. Otherwise Python would try to write it again at exit and report the error."""
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
    except (OSError, ValueError):
        pass  # standard output is not a file, so nothing is written at exit


def print_json(document: Any) -> None:
    """Print a JSON document, as `json_text` writes it."""
    print_output(json_text(document))


def json_text(document: Any) -> str:
    """Return a JSON document in ASCII, so that no encoding damages it and no terminal or CI system acts on it."""
    import json

    return sanitize_json(json.dumps(document, indent=2, allow_nan=False))


def text_style(*, verbose: bool = False, stream: TextIO | None = None) -> TextStyle:
    """Choose the style of text for `stream`, by default standard output.

    The text is colored on a terminal, unless NO_COLOR is set (no-color.org) or the terminal does not support colors.
    """
    from nomyo_attest.report.formatting import TextStyle

    stream = sys.stdout if stream is None else stream
    terminal = stream is not None and stream.isatty()
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or os.name == "nt"
    return TextStyle(width=_width(stream), color=terminal and not plain, verbose=verbose, terminal=terminal)


def _width(stream: TextIO | None) -> int:
    try:
        columns = int(os.environ["COLUMNS"])
    except (KeyError, ValueError):
        columns = 0
    if columns <= 0 and stream is not None:
        try:
            columns = os.get_terminal_size(stream.fileno()).columns
        except (OSError, ValueError, AttributeError):
            columns = 0
    return min(max(columns, WIDTH_MINIMUM), WIDTH_MAXIMUM) if columns > 0 else DEFAULT_WIDTH
