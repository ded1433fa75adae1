"""Error messages: one line, which only a terminal shows in several."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import pytest

from nomyo_attest.cli.errors import print_error

COMMAND = "nomyo-attest audit 'a b.jsonl' --policy policy.toml --at 2026-01-01T00:00:00Z"
MESSAGE = f"a b.jsonl: this file has many records, and this command reads files of one record; run: {COMMAND}"


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def printed(message: str, *, terminal: bool) -> list[str]:
    """The lines that a message takes on a terminal of 60 columns, or in a pipe."""
    stream = Stream(terminal=terminal)
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(stream):
        patch.setenv("COLUMNS", "60")
        print_error(message)
    return stream.getvalue().splitlines()


def test_a_message_in_a_pipe_is_one_line() -> None:
    assert printed(MESSAGE, terminal=False) == [f"nomyo-attest: {MESSAGE}"]


def test_a_message_on_a_terminal_is_broken_at_blanks_but_not_in_a_command() -> None:
    lines = printed(MESSAGE, terminal=True)
    assert f"  {COMMAND}" in lines
    assert all(len(line) <= 60 for line in lines if COMMAND not in line)
    assert " ".join(line.strip() for line in lines) == f"nomyo-attest: {MESSAGE}"


def test_no_line_of_a_broken_message_is_a_command_of_a_ci_system() -> None:
    lines = printed(f"{'x' * 50} ::error::forged {'x' * 50} ##vso[task.complete]forged", terminal=True)
    assert len(lines) > 2
    assert not any(line.strip().startswith(("::", "##vso")) for line in lines)
