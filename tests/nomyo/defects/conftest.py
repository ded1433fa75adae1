"""Fixtures of the tests of defects. They run with two clients, so this file does not import this project's package."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

import nomyo
from tests.nomyo.defects.calls import API_KEY, ask, close, run
from tests.nomyo.wire import server_keys
from tests.nomyo.wire.plain_router import PlainRouter

CLIENT_KEY = 2001  # the number of a key pair that no router uses
ROOT = Path(__file__).parents[3]


def write_keys(folder: Path, number: int = CLIENT_KEY, *, bits: int = 4096, password: bytes | None = None) -> Path:
    """Write a key pair to a folder under the file names that both clients use."""
    folder.mkdir(mode=0o700, exist_ok=True)
    key = server_keys.pair(number, bits)
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    private, public = folder / "private_key.pem", folder / "public_key.pem"
    private.touch(mode=0o600)
    private.write_bytes(pem)
    public.write_bytes(server_keys.public_pem(key.public_key()))
    return folder


def fingerprint(router: PlainRouter) -> str:
    """Return the pin of the router's current key."""
    der = router.private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "sha256/" + base64.b64encode(hashlib.sha256(der).digest()).decode()


@pytest.fixture(scope="session")
def key_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared client key pair, since generating one takes a second."""
    return write_keys(tmp_path_factory.mktemp("client") / "keys")


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlainRouter]:
    """The plain router over TLS, whose certificate clients trust."""
    with PlainRouter() as plain:
        monkeypatch.setenv("SSL_CERT_FILE", plain.ca)
        yield plain


class Chat:
    """Calls of `SecureChatCompletion` to one router."""

    def __init__(self, router: PlainRouter, key_dir: Path) -> None:
        self.router = router
        self.key_dir = key_dir

    def client(self, **options: Any) -> nomyo.SecureChatCompletion:
        """Create a client of the router, without retries by default."""
        defaults = {"base_url": self.router.url, "api_key": API_KEY, "max_retries": 0, "key_dir": str(self.key_dir)}
        return nomyo.SecureChatCompletion(**{**defaults, **options})

    def ask(self, options: dict[str, Any] | None = None, /, **arguments: Any) -> Any:
        """Make one call with a new client; return its result or exception."""

        async def call() -> Any:
            client = self.client(**options or {})
            try:
                return await ask(client, **arguments)
            finally:
                await close(client)

        return run(call)

    def ask_often(self, times: int, options: dict[str, Any] | None = None, /, **arguments: Any) -> list[Any]:
        """Make calls with one new client, one after the other; return their results or exceptions."""

        async def calls() -> list[Any]:
            client = self.client(**options or {})
            try:
                return [await ask(client, **arguments) for _ in range(times)]
            finally:
                await close(client)

        found = run(calls, 60)
        assert isinstance(found, list), found
        return found


@pytest.fixture
def chat(router: PlainRouter, key_dir: Path) -> Chat:
    """Calls to the plain router."""
    return Chat(router, key_dir)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution of the installed client.

    For nomyo 0.2.9, it is the file that NOMYO_DEFECTS_SDIST names; for this project, it is built.
    """
    folder = tmp_path_factory.mktemp("source")
    sdist = os.environ.get("NOMYO_DEFECTS_SDIST")
    if sdist is None:
        code = "import sys, hatchling.build; print(hatchling.build.build_sdist(sys.argv[1]))"
        built = subprocess.run(
            [sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=True
        )
        sdist = str(folder / built.stdout.split()[-1])
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (top,) = [path for path in folder.iterdir() if path.is_dir()]
    return top
