"""Measure calls of one client. benchmarks/client.py runs this script in a separate process for each of two clients.

    python caller.py URL CALLS LONG_PROMPTS [POLICY]

Prints one JSON object. Uses only features of both clients, and the gate if a policy is passed.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

from nomyo import SecureChatCompletion

LONG_PROMPT = 9 * 1024 * 1024


class Ticker:
    """A task that measures the longest time for which the event loop was blocked."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._task: asyncio.Task[None] | None = None

    async def _tick(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self._longest = max(self._longest, now - last - 0.001)
            last = now

    def start(self) -> None:
        self._task = asyncio.create_task(self._tick())

    def take(self) -> float:
        """Return the longest time since the previous call."""
        longest, self._longest = self._longest, 0.0
        return longest

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()


def prompt(*texts: str) -> dict[str, Any]:
    return {"model": "bench", "messages": [{"role": "user", "content": text} for text in texts]}


async def main(url: str, calls: int, long_prompts: int, policy: str | None) -> dict[str, Any]:
    ticker = Ticker()
    ticker.start()
    options: dict[str, Any] = {"attestation_policy": policy} if policy else {}
    client = SecureChatCompletion(url, **options)
    begin = time.perf_counter()
    await asyncio.sleep(0.05)
    await client.create(**prompt("first"))
    first, first_stall = time.perf_counter() - begin, ticker.take()
    latencies = []
    response: dict[str, Any] = {}
    for number in range(calls - 1):
        begin = time.perf_counter()
        response = await client.create(**prompt(f"call {number}"))
        latencies.append(time.perf_counter() - begin)
    ticker.take()
    stalls = []
    for _ in range(long_prompts):
        await client.create(**prompt("x" * LONG_PROMPT, "short"))
        stalls.append(ticker.take())
    await ticker.stop()
    if hasattr(client, "aclose"):
        await client.aclose()
    results = {
        "first": first,
        "first_stall": first_stall,
        "median": statistics.median(latencies) if latencies else first,
        "long_stall": statistics.median(stalls) if stalls else 0.0,
    }
    return results | ({"appraisal": appraisal_seconds(response, policy)} if policy else {})


def appraisal_seconds(response: dict[str, Any], policy: str) -> float:
    """Return the median time of an appraisal."""
    import nomyo_attest as na

    loaded = na.AppraisalPolicy.load(policy)
    times = []
    for _ in range(200):
        begin = time.perf_counter()
        na.appraise(response, loaded).to_dict()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


if __name__ == "__main__":
    url, calls, long_prompts, *policy = sys.argv[1:]
    measured = asyncio.run(main(url, int(calls), int(long_prompts), policy[0] if policy else None))
    print(json.dumps(measured))
