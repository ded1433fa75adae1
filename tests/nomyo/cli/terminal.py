"""Run `nomyo` in a pseudoterminal, and type into it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.nomyo.cli.runner import command, environment

_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
)
"""Makes standard input the controlling terminal, so that Ctrl-C reaches the process, and executes the command."""

PATIENCE = 60.0
ROWS, COLUMNS = 24, 80


class Terminal:
    """`nomyo` in a new pseudoterminal, with the key pair of the tests, as a context manager.

    Args:
        argv: the arguments of the command.
        out: a file for standard output; None for the terminal.
        more: additional environment variables.

    Attributes:
        shown: the output so far.
    """

    def __init__(self, *argv: str, out: Path | None = None, more: Mapping[str, str] | None = None) -> None:
        self._argv = [sys.executable, "-c", _TAKE_TERMINAL, *command(*argv)]
        self._out = out
        self._more = more or {}
        self._read = 0
        self.shown = ""

    def __enter__(self) -> Self:
        self._end, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        out = other if self._out is None else os.open(self._out, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            self._process = subprocess.Popen(
                self._argv,
                stdin=other,
                stdout=out,
                stderr=other,
                start_new_session=True,
                env=environment(**{"TERM": "xterm", **self._more}),
            )
        finally:
            for descriptor in {out, other}:
                os.close(descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._end)
        if error is not None:
            error.add_note(f"The terminal showed: {self.shown!r}")

    def type(self, text: str) -> None:
        """Type `text`; ``\\r`` is the Enter key, ``\\x03`` Ctrl-C, ``\\x04`` Ctrl-D."""
        os.write(self._end, text.encode())

    def see(self, text: str) -> None:
        """Wait until `text` appears in the output after the previous match. Its spaces may be line breaks there."""
        limit = time.monotonic() + PATIENCE
        pattern = re.compile(r"\s+".join(map(re.escape, text.split(" "))))
        while (found := pattern.search(self.shown, self._read)) is None:
            assert self._more_shown(limit), f"{text!r} does not appear"
        self._read = found.end()

    def end(self) -> int:
        """Wait until the command ends; return its status."""
        limit = time.monotonic() + PATIENCE
        while self._more_shown(limit):
            pass
        return self._process.wait(PATIENCE)

    def interrupt(self) -> int:
        """Type Ctrl-C until the command ends; return its status.

        Python ignores a Ctrl-C between showing a prompt and starting to read the input, so one is not always enough.
        """
        for _ in range(10):
            self.type("\x03")
            limit = time.monotonic() + 5
            while self._more_shown(limit):
                pass
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(1)
        raise AssertionError("Ctrl-C does not end the command")

    def _more_shown(self, limit: float) -> bool:
        ready, _, _ = select.select([self._end], [], [], max(0.0, limit - time.monotonic()))
        if not ready:
            return False
        try:
            content = os.read(self._end, 65536)
        except OSError:  # EIO: the other end is closed (Linux)
            return False
        self.shown += content.decode("utf-8", "replace")
        return bool(content)
