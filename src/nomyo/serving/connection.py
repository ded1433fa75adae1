"""Serve one client's connection with strict HTTP parsing and deadlines.

uvicorn's `H11Protocol` runs the application, and h11 parses, even if httptools is installed. Both accept more than a
server should: bare LF as a line terminator, folded header lines (RFC 9112, 2.2 and 5.2), repeated header fields,
and Content-Length together with Transfer-Encoding. A proxy in front may interpret such a request differently, so this
module refuses it with 400. They also let a peer take forever to send a request, so this module sets deadlines.
"""

from __future__ import annotations

import asyncio
import http
import ipaddress
import logging
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from nomyo.serving.access_log import LogSettings

HEAD_SECONDS: Final = 10.0
"""Maximum time from the start of a connection, or the first byte of a later request, to the end of the head, in
seconds.
"""

SILENCE_SECONDS: Final = 30.0
"""Maximum pause while a request's body arrives, in seconds."""

BODY_SECONDS: Final = 300.0
"""Maximum time until a request's body has arrived, in seconds."""

STALLED_SECONDS: Final = 60.0
"""Seconds in which a peer must read the part of a response that was sent, at most 256 KiB of a `PiecewiseResponse`."""

CLOSING_SECONDS: Final = 1.0
"""Seconds in which a peer must confirm the TLS shutdown of an idle connection."""

PEER_IDLE_MAX: Final = 100
"""Maximum number of idle connections per peer. One more closes the peer's connection that has been idle longest."""

HEAD_MAX: Final = 16 * 1024
"""Maximum size of a request's head in bytes."""

SINGLE_FIELDS: Final = frozenset(
    {b"authorization", b"content-type", b"x-payload-id", b"x-public-key", b"x-security-tier"}
)
"""Header fields that a request may contain only once: a server must not guess which of two values was meant."""

_END: Final = b"\r\n\r\n"
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_BARE_CR: Final = re.compile(rb"\r[^\n]")
_FOLDED: Final = re.compile(rb"\n[ \t]")

_RESPONSE_NOT_STARTED: Final = (h11.IDLE, h11.SEND_RESPONSE)


