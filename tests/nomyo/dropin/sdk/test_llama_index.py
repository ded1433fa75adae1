"""LlamaIndex's `OpenAILike` over both HTTP clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from nomyo.dropin import BASE_URL, http_clients
from tests.nomyo.dropin.sdk import scripted_model
from tests.nomyo.dropin.sdk.installed import sdk
from tests.nomyo.dropin.sdk.outcomes import OUTCOMES, Ask, cases, other_firmware, provoke
from tests.nomyo.dropin.sdk.stage import MODEL, PROMPT, REPLY, Stage

sdk("llama_index")
llama_index = sdk("llama_index.llms.openai_like")
llms = sdk("llama_index.core.llms")
prompts = sdk("llama_index.core.prompts")
tools = sdk("llama_index.core.tools")
openai = sdk("openai")
pydantic = sdk("pydantic")

City = pydantic.create_model("City", __doc__="A city.", city=(str, ...), population=(int, ...))
OSLO = City(city=scripted_model.TEXT, population=scripted_model.NUMBER)
MESSAGES = [llms.ChatMessage(role="user", content=PROMPT)]


@contextmanager
def like(options: Mapping[str, Any], **more: Any) -> Iterator[Any]:
    """Provide the model of the recipe. It has a timeout of its own, and sends again after 429, 5xx and lost connections
    unless `max_retries` is 0.
    """
    http, ahttp = http_clients(**options)
    fields = {"model": MODEL, "is_chat_model": True, "context_window": 4096, "api_key": "unused", "api_base": BASE_URL}
    clients = {"http_client": http, "async_http_client": ahttp}
    limits = {"timeout": options["timeout"], "max_retries": 0}
    yield llama_index.OpenAILike(**{**fields, **clients, **limits, **more})
    http.close()
    asyncio.run(ahttp.aclose())


@contextmanager
def chat(options: Mapping[str, Any]) -> Iterator[Ask]:
    with like(options) as model:
        yield lambda: model.chat(MESSAGES).message.content


@contextmanager
def stream_chat(options: Mapping[str, Any]) -> Iterator[Ask]:
    with like(options) as model:
        yield lambda: "".join(part.delta or "" for part in model.stream_chat(MESSAGES))


@contextmanager
def achat(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> Any:
        return (await model.achat(MESSAGES)).message.content

    with like(options) as model:
        yield lambda: asyncio.run(ask())


@contextmanager
def astream_chat(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> str:
        return "".join([part.delta or "" async for part in await model.astream_chat(MESSAGES)])

    with like(options) as model:
        yield lambda: asyncio.run(ask())


WAYS = {each.__name__: each for each in (chat, stream_chat, achat, astream_chat)}

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
def test_a_reply_reaches_the_user(stage: Stage, way: str) -> None:
    with WAYS[way](stage.options()) as ask:
        assert [ask(), ask()] == [REPLY, REPLY]
    assert stage.prompts == 2


@pytest.mark.parametrize(("name", "way"), cases(WAYS))
def test_every_failure_is_an_exception_of_openai_and_the_prompt_is_sent_once(stage: Stage, name: str, way: str) -> None:
    error: Any = provoke(OUTCOMES[name], stage, WAYS[way])
    assert type(error) is CLASSES[OUTCOMES[name].kind]
    if isinstance(OUTCOMES[name].kind, int):
        assert error.code == OUTCOMES[name].code


def test_the_retries_of_llama_index_do_not_send_a_refused_prompt_again(stage: Stage) -> None:
    other_firmware(stage)
    with like(stage.options(), max_retries=3) as model, pytest.raises(openai.PermissionDeniedError):
        model.chat(MESSAGES)
    assert stage.prompts == 1


def test_a_tool_is_called_and_typed_output_is_parsed(stage: Stage) -> None:
    def look_up(city: str) -> str:
        """Return the population of a city."""
        return f"population of {city}"

    with like(stage.options(), is_function_calling_model=True) as model:
        tool = tools.FunctionTool.from_defaults(look_up)
        response = model.predict_and_call([tool], PROMPT)
        typed = model.structured_predict(City, prompts.PromptTemplate("{text}"), text=PROMPT)
    assert str(response) == f"population of {scripted_model.TEXT}"
    assert typed == OSLO
