"""A router of the test folder `wire` and calls to it, for the tests of the whole client."""

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
    """A client whose key pair others use; nothing is sent with it."""
    return SecureChatCompletion("https://localhost")


@pytest.fixture(autouse=True)
def no_rate_limiters() -> None:
    """Forget what servers of other tests, which may have had the same port, asked to wait."""
    rate_limit.reset_limiters()


@pytest.fixture
def wire(authority: trustme.CA, donor: SecureChatCompletion, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Calls to a plain router over TLS that clients trust here."""
    with PlainRouter(authority=authority) as router:
        monkeypatch.setenv("SSL_CERT_FILE", router.ca)
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        yield Wire(router, donor)


@pytest.fixture
def tpm(wire: Wire) -> Forge:
    """The soft TPM of the router, whose evidence is made for each request."""
    forge = Forge()

    def attest(payload_id: str) -> Any:
        forge.payload_id = payload_id
        return forge.response()["_metadata"]["tpm_attestation"]

    wire.router.attest = attest
    return forge


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Keys made, by their size: always `made_at_once()`, so that none takes a second."""
    sizes: list[int] = []

    def generate(bits: int = keys.KEY_BITS) -> rsa.RSAPrivateKey:
        sizes.append(bits)
        return shared_key_pair()

    monkeypatch.setattr(keys, "generate", generate)
    return sizes
