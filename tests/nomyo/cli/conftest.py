"""Fixtures: a router, a policy for its evidence, and a reproducible environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from nomyo import keys
from nomyo.cli.terminal import _CI_VARIABLES
from nomyo_attest.testing import Forge
from tests.nomyo.cli.router_evidence import evidence
from tests.nomyo.cli.runner import KEY_FILE
from tests.nomyo.wire.plain_router import PlainRouter
from tests.nomyo_attest.cli import runner


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove variables that configure the terminal, a CI job, this program or a proxy."""
    for name in os.environ:
        if name in {"COLUMNS", "NO_COLOR", "FORCE_COLOR", "SSL_CERT_DIR", *_CI_VARIABLES} or name.startswith("NOMYO_"):
            monkeypatch.delenv(name)
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def client_key() -> RSAPrivateKey:
    """A key pair for clients in this process, since generating one takes seconds."""
    return keys.generate()


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory, client_key: RSAPrivateKey) -> Path:
    """A file with that key pair, for clients in other processes."""
    path = tmp_path_factory.mktemp("client_key") / "private_key.pem"
    path.write_bytes(client_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.fixture
def _shared_client_key(monkeypatch: pytest.MonkeyPatch, client_key: RSAPrivateKey, key_file: Path) -> None:
    """Use one key pair for clients in this process and in those that `runner.command` starts."""
    monkeypatch.setattr(keys, "generate", lambda bits=keys.KEY_BITS: client_key)
    monkeypatch.setenv(KEY_FILE, str(key_file))


@pytest.fixture
def router(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, _shared_client_key: None) -> Iterator[PlainRouter]:
    """A router with valid evidence; the environment names it and trusts its certificate."""
    with PlainRouter(authority=authority) as router:
        router.attest = evidence
        monkeypatch.setenv("NOMYO_BASE_URL", router.url)
        monkeypatch.setenv("SSL_CERT_FILE", router.ca)
        yield router


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def policy(here: Path) -> str:
    """A policy that affirms `evidence` if no event is measured."""
    Path("known.json").write_text(Forge().text(), encoding="utf-8")
    ran = runner.run("policy", "learn", "--allow-test-keys", "known.json", "-o", "policy.toml")
    assert ran.status == 0
    return "policy.toml"
