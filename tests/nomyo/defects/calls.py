"""Make calls with the installed client, which is this project's or nomyo 0.2.9, and examine the results.

The tests in this folder run with both clients (see `tests/published_env.py`), so they use only features of both. With
nomyo 0.2.9, each fails by an assertion whose message describes the behavior of that version.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import nomyo

MODEL = "Qwen/Qwen3-0.6B"
API_KEY = "bearer-5f1d0c4e9a7b"
PROMPT = "the-prompt-6c1f4b2d8e"
MESSAGES = [{"role": "user", "content": PROMPT}]
PATIENCE = 60.0
"""Seconds after which a call counts as hung."""


async def outcome(call: Awaitable[Any], seconds: float = PATIENCE) -> Any:
    """Return the result of a call, or the exception that it raises; raise `AssertionError` if it hangs."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await call
    except Exception as error:  # noqa: BLE001 - any exception is a result
        if limit.expired():
            raise AssertionError(f"the call hangs: no result after {seconds:g} s") from None
        return error


def attempt(function: Callable[[], Any]) -> Any:
    """Return the result of a function, or the exception that it raises."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001 - any exception is a result
        return error


def run(call: Callable[[], Awaitable[Any]], seconds: float = PATIENCE) -> Any:
    """Return the `outcome` of a coroutine function on a new event loop."""

    async def main() -> Any:
        return await outcome(call(), seconds)

    return asyncio.run(main())


async def close(client: object) -> None:
    """Close a client that can be closed."""
    aclose = getattr(client, "aclose", None)
    if aclose is not None:
        await aclose()


def supported_options(make: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Return the options that `make` accepts; nomyo 0.2.9 does not accept all of them."""
    return {name: value for name, value in options.items() if name in inspect.signature(make).parameters}


def is_error(found: object, kind: type[BaseException] | tuple[type[BaseException], ...], *words: str) -> bool:
    """Return whether the result of a call is an exception of this kind whose message contains these words."""
    return isinstance(found, kind) and all(word.lower() in str(found).lower() for word in words)


def describe(found: object) -> str:
    """Describe the result of a call in a message: the completion's text, or the exception."""
    if isinstance(found, BaseException):
        return f"{type(found).__name__}: {str(found) or '(no message)'}"
    if isinstance(found, dict) and "choices" in found:
        return f"the completion {found['choices'][0]['message']['content'][:40]!r}"
    return repr(found)[:80]


async def ask(client: nomyo.SecureChatCompletion, **arguments: Any) -> Any:
    """Make a call; return its result or exception."""
    arguments = {"model": MODEL, "messages": MESSAGES, **arguments}
    return await outcome(client.create(**arguments))


async def ask_with(**options: Any) -> Any:
    """Create a client and make a call."""
    client = nomyo.SecureChatCompletion(**options)
    try:
        return await ask(client)
    finally:
        await close(client)


class Ticker:
    """A task that runs every few milliseconds and measures how long the event loop is blocked.

    stall: the longest delay in seconds.
    busy: the most processor seconds that the thread of the event loop used between two ticks; excludes other threads
        and processes.
    """

    STEP = 0.005

    def __init__(self) -> None:
        self.stall = 0.0
        self.busy = 0.0

    async def during(self, work: Awaitable[Any]) -> Any:
        """Return the result of `work`; the attributes then contain the measurements."""
        ticking = asyncio.create_task(self._tick())
        await asyncio.sleep(4 * self.STEP)
        try:
            return await work
        finally:
            await asyncio.sleep(2 * self.STEP)  # a delayed tick
            ticking.cancel()

    async def _tick(self) -> None:
        last, computed = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(self.STEP)
            self.stall = max(self.stall, time.perf_counter() - last - self.STEP)
            self.busy = max(self.busy, time.thread_time() - computed)
            last, computed = time.perf_counter(), time.thread_time()


def in_threads(*works: Callable[[], Any], seconds: float = PATIENCE) -> list[Any]:
    """Run functions concurrently; return their results or exceptions, an `AssertionError` for one that hangs."""
    found: list[Any] = [AssertionError(f"the call hangs: no result after {seconds:g} s")] * len(works)

    def work(place: int) -> None:
        found[place] = attempt(works[place])

    threads = [threading.Thread(target=work, args=(place,), daemon=True) for place in range(len(works))]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return found