class Served(Protocol):
    """What a server serves.

    Attributes:
        draining: set to True when the server shuts down: new requests are to be refused, those in progress continue.
        out_of_time: set when requests in progress must end as well.
    """

    draining: bool
    out_of_time: asyncio.Event

    @property
    def access(self) -> LogSettings:
        """How requests are logged."""

    def app(self) -> ASGIApp:
        """Build the ASGI application; it is served inside `lifespan`."""

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Open and close what the application needs while it is served."""

    def count_connection(self) -> None:
        """Called for each connection that is established."""

    def refusal_body(self, status: int, detail: str) -> bytes:
        """Return the JSON body of the response to a request that does not reach the application."""


class StrictConnection(h11.Connection):
    """h11's server side of a connection, with stricter parsing.

    Attributes:
        request: the last request whose head was parsed.
        problem: why this class refused the last request; None if h11 refused it.
    """

    problem: str | None = None
    request: h11.Request | None = None

    def __init__(self) -> None:
        super().__init__(h11.SERVER, HEAD_MAX)

    def next_event(self) -> Any:
        """Return the next event, as h11 does. Raises `h11.RemoteProtocolError`."""
        state = self.their_state
        if state is h11.IDLE:
            self._check_head(self.trailing_data[0])
        elif state is h11.SEND_BODY and self._is_chunked:
            return self._next_chunked_event()
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.request = event
            self._check_fields(event)
        return event

    def _check_head(self, data: bytes) -> None:
        end = data.find(_END)
        head = data if end < 0 else data[: end + len(_END)]
        if len(head) > HEAD_MAX:
            self._refuse(f"The head of the request is larger than {HEAD_MAX} bytes")
        if _BARE_LF.search(head) or _BARE_CR.search(head):
            self._refuse("A line of the request ends in LF or CR alone; CRLF is required")
        if _FOLDED.search(head):
            self._refuse("A header field continues on a second line, which is not allowed")

    def _check_fields(self, request: h11.Request) -> None:
        names = [name for name, _ in request.headers]
        for name in sorted(SINGLE_FIELDS):
            if names.count(name) > 1:
                self._refuse(f"The header field {name.decode()} appears more than once")
        if b"transfer-encoding" in names and (b"content-length" in names or request.http_version < b"1.1"):
            self._refuse("Transfer-Encoding is not allowed together with Content-Length, nor in HTTP/1.0")

    @property
    def _is_chunked(self) -> bool:
        return self.request is not None and any(name == b"transfer-encoding" for name, _ in self.request.headers)

    def _next_chunked_event(self) -> Any:
        """Refuse trailer fields, which no client of the protocol sends: h11 accepts them, even with bare LF."""
        before = self.trailing_data[0]
        event = super().next_event()
        if isinstance(event, h11.EndOfMessage):
            consumed = before[: len(before) - len(self.trailing_data[0])]
            if [*event.headers] or not consumed.endswith(b"\r\n"):
                self._refuse("The chunked body ends in trailer fields or without CRLF, which is not allowed")
        return event

    def _refuse(self, problem: str) -> None:
        self.problem = problem
        raise h11.RemoteProtocolError(problem)


class IdleConnections:
    """Connections without a request in progress, grouped by peer; at most `PEER_IDLE_MAX` per peer."""

    def __init__(self) -> None:
        self._by_peer: dict[str, dict[Connection, None]] = {}

    def add(self, connection: Connection) -> None:
        """Add a connection. If its peer has too many, close the one that has been idle longest."""
        idle = self._by_peer.setdefault(connection.peer, {})
        if connection in idle:
            return
        if len(idle) >= PEER_IDLE_MAX:
            longest = next(iter(idle))
            del idle[longest]
            longest.end()
        idle[connection] = None

    def remove(self, connection: Connection) -> None:
        """Remove a connection."""
        idle = self._by_peer.get(connection.peer, {})
        idle.pop(connection, None)
        if not idle:
            self._by_peer.pop(connection.peer, None)


class Connection(H11Protocol):
    """uvicorn's protocol with deadlines and strict parsing, created for an accepted connection before TLS begins.

    Args:
        served: what the server serves.
        config: uvicorn's configuration.
        state: the server state in which uvicorn registers connections and tasks.
        peer: the peer, from `peer_of`.
        idle: the set that contains the connection while it has no request in progress.
        abandon: closes the connection before TLS is established.
    """

    def __init__(
        self,
        served: Served,
        config: uvicorn.Config,
        state: ServerState,
        *,
        peer: str,
        idle: IdleConnections,
        abandon: Callable[[], object],
    ) -> None:
        super().__init__(config, state, {"connection": self})
        self.conn = self._strict = StrictConnection()
        # uvicorn logs a warning for each malformed request, which already has a line in the access log.
        self.logger = served.access.logger.getChild("http")
        self.logger.setLevel(logging.ERROR)
        self.access_log = False  # uvicorn's access log contains the query, and is on if its logger has a handler
        self.peer: Final = peer
        self._idle = idle
        self._served = served
        self._is_established = False
        self._abandon = abandon
        self._head_deadline: float | None = self.loop.time() + HEAD_SECONDS
        self._body_deadline: float | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._timer = self.loop.call_at(self._head_deadline, self._expire)
        idle.add(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        self._served.count_connection()
        self._is_established = True
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.forget()

    def forget(self) -> None:
        """Cancel the timers and leave the idle set: the connection has ended, or was never established."""
        self._timer.cancel()
        self._end_stall()
        self._idle.remove(self)

    def pause_writing(self) -> None:
        """Called when the peer reads too slowly."""
        super().pause_writing()
        self._end_stall()
        # Otherwise a peer that reads nothing could keep the response in memory forever.
        self._stall_timer = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Called when the peer has read enough."""
        self._end_stall()
        super().resume_writing()

    def _end_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    @property
    def is_busy(self) -> bool:
        """Whether a request is in progress."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    @property
    def is_flushing(self) -> bool:
        """Whether a part of a response has not been sent yet, or the transport is closing."""
        return self.transport.is_closing() or self.transport.get_write_buffer_size() > 0

    def end(self) -> None:
        """Close the connection; abort it if the peer does not confirm within `CLOSING_SECONDS`."""
        self._idle.remove(self)
        if not self._is_established:
            self._abandon()
            return
        self.transport.close()
        self.loop.call_later(CLOSING_SECONDS, self.transport.abort)

    def _watch(self) -> None:
        """Set the deadline of the part of a request that is expected next."""
        if self.transport.is_closing():
            return
        if self.is_busy:
            self._idle.remove(self)
        else:
            self._idle.add(self)
        now, arriving = self.loop.time(), self.conn.their_state
        if arriving is h11.IDLE:
            self._body_deadline = None
            if self._head_deadline is None and self.conn.trailing_data[0]:
                self._head_deadline = now + HEAD_SECONDS
            self._set_deadline(self._head_deadline)
        elif arriving is h11.SEND_BODY:
            self._head_deadline = None
            self._body_deadline = self._body_deadline or now + BODY_SECONDS
            self._set_deadline(min(now + SILENCE_SECONDS, self._body_deadline))
        else:
            self._head_deadline = self._body_deadline = None
            self._set_deadline(None)

    def _set_deadline(self, until: float | None) -> None:
        self._timer.cancel()
        if until is not None:
            self._timer = self.loop.call_at(until, self._expire)

    def _expire(self) -> None:
        if not self._is_established:
            self._abandon()
        elif self.flow.read_paused:  # the application has not read what has arrived
            self._timer = self.loop.call_later(SILENCE_SECONDS, self._expire)
        elif self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.end()
        else:
            self._refuse(408, "The request did not arrive in time")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the response has a JSON body
        self._refuse(400, self._strict.problem or "The request is not valid HTTP/1.1")

    def _refuse(self, status: int, detail: str) -> None:
        """Respond with an error without calling the application, and close the connection."""
        if self.transport.is_closing():
            return
        request = self._strict.request if self.conn.their_state is not h11.IDLE else None
        if self.is_busy:  # keep the application from responding as well
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._served.access.refused_head(request, status, detail, self.client)
        if self.conn.our_state not in _RESPONSE_NOT_STARTED:
            self.transport.abort()
            return
        body = self._served.refusal_body(status, detail)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        response = h11.Response(
            status_code=status,
            headers=self.server_state.default_headers + headers,
            reason=http.HTTPStatus(status).phrase.encode(),
        )
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.end()


def peer_of(address: object) -> str:
    """Return an IPv4 address as text, or the /64 network of an IPv6 address, since one machine may own a whole /64."""
    host = address[0] if isinstance(address, tuple) and address else ""
    try:
        ip = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
