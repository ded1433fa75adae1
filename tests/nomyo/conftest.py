"""Fixtures for tests of the whole client: a router of the folder `wire`, and calls to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo import SecureChatCompletion, keys, rate_limit
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import Wire, shared_key_pair
from tests.nomyo.wire.plain_router import PlainRouter


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The CA that clients trust here."""
    return trustme.CA()


@pytest.fixture(scope="session")
def donor() -> SecureChatCompletion:
    """A client whose key pair others share; it sends nothing."""
    return SecureChatCompletion("https://localhost")


@pytest.fixture(autouse=True)
def no_rate_limiters() -> None:
    """Forget the rate limits of other tests, whose servers may have had the same port."""
    rate_limit.reset_limiters()


@pytest.fixture
def wire(authority: trustme.CA, donor: SecureChatCompletion, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Calls to a plain router over TLS, whose certificate clients trust."""
    with PlainRouter(authority=authority) as router:
        monkeypatch.setenv("SSL_CERT_FILE", router.ca)
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        yield Wire(router, donor)


@pytest.fixture
def tpm(wire: Wire) -> Forge:
    """The soft TPM of the router, which generates evidence for each request."""
    forge = Forge()

    def attest(payload_id: str) -> Any:
        forge.payload_id = payload_id
        return forge.response()["_metadata"]["tpm_attestation"]

    wire.router.attest = attest
    return forge


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the keys that were generated; each is `shared_key_pair()`, since generating one takes a second."""
    sizes: list[int] = []

    def generate(bits: int = keys.KEY_BITS) -> rsa.RSAPrivateKey:
        sizes.append(bits)
        return shared_key_pair()

    monkeypatch.setattr(keys, "generate", generate)
    return sizes
