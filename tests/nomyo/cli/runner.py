"""Run `nomyo` in this process or in a new one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from nomyo.cli import main
from tests.nomyo_attest.cli import runner
from tests.nomyo_attest.cli.runner import CommandResult, environment

__all__ = ["KEY_FILE", "CommandResult", "command", "environment", "error_message", "run", "start", "start_without"]

KEY_FILE = "KEY_FILE_OF_TESTS"
"""The variable that names the key pair of clients and routers in other processes; generating one takes a second."""

_WITH_KEY = f"""if True:
    import os, sys
    from pathlib import Path
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from nomyo import keys
    from nomyo.cli import main
    pem = Path(os.environ[{KEY_FILE!r}]).read_bytes()
    keys.generate = lambda bits=0: load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    sys.exit(main())"""


def run(*argv: object, stdin: bytes = b"", encoding: str = "utf-8") -> CommandResult:
    """Run the command in this process."""
    return runner.run(*argv, stdin=stdin, encoding=encoding, program=main)


def command(*argv: object) -> list[str]:
    """Return a command line that runs `nomyo` with the key pair of `KEY_FILE`."""
    return [sys.executable, "-c", _WITH_KEY, *map(str, argv)]


def start(*argv: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a new process."""
    return runner.start(*argv, module="nomyo.cli", **options)


def start_without(module: str, *argv: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a new process in which `module` cannot be imported."""
    code = f"import sys; sys.modules[{module!r}] = None; from nomyo.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", code, *map(str, argv)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, env=environment())


def error_message(ran: CommandResult, status: int = 2) -> str:
    """Return the only line on standard error, without the program's name, of a command with this exit status."""
    assert ran.status == status
    return runner.single_error_line(ran, "nomyo")
