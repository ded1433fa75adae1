"""A model server, a relay, a router in front of them, and a policy that affirms the router's evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import nomyo_attest as na
from nomyo import BlockingChatCompletion
from nomyo.router import RouterOptions, RunningRouter
from nomyo_attest.policy import learn
from tests.nomyo.dropin.real_model.model_server import MODEL, ModelServer, Relay, model_file
from tests.nomyo.wire import server_keys


@dataclass
class Chain:
    """The whole chain, from the options of a client to the model server."""

    server: ModelServer
    relay: Relay
    router: RunningRouter
    policy: na.AppraisalPolicy

    def options(self, **changes: Any) -> dict[str, Any]:
        """Return the options of a client that makes one attempt."""
        options = {"base_url": self.router.url, "attestation_policy": self.policy}
        return {**options, "max_retries": 0, "timeout": 120.0, **changes}


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    model = model_file()
    log = tmp_path_factory.mktemp("model-server") / "log"
    with ModelServer(model, log) as server, Relay(server.port) as relay, pytest.MonkeyPatch.context() as patch:
        options = RouterOptions(tpm="soft", upstream=relay.url)
        with RunningRouter(options, server_key=server_keys.pair()) as router:
            patch.setenv("SSL_CERT_FILE", str(router.ca))
            patch.delenv("SSL_CERT_DIR", raising=False)
            with BlockingChatCompletion(router.url, timeout=120.0) as client:
                first = client.create(MODEL, [{"role": "user", "content": "Hello"}], max_tokens=1)
            yield Chain(server, relay, router, learn([first], allow_test_keys=True).policy)
