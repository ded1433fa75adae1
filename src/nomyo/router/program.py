"""Run a router as a program: until a signal arrives, with a line on standard output when it is ready."""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Final

from nomyo.router.access_log import JSONFormatter, TextFormatter
from nomyo.router.errors import RouterError
from nomyo.router.options import ORIGINAL, OTHER, RouterOptions
from nomyo.router.running import RunningRouter
from nomyo_attest._files import atomic_file, read_bounded, reason
from nomyo_attest.errors import AttesterError

logger = logging.getLogger("nomyo.router")

_STOP: Final = "stop"

_BOOT_SIGNALS: Final = {"SIGUSR1": OTHER, "SIGUSR2": ORIGINAL}
"""Signal → the firmware that it boots; both are idempotent, so that a lost or repeated signal does no harm."""

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"


def serve(options: RouterOptions) -> int:
    """Run a router until SIGINT, SIGTERM or SIGHUP. Call it in the main thread.

    After the signal it accepts no more connections and responds to new requests with 503. Requests in progress may take
    `options.grace` seconds; a second signal ends that time. With a software TPM, SIGUSR1 boots other firmware and
    SIGUSR2 the original firmware.

    When the router listens, it writes one line to standard output, and nothing else::

        {"url": "https://localhost:40123", "ca": "/tmp/nomyo-router-…/ca.pem", "tpm": "swtpm"}

    `ca` is `options.ca_out`, if that is set, and null if a certificate was given. With `options.print_env` it writes
    shell commands instead (`environment_text`). The log is written to standard error.

    Returns:
        the exit status, 0.

    Raises:
        RouterError: it cannot run with these options.
    """
    if sys.stdout is None:
        raise RouterError("standard output is closed, but the router writes its URL there; leave it open")
    if options.ca_out is not None:
        _check_replaceable(options.ca_out)
    with (
        _log_on_stderr(options.log_format),
        _signals() as received,
        RunningRouter(options, switchable=False) as router,
    ):
        ca = router.ca
        if ca is not None and options.ca_out is not None:
            ca = _write_ca(options.ca_out, ca.read_bytes())
        if router.tpm in ("swtpm", "soft") and hasattr(signal, "SIGUSR1"):
            logger.info("to boot other firmware: %s", _boot_command("USR1"))
        _print(environment_text(router, ca) if options.print_env else _ready_line(router, ca))
        for action in iter(received.actions.get, _STOP):
            _boot(router, action)
        router.stop(options.grace, at_once=received.at_once)
    return 0


def _ready_line(router: RunningRouter, ca: Path | None) -> str:
    return json.dumps({"url": router.url, "ca": None if ca is None else str(ca), "tpm": router.tpm}) + "\n"


def environment_text(router: RunningRouter, ca: Path | None) -> str:
    """Return shell commands that configure a client for this router, for ``eval`` or ``source``.

    They set its base URL, the file of its CA certificate, and if it requires API keys, the first of them.
    """
    variables = {"NOMYO_BASE_URL": router.url}
    if ca is not None:
        variables["SSL_CERT_FILE"] = str(ca)
    if router.options.api_keys:
        variables["NOMYO_API_KEY"] = router.options.api_keys[0]
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _boot_command(name: str) -> str:
    return f"kill -{name} {os.getpid()}"


def _print(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise RouterError(f"standard output cannot be written: {error.strerror}") from None


def _boot(router: RunningRouter, firmware: str) -> None:
    """Boot the firmware that a signal names, and log the outcome; a failure does not end the router."""
    try:
        if firmware == OTHER:
            router.boot_other_firmware()
            logger.warning("other firmware is booted (simulated); to boot the original: %s", _boot_command("USR2"))
        else:
            router.boot_original_firmware()
            logger.warning("the original firmware is booted (simulated)")
    except (RouterError, AttesterError) as error:
        logger.error("no firmware was booted: %s", error)


def _check_replaceable(path: Path) -> None:
    """Refuse to replace a file that is not a certificate in PEM. Raises `RouterError`."""
    try:
        if not path.parent.is_dir():
            raise RouterError(f"ca_out: {path}: its folder does not exist; create it first")
        if os.path.lexists(path) and read_bounded(path, len(_CERTIFICATE)) != _CERTIFICATE:
            raise RouterError(f"ca_out: {path}: is not a certificate, so it is not replaced; choose another file")
    except (OSError, ValueError) as error:
        if isinstance(error, RouterError):
            raise
        raise RouterError(f"ca_out: {path}: cannot be written: {reason(error)}; choose another file") from None


def _write_ca(path: Path, certificate: bytes) -> Path:
    """Write the CA's certificate, and return its absolute path. Raises `RouterError`."""
    path = path.absolute()
    try:
        with atomic_file(path, replace=True) as file:
            file.write(certificate)
    except OSError as error:
        raise RouterError(f"ca_out: {path}: cannot be written: {reason(error)}; choose another file") from None
    return path


@dataclass(frozen=True, slots=True)
class _Received:
    """The signals that arrived.

    Attributes:
        actions: firmware to boot, or `_STOP`, in order. A handler may interrupt another handler's `put`, which this
            kind of queue permits.
        at_once: set by the second signal that asks the router to stop.
    """

    actions: SimpleQueue[str] = field(default_factory=SimpleQueue)
    at_once: threading.Event = field(default_factory=threading.Event)


@contextmanager
def _signals() -> Iterator[_Received]:
    """Collect signals while the context lasts."""
    received = _Received()
    stopping = False

    def stop(_: int, __: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            received.at_once.set()
        stopping = True
        received.actions.put(_STOP)

    def boot(number: int, _: FrameType | None) -> None:
        received.actions.put(_BOOT_SIGNALS[signal.Signals(number).name])

    handlers = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup(1) ignores it
        handlers[signal.SIGHUP] = stop
    handlers |= {getattr(signal, name): boot for name in _BOOT_SIGNALS if hasattr(signal, name)}
    before = {one: signal.signal(one, handler) for one, handler in handlers.items()}
    try:
        yield received
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
