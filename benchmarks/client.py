"""Compare calls of this client and of nomyo 0.2.9: latencies, connections and event loop stalls, in pairs in one run.

    python benchmarks/client.py --published PYTHON             # print the tables
    python benchmarks/client.py --published PYTHON --write     # and write them to docs/performance.md

PYTHON is the interpreter of an environment with nomyo==0.2.9 (`pip install nomyo==0.2.9`); the default is the value of
NOMYO_PUBLISHED_PYTHON. Both clients use TLS over loopback to the router of the tests, through a proxy that adds a
delay. They alternate, each in a separate process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import page

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the router and the proxy are modules of the tests

from nomyo_attest.testing import Forge  # noqa: E402 - needs sys.path, like the next two
from tests.nomyo.wire.plain_router import PlainRouter  # noqa: E402
from tests.nomyo.wire.proxy import Behavior, Proxy  # noqa: E402

CALLER = Path(__file__).with_name("caller.py")
DROPIN_CALLER = Path(__file__).with_name("dropin_caller.py")
LONG_PROMPTS = 5
DELAYS = (0, 20, 40)
"""Round-trip times between client and server, in milliseconds."""


class Bench:
    """A router, and clients that call it from separate processes."""

    def __init__(self, router: PlainRouter) -> None:
        self.router = router

    def run(
        self, python: str, delay: int, calls: int, long_prompts: int = 0, policy: str | None = None
    ) -> dict[str, Any]:
        """Make calls in one process; return its measurements, and what the router received."""
        return self._run([python, str(CALLER)], delay, [str(calls), str(long_prompts), *([policy] if policy else [])])

    def run_dropins(self, calls: int) -> dict[str, Any]:
        """Measure the drop-ins in one process."""
        return self._run([sys.executable, str(DROPIN_CALLER)], 0, [str(calls)])

    def _run(self, program: list[str], delay: int, arguments: list[str]) -> dict[str, Any]:
        with Proxy("localhost", self.router.port) as proxy:
            proxy.default = Behavior(delay_ms=delay / 2)
            seen = len(self.router.requests)
            command = [*program, proxy.url, *arguments]
            environment = {**os.environ, "SSL_CERT_FILE": self.router.ca, "PYTHONPATH": ""}
            completed = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=600
            )
            if completed.returncode:
                raise SystemExit(f"{program[0]}: {completed.stderr[-2000:]}")
            requests = self.router.requests[seen:]
            results: dict[str, Any] = json.loads(completed.stdout)
            return results | {
                "posts": sum(request.method == "POST" for request in requests),
                "keys": sum(request.method == "GET" for request in requests),
                "connections": proxy.connections,
            }


def median(runs: list[dict[str, Any]], name: str) -> float:
    return float(statistics.median(run[name] for run in runs))


def compare(bench: Bench, published: str, calls: int, turns: int) -> list[str]:
    lines = [
        "| round trip | this client, ms per call | nomyo 0.2.9, ms per call | ratio | first call, ms | 0.2.9 |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    stalls: list[tuple[dict[str, Any], ...]] = []
    both = (sys.executable, published)
    for delay in DELAYS:
        pairs = [tuple(bench.run(python, delay, calls, LONG_PROMPTS) for python in both) for _ in range(turns)]
        stalls += pairs
        ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
        ratio = statistics.median(b["median"] / a["median"] for a, b in pairs)
        lines.append(
            f"| {delay} ms | {1e3 * median(ours, 'median'):.1f} | {1e3 * median(theirs, 'median'):.1f} | {ratio:.1f} "
            f"| {1e3 * median(ours, 'first'):.0f} | {1e3 * median(theirs, 'first'):.0f} |"
        )
    lines += ["", "| longest time the event loop is blocked, ms | this client | nomyo 0.2.9 |", "|---|--:|--:|"]
    for name, label in (("first_stall", "generating keys and the first call"), ("long_stall", "a prompt of 9 MiB")):
        ours, theirs = [a for a, _ in stalls], [b for _, b in stalls]
        lines.append(f"| {label} | {1e3 * median(ours, name):.0f} | {1e3 * median(theirs, name):.0f} |")
    return lines


def count(bench: Bench, published: str | None, calls: int) -> list[str]:
    lines = [f"| {calls} calls | POSTs | key fetches | connections |", "|---|--:|--:|--:|"]
    for label, python in (("this client", sys.executable), ("nomyo 0.2.9", published)):
        if python:
            run = bench.run(python, 0, calls)
            lines.append(f"| {label} | {run['posts']} | {run['keys']} | {run['connections']} |")
    return lines


def gate(bench: Bench, calls: int) -> list[str]:
    """Measure the share of the appraisal in a call."""
    forge = Forge(key="p256")

    def attest(payload_id: str) -> dict[str, Any]:
        forge.payload_id = payload_id
        block: dict[str, Any] = forge.response()["_metadata"]["tpm_attestation"]
        return block

    bench.router.attest = attest
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy.json"
        policy.write_text(json.dumps(forge.policy()), encoding="utf-8")
        rows = [(delay, bench.run(sys.executable, delay, calls, policy=str(policy))) for delay in DELAYS]
    bench.router.attest = None
    lines = ["| round trip | gated call, ms | appraisal, ms | share |", "|--:|--:|--:|--:|"]
    for delay, run in rows:
        share = run["appraisal"] / run["median"]
        lines.append(f"| {delay} ms | {1e3 * run['median']:.1f} | {1e3 * run['appraisal']:.2f} | {share:.1%} |")
    return lines


def dropins(bench: Bench, calls: int) -> list[str]:
    """Measure what the drop-ins add to a call."""
    run = bench.run_dropins(calls)
    return [
        "| drop-ins, no round-trip delay | ms |",
        "|---|--:|",
        f"| call of the client | {1e3 * run['direct']:.1f} |",
        f"| the same call over `EncryptedTransport` | {1e3 * run['dropin']:.1f} |",
        f"| difference, median of pairs | {1e3 * run['overhead']:.2f} |",
        f"| 64 calls at once in one event loop | {1e3 * run['together']:.0f} |",
        f"| 64 calls in 16 threads over one transport | {1e3 * run['threads']:.0f} |",
        f"| round trip through the portal, without a call | {1e3 * run['portal']:.3f} |",
    ]


def tables(published: str | None, calls: int, turns: int) -> str:
    with PlainRouter() as router:
        bench = Bench(router)
        head = f"Python {platform.python_version()}, httpx {version('httpx')}, {platform.machine()}; medians."
        parts = [[head]]
        if published:
            parts.append(compare(bench, published, calls, turns))
        parts += [count(bench, published, calls), gate(bench, calls), dropins(bench, 5 * calls)]
    return "\n\n".join("\n".join(part) for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", default=os.environ.get("NOMYO_PUBLISHED_PYTHON"), metavar="PYTHON")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/performance.md")
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    text = tables(arguments.published, arguments.calls, arguments.turns)
    print(text)
    if arguments.write:
        page.write_table(Path(__file__).name, text)


if __name__ == "__main__":
    main()
