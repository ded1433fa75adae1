"""Run a router in a thread of this process."""

from __future__ import annotations

import ipaddress
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
from nomyo.router.evidence import ORIGINAL_FIRMWARE, OTHER_FIRMWARE, open_source
from nomyo.router.faults import BY_NAME
from nomyo.router.options import RouterOptions
from nomyo.serving.server_thread import STOP_SECONDS, NotStartedError, ServerThread, listen


class RunningRouter:
    """A router that runs while its context is active, and removes its temporary files at the end. ::

        with RunningRouter(RouterOptions(tpm="soft")) as router:
            client = SecureChatCompletion(base_url=router.url, …)   # trust router.ca: SSL_CERT_FILE or http_client
            router.fault = "replay"

    Args:
        options: its options.
        server_key: private key that decrypts requests, instead of the one that `options` name. Generating a key can
            take seconds, so tests share one.
        switchable: whether `fault` can be set while the router runs. If so, it stores its last encrypted response, for
            the fault that replays it.

    Raises:
        RouterError: on entering the context, if the router cannot run with these options.
    """

    def __init__(
        self, options: RouterOptions | None = None, *, server_key: RSAPrivateKey | None = None, switchable: bool = True
    ) -> None:
        self.options: Final = options or RouterOptions()
        _check_fault(self.options.fault)
        self._server_key = server_key
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
            try:
                self._start(stack)
            except NotStartedError as error:
                raise RouterError(str(error)) from None
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, grace: float = STOP_SECONDS, *, stop_now: threading.Event | None = None) -> None:
        """Stop the router and remove its temporary files. Stopping it again has no effect.

        Args:
            grace: seconds that requests in progress may take; new ones get 503 meanwhile. Requests that do not finish
                in time get 503 as well.
            stop_now: event that ends the grace period when it is set.
        """
        stack, self._stack = self._stack, None
        server, self._server = self._server, None
        if stack is not None:
            with stack:
                if server is not None:
                    server.stop(grace, stop_now)
            self._router = None

    def _start(self, stack: ExitStack) -> None:
        options = self.options
        listener = stack.enter_context(listen(options.host, options.port))
        if options.cert is not None and options.key is not None:
            tls = load_tls(options.cert, options.key)
        else:
            tls = _temporary_tls(stack, options.host)
        source = open_source(options)
        stack.callback(source.close)
        key = (
            ServerKey.load_or_generate(options)
            if self._server_key is None
            else ServerKey.from_private_key(self._server_key)
        )
        router = Router(options, key, source, stores_last=self._switchable or options.fault is not None)
        router.faults.set_fault(options.fault)
        self._server = ServerThread(router, listener, tls.context)
        stack.callback(self._server.stop)
        self._router, self._ca = router, tls.ca
        self._url = _url(options, listener.getsockname()[1])

    @property
    def _running(self) -> Router:
        if self._router is None:
            raise RouterError("the router is not running: use it inside `with RunningRouter(…) as router:`")
        return self._router

    @property
    def url(self) -> str:
        """The base URL for clients, such as ``"https://localhost:40123"``."""
        self._running  # noqa: B018 - raises after a stop: another process may use the URL then
        return self._url

    @property
    def ca(self) -> Path | None:
        """File of the temporary CA's certificate in PEM; None with `options.cert`."""
        self._running  # noqa: B018 - raises after a stop
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
        """Counts of connections and requests since the start."""
        return self._running.counts

    @property
    def fault(self) -> str | None:
        """Name of the active fault; None if no fault is active. Setting an unknown name raises `RouterError`."""
        return self._running.faults.name

    @fault.setter
    def fault(self, name: str | None) -> None:
        self.set_fault(name)

    def set_fault(self, name: str | None, times: int | None = None) -> None:
        """Simulate a fault in every response, or in the next `times` to which it applies; None for no fault."""
        _check_fault(name)
        if not self._switchable:
            raise RouterError("the fault of this router cannot be changed: it was created with switchable=False")
        self._running.faults.set_fault(name, times)

    @property
    def tpm_available(self) -> bool:
        """Whether the TPM is available; set it to False to behave as a router without one."""
        return self._running.tpm_available

    @tpm_available.setter
    def tpm_available(self, available: bool) -> None:
        self._running.tpm_available = available

    def boot_other_firmware(self) -> None:
        """Simulate a boot of other firmware on a software TPM: PCRs 0 and 10 change.

        Raises `RouterError` if the TPM is not a software TPM, and `AttesterError` if swtpm fails.
        """
        self._running.source.boot(OTHER_FIRMWARE)

    def boot_original_firmware(self) -> None:
        """Simulate a boot of the original firmware: PCRs 0 and 10 return to their original values.

        Raises as `boot_other_firmware` does.
        """
        self._running.source.boot(ORIGINAL_FIRMWARE)

    def rotate_key(self, key: RSAPrivateKey | None = None) -> str:
        """Replace the server key with `key`, or with a new key, and return its pin."""
        new = ServerKey.generate(self.options.server_key_bits) if key is None else ServerKey.from_private_key(key)
        self._running.server_key = new
        return new.pin


def _check_fault(fault: str | None) -> None:
    if fault is not None and fault not in BY_NAME:
        raise RouterError(f"fault: unknown fault {fault!r}; choose one from nomyo.router.FAULTS")


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
            f"temporary folder: {reason}; set TMPDIR to a writable folder with free space, or "
            "use a certificate of your own"
        ) from None
