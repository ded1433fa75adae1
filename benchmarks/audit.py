"""Measure an audit of many records: its speed with one process and on all cores, its memory, and the time per step.

    python benchmarks/audit.py --records 1000000           # print the tables
    python benchmarks/audit.py --records 1000000 --write   # and write them to docs/performance.md

Records are generated once (see records.py) and stored in --folder for the next run. Every figure comes from one run on
one machine; only the ratios apply to other machines. Requires Linux: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Final

import nomyo_attest as na
import page
import records as synthetic
from appraisal import bare_check, seconds
from nomyo_attest.evidence import Evidence

POLL_SECONDS: Final = 0.2
"""Seconds between two measurements of the memory of an audit's processes."""

SAMPLE: Final = 4000
"""The number of records for the bare signature check."""

OUTPUTS: Final = ("verdicts.jsonl", "report.html")


@dataclass
class Measurement:
    """One audit: its duration in seconds, and its maximum use of memory and disk space in bytes."""

    records: int
    processes: int
    total_seconds: float = 0.0
    seconds_after_workers: float = 0.0
    """Time after the last worker ended: cross-record checks, summary, reports."""
    parent: int = 0
    workers: dict[int, int] = field(default_factory=dict)
    store: int = 0

    @property
    def rate(self) -> float:
        """Records per second."""
        return self.records / self.total_seconds

    @property
    def worker(self) -> int:
        """Memory of the largest worker."""
        return max(self.workers.values(), default=0)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def memory_peak(pid: int) -> int:
    """Return the maximum resident memory of a process so far, in bytes; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024


def descendants(pid: int) -> Iterator[int]:
    """Yield the ids of all descendants of a process."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from descendants(child)


