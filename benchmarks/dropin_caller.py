"""Measure what the drop-ins add to a call. benchmarks/client.py runs this script in a separate process.

    python dropin_caller.py URL CALLS

Prints one JSON object. Calls with and without the drop-in alternate, over the same connection.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nomyo import SecureChatCompletion
from nomyo.dropin import BASE_URL, EncryptedTransport, async_http_client, http_client
from nomyo.dropin.portal import portal

THREADS = 16
THREADED_CALLS = 64
PAYLOAD = {"model": "bench", "messages": [{"role": "user", "content": "hello"}]}
URL = f"{BASE_URL}/chat/completions"


async def seconds(call: Callable[[], Awaitable[object]]) -> float:
    begin = time.perf_counter()
    await call()
    return time.perf_counter() - begin


async def compare(transport: EncryptedTransport, calls: int) -> dict[str, float]:
    """Alternate calls of the client and of an HTTP client over it, and compare the pairs."""
    async with async_http_client(transport, library="httpx") as http:

        async def direct() -> object:
            return await transport.client.complete(PAYLOAD)

        async def over_http() -> object:
            response = await http.post(URL, json=PAYLOAD)
            assert response.status_code == 200
            return response.json()

        await direct()
        await over_http()
        pairs = [(await seconds(direct), await seconds(over_http)) for _ in range(calls)]
        begin = time.perf_counter()
        await asyncio.gather(*(over_http() for _ in range(THREADED_CALLS)))
        together = time.perf_counter() - begin
    return {
        "direct": statistics.median(first for first, _ in pairs),
        "dropin": statistics.median(second for _, second in pairs),
        "overhead": statistics.median(second - first for first, second in pairs),
        "together": together,
    }


def in_threads(transport: EncryptedTransport) -> float:
    """Return the seconds that calls take in many threads over one transport."""
    with http_client(transport, library="httpx") as http, ThreadPoolExecutor(THREADS) as threads:

        def call(_: int) -> Any:
            return http.post(URL, json=PAYLOAD).raise_for_status()

        list(threads.map(call, range(THREADS)))
        begin = time.perf_counter()
        list(threads.map(call, range(THREADED_CALLS)))
        return time.perf_counter() - begin


def round_trip() -> float:
    """Return the median seconds of a call through the portal that does nothing."""

    async def nothing() -> None:
        pass

    times = []
    for _ in range(2000):
        begin = time.perf_counter()
        portal().call(nothing())
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


if __name__ == "__main__":
    url, calls = sys.argv[1:]
    shared = EncryptedTransport(SecureChatCompletion(url))
    results = asyncio.run(compare(shared, int(calls)))
    print(json.dumps({**results, "threads": in_threads(shared), "portal": round_trip()}))
