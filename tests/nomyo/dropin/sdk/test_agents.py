"""The package openai-agents over `async_openai_client`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from nomyo.dropin import async_openai_client
from tests.nomyo.dropin.sdk import scripted_model
from tests.nomyo.dropin.sdk.event_loops import default_event_loop
from tests.nomyo.dropin.sdk.installed import sdk
from tests.nomyo.dropin.sdk.outcomes import OUTCOMES, Ask, cases, provoke
from tests.nomyo.dropin.sdk.stage import MODEL, PROMPT, REPLY, Stage

agents = sdk("agents")
openai = sdk("openai")
pydantic = sdk("pydantic")

# `Runner.run_sync` calls `loop.shutdown_asyncgens()` after each run, and HTTP libraries use generators in that loop.
pytestmark = pytest.mark.filterwarnings("ignore:asynchronous generator .* was scheduled after:ResourceWarning")

agents.set_tracing_disabled(True)  # otherwise prompts and completions are uploaded to OpenAI

City = pydantic.create_model("City", city=(str, ...), population=(int, ...))
OSLO = City(city=scripted_model.TEXT, population=scripted_model.NUMBER)


@contextmanager
def agent(options: Mapping[str, Any], run: Callable[..., Any] = asyncio.run, **more: Any) -> Iterator[Any]:
    client = async_openai_client(**options)
    model = agents.OpenAIChatCompletionsModel(model=MODEL, openai_client=client)
    yield agents.Agent(name="agent", model=model, **more)
    run(client.close())


@contextmanager
def run_sync(options: Mapping[str, Any]) -> Iterator[Ask]:
    with default_event_loop() as loop, agent(options, loop.run_until_complete) as each:
        yield lambda: agents.Runner.run_sync(each, PROMPT).final_output


@contextmanager
def run(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> Any:
        return (await agents.Runner.run(each, PROMPT)).final_output

    with agent(options) as each:
        yield lambda: asyncio.run(ask())


@contextmanager
def run_streamed(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> Any:
        result = agents.Runner.run_streamed(each, PROMPT)
        async for _ in result.stream_events():
            pass
        return result.final_output

    with agent(options) as each:
        yield lambda: asyncio.run(ask())


WAYS = {each.__name__: each for each in (run_sync, run, run_streamed)}

CLASSES: dict[int | str, Any] = {
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    502: openai.InternalServerError,
    503: openai.InternalServerError,
    "connection": openai.APIConnectionError,
    "timeout": openai.APITimeoutError,
}


@pytest.mark.parametrize("way", WAYS)
def test_one_agent_runs_again_and_again(stage: Stage, way: str) -> None:
    with WAYS[way](stage.options()) as ask:
        assert [ask(), ask(), ask()] == [REPLY] * 3
    assert stage.prompts == 3


@pytest.mark.parametrize(("name", "way"), cases(WAYS))
def test_every_failure_is_an_exception_of_openai_and_the_prompt_is_sent_once(stage: Stage, name: str, way: str) -> None:
    error: Any = provoke(OUTCOMES[name], stage, WAYS[way])
    assert type(error) is CLASSES[OUTCOMES[name].kind]
    if isinstance(OUTCOMES[name].kind, int):
        assert error.code == OUTCOMES[name].code


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_called_and_its_result_is_sent(stage: Stage, streamed: bool) -> None:
    @agents.function_tool  # type: ignore[untyped-decorator, unused-ignore]
    def look_up(city: str) -> str:
        """Return the population of a city."""
        return f"population of {city}"

    async def ask() -> Any:
        if not streamed:
            return (await agents.Runner.run(each, PROMPT)).final_output
        result = agents.Runner.run_streamed(each, PROMPT)
        kinds = [event.type async for event in result.stream_events()]
        assert "run_item_stream_event" in kinds
        return result.final_output

    with agent(stage.options(), tools=[look_up]) as each:
        assert asyncio.run(ask()) == f"reply to population of {scripted_model.TEXT}"
    assert stage.prompts == 2


def test_typed_output_is_parsed(stage: Stage) -> None:
    async def ask() -> Any:
        return (await agents.Runner.run(each, PROMPT)).final_output

    with agent(stage.options(), output_type=City) as each:
        assert asyncio.run(ask()) == OSLO
