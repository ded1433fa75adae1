"""A headless Chromium: what it draws, what it says, and what it asks the network for."""

from __future__ import annotations

import re
import shutil
import socketserver
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60
# What a browser asks its maker, whatever the page.
ITS_OWN = re.compile(r"(^|\.)(google|googleapis|gstatic|gvt1|gvt2|chromium)\.[a-z]+(:\d+)?$")


def find() -> str | None:
    """The program, if this machine has one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Ran:
    """What came of a run: standard output, the console's messages, and the hosts that were asked for something."""

    output: str
    console: list[str]
    asked: list[str]


class _Proxy(socketserver.ThreadingTCPServer):
    """Refuses everything, and remembers what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        self.lines: list[str] = []
        super().__init__(("127.0.0.1", 0), _Refuse)


class _Refuse(socketserver.StreamRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        self.server.lines.append(self.rfile.readline(8192).decode("latin-1").strip())
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@contextmanager
def _proxy() -> Iterator[_Proxy]:
    with _Proxy() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def run(program: str, folder: Path, *arguments: str, dark: bool = False) -> Ran:
    """Run Chromium with a profile in `folder`; whatever it asks the network for goes to a proxy of ours."""
    with _proxy() as proxy:
        command = [
            program,
            "--headless=new",
            # In a container there is no sandbox to be had, and the pages are our own.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--no-default-browser-check",
            "--hide-scrollbars",
            "--allow-file-access-from-files",
            f"--user-data-dir={folder / 'profile'}",
            f"--proxy-server=http://127.0.0.1:{proxy.server_address[1]}",
            "--proxy-bypass-list=<-loopback>",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--enable-logging=stderr",
            *arguments,
        ]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        said = done.stderr.decode("utf-8", "replace")
        assert done.returncode == 0, said
        console = [line for line in said.splitlines() if ":CONSOLE" in line]
        asked = [line.split()[1] if " " in line else line for line in proxy.lines if line]
        return Ran(done.stdout.decode("utf-8"), console, [one for one in asked if not ITS_OWN.search(_host(one))])


def _host(asked: str) -> str:
    return re.sub(r"^[a-z]+://([^/]*).*", r"\1", asked)


@dataclass
class Picture:
    """The pixels of a PNG: rows of red, green, blue, one byte each."""

    width: int
    height: int
    rows: list[bytes]

    @classmethod
    def load(cls, path: Path) -> Picture:
        """Read a PNG of 8 bits a channel, not interlaced (W3C PNG, 7.2 and 9.2)."""
        data = path.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        at, packed, head = 8, b"", b""
        while at < len(data):
            length, kind = struct.unpack_from(">I4s", data, at)
            body = data[at + 8 : at + 8 + length]
            head = body if kind == b"IHDR" else head
            packed += body if kind == b"IDAT" else b""
            at += 12 + length
        width, height, depth, color, *_, interlace = struct.unpack(">IIBBBBB", head)
        assert (depth, interlace) == (8, 0)
        step = {2: 3, 6: 4}[color]
        raw, size = zlib.decompress(packed), width * step
        before, rows = bytes(size), []
        for start in range(0, height * (size + 1), size + 1):
            before = _unfilter(raw[start], raw[start + 1 : start + 1 + size], before, step)
            rows.append(b"".join(before[x : x + 3] for x in range(0, size, step)) if step == 4 else before)
        return cls(width, height, rows)

    def colors(self) -> dict[bytes, int]:
        """How many pixels have each color."""
        found: dict[bytes, int] = {}
        for row in self.rows:
            for x in range(0, len(row), 3):
                found[row[x : x + 3]] = found.get(row[x : x + 3], 0) + 1
        return found


def _unfilter(kind: int, line: bytes, above: bytes, step: int) -> bytes:
    if kind == 0:
        return line
    if kind == 2:
        return bytes((one + up) & 255 for one, up in zip(line, above, strict=True))
    out = bytearray(line)
    for x in range(len(out)):
        left = out[x - step] if x >= step else 0
        corner = above[x - step] if x >= step else 0
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + above[x]) // 2
        else:
            guess = _paeth(left, above[x], corner)
        out[x] = (out[x] + guess) & 255
    return bytes(out)


def _paeth(left: int, up: int, corner: int) -> int:
    base = left + up - corner
    by_left, by_up, by_corner = abs(base - left), abs(base - up), abs(base - corner)
    if by_left <= by_up and by_left <= by_corner:
        return left
    return up if by_up <= by_corner else corner
