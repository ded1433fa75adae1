"""Running the command, in this process or in one of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple
from unittest.mock import patch

from nomyo_attest.cli import main


class CommandResult(NamedTuple):
    """What a command did: its exit status and what it printed."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output, parsed."""
        return json.loads(self.out)


Main = Callable[[Sequence[str]], int]


def run(*argv: object, stdin: bytes = b"", encoding: str = "utf-8", program: Main = main) -> CommandResult:
    """Run the command in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    source = io.TextIOWrapper(io.BytesIO(stdin), encoding=encoding)
    with redirect_stdout(out), redirect_stderr(err), patch("sys.stdin", source):
        status = program([str(word) for word in argv])
    for stream in (out, err):
        stream.flush()
        stream.seek(0)
    return CommandResult(status, out.read(), err.read())


def start(*argv: object, module: str = "nomyo_attest.cli", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", module, *map(str, argv)]
    given: dict[str, Any] = {"capture_output": True, "env": environment()} | options
    return subprocess.run(command, encoding="utf-8", timeout=120, check=False, **given)


def environment(**more: str) -> dict[str, str]:
    """The environment of a plain terminal, with `more` set."""
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR", "FORCE_COLOR"}}
    return kept | {"PYTHONUTF8": "1"} | more


def single_error_line(ran: CommandResult, program: str = "nomyo-attest") -> str:
    """The one line on standard error, without the program's name; nothing may stand on standard output."""
    assert ran.out == ""
    assert ran.err.endswith("\n")
    (line,) = ran.err.removesuffix("\n").split("\n")
    assert line.isprintable()
    assert line.startswith(f"{program}: ")
    return line.removeprefix(f"{program}: ")
