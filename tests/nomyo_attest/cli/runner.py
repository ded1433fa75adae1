"""Run the command in this process or in a new one."""

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
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Parse standard output."""
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
    """Run the command in a new process."""
    command = [sys.executable, "-m", module, *map(str, argv)]
    given: dict[str, Any] = {"capture_output": True, "env": environment()} | options
    return subprocess.run(command, encoding="utf-8", timeout=120, check=False, **given)


def environment(**more: str) -> dict[str, str]:
    """Return the variables of a plain terminal, and `more`."""
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR", "FORCE_COLOR"}}
    return kept | {"PYTHONUTF8": "1"} | more


def single_error_line(ran: CommandResult, program: str = "nomyo-attest") -> str:
    """Return the only line on standard error, without the program's name; check that standard output is empty."""
    assert ran.out == ""
    assert ran.err.endswith("\n")
    (line,) = ran.err.removesuffix("\n").split("\n")
    assert line.isprintable()
    assert line.startswith(f"{program}: ")
    return line.removeprefix(f"{program}: ")
