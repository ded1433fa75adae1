"""A router that runs in this process, in a thread of its own: for tests, the demonstration, benchmarks, and `serve`."""

from __future__ import annotations

import ipaddress
import json
import logging
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from nomyo.router.access_log import JSONFormatter, TextFormatter
from nomyo.router.app import Counts, Router
from nomyo.router.credentials import ServerKey, ServerTLS, load_tls, make_temporary_tls
from nomyo.router.errors import RouterError
from nomyo.router.evidence import open_source
from nomyo.router.faults import BY_NAME
from nomyo.router.options import RouterOptions
from nomyo.router.server_thread import STOP_SECONDS, ServerThread


class RunningRouter:
    """A router, listening while its context lasts, gone without a trace afterwards. ::

        with RunningRouter(RouterOptions(tpm="soft")) as router:
            client = SecureChatCompletion(base_url=router.url, …)   # with SSL_CERT_FILE, or http_client, for router.ca
            router.fault = "replay"

    Args:
        options: what to run.
        server_key: a key pair to open requests with, in the place of the one that `options` ask for: to make one takes
            up to seconds, which tests have none of.
        switchable: whether faults may be turned on while it runs. If so, it keeps its last sealed answer to replay.

    Raises:
        RouterError: on entering, if it cannot be run as asked.
    """

    def __init__(
        self, options: RouterOptions | None = None, *, server_key: RSAPrivateKey | None = None, switchable: bool = True
    ) -> None:
        self.options: Final = options or RouterOptions()
        _known(self.options.fault)
        self._given_key = server_key
        self._switchable = switchable
        self._stack: ExitStack | None = None
        self._router: Router | None = None
        self._server: ServerThread | None = None
        self._ca: Path | None = None
        self._url = ""

    def __enter__(self) -> Self:
        if self._stack is not None:
            raise RouterError("this router is running already")
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, grace: float = STOP_SECONDS, *, at_once: threading.Event | None = None) -> None:
        """End it, and remove all it kept. Stopping twice does nothing.

        Args:
            grace: seconds that requests in progress have to finish; new ones get 503 meanwhile. Those that do not
                finish in time get 503 as well.
            at_once: ends the time of grace when it is set.
        """
        stack, self._stack = self._stack, None
        server, self._server = self._server, None
        if stack is not None:
            with stack:
                if server is not None:
                    server.stop(grace, at_once)
            self._router = None

    def _start(self, stack: ExitStack) -> None:
        options = self.options
        listener = stack.enter_context(_listen(options))
        if options.cert is not None and options.key is not None:
            secured = load_tls(options.cert, options.key)
        else:
            secured = _temporary_tls(stack, options.host)
        source = open_source(options)
        stack.callback(source.close)
        key = ServerKey.first(options) if self._given_key is None else ServerKey.of(self._given_key)
        router = Router(options, key, source, remembers=self._switchable or options.fault is not None)
        router.faults.turn(options.fault)
        self._server = ServerThread(router, listener, secured.context)
        stack.callback(self._server.stop)
        self._router, self._ca = router, secured.ca
        self._url = _url(options, listener.getsockname()[1])

    @property
    def _running(self) -> Router:
        if self._router is None:
            raise RouterError("the router is not running: use it inside `with RunningRouter(…) as router:`")
        return self._router

    @property
    def url(self) -> str:
        """The base URL for clients, such as ``"https://localhost:40123"``."""
        self._running  # noqa: B018 - a URL of a router that is gone would lead to somebody else's
        return self._url

    @property
    def ca(self) -> Path | None:
        """File of the throw-away CA's certificate in PEM; None where `options.cert` was given."""
        self._running  # noqa: B018
        return self._ca

    @property
    def tpm(self) -> str:
        """Where evidence comes from: ``"device"``, ``"swtpm"``, ``"soft"`` or ``"none"``."""
        return self._running.source.kind

    @property
    def server_key_pin(self) -> str:
        """``sha256/…`` of the key that requests are sealed to now."""
        return self._running.server_key.pin

    @property
    def counts(self) -> Counts:
        """What it has seen so far."""
        return self._running.counts

    @property
    def fault(self) -> str | None:
        """Name of the fault that is on, of `faults.FAULTS`; None for none. Raises `RouterError` for an unknown one."""
        return self._running.faults.name

    @fault.setter
    def fault(self, name: str | None) -> None:
        self.set_fault(name)

    def set_fault(self, name: str | None, times: int | None = None) -> None:
        """Turn a fault on for every request, or for the next `times` that it can meet; None turns it off."""
        _known(name)
        if not self._switchable:
            raise RouterError("this router was started without a switch for faults")
        self._running.faults.turn(name, times)

    @property
    def tpm_available(self) -> bool:
        """Set to False to behave as a router whose TPM is gone."""
        return self._running.tpm_available

    @tpm_available.setter
    def tpm_available(self, available: bool) -> None:
        self._running.tpm_available = available

    def boot_other_firmware(self) -> None:
        """Let the machine that a software TPM stands for start again with other firmware: PCR 0 and 10 change.

        Raises `RouterError` where the TPM is not a software one.
        """
        self._running.source.boot_other_firmware()

    def rotate_key(self, key: RSAPrivateKey | None = None) -> str:
        """Open requests with another key from now on: `key`, or one made now. Returns its pin."""
        made = ServerKey.new(self.options.server_key_bits) if key is None else ServerKey.of(key)
        self._running.server_key = made
        return made.pin


def _known(fault: str | None) -> None:
    if fault is not None and fault not in BY_NAME:
        raise RouterError(f"fault: {fault!r} is none of those in nomyo.router.FAULTS")


def _listen(options: RouterOptions) -> socket.socket:
    host = "127.0.0.1" if options.host == "localhost" else options.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, options.port), family=family, backlog=2048)
    except OSError as error:
        raise RouterError(f"cannot listen on {host}, port {options.port}: {error.strerror or error}") from None


def _url(options: RouterOptions, port: int) -> str:
    host = options.host
    if host == "127.0.0.1":
        host = "localhost"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"https://{host}:{port}"
    if address.is_unspecified:  # listening everywhere is no address to go to
        return f"https://localhost:{port}"
    return f"https://[{host}]:{port}" if address.version == 6 else f"https://{host}:{port}"


def _temporary_tls(stack: ExitStack, host: str) -> ServerTLS:
    """A throw-away CA in a new temporary folder, which `stack` removes. Raises `RouterError`."""
    try:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="nomyo-router-"))
        return make_temporary_tls(Path(directory), host)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RouterError(
            f"temporary folder: {reason}; set TMPDIR to a folder with free space that you can write to, or give"
            " a certificate with cert and key"
        ) from None


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
