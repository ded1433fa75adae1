"""Run a router as a program, until a signal arrives. It prints a line on standard output when it is ready."""

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
"""Signal → the firmware that it boots. Both are idempotent, so a lost or repeated signal does no harm."""

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"


def serve(options: RouterOptions) -> int:
    """Run a router until SIGINT, SIGTERM or SIGHUP. Call it in the main thread.

    After the signal it accepts no more connections and responds to new requests with 503. Requests in progress may take
    `options.grace` seconds; a second signal ends this period. With a software TPM, SIGUSR1 boots other firmware and
    SIGUSR2 the original firmware.

    When the router listens, it writes one line to standard output, and nothing else::

        {"url": "https://localhost:40123", "ca": "/tmp/nomyo-router-…/ca.pem", "tpm": "swtpm"}

    `ca` is `options.ca_out` if that is set, and null with `options.cert`. With `options.print_env` it writes
    shell commands instead (`environment_text`). The log is written to standard error.

    Returns:
        the exit status, 0.

    Raises:
        RouterError: the router cannot run with these options.
    """
    if sys.stdout is None:
        raise RouterError("standard output is closed, but the router writes its URL there; do not close it")
    if options.ca_out is not None:
        _check_replaceable(options.ca_out)
    with (
        _log_on_stderr(options.log_format),
        _handle_signals() as received,
        RunningRouter(options, switchable=False) as router,
    ):
        ca = router.ca
        if ca is not None and options.ca_out is not None:
            ca = _write_ca(options.ca_out, ca.read_bytes())
        if router.tpm in ("swtpm", "soft") and hasattr(signal, "SIGUSR1"):
            logger.info("to boot other firmware: %s", _boot_command("USR1"))
        _print_to_stdout(environment_text(router, ca) if options.print_env else _ready_line(router, ca))
        for action in iter(received.actions.get, _STOP):
            _boot(router, action)
        router.stop(options.grace, stop_now=received.stop_now)
    return 0


def _ready_line(router: RunningRouter, ca: Path | None) -> str:
    return json.dumps({"url": router.url, "ca": None if ca is None else str(ca), "tpm": router.tpm}) + "\n"


def environment_text(router: RunningRouter, ca: Path | None) -> str:
    """Return shell commands, for ``eval`` or ``source``, that configure a client for this router.

    They set the base URL, the file of the CA certificate, and the first API key if the router requires API keys.
    """
    variables = {"NOMYO_BASE_URL": router.url}
    if ca is not None:
        variables["SSL_CERT_FILE"] = str(ca)
    if router.options.api_keys:
        variables["NOMYO_API_KEY"] = router.options.api_keys[0]
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _boot_command(name: str) -> str:
    return f"kill -{name} {os.getpid()}"


def _print_to_stdout(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise RouterError(f"standard output cannot be written: {error.strerror}") from None


def _boot(router: RunningRouter, firmware: str) -> None:
    """Boot the firmware that a signal requested, and log the outcome. A failure does not end the router."""
    try:
        if firmware == OTHER:
            router.boot_other_firmware()
            logger.warning(
                "other firmware is booted (simulated); to boot the original firmware: %s", _boot_command("USR2")
            )
        else:
            router.boot_original_firmware()
            logger.warning("the original firmware is booted (simulated)")
    except (RouterError, AttesterError) as error:
        logger.error("no firmware was booted: %s", error)


def _check_replaceable(path: Path) -> None:
    """Refuse to replace a file that is not a certificate in PEM. Raises `RouterError`."""
    try:
        if not path.parent.is_dir():
            raise RouterError(f"ca_out: {path}: the folder does not exist; create it first")
        if os.path.lexists(path) and read_bounded(path, len(_CERTIFICATE)) != _CERTIFICATE:
            raise RouterError(f"ca_out: {path}: not a certificate, so it is not replaced; choose another file")
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
        actions: firmware to boot, or `_STOP`, in order of arrival. A signal handler may interrupt the `put` of another
            handler, which `SimpleQueue` permits.
        stop_now: set by the second signal that stops the router.
    """

    actions: SimpleQueue[str] = field(default_factory=SimpleQueue)
    stop_now: threading.Event = field(default_factory=threading.Event)


@contextmanager
def _handle_signals() -> Iterator[_Received]:
    """Handle signals while the context is active, and collect them."""
    received = _Received()
    stopping = False

    def stop(_: int, __: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            received.stop_now.set()
        stopping = True
        received.actions.put(_STOP)

    def boot(number: int, _: FrameType | None) -> None:
        received.actions.put(_BOOT_SIGNALS[signal.Signals(number).name])

    handlers = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup(1) ignores it
        handlers[signal.SIGHUP] = stop
    handlers |= {getattr(signal, name): boot for name in _BOOT_SIGNALS if hasattr(signal, name)}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _log_on_stderr(log_format: str) -> Iterator[None]:
    """Write the logs of the router, uvicorn and asyncio to standard error, in one format and without tracebacks."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter() if log_format == "json" else TextFormatter())
    loggers = [logging.getLogger(name) for name in ("nomyo.router", "uvicorn", "asyncio")]
    previous = [(each.level, each.propagate) for each in loggers]
    for each, level in zip(loggers, (logging.INFO, logging.WARNING, logging.WARNING), strict=True):
        each.addHandler(handler)
        each.setLevel(level)
        each.propagate = False
    try:
        yield
    finally:
        for each, (level, propagate) in zip(loggers, previous, strict=True):
            each.removeHandler(handler)
            each.setLevel(level)
            each.propagate = propagate
