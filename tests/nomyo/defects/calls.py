"""Calls of a client, whichever of the two is installed, and what came of them.

The tests here run with this project's client and with the published one (see `tests/published_env.py`), so they use
what both have. Each fails with the published client by an assertion of its own, which says what that one does instead.
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
    """What a call returns, or the exception that it raises; an `AssertionError` where it does neither in time."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await call
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what came of the call
        if limit.expired():
            raise AssertionError(f"it hangs: nothing for {seconds:g} s") from None
        return error


def attempt(make: Callable[[], Any]) -> Any:
    """What a function returns, or the exception that it raises."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what came of the call
        return error


def run(call: Callable[[], Awaitable[Any]], seconds: float = PATIENCE) -> Any:
    """`outcome` of a coroutine function, on an event loop of its own."""

    async def main() -> Any:
        return await outcome(call(), seconds)

    return asyncio.run(main())


async def close(client: object) -> None:
    """Close a client that can be closed."""
    aclose = getattr(client, "aclose", None)
    if aclose is not None:
        await aclose()


def supported_options(make: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Those of the options that `make` has: the rest is what the published client lacks."""
    return {name: value for name, value in options.items() if name in inspect.signature(make).parameters}


def is_error(found: object, kind: type[BaseException] | tuple[type[BaseException], ...], *words: str) -> bool:
    """Whether what came of a call is an exception of a kind whose message has these words."""
    return isinstance(found, kind) and all(word.lower() in str(found).lower() for word in words)


def describe(found: object) -> str:
    """What came of a call, for a message: the completion's text, or the exception."""
    if isinstance(found, BaseException):
        return f"{type(found).__name__}: {str(found) or '(no message)'}"
    if isinstance(found, dict) and "choices" in found:
        return f"the completion {found['choices'][0]['message']['content'][:40]!r}"
    return repr(found)[:80]


async def ask(client: nomyo.SecureChatCompletion, **arguments: Any) -> Any:
    """One call, and what came of it."""
    arguments = {"model": MODEL, "messages": MESSAGES, **arguments}
    return await outcome(client.create(**arguments))


async def ask_with(**options: Any) -> Any:
    """Make a client, and call it."""
    client = nomyo.SecureChatCompletion(**options)
    try:
        return await ask(client)
    finally:
        await close(client)


class Ticker:
    """A task that ticks every few milliseconds while other work is done: how long it was kept from it.

    stall: seconds in which it did not tick, at the most.
    busy: seconds of computing that the event loop's own thread did between two ticks, at the most: what other threads
        do, and other programs on a machine that has much to do, does not count.
    """

    STEP = 0.005

    def __init__(self) -> None:
        self.stall = 0.0
        self.busy = 0.0

    async def during(self, work: Awaitable[Any]) -> Any:
        """The work's result; the attributes say what it did to the event loop."""
        ticking = asyncio.create_task(self._tick())
        await asyncio.sleep(4 * self.STEP)
        try:
            return await work
        finally:
            await asyncio.sleep(2 * self.STEP)  # the tick that came late
            ticking.cancel()

    async def _tick(self) -> None:
        last, computed = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(self.STEP)
            self.stall = max(self.stall, time.perf_counter() - last - self.STEP)
            self.busy = max(self.busy, time.thread_time() - computed)
            last, computed = time.perf_counter(), time.thread_time()


def in_threads(*works: Callable[[], Any], seconds: float = PATIENCE) -> list[Any]:
    """What each function returns or raises, all run at once; one that does not end in time is told as an assertion."""
    found: list[Any] = [AssertionError(f"it hangs: nothing for {seconds:g} s")] * len(works)

    def work(place: int) -> None:
        found[place] = attempt(works[place])

    threads = [threading.Thread(target=work, args=(place,), daemon=True) for place in range(len(works))]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return found
