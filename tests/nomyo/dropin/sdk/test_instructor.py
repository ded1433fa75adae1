"""instructor on top of `openai_client` and `async_openai_client`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from nomyo.dropin import async_openai_client, openai_client, refusal
from tests.nomyo.dropin.sdk import scripted_model
from tests.nomyo.dropin.sdk.installed import sdk
from tests.nomyo.dropin.sdk.outcomes import OUTCOMES, cases, other_firmware, provoke
from tests.nomyo.dropin.sdk.stage import MESSAGES, MODEL, PROMPT, Stage

instructor = sdk("instructor")
core = sdk("instructor.core")
pydantic = sdk("pydantic")

City = pydantic.create_model("City", city=(str, ...), population=(int, ...))
OSLO = City(city=scripted_model.TEXT, population=scripted_model.NUMBER)


@contextmanager
def create(options: Mapping[str, Any], **mode: Any) -> Iterator[Any]:
    with openai_client(**options) as client:
        completions = instructor.from_openai(client, **mode).chat.completions
        yield lambda **more: completions.create(model=MODEL, messages=MESSAGES, response_model=City, **more)


@contextmanager
def create_partial(options: Mapping[str, Any]) -> Iterator[Any]:
    with openai_client(**options) as client:
        completions = instructor.from_openai(client).chat.completions
        yield lambda: list(completions.create_partial(model=MODEL, messages=MESSAGES, response_model=City))[-1]


@contextmanager
def acreate(options: Mapping[str, Any]) -> Iterator[Any]:
    client = async_openai_client(**options)
    completions = instructor.from_openai(client).chat.completions

    async def ask() -> Any:
        return await completions.create(model=MODEL, messages=MESSAGES, response_model=City)

    yield lambda: asyncio.run(ask())
    asyncio.run(client.close())


WAYS = {each.__name__: each for each in (create, create_partial, acreate)}


@pytest.mark.parametrize("way", WAYS)
def test_typed_output_is_parsed(stage: Stage, way: str) -> None:
    with WAYS[way](stage.options()) as ask:
        found = [ask(), ask()]
    assert [each.model_dump() for each in found] == [OSLO.model_dump()] * 2
    assert stage.prompts == 2


@pytest.mark.parametrize("mode", ["TOOLS", "JSON", "JSON_SCHEMA"])
def test_every_mode_works_over_one_request(stage: Stage, mode: str) -> None:
    with create(stage.options(), mode=getattr(instructor.Mode, mode)) as ask:
        assert ask().model_dump() == OSLO.model_dump()
    assert stage.prompts == 1


@pytest.mark.parametrize(("name", "way"), cases(WAYS))
def test_every_failure_is_an_exception_of_instructor_and_the_prompt_is_sent_once(
    stage: Stage, name: str, way: str
) -> None:
    error = provoke(OUTCOMES[name], stage, WAYS[way])
    assert isinstance(error, core.InstructorRetryException)
    assert PROMPT not in str(error)


def test_the_retries_of_instructor_do_not_send_a_refused_prompt_again(stage: Stage) -> None:
    other_firmware(stage)
    with create(stage.options()) as ask, pytest.raises(core.InstructorRetryException) as caught:
        ask(max_retries=3)
    assert stage.prompts == 1
    error = refusal(caught.value)
    assert getattr(error, "code", "") in ("held", "not_affirmed")
