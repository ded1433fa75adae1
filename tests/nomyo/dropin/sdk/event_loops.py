"""An event loop for frameworks whose blocking methods run the thread's own loop and leave it open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def default_event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Make a new event loop the current one of this thread, and close it at the end."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
