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

from nomyo.router.access import JSONFormatter, TextFormatter
from nomyo.router.errors import RouterError
from nomyo.router.options import RouterOptions
from nomyo.router.running import RunningRouter


def serve(options: RouterOptions) -> int:
    """Run a router until SIGINT, SIGTERM or SIGHUP. Call it in the main thread.

    The signal makes it accept no more connections and answer new requests with 503. Requests in progress have
    `options.grace` seconds to finish; a second signal ends that time.

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
    with (
        _log_on_stderr(options.log_format),
        _signals() as (stop, at_once),
        RunningRouter(options, switchable=False) as router,
    ):
        ready = {"url": router.url, "ca": None if router.ca is None else str(router.ca), "tpm": router.tpm}
        try:
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()
        except OSError as error:
            raise RouterError(f"standard output cannot be written: {error.strerror}") from None
        stop.wait()
        router.stop(options.grace, at_once=at_once)
    return 0


@contextmanager
def _signals() -> Iterator[tuple[threading.Event, threading.Event]]:
    """Two events, while the context lasts: SIGINT, SIGTERM and SIGHUP set the first, and when repeated the second."""
    stop, at_once = threading.Event(), threading.Event()

    def handle(_: int, __: FrameType | None) -> None:
        if stop.is_set():
            at_once.set()
        stop.set()

    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup(1) ignores it
        signals.append(signal.SIGHUP)
    before = {one: signal.signal(one, handle) for one in signals}
    try:
        yield stop, at_once
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def _log_on_stderr(form: str) -> Iterator[None]:
    """Log on standard error, in one format and without tracebacks: ours, uvicorn's and asyncio's."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    loggers = [logging.getLogger(name) for name in ("nomyo.router", "uvicorn", "asyncio")]
    before = [(one.level, one.propagate) for one in loggers]
    for one, level in zip(loggers, (logging.INFO, logging.WARNING, logging.WARNING), strict=True):
        one.addHandler(handler)
        one.setLevel(level)
        one.propagate = False
    try:
        yield
    finally:
        for one, (level, propagate) in zip(loggers, before, strict=True):
            one.removeHandler(handler)
            one.setLevel(level)
            one.propagate = propagate
