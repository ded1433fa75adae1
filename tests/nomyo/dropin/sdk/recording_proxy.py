"""A server that records what it receives, for requests that must not leave this machine."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from typing import Self

from tests.nomyo.secret_search import encodings


class RecordingProxy:
    """An HTTP proxy that refuses every request. Listens while its context is active.

    Attributes:
        received: all bytes that arrived.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        received = self.received

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    received.extend(line)
                self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                self.wfile.flush()
                self.connection.settimeout(0.2)
                with contextlib.suppress(OSError):
                    received.extend(self.rfile.read(100_000))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """The URL for HTTP_PROXY and HTTPS_PROXY."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def knows(self, *secrets: str) -> bool:
        """Whether it received one of these texts, in any of the usual encodings."""
        return any(form in self.received for secret in secrets for form in encodings(secret))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
