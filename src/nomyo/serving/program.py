"""What a program around a server does: write its ready line, log to standard error, and stop on a signal."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import FrameType
from typing import Final

from nomyo.serving.access_log import JSONFormatter, TextFormatter
from nomyo.serving.server_thread import NotStartedError

STOP: Final = "stop"
"""The action of a signal that stops the server."""


def check_stdout() -> None:
    """Check that standard output is open. Raises `NotStartedError`."""
    if sys.stdout is None:
        raise NotStartedError("standard output is closed, but the server's URL is written there; do not close it")


def print_to_stdout(text: str) -> None:
    """Write text to standard output. Raises `NotStartedError`."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise NotStartedError(f"standard output cannot be written: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Received:
    """The signals that arrived.

    Attributes:
        actions: the actions of the signals, in order of arrival. A signal handler may interrupt the `put` of another
            handler, which `SimpleQueue` permits.
        stop_now: set by the second signal that stops the server.
    """

    actions: SimpleQueue[str] = field(default_factory=SimpleQueue)
    stop_now: threading.Event = field(default_factory=threading.Event)


@contextmanager
def handle_signals(actions: Mapping[str, str] | None = None) -> Iterator[Received]:
    """Handle signals while the context is active, and collect them. Use it in the main thread.

    SIGINT, SIGTERM and SIGHUP stop the server.

    Args:
        actions: name of another signal, such as ``"SIGUSR1"`` → its action.
    """
    received = Received()
    stopping = False
    actions = actions or {}

    def stop(_: int, __: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            received.stop_now.set()
        stopping = True
        received.actions.put(STOP)

    def act(number: int, _: FrameType | None) -> None:
        received.actions.put(actions[signal.Signals(number).name])

    handlers = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup(1) ignores it
        handlers[signal.SIGHUP] = stop
    handlers |= {getattr(signal, name): act for name in actions if hasattr(signal, name)}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def log_on_stderr(log_format: str, levels: Mapping[str, int]) -> Iterator[None]:
    """Write the logs of a server, uvicorn and asyncio to standard error, in one format and without tracebacks.

    Args:
        log_format: ``"text"`` or ``"json"``.
        levels: name of a logger of the server → its level.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter() if log_format == "json" else TextFormatter())
    levels = {**levels, "uvicorn": logging.WARNING, "asyncio": logging.WARNING}
    loggers = [logging.getLogger(name) for name in levels]
    previous = [(each.level, each.propagate) for each in loggers]
    for each in loggers:
        each.addHandler(handler)
        each.setLevel(levels[each.name])
        each.propagate = False
    try:
        yield
    finally:
        for each, (level, propagate) in zip(loggers, previous, strict=True):
            each.removeHandler(handler)
            each.setLevel(level)
            each.propagate = propagate
