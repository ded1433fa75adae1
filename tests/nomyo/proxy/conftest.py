"""A proxy for the tests of a file, in front of a plain router whose evidence a policy affirms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trustme

from nomyo import SecureChatCompletion
from nomyo.proxy.options import ProxyOptions
from nomyo.proxy.running import RunningProxy
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import Wire, policy
from tests.nomyo.proxy.proxy_calls import API_KEY, Caller, attest_with
from tests.nomyo.wire.plain_router import PlainRouter


@pytest.fixture(scope="module")
def shared_wire(authority: trustme.CA, donor: SecureChatCompletion) -> Iterator[Wire]:
    """Clients of one router, which they trust, for the tests of a file."""
    with PlainRouter(authority=authority) as router, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", router.ca)
        patch.delenv("SSL_CERT_DIR", raising=False)
        yield Wire(router, donor)


@pytest.fixture(scope="module")
def options() -> ProxyOptions:
    """The options of the proxy of a file; a file may override them."""
    return ProxyOptions(allow_origin=("http://localhost:3000",), allow_host=("host.docker.internal",))


@pytest.fixture(scope="module")
def shared_proxy(shared_wire: Wire, options: ProxyOptions) -> Iterator[RunningProxy]:
    """The proxy of a file. Its client has an API key, and no hold after refusals."""
    client = shared_wire.client(api_key=API_KEY, attestation_policy=policy(), require_attestation="always")
    with RunningProxy(client, options) as proxy:
        yield proxy


@pytest.fixture
def router(shared_wire: Wire) -> PlainRouter:
    """The router behind the proxy, with valid evidence, no fault and no recorded requests."""
    router = shared_wire.router
    router.reset_faults()
    router.requests.clear()
    router.attest = attest_with(Forge())
    return router


@pytest.fixture
def proxy(router: PlainRouter, shared_proxy: RunningProxy) -> Iterator[Caller]:
    """Requests to the proxy of the file."""
    with Caller(shared_proxy.url) as caller:
        yield caller
