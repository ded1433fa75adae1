"""How a model server refuses, stops and fails, and what users see of it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from nomyo import BlockingChatCompletion, SecureChatCompletion
from nomyo.dropin import openai_client, refusal
from nomyo.errors import APIStatusError
from nomyo.router import RouterOptions, RunningRouter
from tests.nomyo.dropin.real_model.conftest import Chain
from tests.nomyo.dropin.real_model.model_server import CONTEXT, MODEL, ModelServer, Relay, model_file
from tests.nomyo.dropin.sdk.installed import sdk
from tests.nomyo.wire import server_keys

SECRET = "prompt-6c1f4b2d8e0a9357"
MESSAGES = [{"role": "user", "content": SECRET}]
BODY: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 2}
LONG = {"messages": [{"role": "user", "content": f"{SECRET} " * CONTEXT}]}
INVALID: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": SECRET},
    "role": {"messages": [{"role": "developer", "content": SECRET}]},
    "response_format": {"response_format": {"type": "json_schema", "json_schema": {"name": SECRET, "schema": {}}}},
    "content": {"messages": [{"role": "user", "content": [{"type": "text", "text": SECRET}]}]},
}


@pytest.fixture(scope="module")
def openai() -> Any:
    model_file()
    return sdk("openai")


def provoke(chain: Chain, error: type[Exception], changes: dict[str, Any], **options: Any) -> Any:
    """Return the exception of OpenAI's SDK for a request with changes, and check that it quotes no prompt."""
    body = {**BODY, **changes}
    arguments = {name: body.pop(name) for name in ("model", "messages")}
    with openai_client(**chain.options(**options)) as client, pytest.raises(error) as raised:
        client.chat.completions.create(**arguments, extra_body=body)
    behind = refusal(raised.value)
    assert isinstance(behind, APIStatusError)
    assert behind.prompt_sent is True
    seen = [raised.value, getattr(raised.value, "body", None), behind, behind.body, behind.headers]
    assert SECRET not in json.dumps([str(each) for each in seen])
    return raised.value


def test_a_prompt_that_exceeds_the_context_is_refused_with_the_reason(chain: Chain, openai: Any) -> None:
    assert chain.server.ask({**BODY, **LONG}).json()["error"]["code"] == "context_length_exceeded"
    before = chain.relay.prompts
    error = provoke(chain, openai.BadRequestError, LONG, max_retries=2)
    assert error.code == "upstream_400"
    assert "context length" in error.message
    assert chain.relay.prompts == before + 1


@pytest.mark.parametrize("name", INVALID)
def test_a_request_that_this_server_calls_an_internal_error_is_a_502_without_the_prompt(
    chain: Chain, openai: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    refused = chain.server.ask({**BODY, **INVALID[name]})
    assert refused.status_code == 500
    assert refused.json()["error"]["type"] == "internal_server_error"
    assert (SECRET in refused.text) is (name in ("temperature", "role"))
    error = provoke(chain, openai.InternalServerError, INVALID[name])
    assert (error.status_code, error.code) == (502, "upstream_502")
    assert SECRET not in caplog.text


def test_such_a_request_is_sent_as_often_as_the_client_retries(chain: Chain, openai: Any) -> None:
    before = chain.relay.prompts
    provoke(chain, openai.InternalServerError, INVALID["temperature"], max_retries=1)
    assert chain.relay.prompts == before + 2


def test_embeddings_never_reach_the_model_server(chain: Chain, openai: Any) -> None:
    with openai_client(**chain.options()) as client, pytest.raises(openai.NotFoundError) as raised:
        client.embeddings.create(model=MODEL, input=SECRET)
    assert raised.value.code == "not_encrypted"
    assert b"/embeddings" not in chain.relay.received


async def prompt_after(relay: Relay, before: int) -> None:
    """Wait until the router has sent another prompt."""
    while relay.prompts == before:  # noqa: ASYNC110 - the relay runs in other threads
        await asyncio.sleep(0.01)


def test_the_router_ends_its_request_when_the_client_cancels(chain: Chain) -> None:
    async def cancel() -> None:
        async with SecureChatCompletion(**chain.options()) as client:
            before = chain.relay.prompts
            call = asyncio.create_task(client.complete({**BODY, "min_tokens": 60, "max_tokens": 60}))
            await prompt_after(chain.relay, before)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    chain.relay.abandoned.clear()
    asyncio.run(cancel())
    assert chain.relay.abandoned.wait(10)
    # This server finishes the completion that nobody waits for, and then the next one.
    with BlockingChatCompletion(**chain.options()) as client:
        assert client.complete(BODY)["usage"]["completion_tokens"] == 2


def test_a_model_server_that_dies_is_a_502(tmp_path: Path, openai: Any) -> None:
    with ModelServer(model_file(), tmp_path / "log") as server, Relay(server.port) as relay:
        options = RouterOptions(tpm="none", upstream=relay.url)
        with RunningRouter(options, server_key=server_keys.pair()) as router, pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(router.ca))
            patch.delenv("SSL_CERT_DIR", raising=False)

            async def ask() -> None:
                async with SecureChatCompletion(router.url, max_retries=0) as client:
                    call = asyncio.create_task(client.complete({**BODY, "max_tokens": 500}))
                    await prompt_after(relay, 0)
                    server.kill()
                    await call

            begin = time.monotonic()
            with pytest.raises(APIStatusError) as raised:
                asyncio.run(ask())
    assert (raised.value.status_code, raised.value.prompt_sent) == (502, True)
    assert "ended the connection" in str(raised.value)
    assert time.monotonic() - begin < 30
