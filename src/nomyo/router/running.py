"""Run a router in a thread of this process."""

from __future__ import annotations

import ipaddress
import os
import socket
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from nomyo.router.app import Counts, Router
from nomyo.router.credentials import ServerKey, ServerTLS, load_tls, make_temporary_tls
from nomyo.router.errors import RouterError
from nomyo.router.evidence import FIRMWARE, OTHER_FIRMWARE, open_source
from nomyo.router.faults import BY_NAME
from nomyo.router.options import RouterOptions
from nomyo.router.server_thread import STOP_SECONDS, ServerThread


class RunningRouter:
    """A router that listens while its context lasts, and removes its files at the end. ::

        with RunningRouter(RouterOptions(tpm="soft")) as router:
            client = SecureChatCompletion(base_url=router.url, …)   # with SSL_CERT_FILE, or http_client, for router.ca
            router.fault = "replay"

    Args:
        options: its options.
        server_key: the private key for requests, instead of the one that `options` name. To generate one takes up to
            seconds, which tests avoid.
        switchable: whether faults may be turned on while it runs. If so, it stores its last encrypted response, for
            the fault that replays it.

    Raises:
        RouterError: on entering, if it cannot run with these options.
    """

    def __init__(
        self, options: RouterOptions | None = None, *, server_key: RSAPrivateKey | None = None, switchable: bool = True
    ) -> None:
        self.options: Final = options or RouterOptions()
        _check_fault(self.options.fault)
        self._given_key = server_key
        self._switchable = switchable
        self._stack: ExitStack | None = None
        self._router: Router | None = None
        self._server: ServerThread | None = None
        self._ca: Path | None = None
        self._url = ""

    def __enter__(self) -> Self:
        if self._stack is not None:
            raise RouterError("this router is already running")
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, grace: float = STOP_SECONDS, *, at_once: threading.Event | None = None) -> None:
        """Stop the router and remove its files. Stopping twice does nothing.

        Args:
            grace: seconds that requests in progress may take; new ones get 503 meanwhile. Those that do not finish in
                time get 503 as well.
            at_once: event that ends the grace period when it is set.
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
        router = Router(options, key, source, stores_last=self._switchable or options.fault is not None)
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
        self._running  # noqa: B018 - after a stop, another process may have the URL
        return self._url

    @property
    def ca(self) -> Path | None:
        """File of the temporary CA's certificate in PEM; None if `options.cert` was given."""
        self._running  # noqa: B018
        return self._ca

    @property
    def tpm(self) -> str:
        """The source of evidence: ``"device"``, ``"swtpm"``, ``"soft"`` or ``"none"``."""
        return self._running.source.kind

    @property
    def server_key_pin(self) -> str:
        """The pin, ``sha256/…``, of the current server key."""
        return self._running.server_key.pin

    @property
    def counts(self) -> Counts:
        """Counts of connections and requests so far."""
        return self._running.counts

    @property
    def fault(self) -> str | None:
        """Name of the fault that is on; None for none. Setting an unknown one raises `RouterError`."""
        return self._running.faults.name

    @fault.setter
    def fault(self, name: str | None) -> None:
        self.set_fault(name)

    def set_fault(self, name: str | None, times: int | None = None) -> None:
        """Turn a fault on for every request, or for the next `times` requests that it applies to; None turns it off."""
        _check_fault(name)
        if not self._switchable:
            raise RouterError("faults of this router cannot be switched: it was started with switchable=False")
        self._running.faults.turn(name, times)

    @property
    def tpm_available(self) -> bool:
        """Whether the TPM is available; set it to False to behave as a router without one."""
        return self._running.tpm_available

    @tpm_available.setter
    def tpm_available(self, available: bool) -> None:
        self._running.tpm_available = available

    def boot_other_firmware(self) -> None:
        """Simulate a boot of other firmware on a software TPM: PCR 0 and 10 change.

        Raises `RouterError` if the TPM is not a software TPM, and `AttesterError` if swtpm fails.
        """
        self._running.source.boot(OTHER_FIRMWARE)

    def boot_original_firmware(self) -> None:
        """Simulate a boot of the original firmware: PCR 0 and 10 have their first values again.

        Raises as `boot_other_firmware` does.
        """
        self._running.source.boot(FIRMWARE)

    def rotate_key(self, key: RSAPrivateKey | None = None) -> str:
        """Use another server key from now on: `key`, or a new one. Returns its pin."""
        new = ServerKey.new(self.options.server_key_bits) if key is None else ServerKey.of(key)
        self._running.server_key = new
        return new.pin


def _check_fault(fault: str | None) -> None:
    if fault is not None and fault not in BY_NAME:
        raise RouterError(f"fault: unknown fault {fault!r}; choose one of nomyo.router.FAULTS")


def _listen(options: RouterOptions) -> socket.socket:
    host = "127.0.0.1" if options.host == "localhost" else options.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, options.port), family=family, backlog=2048)
    except OSError as error:
        # create_server() replaces the error by one whose strerror contains the address.
        if isinstance(error.__context__, socket.gaierror):
            raise RouterError(f"host: {host!r} could not be resolved; give an address of this machine") from None
        reason = os.strerror(error.errno) if error.errno else str(error)
        problem = f"cannot listen on {host}, port {options.port}: {reason}"
        raise RouterError(f"{problem}; choose another host or port") from None


def _url(options: RouterOptions, port: int) -> str:
    host = options.host
    if host == "127.0.0.1":
        host = "localhost"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"https://{host}:{port}"
    if address.is_unspecified:  # a client cannot connect to the unspecified address
        return f"https://localhost:{port}"
    return f"https://[{host}]:{port}" if address.version == 6 else f"https://{host}:{port}"


def _temporary_tls(stack: ExitStack, host: str) -> ServerTLS:
    """Create a temporary CA in a new folder, which `stack` removes. Raises `RouterError`."""
    try:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="nomyo-router-"))
        return make_temporary_tls(Path(directory), host)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RouterError(
            f"temporary folder: {reason}; set TMPDIR to a folder with free space that you can write to, or give"
            " a certificate and its key"
        ) from None
