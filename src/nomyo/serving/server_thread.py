"""Accept connections in a thread, serve them with uvicorn's protocol, and shut down gracefully.

uvicorn's own server is not used. It cannot limit connections that have no request yet, allows a minute for a TLS
handshake, closes idle connections at the start of a shutdown instead of responding on them, and ends requests with a
traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import threading
from email.utils import formatdate
from typing import Final

import uvicorn
from uvicorn.server import ServerState

from nomyo.serving.connection import CLOSING_SECONDS, HEAD_SECONDS, Connection, IdleConnections, Served, peer_of

KEEP_ALIVE_SECONDS: Final = 75
"""Seconds that an idle connection stays open: longer than in most clients, so that the client closes first."""

STOP_SECONDS: Final = 2.0
"""Default grace period of `ServerThread.stop`, in seconds."""

CUT_OFF_SECONDS: Final = 2.0
"""Seconds for sending the responses to requests that ran out of time."""

START_SECONDS: Final = 30.0

_POLL_SECONDS: Final = 0.05
_TLS_CLOSE_SECONDS: Final = 10.0
_OUT_OF_RESOURCES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class NotStartedError(Exception):
    """The server could not start. The message contains the problem and a hint."""


class ServerThread:
    """A server in its own thread. Raises `NotStartedError`.

    Args:
        served: what to serve.
        listener: a listening socket, which this class closes.
        context: the TLS context; None for plain HTTP.
    """

    def __init__(self, served: Served, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        self._served = served
        self._logger = served.access.logger
        self._listener = listener
        self._context = context
        self._config = uvicorn.Config(
            served.app(),
            http="h11",  # `Connection` is based on h11; httptools parses less strictly
            ws="none",
            loop="asyncio",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._config.load()
        self._state = ServerState()
        self._idle = IdleConnections()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._started = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Final = asyncio.Event()
        self._stop_now = threading.Event()
        self._grace = STOP_SECONDS
        self._thread = threading.Thread(target=self._run, name=self._logger.name.replace(".", "-"), daemon=True)
        self._thread.start()
        if not (self._ready.wait(START_SECONDS) and self._started):
            self.stop()
            raise NotStartedError("the server did not start; see its log")

    def stop(self, grace: float = STOP_SECONDS, stop_now: threading.Event | None = None) -> None:
        """Stop the server and wait until its thread has ended.

        Args:
            grace: seconds that requests in progress may take; they get 503 afterwards.
            stop_now: event that ends the grace period when it is set.
        """
        self._grace = grace
        self._stop_now = stop_now or self._stop_now
        if self._loop is None:
            self._stop.set()
        else:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - the constructor reports that the server did not start
            self._logger.error("the server failed: %s", type(error).__name__)
        finally:
            self._listener.close()
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        async with self._served.lifespan():
            self._set_headers()
            accepting = asyncio.create_task(self._accept())
            stopped = asyncio.create_task(self._stop.wait())
            self._started = True
            self._ready.set()
            while not (await asyncio.wait({stopped, accepting}, timeout=1, return_when=asyncio.FIRST_COMPLETED))[0]:
                self._set_headers()
            accepting.cancel()
            await asyncio.wait({accepting})
            self._listener.close()
            await self._shut_down()

    def _set_headers(self, *more: tuple[bytes, bytes]) -> None:
        """Set the headers of every response. The list is changed in place, so requests in progress use them as well."""
        self._state.default_headers[:] = [(b"date", formatdate(usegmt=True).encode()), *more]

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(self._listener)
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._logger.error("no connection can be accepted: %s", error.strerror)
                    await asyncio.sleep(1)
                await asyncio.sleep(_POLL_SECONDS)
                continue
            handshake = loop.create_task(self._admit(accepted, address))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _admit(self, accepted: socket.socket, address: object) -> None:
        """Establish TLS, if it is used, on an accepted socket, and attach the protocol."""
        task = asyncio.current_task()
        assert task is not None
        connection = Connection(
            self._served,
            self._config,
            self._state,
            peer=peer_of(address),
            idle=self._idle,
            abandon=task.cancel,
        )
        try:
            # Without this, the body waits for the ACK of the head, which a client delays by 40 ms.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=None if self._context is None else HEAD_SECONDS,
                ssl_shutdown_timeout=None if self._context is None else _TLS_CLOSE_SECONDS,
            )
        except BaseException as error:
            connection.forget()
            accepted.close()
            if not isinstance(error, (OSError, EOFError, asyncio.CancelledError)):
                raise

    async def _shut_down(self) -> None:
        """Let requests in progress finish, respond to new ones with 503, and close all connections."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._grace
        self._served.draining = True
        self._set_headers((b"connection", b"close"))
        if self._state.tasks:
            pending = _format_requests(len(self._state.tasks))
            self._logger.info("shutting down: %s in progress may take %g s, new ones get 503", pending, self._grace)
        while self._state.tasks and loop.time() < until and not self._stop_now.is_set():
            await asyncio.wait({*self._state.tasks}, timeout=_POLL_SECONDS)
        if self._state.tasks:
            self._logger.warning("shutting down: %s did not finish in time", _format_requests(len(self._state.tasks)))
            self._served.out_of_time.set()
            await asyncio.wait({*self._state.tasks}, timeout=CUT_OFF_SECONDS)
        for handshake in [*self._handshakes]:
            handshake.cancel()
        flushing = [connection for connection in self._connections() if connection.is_flushing]
        for connection in self._connections():
            if connection not in flushing:
                connection.end()
        await self._wait_until_closed(flushing, max(until - loop.time(), CLOSING_SECONDS))
        await self._wait_until_closed(self._connections(), CLOSING_SECONDS / 2)
        for connection in self._connections():
            connection.transport.abort()
        await asyncio.sleep(_POLL_SECONDS)

    async def _wait_until_closed(self, connections: list[Connection], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        # A transport has no event that signals its end.
        while {*connections} & {*self._connections()} and not self._stop_now.is_set():
            await asyncio.sleep(_POLL_SECONDS / 5)
            if loop.time() > until:
                return

    def _connections(self) -> list[Connection]:
        return [connection for connection in self._state.connections if isinstance(connection, Connection)]


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 stands for a free port. Raises `NotStartedError`."""
    host = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        # create_server() raises a new error, whose strerror contains the address.
        if isinstance(error.__context__, socket.gaierror):
            raise NotStartedError(f"host: {host!r} could not be resolved; use an address of this machine") from None
        reason = os.strerror(error.errno) if error.errno else str(error)
        problem = f"cannot listen on {host}, port {port}: {reason}"
        raise NotStartedError(f"{problem}; choose another host or port") from None


def _format_requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"
