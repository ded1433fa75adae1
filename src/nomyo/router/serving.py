"""The command `nomyo router`: run until told to stop."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nomyo.router.errors import RouterError
from nomyo.router.options import RouterOptions
from nomyo.router.running import RunningRouter


def serve(options: RouterOptions) -> int:
    """Run a router until SIGINT, SIGTERM or SIGHUP. Call it in the main thread.

    When the router listens, one line is written to standard output, and nothing else ever::

        {"url": "https://localhost:40123", "ca": "/tmp/nomyo-router-…/ca.pem", "tpm": "swtpm"}

    `ca` is null where a certificate was given. Its log goes to standard error.

    Returns:
        the exit status: 0 when it was told to stop.

    Raises:
        RouterError: it cannot be run as asked.
    """
    if sys.stdout is None:
        raise RouterError(
            "standard output is closed, and the line that says where the router is goes there; leave it open"
        )
    with _log_on_stderr(), _told_to_stop() as stop, RunningRouter(options, switchable=False) as router:
        ready = {"url": router.url, "ca": None if router.ca is None else str(router.ca), "tpm": router.tpm}
        try:
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()
        except OSError as error:
            raise RouterError(f"standard output cannot be written: {error.strerror}") from None
        stop.wait()
    return 0


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set, while the context lasts."""
    stop = threading.Event()

    def handle(_: int, __: FrameType | None) -> None:
        stop.set()

    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup(1) ignores it
        signals.append(signal.SIGHUP)
    before = {one: signal.signal(one, handle) for one in signals}
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    logger = logging.getLogger("nomyo.router")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
