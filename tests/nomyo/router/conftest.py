"""Fixtures: one router per file, with a shared key pair, reset after each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from nomyo.router import RouterOptions, RunningRouter
from tests.nomyo.router.router_calls import client_of
from tests.nomyo.wire.simple_client import Client


@pytest.fixture(scope="session")
def server_key() -> rsa.RSAPrivateKey:
    """A key pair for routers, since generating one takes seconds."""
    return rsa.generate_private_key(65537, 4096)


@pytest.fixture(scope="session")
def server_key_file(server_key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with that key pair, for routers in other processes."""
    path = tmp_path_factory.mktemp("server_key") / "server_key.pem"
    path.write_bytes(server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def shared_router(server_key: rsa.RSAPrivateKey) -> Iterator[RunningRouter]:
    """A router with the soft TPM that requires no API key."""
    with RunningRouter(RouterOptions(tpm="soft"), server_key=server_key) as router:
        yield router


@pytest.fixture
def router(shared_router: RunningRouter) -> Iterator[RunningRouter]:
    """The router of this file, without faults."""
    yield shared_router
    shared_router.fault = None
    shared_router.tpm_available = True


@pytest.fixture
def client(router: RunningRouter) -> Iterator[Client]:
    """A simple client, which shares no code with the router."""
    with client_of(router) as client:
        yield client
