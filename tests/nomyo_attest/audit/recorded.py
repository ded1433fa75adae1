"""A folder of recorded responses to audit, and an audit with small chunks in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from nomyo_attest.testing import Forge
from tests.nomyo_attest.audit.mixed_bag import mixed_records

TEXTS = [record.text for record in mixed_records() if record.text is not None and b"\n" not in record.text]


def make_folder(folder: Path, *, files: int = 12, lines: int = 20) -> None:
    """Write `policy.json`, and into `recorded/` a number of files with one record and a file with a number of lines."""
    recorded = folder / "recorded"
    recorded.mkdir()
    (folder / "policy.json").write_text(json.dumps(Forge().policy()), encoding="utf-8")
    for number in range(files):
        (recorded / f"{number:05}.json").write_bytes(TEXTS[number % len(TEXTS)])
    many = (TEXTS[number % len(TEXTS)] for number in range(lines))
    (recorded / "many.jsonl").write_bytes(b"\n".join(many) + b"\n")


# Chunks of a few records, and a checkpoint after each; otherwise a test would need a million records.
SMALL_STEPS = """if True:
    import sys
    from nomyo_attest.audit import run
    from nomyo_attest.audit.sources import parts, reading
    from nomyo_attest.cli import main

    run.CHECKPOINT_SECONDS = run.CHECKPOINT_COST_FACTOR = 0
    reading.CHUNK_PARTS = 4
    parts.LineCutter.__init__.__defaults__ = (8192, 16 * 1024 * 1024)
    sys.exit(main())
"""


def start(folder: Path, *argv: str) -> subprocess.Popen[bytes]:
    """Start `nomyo-attest audit recorded --policy policy.json` with more arguments in `folder`, with small chunks."""
    script = folder / "small_steps.py"
    if not script.exists():
        script.write_text(SMALL_STEPS, encoding="utf-8")
    command = [sys.executable, str(script), "audit", "recorded", "--policy", "policy.json", *argv]
    # In a new session, so that all its processes can be ended if the test fails.
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


CHILD = b"nomyo_attest.audit."
"""A part of the command line of a child process: the module that it runs."""

ROOT = Path(__file__).parents[3]
"""The folder to put on PYTHONPATH for child processes that import modules of the tests."""


def children(pid: int) -> list[int]:
    """Return the child processes of an audit, or of this process (Linux)."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [child for child in map(int, text.split()) if CHILD in command_of(child)]
    except OSError:
        return []


def command_of(pid: int) -> bytes:
    """Return the command line of a process; empty if it has ended (Linux)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
