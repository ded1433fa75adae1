"""A folder of recorded answers to audit, and the command in a process that takes small steps."""

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
    """`policy.json`, and in `recorded/` so many files of one record and a file of so many lines."""
    recorded = folder / "recorded"
    recorded.mkdir()
    (folder / "policy.json").write_text(json.dumps(Forge().policy()), encoding="utf-8")
    for number in range(files):
        (recorded / f"{number:05}.json").write_bytes(TEXTS[number % len(TEXTS)])
    many = (TEXTS[number % len(TEXTS)] for number in range(lines))
    (recorded / "many.jsonl").write_bytes(b"\n".join(many) + b"\n")


# Chunks of a few records, and a checkpoint after each: what takes a million records otherwise.
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
    """`nomyo-attest audit recorded --policy policy.json` and more in `folder`, in small steps."""
    script = folder / "small_steps.py"
    if not script.exists():
        script.write_text(SMALL_STEPS, encoding="utf-8")
    command = [sys.executable, str(script), "audit", "recorded", "--policy", "policy.json", *argv]
    # In a session of its own, so that nothing of it is left if the test fails.
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


CHILD = b"nomyo_attest.audit."
"""What the command line of a child process contains: the module that it runs."""

ROOT = Path(__file__).parents[3]
"""The folder to put on PYTHONPATH for child processes that import modules of the tests."""


def children(pid: int) -> list[int]:
    """The child processes of an audit, or of this process (Linux)."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [child for child in map(int, text.split()) if CHILD in command_of(child)]
    except OSError:
        return []


def command_of(pid: int) -> bytes:
    """How a process was started; nothing if it is gone, or only waits to be forgotten (Linux)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
