"""Log one line for each request, as text or JSON.

No line contains any part of a prompt, a completion or a key. Values that a client chooses (payload id, path) are
escaped and shortened. Of an exception, only the class is logged, since its message and traceback may quote a prompt.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nomyo_attest.report.formatting import excerpt, sanitize_json

_TEXT_MAX: Final = 128
_METHOD_MAX: Final = 20

_REMARK_KEY: Final = "nomyo.remark"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How the requests of one server are logged.

    Attributes:
        logger: the logger.
        probes: paths of health and readiness probes; a success is logged at level DEBUG.
        id_header: the request header that contains the payload id, in lower case; None if no header does.
    """

    logger: logging.Logger
    probes: tuple[str, ...] = ()
    id_header: bytes | None = None

    def log(self, entry: AccessEntry) -> None:
        """Log an entry at level INFO, or DEBUG for a successful probe."""
        probe = entry.path in self.probes and entry.status == 200
        facts = asdict(entry)
        if entry.verdict is None:
            del facts["verdict"]
        self.logger.log(logging.DEBUG if probe else logging.INFO, "%s", entry, extra={"access": facts})

    def refused_head(
        self, request: h11.Request | None, status: int, detail: str, client: tuple[str, int] | None
    ) -> None:
        """Log a request that was refused before it reached the application."""
        method = path = payload_id = None
        if request is not None:
            method, path = (
                excerpt(request.method.decode("ascii"), _METHOD_MAX),
                _printable(request.target.partition(b"?")[0]),
            )
            payload_id = self.find_payload_id([*request.headers])
        self.log(AccessEntry(method, path, status, 0, payload_id, client[0] if client else None, detail))

    def find_payload_id(self, headers: list[tuple[bytes, bytes]]) -> str | None:
        """Return the payload id in the request's headers."""
        found = next((value for name, value in headers if name == self.id_header), None)
        return None if found is None else _printable(found)


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """The logged facts of a request.

    Attributes:
        method: HTTP method; None if the head of the request could not be parsed.
        path: path without the query, percent-encoded as received, so that it contains no spaces.
        status: HTTP status of the response; None if the client disconnected first.
        ms: milliseconds until the response was sent.
        payload_id: id of the request; None without one.
        client: address of the client.
        detail: why the request was refused; None if it was not.
        verdict: verdict on the response; None without one.
    """

    method: str | None
    path: str | None
    status: int | None
    ms: int
    payload_id: str | None
    client: str | None
    detail: str | None = None
    verdict: str | None = None

    def __str__(self) -> str:
        words = [self.method or "-", self.path or "-", "-" if self.status is None else str(self.status)]
        words.append(f"{self.ms} ms")
        if self.payload_id is not None:
            words.append(f"id={json.dumps(self.payload_id)}")
        if self.verdict is not None:
            words.append(f"verdict={self.verdict}")
        words.append(f"client={self.client or '-'}")
        if self.detail is not None:
            words.append(f"detail={json.dumps(self.detail)}")
        return " ".join(words)


class AccessLog:
    """ASGI middleware that logs one line for each request when its response is complete."""

    def __init__(self, app: ASGIApp, settings: LogSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status: int | None = None

        async def record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, record_status)
        finally:
            remark: _Remark = scope.get(_REMARK_KEY) or _Remark()
            entry = AccessEntry(
                method=excerpt(scope["method"], _METHOD_MAX),
                path=_printable(scope["raw_path"]),
                status=None if remark.disconnected else status,
                ms=round(1000 * (time.perf_counter() - began)),
                payload_id=remark.payload_id or self._settings.find_payload_id(scope["headers"]),
                client=scope["client"][0] if scope["client"] else None,
                detail=remark.detail,
                verdict=remark.verdict,
            )
            self._settings.log(entry)


@dataclass(frozen=True, slots=True)
class _Remark:
    detail: str | None = None
    payload_id: str | None = None
    verdict: str | None = None
    disconnected: bool = False


def add_remark(
    scope: Scope,
    detail: str | None = None,
    *,
    payload_id: str | None = None,
    verdict: str | None = None,
    disconnected: bool = False,
) -> None:
    """Store facts for the line of the request: why it was refused, the outcome, or that the client disconnected."""
    scope[_REMARK_KEY] = _Remark(detail, payload_id, verdict, disconnected)


def _printable(raw: bytes) -> str:
    return excerpt(raw.decode("latin-1"), _TEXT_MAX)


class TextFormatter(logging.Formatter):
    """Format each record as one line of text."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        return excerpt(f"{super().format(_without_traceback(record))}{_error_class(record)}", 4096)


class JSONFormatter(logging.Formatter):
    """Format each record as one JSON object on a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document: dict[str, Any] = {"time": at, "level": record.levelname, "logger": record.name}
        access = getattr(record, "access", None)
        if access is not None:
            return sanitize_json(json.dumps({**document, "event": "request", **access}))
        document |= {"event": "message", "message": record.getMessage() + _error_class(record)}
        return sanitize_json(json.dumps(document))


def _without_traceback(record: logging.LogRecord) -> logging.LogRecord:
    copy = logging.makeLogRecord(record.__dict__)
    copy.exc_info = copy.exc_text = copy.stack_info = None
    return copy


def _error_class(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return "" if error is None else f" ({type(error).__name__})"
