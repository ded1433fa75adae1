"""OpenAI's SDK, in its versions 1 to 3."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from nomyo.dropin import async_openai_client, openai_client
from tests.nomyo.dropin.sdk.installed import VARIABLE, sdk
from tests.nomyo.dropin.sdk.outcomes import OUTCOMES, Ask, provoke
from tests.nomyo.dropin.sdk.stage import MESSAGES, MODEL, PROMPT, REPLY, Stage

openai = sdk("openai")

RETRIES = {"max_retries": 2}
"""The SDK's own default: it must not repeat what the transport's client has done."""


@contextmanager
def blocking(options: Mapping[str, Any]) -> Iterator[Ask]:
    with openai_client(openai_options=RETRIES, **options) as client:
        yield lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES).choices[0].message.content


@contextmanager
def blocking_stream(options: Mapping[str, Any]) -> Iterator[Ask]:
    def ask() -> str:
        chunks = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)

    with openai_client(openai_options=RETRIES, **options) as client:
        yield ask


@contextmanager
def asynchronous(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> Any:
        completion = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        return completion.choices[0].message.content

    client = async_openai_client(openai_options=RETRIES, **options)
    yield lambda: asyncio.run(ask())
    asyncio.run(client.close())


@contextmanager
def asynchronous_stream(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> str:
        chunks = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        return "".join([choice.delta.content or "" async for chunk in chunks for choice in chunk.choices])

    client = async_openai_client(openai_options=RETRIES, **options)
    yield lambda: asyncio.run(ask())
    asyncio.run(client.close())


WAYS = {each.__name__: each for each in (blocking, blocking_stream, asynchronous, asynchronous_stream)}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK pauses before it sends a request again, also if the transport then sends nothing."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)


CLASSES: dict[int | str, Any] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    502: openai.InternalServerError,
    503: openai.InternalServerError,
    "connection": openai.APIConnectionError,
    "timeout": openai.APITimeoutError,
}


def test_the_environment_has_the_version_that_its_name_says() -> None:
    environment = os.environ.get(VARIABLE, "")
    if not environment.startswith("openai"):
        pytest.skip(f"{VARIABLE} does not name an environment of OpenAI's SDK")
    assert openai.__version__.startswith(f"{environment.removeprefix('openai')}.")


@pytest.mark.parametrize("way", WAYS)
def test_a_reply_passes_the_gate_and_reaches_the_user(stage: Stage, way: str) -> None:
    with WAYS[way](stage.options()) as ask:
        assert [ask(), ask()] == [REPLY, REPLY]
    assert stage.prompts == 2
    assert stage.payload == {"model": MODEL, "messages": MESSAGES}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OUTCOMES)
def test_every_failure_is_an_exception_of_openai_and_the_prompt_is_sent_once(stage: Stage, name: str, way: str) -> None:
    outcome = OUTCOMES[name]
    error: Any = provoke(outcome, stage, WAYS[way])

    assert type(error) is CLASSES[outcome.kind]
    if isinstance(outcome.kind, int):
        assert (error.status_code, error.code) == (outcome.kind, outcome.code)
        assert error.response.headers.get("retry-after") == ("7" if name == "429" else None)
        assert PROMPT not in str(error)
