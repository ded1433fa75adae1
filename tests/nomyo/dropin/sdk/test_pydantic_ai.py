"""pydantic-ai over `async_http_client`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from nomyo.dropin import BASE_URL, async_http_client
from tests.nomyo.dropin.sdk import scripted_model
from tests.nomyo.dropin.sdk.event_loops import default_event_loop
from tests.nomyo.dropin.sdk.installed import sdk
from tests.nomyo.dropin.sdk.outcomes import OUTCOMES, Ask, cases, provoke
from tests.nomyo.dropin.sdk.stage import MODEL, PROMPT, REPLY, Stage

pydantic_ai = sdk("pydantic_ai")
exceptions = sdk("pydantic_ai.exceptions")
models = sdk("pydantic_ai.models.openai")
providers = sdk("pydantic_ai.providers.openai")
pydantic = sdk("pydantic")

City = pydantic.create_model("City", city=(str, ...), population=(int, ...))
OSLO = City(city=scripted_model.TEXT, population=scripted_model.NUMBER)


@contextmanager
def agent(options: Mapping[str, Any], run: Callable[..., Any] = asyncio.run, **more: Any) -> Iterator[Any]:
    ahttp = async_http_client(**options)
    provider = providers.OpenAIProvider(base_url=BASE_URL, api_key="unused", http_client=ahttp)
    yield pydantic_ai.Agent(models.OpenAIChatModel(MODEL, provider=provider), **more)
    run(ahttp.aclose())


@contextmanager
def run(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> Any:
        return (await each.run(PROMPT)).output

    with agent(options) as each:
        yield lambda: asyncio.run(ask())


@contextmanager
def run_sync(options: Mapping[str, Any]) -> Iterator[Ask]:
    with default_event_loop() as loop, agent(options, loop.run_until_complete) as each:
        yield lambda: each.run_sync(PROMPT).output


@contextmanager
def run_stream(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> Any:
        async with each.run_stream(PROMPT) as result:
            return await result.get_output()

    with agent(options) as each:
        yield lambda: asyncio.run(ask())


WAYS = {each.__name__: each for each in (run, run_sync, run_stream)}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)


@pytest.mark.parametrize("way", WAYS)
def test_a_reply_reaches_the_user(stage: Stage, way: str) -> None:
    with WAYS[way](stage.options()) as ask:
        assert [ask(), ask()] == [REPLY, REPLY]
    assert stage.prompts == 2


@pytest.mark.parametrize(("name", "way"), cases(WAYS))
def test_every_failure_is_an_error_of_the_model_and_the_prompt_is_sent_once(stage: Stage, name: str, way: str) -> None:
    outcome = OUTCOMES[name]
    error: Any = provoke(outcome, stage, WAYS[way])
    assert isinstance(error, exceptions.ModelAPIError)
    if isinstance(outcome.kind, int):
        assert error.status_code == outcome.kind
        assert error.body["code"] == outcome.code


@pytest.mark.parametrize("way", ["run", "run_stream"])
def test_a_tool_is_called_and_its_result_is_sent(stage: Stage, way: str) -> None:
    def look_up(city: str) -> str:
        """Return the population of a city."""
        return f"population of {city}"

    async def ask() -> Any:
        if way == "run":
            return (await each.run(PROMPT)).output
        async with each.run_stream(PROMPT) as result:
            return await result.get_output()

    with agent(stage.options(), tools=[look_up]) as each:
        assert asyncio.run(ask()) == f"reply to population of {scripted_model.TEXT}"
    assert stage.prompts == 2


def test_typed_output_is_parsed(stage: Stage) -> None:
    async def ask() -> Any:
        return (await each.run(PROMPT)).output

    with agent(stage.options(), output_type=City) as each:
        assert asyncio.run(ask()) == OSLO
