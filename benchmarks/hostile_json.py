"""Measure the time and memory that the worst records of 16 MiB need, each kind in a separate process.

    python benchmarks/hostile_json.py                 # print the table
    python benchmarks/hostile_json.py --write         # and write it to docs/performance.md

The target is one second of processor time and 200 MiB in addition to the record, including the storage of evidence.
Requires Linux.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import nomyo_attest as na
import page
from nomyo_attest.audit.record import AppraisedRecord, RecordAppraiser
from nomyo_attest.evidence.strict_json import RECORD_BYTES_MAX, TooManyContainersError, check_containers
from nomyo_attest.testing import Forge

METADATA: Final = json.dumps(Forge().response()["_metadata"])
AFTER_METADATA: Final = f'{{"_metadata": {METADATA}, "choices": ['
IN_METADATA: Final = f'{{"_metadata": {METADATA[:-1]}, "more": ['


def filled(unit: str, head: str = AFTER_METADATA, tail: str = "0]}") -> bytes:
    """Return the largest record that repeats `unit`."""
    number = (RECORD_BYTES_MAX - len(head.encode()) - len(tail)) // len(unit.encode())
    return (head + unit * number + tail).encode()


def members() -> bytes:
    """Return a record with as many different keys as possible."""
    each = 12
    number = (RECORD_BYTES_MAX - 100) // (13 + each)
    return (
        '{"_metadata": {"more": {' + "".join(f'"{n:06x}":1.5,{" " * each}' for n in range(number)) + '"":0}}}'
    ).encode()


def logprobs() -> bytes:
    """Return the longest response with the log probabilities of 20 alternatives for each token."""
    alternative = '{"token":" the","logprob":-12.345678,"bytes":[32,116,104,101]}'
    token = f'{alternative[:-1]},"top_logprobs":[{",".join([alternative] * 20)}]}},'
    return filled(token)


RECORDS: Final[dict[str, Callable[[], bytes]]] = {
    "log probabilities of 20 alternatives": logprobs,
    "prose": lambda: filled('"' + "lorem ipsum, [dolor] {sit} amet, " * 100 + '",'),
    "empty arrays": lambda: filled("[],"),
    "the maximum number of arrays": lambda: filled("[" + "1," * 11 + "1],"),
    "numbers": lambda: filled("1,"),
    "strings": lambda: filled('"ab",'),
    "quotation marks and brackets in strings": lambda: filled(r'"\"[",'),
    "numbers in the metadata": lambda: filled("1.5," + " " * 5, IN_METADATA, "0]}}"),
    "objects in the metadata": lambda: filled('{"a":1.5},' + " " * 21, IN_METADATA, "0]}}"),
    "strings in the metadata": lambda: filled('"ab",' + " " * 11, IN_METADATA, "0]}}"),
    "different keys in the metadata": members,
    "objects, NaN and an emoji": lambda: filled('{"a":1.5},' + " " * 21, AFTER_METADATA + 'NaN, "\U0001f600", '),
}


def measure(name: str) -> dict[str, object]:
    """Measure processor seconds and MiB for one record, in this process."""
    text = RECORDS[name]()
    appraiser = RecordAppraiser(na.AppraisalPolicy.from_dict(Forge().policy()), keep_evidence=True)
    appraiser.appraise("warm", 1, json.dumps(Forge().response()).encode())
    try:
        check_containers(text)
        accepted = "yes"
    except TooManyContainersError:
        accepted = "no"
    before = _resident()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # reset the peak
    began = time.process_time()
    appraised = appraiser.appraise("a.json", 1, text)
    seconds = time.process_time() - began
    assert isinstance(appraised, AppraisedRecord)
    return {"seconds": seconds, "mib": _resident("VmHWM") - before, "bound": accepted, "verdict": appraised.row.verdict}


def _resident(line: str = "VmRSS") -> float:
    for status_line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if status_line.startswith(f"{line}:"):
            return int(status_line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def tables() -> str:
    """Run the benchmark; return the table as Markdown."""
    lines = [
        f"Python {platform.python_version()}, {platform.machine()}; one record of 16 MiB, with `--keep-evidence`.",
        "",
        "| 16 MiB of | within the bound | verdict | processor seconds | MiB |",
        "|---|---|---|--:|--:|",
    ]
    for name in RECORDS:
        command = [sys.executable, __file__, "--one", name]
        completed = subprocess.run(command, check=True, capture_output=True, text=True)
        result = json.loads(completed.stdout)
        figures = f"{result['seconds']:.2f} | {result['mib']:.0f}"
        lines.append(f"| {name} | {result['bound']} | {result['verdict']} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the table to docs/performance.md")
    parser.add_argument("--one", choices=RECORDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return
    text = tables()
    print(text)
    if arguments.write:
        page.write_table(Path(__file__).name, text)


if __name__ == "__main__":
    main()
