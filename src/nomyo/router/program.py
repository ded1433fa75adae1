"""Run a router as a program, until a signal arrives. It prints a line on standard output when it is ready."""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
from pathlib import Path
from typing import Final

from nomyo.router.errors import RouterError
from nomyo.router.options import ORIGINAL, OTHER, RouterOptions
from nomyo.router.running import RunningRouter
from nomyo.serving.program import STOP, check_stdout, handle_signals, log_on_stderr, print_to_stdout
from nomyo.serving.server_thread import NotStartedError
from nomyo_attest._files import atomic_file, read_bounded, reason
from nomyo_attest.errors import AttesterError

logger = logging.getLogger("nomyo.router")

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
    try:
        _serve(options)
    except NotStartedError as error:
        raise RouterError(str(error)) from None
    return 0


def _serve(options: RouterOptions) -> None:
    check_stdout()
    if options.ca_out is not None:
        _check_replaceable(options.ca_out)
    with (
        log_on_stderr(options.log_format, {logger.name: logging.INFO}),
        handle_signals(_BOOT_SIGNALS) as received,
        RunningRouter(options, switchable=False) as router,
    ):
        ca = router.ca
        if ca is not None and options.ca_out is not None:
            ca = _write_ca(options.ca_out, ca.read_bytes())
        if router.tpm in ("swtpm", "soft") and hasattr(signal, "SIGUSR1"):
            logger.info("to boot other firmware: %s", _boot_command("USR1"))
        print_to_stdout(environment_text(router, ca) if options.print_env else _ready_line(router, ca))
        for action in iter(received.actions.get, STOP):
            _boot(router, action)
        router.stop(options.grace, stop_now=received.stop_now)


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
