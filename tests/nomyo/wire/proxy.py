"""A TCP proxy that disturbs the connection between a client and a server, without decrypting TLS.

    with PlainRouter() as router, Proxy("localhost", router.port) as proxy:
        proxy.behave(Behavior(reset="after"))        # the next connection only
        proxy.default = Behavior(delay_ms=10)        # all other connections: a round trip of 20 ms

`tls_proxy.TlsProxy` terminates TLS, for faults of the HTTP messages.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Literal

from tests.nomyo.wire.behavior import Action, At, Behavior, Drip
from tests.nomyo.wire.loopback import LINE_LIMIT, Connection, Loopback
from tests.nomyo.wire.records import HANDSHAKE, ClientRecords, read_unit
from tests.nomyo.wire.tls_proxy import TlsProxy

__all__ = ["At", "Behavior", "Drip", "Proxy", "TlsProxy"]

_TICKETS = 0.3  # seconds that a server of TLS 1.3 may take to send its session tickets, if any
_QUIET = 0.02  # seconds without data after which they are complete
_UNITS_MAXIMUM = 1024  # of up to 16 KiB each in transit in a direction


class Proxy(Loopback):
    """The proxy, as a context manager. Attributes: `port`, the number of accepted `connections`, `default` behavior."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self.default = Behavior()
        self._target = (host, port)
        self._next: deque[Behavior] = deque()

    @property
    def url(self) -> str:
        """https://localhost and the proxy's port."""
        return f"https://localhost:{self.port}"

    def behave(self, *behaviors: Behavior) -> None:
        """Set the behaviors of the next connections, one each."""
        self._next.extend(behaviors)

    async def serve(self, connection: Connection) -> None:
        behavior = self._next.popleft() if self._next else self.default
        if behavior.reset == "accept":
            connection.reset()
            return
        reader, writer = await asyncio.open_connection(*self._target, limit=LINE_LIMIT)
        server = Connection(0, reader, writer)
        try:
            if await _Wire(connection, server, behavior).run() == "reset":
                connection.reset()
            else:
                await asyncio.gather(connection.close(), server.close())
        finally:
            writer.transport.abort()


class _ConnectionEndedError(Exception):
    """The connection ends with `action`."""

    def __init__(self, action: Action) -> None:
        super().__init__(action)
        self.action = action


class _Direction:
    """One direction of a connection: the forwarded bytes and those in transit."""

    def __init__(self, name: Literal["up", "down"], source: Connection, sink: Connection, behavior: Behavior) -> None:
        self.reader = source.reader
        self.writer = sink.writer
        self.strikes = list(behavior.strikes(name))
        self.drip = behavior.drip_up if name == "up" else behavior.drip_down
        self.passed = 0
        self.starts = {0: 0}
        self.line: asyncio.Queue[tuple[float, bytes | Action | None]] = asyncio.Queue(_UNITS_MAXIMUM)


class _Wire:
    """The connection between a client and a server."""

    def __init__(self, client: Connection, server: Connection, behavior: Behavior) -> None:
        self._up = _Direction("up", client, server, behavior)
        self._down = _Direction("down", server, client, behavior)
        self._delay = behavior.delay_ms / 1000
        self._accepted = time.monotonic()
        self._counts_requests = behavior.counts_requests
        self._requests = 0
        self._answered = True
        self._tls = asyncio.Event()
        self._is_tls = True
        self._finished = float(
            "inf"
        )  # time.monotonic() of the client's Finished; `_heard`: of the latest data from the server
        self._heard = 0.0

    async def run(self) -> Action | None:
        """Forward everything until both sides have closed, or the behavior ends the connection."""
        pumps = [self._read_up(), self._read_down(), self._write(self._up), self._write(self._down)]
        tasks = [asyncio.create_task(pump) for pump in pumps]
        try:
            await asyncio.gather(*tasks)
        except _ConnectionEndedError as end:
            return end.action
        except OSError:  # reset the other side too
            return "reset"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return None

    async def _read_up(self) -> None:
        first = await self._up.reader.read(1)
        self._is_tls = first == bytes([HANDSHAKE])
        self._tls.set()
        records = ClientRecords()
        unit = first
        if self._is_tls:
            rest = await self._up.reader.readexactly(4)
            unit += rest + await self._up.reader.readexactly(int.from_bytes(rest[2:4], "big"))
        while unit:
            if records.carries_data(unit) if self._is_tls else True:
                await self._begin(records)
            await self._pass(self._up, unit)
            if records.finished:
                self._finished = min(self._finished, time.monotonic())
            unit = await read_unit(self._up.reader, tls=self._is_tls)
        await self._up.line.put((self._due(self._up), None))

    async def _begin(self, records: ClientRecords) -> None:
        """Record the beginning of a request, after the tickets of TLS 1.3, which do not belong to its response."""
        if not self._answered:
            return
        if self._counts_requests and not self._requests and self._is_tls and not records.tls12:
            await self._tickets()
        self._requests += 1
        self._answered = False
        self._up.starts[self._requests] = self._up.passed
        self._down.starts[self._requests] = self._down.passed

    async def _tickets(self) -> None:
        patience = time.monotonic() + _TICKETS + 2 * self._delay
        while (now := time.monotonic()) < patience and not self._finished < self._heard < now - _QUIET:  # noqa: ASYNC110 - no event announces silence
            await asyncio.sleep(_QUIET / 4)

    async def _read_down(self) -> None:
        await self._tls.wait()
        while unit := await read_unit(self._down.reader, tls=self._is_tls):
            self._heard = time.monotonic()
            self._answered = self._answered or self._requests > 0
            await self._pass(self._down, unit)
        await self._down.line.put((self._due(self._down), None))

    async def _pass(self, way: _Direction, unit: bytes) -> None:
        """Forward a unit after applying the behavior."""
        for at, action in way.strikes:
            start = way.starts.get(at.request)
            offset = -1 if start is None else start + at.n - way.passed
            if action == "flip" and 0 <= offset < len(unit):
                unit = unit[:offset] + bytes([unit[offset] ^ 1]) + unit[offset + 1 :]
            elif action != "flip" and 0 <= offset <= len(unit):
                await self._send(way, unit[:offset])
                if action != "stall":
                    await way.line.put((self._due(way), action))
                await asyncio.Event().wait()
        await self._send(way, unit)

    async def _send(self, way: _Direction, unit: bytes) -> None:
        way.passed += len(unit)
        drip = way.drip if way.drip is not None and self._requests >= way.drip.request else None
        step = len(unit) if drip is None else drip.n
        for start in range(0, len(unit), step or 1):
            await way.line.put((self._due(way), unit[start : start + step]))
            if drip is not None:
                await asyncio.sleep(drip.seconds)

    def _due(self, way: _Direction) -> float:
        if way is self._up:
            return max(time.monotonic(), self._accepted + 2 * self._delay) + self._delay
        return time.monotonic() + self._delay

    async def _write(self, way: _Direction) -> None:
        while True:
            due, item = await way.line.get()
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if item is None:
                way.writer.write_eof()
                return
            if isinstance(item, str):
                raise _ConnectionEndedError(item)
            way.writer.write(item)
            await way.writer.drain()
