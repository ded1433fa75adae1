"""A server on the loopback interface, in a thread of its own: what the router and the proxies of this folder stand on.

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
LINE_LIMIT = 1 << 20  # bytes: a header line with an RSA key in it has about 900


class Connection:
    """One accepted connection: `serial` counts from 1, `reader` and `writer` are asyncio's, after any TLS handshake."""

    def __init__(self, serial: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serial = serial
        self.reader = reader
        self.writer = writer

    def reset(self) -> None:
        """End it by RST: what is under way in either direction is lost."""
        linger_zero(self.writer)
        self.writer.transport.abort()

    async def close(self, patience: float = 1.0) -> None:
        """End it by FIN, with TLS' own farewell before; the other side has so many seconds to take part in that."""
        self.writer.close()
        try:
            await asyncio.wait_for(self.writer.wait_closed(), patience)
        except (OSError, TimeoutError):
            self.writer.transport.abort()


class Loopback:
    """A server as a context manager; a subclass says in `serve` what is done with a connection.

    An exception in the thread (`OSError` aside: clients may go away as they like) ends up in `errors`, and leaving the
    context raises the first of them, so that no test passes on a broken server.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.errors: list[BaseException] = []
        self.port = 0
        self.context = context
        self.resources = contextlib.ExitStack()  # goes with the thread
        self._open: dict[asyncio.Task[None], Connection | None] = {}

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    async def serve(self, connection: Connection) -> None:
        """Deal with one connection, from its first byte to its last."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Close every connection that is open, by FIN and at once: what a client in a pool finds when it comes back."""
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
        await asyncio.sleep(0)  # transports that were aborted close their sockets in the loop's next turn

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
        await asyncio.gather(*(each.close(0.02) for each in idle.values()))  # nothing on its way that could be lost
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
    """Whether it is asyncio's own: 3.12.1 was seen to tell a transport twice that its connection is lost, after a reset
    amid an endless answer. The second time there is no socket to be closed any more.
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
    """Make the end of this connection an RST, whenever it comes."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """TLS for localhost, with a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    return context
