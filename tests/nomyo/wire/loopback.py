"""A server on the loopback interface in a separate thread; the base of the router and the proxies of this folder.

A connection counts from the moment TCP accepts it, whether or not a TLS handshake follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from types import TracebackType
from typing import Any, Self

import trustme

HOST = "127.0.0.1"
LINE_LIMIT = 1 << 20  # bytes; a header line with an RSA key is about 900 bytes long


class Connection:
    """One accepted connection: `serial` counts from 1, `reader` and `writer` are asyncio's, after any TLS handshake."""

    def __init__(self, serial: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serial = serial
        self.reader = reader
        self.writer = writer

    def reset(self) -> None:
        """Close the connection with RST; data in transit is lost."""
        linger_zero(self.writer)
        self.writer.transport.abort()

    async def close(self, patience: float = 1.0) -> None:
        """Close the connection with FIN, after TLS' close_notify; wait `patience` seconds for the other side."""
        self.writer.close()
        try:
            await asyncio.wait_for(self.writer.wait_closed(), patience)
        except (OSError, TimeoutError):
            self.writer.transport.abort()


class Loopback:
    """A server as a context manager; a subclass handles connections in `serve`.

    Exceptions in the thread, except `OSError` for closed connections, are collected in `errors`. Leaving the context
    raises the first, so that no test passes with a broken server.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.errors: list[BaseException] = []
        self.port = 0
        self.context = context
        self.resources = contextlib.ExitStack()  # closed after the thread ends
        self._open: dict[asyncio.Task[None], Connection | None] = {}

    @property
    def open_connections(self) -> int:
        """The number of open connections."""
        return len(self._open)

    async def serve(self, connection: Connection) -> None:
        """Handle one connection."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Close all open connections with FIN, as a server does with idle connections in a client's pool."""
        asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result(10)

    def __enter__(self) -> Self:
        self._listener = socket.create_server((HOST, 0), backlog=1024)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._listener.close()
        self.resources.close()
        if self._thread.is_alive():
            raise RuntimeError(f"{type(self).__name__}: its thread did not end within 30 s")
        if self.errors and error is None:
            raise self.errors[0]
        if self.errors and error is not None:
            error.add_note(f"In the thread of {type(self).__name__}: {self.errors[0]!r}")

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._note)
        self._stop = asyncio.Event()
        acceptor = asyncio.create_task(self._accept())
        self._ready.set()
        await self._stop.wait()
        acceptor.cancel()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(acceptor, *tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close their sockets in the next iteration of the loop

    async def _accept(self) -> None:
        while True:
            accepted, _ = await self._loop.sock_accept(self._listener)
            self.connections += 1
            task = asyncio.create_task(self._connection(self.connections, accepted))
            self._open[task] = None
            task.add_done_callback(self._ended)

    async def _connection(self, serial: int, accepted: socket.socket) -> None:
        reader = asyncio.StreamReader(LINE_LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, accepted, ssl=self.context)
        except OSError:  # the handshake failed; asyncio has closed the socket
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        connection = Connection(serial, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = connection
        try:
            await self.serve(connection)
            if not transport.is_closing():
                await connection.close()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            transport.abort()

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._open[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    async def _disconnect(self) -> None:
        idle = {task: each for task, each in self._open.items() if each is not None}
        await asyncio.gather(*(each.close(0.02) for each in idle.values()))  # no data is in transit
        for task in idle:
            task.cancel()
        await asyncio.gather(*idle, return_exceptions=True)

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None:
            self.errors.append(RuntimeError(str(context["message"])))
        elif not isinstance(error, OSError) and not _was_lost_twice(error):
            self.errors.append(error)


def _was_lost_twice(error: BaseException) -> bool:
    """Return whether asyncio reported a lost connection to its transport twice, as Python 3.12.1 does after a reset
    during an endless response. The second time, the socket is already closed.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        isinstance(error, AttributeError)
        and trace is not None
        and trace.tb_frame.f_code.co_name == "_call_connection_lost"
    )


def linger_zero(writer: asyncio.StreamWriter) -> None:
    """Make closing this connection send an RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """Return a TLS context for localhost with a certificate from this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    return context
