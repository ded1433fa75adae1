"""A router for the tests of each file, with key pairs that are generated once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from nomyo import SecureChatCompletion, keys
from nomyo.router import RouterOptions, RunningRouter
from nomyo_attest.policy import learn
from tests.nomyo.client_calls import shared_key_pair
from tests.nomyo.dropin.sdk.stage import MESSAGES, MODEL, Stage
from tests.nomyo.router.openai_server import OpenAIServer
from tests.nomyo.wire import server_keys


@pytest.fixture(scope="module")
def shared_stage() -> Iterator[Stage]:
    with pytest.MonkeyPatch.context() as patch, OpenAIServer() as model:
        patch.setattr(keys, "generate", lambda *_: shared_key_pair())
        options = RouterOptions(tpm="soft", upstream=model.url)
        with RunningRouter(options, server_key=server_keys.pair()) as router:
            patch.setenv("SSL_CERT_FILE", str(router.ca))
            patch.delenv("SSL_CERT_DIR", raising=False)

            async def first_response() -> dict[str, object]:
                async with SecureChatCompletion(router.url) as client:
                    return await client.create(MODEL, MESSAGES)

            policy = learn([asyncio.run(first_response())], allow_test_keys=True).policy
            yield Stage(router, model, policy)


@pytest.fixture
def stage(shared_stage: Stage) -> Stage:
    """A router that responds correctly, and whose model has received nothing."""
    shared_stage.reset()
    return shared_stage
