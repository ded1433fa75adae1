"""Run a proxy in a thread of this process, or as a program until a signal arrives."""

from __future__ import annotations

import ipaddress
import json
import logging
import threading
from types import TracebackType
from typing import Final, Self

from nomyo.chat import SecureChatCompletion
from nomyo.proxy.app import Proxy
from nomyo.proxy.options import ProxyError, ProxyOptions, url_host
from nomyo.serving.program import STOP, check_stdout, handle_signals, log_on_stderr, print_to_stdout
from nomyo.serving.server_thread import STOP_SECONDS, NotStartedError, ServerThread, listen

GRACE_SECONDS: Final = 10.0
"""Seconds that requests in progress may take after a signal."""

_LEVELS: Final = {"nomyo": logging.WARNING, "nomyo.proxy": logging.INFO}


class RunningProxy:
    """A proxy that runs while its context is active. ::

        with RunningProxy(client, ProxyOptions()) as proxy:
            openai.OpenAI(base_url=proxy.url, api_key="…")

    Args:
        client: the client that sends the requests; the proxy closes it.
        options: the options of the proxy.

    Raises:
        ProxyError: on entering the context, if the proxy cannot run with these options.
    """

    def __init__(self, client: SecureChatCompletion, options: ProxyOptions) -> None:
        self._client, self._options = client, options
        self._server: ServerThread | None = None
        self.url = ""
        """The base URL for clients, such as ``"http://127.0.0.1:8642/v1"``."""

    def __enter__(self) -> Self:
        options = self._options
        try:
            listener = listen(options.host, options.port)
            port = listener.getsockname()[1]
            self._server = ServerThread(Proxy(self._client, options, port), listener, None)
        except NotStartedError as error:
            problem = str(error)
            raise ProxyError(f"--{problem}" if problem.startswith("host:") else problem) from None
        self.url = f"http://{_reachable_host(options.host)}:{port}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, grace: float = STOP_SECONDS, *, stop_now: threading.Event | None = None) -> None:
        """Stop the proxy. Stopping it again has no effect.

        Args:
            grace: seconds that requests in progress may take; new requests for a completion get 503 meanwhile. Requests
                that do not finish in time get 503 as well.
            stop_now: event that ends the grace period when it is set.
        """
        server, self._server = self._server, None
        if server is not None:
            server.stop(grace, stop_now)


def serve(client: SecureChatCompletion, options: ProxyOptions, policy_id: str | None) -> None:
    """Run a proxy until SIGINT, SIGTERM or SIGHUP. Call it in the main thread.

    When the proxy listens, it writes one line to standard output, and nothing else::

        {"url": "http://127.0.0.1:8642/v1", "policy": "my-server", "server": "https://api.nomyo.ai"}

    After the signal it accepts no more connections and responds to new requests for a completion with 503. Requests in
    progress may take `GRACE_SECONDS`; a second signal ends this period. The log is written to standard error.

    Args:
        client: the client that sends the requests; it is closed.
        options: the options of the proxy.
        policy_id: id of the client's policy, to include in that line; None if it has none.

    Raises:
        ProxyError: the proxy cannot run with these options.
    """
    try:
        check_stdout()
        with log_on_stderr("text", _LEVELS), handle_signals() as received, RunningProxy(client, options) as proxy:
            ready = {"url": proxy.url, "policy": policy_id, "server": client.client.router_url}
            print_to_stdout(json.dumps(ready) + "\n")
            for _ in iter(received.actions.get, STOP):
                pass
            proxy.stop(GRACE_SECONDS, stop_now=received.stop_now)
    except NotStartedError as error:
        raise ProxyError(str(error)) from None


def _reachable_host(host: str) -> str:
    """Return the host of the URL with which programs on this machine reach a proxy that listens on `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "127.0.0.1" if host == "localhost" else host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return url_host(host)