def store_size(folder: Path) -> int:
    """Return the size of an audit's SQLite files in bytes."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file() and path.name not in OUTPUTS and "sqlite" in path.name.lower():
                total += path.stat().st_size
        except OSError:
            continue  # deleted meanwhile
    return total


def audit(source: Path, policy: Path, records: int, processes: int) -> Measurement:
    """Run and measure `nomyo-attest audit`."""
    measured = Measurement(records, processes)
    with tempfile.TemporaryDirectory(dir=source.parent) as work:
        folder = Path(work)
        command = [sys.executable, "-m", "nomyo_attest.cli", "audit", str(source), "--policy", str(policy)]
        command += ["--out", str(folder / OUTPUTS[0]), "--html", str(folder / OUTPUTS[1])]
        command += ["--processes", str(processes)]
        with (folder / "output.txt").open("wb") as output_file:
            began = last_worker_seen = time.monotonic()
            running = subprocess.Popen(
                command, stdout=output_file, stderr=subprocess.STDOUT, env={**os.environ, "TMPDIR": work}
            )
            while running.poll() is None:
                measured.parent = max(measured.parent, memory_peak(running.pid))
                for child in descendants(running.pid):
                    measured.workers[child] = max(measured.workers.get(child, 0), memory_peak(child))
                    last_worker_seen = time.monotonic()
                measured.store = max(measured.store, store_size(folder))
                time.sleep(POLL_SECONDS)
            ended = time.monotonic()
        measured.total_seconds = ended - began
        measured.seconds_after_workers = ended - last_worker_seen
        output = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
        if running.returncode not in (0, 1):
            raise SystemExit(f"the audit ended with status {running.returncode}:\n{output[-3000:]}")
        with (folder / OUTPUTS[0]).open("rb") as verdicts:
            lines = sum(1 for _ in verdicts)
        if lines != records:
            raise SystemExit(f"{lines} verdicts for {records} records:\n{output[-3000:]}")
    note(f"{records:,} records, {processes} processes: {measured.total_seconds:.1f} s, {measured.rate:,.0f} records/s")
    return measured


def time_single_records(source: Path, policy_file: Path) -> tuple[float, float]:
    """Return the median seconds per record of the bare signature check, and of `appraise`."""
    policy = na.AppraisalPolicy.load(policy_file)
    with source.open("rb") as file:
        lines = list(islice(file, SAMPLE))
    checks = [bare_check(Evidence.from_response(line)) for line in lines]

    def check() -> None:
        for check_record in checks:
            check_record()

    def appraise() -> None:
        for line in lines:
            if na.appraise(line, policy).verdict is na.Verdict.NONE:
                raise SystemExit("a record of the benchmark has the verdict none")

    functions: tuple[Callable[[], None], ...] = (check, appraise)
    for function in functions:
        function()
    turns = [[seconds(function, 1) / len(lines) for function in functions] for _ in range(5)]
    bare, whole = (statistics.median(column) for column in zip(*turns, strict=True))
    return bare, whole


def prepare(folder: Path, records: int) -> tuple[Path, Path, Path]:
    """Return the paths of the records, of the first tenth of them, and of the policy; generate missing files."""
    folder.mkdir(parents=True, exist_ok=True)
    whole, tenth, policy = (folder / name for name in (f"{records}.jsonl", f"{records}-tenth.jsonl", f"{records}.json"))
    if not (whole.exists() and policy.exists()):
        free = shutil.disk_usage(folder).free
        if free < records * 5000:
            raise SystemExit(
                f"{folder}: {records:,} records and their audit need {records * 5000 / 1e9:.0f} GB of disk space"
            )
        synthetic.write_records(records, whole, policy)
        tenth.unlink(missing_ok=True)
    if not tenth.exists():
        with whole.open("rb") as file, tenth.with_suffix(".tmp").open("wb") as first:
            first.writelines(islice(file, records // 10))
        tenth.with_suffix(".tmp").replace(tenth)
    return whole, tenth, policy


def table(folder: Path, records: int, processes: int) -> str:
    """Run the benchmark; return the tables as Markdown."""
    whole, tenth, policy = prepare(folder, records)
    counts = (1,) if processes == 1 else (1, processes)
    runs = [
        audit(source, policy, number, count)
        for source, number in ((tenth, records // 10), (whole, records))
        for count in counts
    ]
    bare, appraised = time_single_records(whole, policy)
    single_rates = {run.records: run.rate for run in runs if run.processes == 1}
    last, single = runs[-1], next(run for run in runs if run.processes == 1 and run.records == records)
    lines = [
        (
            f"Python {platform.python_version()}, cryptography {version('cryptography')}, {platform.machine()}, "
            f"{len(os.sched_getaffinity(0))} cores; {records:,} records, {whole.stat().st_size / 1e6:,.0f} MB of JSON "
            "Lines; nine in ten have a different P-256 AIK each, one in ten has one of eight RSA-2048 AIKs."
        ),
        "",
        "| records | processes | seconds | records per second | parallel efficiency | parent, MB | worker, MB |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for run in runs:
        scaled = "" if run.processes == 1 else f"{run.rate / (run.processes * single_rates[run.records]):.2f}"
        worker = f"{run.worker / 1e6:.0f}" if run.processes > 1 else ""
        figures = f"{run.records:,} | {run.processes} | {run.total_seconds:.1f} | {run.rate:,.0f} | {scaled}"
        lines.append(f"| {figures} | {run.parent / 1e6:.0f} | {worker} |")
    each = single.total_seconds / records
    lines += [
        "",
        "| per record, with one process | µs | share |",
        "|---|--:|--:|",
        f"| bare load and verify with `cryptography` | {bare * 1e6:.0f} | {bare / each:.0%} |",
        f"| `appraise()` of its text | {appraised * 1e6:.0f} | {appraised / each:.0%} |",
        f"| the whole audit | {each * 1e6:.0f} | 100% |",
        "",
        (
            f"In the last audit, cross-record checks, summary and report took {last.seconds_after_workers:.1f} s of "
            f"{last.total_seconds:.1f} s. "
            f"The size of the SQLite file was {last.store / 1e6:.0f} MB, {last.store / records:.0f} bytes per record."
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument(
        "--processes", type=int, default=len(os.sched_getaffinity(0)), help="default: one for each core"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir(), "nomyo-attest-benchmark"),
        help="folder for the generated records; default: %(default)s",
    )
    parser.add_argument("--write", action="store_true", help="write the tables to docs/performance.md")
    arguments = parser.parse_args()
    if arguments.records < 1000:
        parser.error(f"--records: expected at least 1000, got {arguments.records}")
    text = table(arguments.folder, arguments.records, arguments.processes)
    print(text)
    if arguments.write:
        page.write_table(Path(__file__).name, text)


if __name__ == "__main__":
    main()
