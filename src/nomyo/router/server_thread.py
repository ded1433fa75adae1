"""uvicorn in a thread: started when it says so, ended without waiting for idle peers, its connections counted."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from nomyo.router.app import Counts
from nomyo.router.errors import RouterError

KEEP_ALIVE_SECONDS: Final = 60
"""How long an idle connection is kept, so that clients can come back on it."""

GRACE_SECONDS: Final = 2
"""How long requests in flight may take when the router ends."""

START_SECONDS: Final = 30.0


class ServerThread:
    """A server in a thread of its own. Raises `RouterError` if it does not start.

    Args:
        app: what it serves.
        listener: a socket that listens; it is closed in the end.
        context: for TLS.
        counts: where connections are counted.
    """

    def __init__(self, app: Starlette, listener: socket.socket, context: ssl.SSLContext, counts: Counts) -> None:
        config = uvicorn.Config(
            app,
            http=_connection(counts),
            ws="none",
            loop="asyncio",
            interface="asgi3",
            lifespan="on",
            workers=1,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        config.load()
        config.ssl = context  # uvicorn's own options for TLS take files alone
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, args=(listener,), name="nomyo-router", daemon=True)
        self._thread.start()
        if not (self._server.ready.wait(START_SECONDS) and self._server.started):
            self.stop()
            raise RouterError("the server did not start; its log says why")

    def _run(self, listener: socket.socket) -> None:
        try:
            self._server.run([listener])
        finally:
            self._server.ready.set()

    def stop(self) -> None:
        """End the server and wait for it."""
        self._server.should_exit = True
        self._thread.join()


class _Server(uvicorn.Server):
    """uvicorn, saying when it has started, and ending connections that nobody uses instead of waiting for their peers.

    Attributes:
        ready: set when it listens, or has failed to.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, H11Protocol) and (connection.cycle is None or connection.cycle.response_complete):
                connection.transport.abort()
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


def _connection(counts: Counts) -> type[H11Protocol]:
    """uvicorn's protocol, counted, and shown to the application, where the faults of the wire need it."""

    class Connection(H11Protocol):
        def __init__(
            self,
            config: uvicorn.Config,
            server_state: ServerState,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            super().__init__(config, server_state, {**app_state, "connection": self}, _loop)

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
            counts.connections += 1
            # asyncio does this for sockets that name TCP as their protocol alone; those of socket.create_server do not.
            # Without it the body waits for the acknowledgement of the head, which a client delays by 40 ms.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            super().connection_made(transport)

    return Connection
