"""LangChain's `ChatOpenAI` over both HTTP clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from nomyo.dropin import BASE_URL, http_clients, refusal
from tests.nomyo.dropin.sdk import scripted_model
from tests.nomyo.dropin.sdk.installed import sdk
from tests.nomyo.dropin.sdk.outcomes import OUTCOMES, Ask, cases, other_firmware, provoke
from tests.nomyo.dropin.sdk.recording_proxy import RecordingProxy
from tests.nomyo.dropin.sdk.stage import API_KEY, MODEL, PROMPT, REPLY, Stage

langchain_openai = sdk("langchain_openai")
messages = sdk("langchain_core.messages")
tools = sdk("langchain_core.tools")
openai = sdk("openai")
pydantic = sdk("pydantic")

City = pydantic.create_model("City", city=(str, ...), population=(int, ...))
OSLO = City(city=scripted_model.TEXT, population=scripted_model.NUMBER)


@contextmanager
def chat(options: Mapping[str, Any], **more: Any) -> Iterator[Any]:
    """Provide the chat model of the recipe."""
    http, ahttp = http_clients(**options)
    yield langchain_openai.ChatOpenAI(
        model=MODEL, api_key="unused", base_url=BASE_URL, http_client=http, http_async_client=ahttp, **more
    )
    http.close()
    asyncio.run(ahttp.aclose())


@contextmanager
def invoke(options: Mapping[str, Any]) -> Iterator[Ask]:
    with chat(options) as model:
        yield lambda: model.invoke(PROMPT).content


@contextmanager
def stream(options: Mapping[str, Any]) -> Iterator[Ask]:
    with chat(options) as model:
        yield lambda: "".join(chunk.content for chunk in model.stream(PROMPT))


@contextmanager
def ainvoke(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> Any:
        return (await model.ainvoke(PROMPT)).content

    with chat(options) as model:
        yield lambda: asyncio.run(ask())


@contextmanager
def astream(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> str:
        return "".join([chunk.content async for chunk in model.astream(PROMPT)])

    with chat(options) as model:
        yield lambda: asyncio.run(ask())


WAYS = {each.__name__: each for each in (invoke, stream, ainvoke, astream)}

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
"""LangChain raises subclasses of OpenAI's exceptions."""


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)


@pytest.mark.parametrize("way", WAYS)
def test_a_reply_reaches_the_user(stage: Stage, way: str) -> None:
    with WAYS[way](stage.options()) as ask:
        assert [ask(), ask()] == [REPLY, REPLY]
    assert stage.prompts == 2
    assert stage.payload == {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}


@pytest.mark.parametrize(("name", "way"), cases(WAYS))
def test_every_failure_is_an_exception_of_openai_and_the_prompt_is_sent_once(stage: Stage, name: str, way: str) -> None:
    error: Any = provoke(OUTCOMES[name], stage, WAYS[way])
    assert isinstance(error, CLASSES[OUTCOMES[name].kind])
    if isinstance(OUTCOMES[name].kind, int):
        assert error.code == OUTCOMES[name].code


def test_the_retries_of_langchain_do_not_send_a_refused_prompt_again(stage: Stage) -> None:
    other_firmware(stage)
    with chat(stage.options()) as model, pytest.raises(openai.PermissionDeniedError) as caught:
        model.with_retry(stop_after_attempt=3, wait_exponential_jitter=False).invoke(PROMPT)
    error = refusal(caught.value)
    assert getattr(error, "code", None) == "held"
    assert stage.prompts == 1


def test_the_headers_of_a_response_contain_the_verdict(stage: Stage) -> None:
    with chat(stage.options(), include_response_headers=True) as model:
        reply = model.invoke(PROMPT)
        chunks = list(model.stream(PROMPT))
    for metadata in (reply.response_metadata, chunks[0].response_metadata):
        assert metadata["headers"]["x-nomyo-verdict"] == "affirming"
    assert reply.usage_metadata["total_tokens"] == scripted_model.USAGE["total_tokens"]


def test_a_tool_is_called_and_its_result_is_sent(stage: Stage) -> None:
    def look_up(city: str) -> str:
        """Return the population of a city."""
        return f"population of {city}"

    tool = tools.tool(look_up)
    with chat(stage.options()) as model:
        bound = model.bind_tools([tool])
        call = bound.invoke(PROMPT)
        streamed = list(bound.stream(PROMPT))
        result = tool.invoke(call.tool_calls[0])
        reply = bound.invoke([messages.HumanMessage(PROMPT), call, result])
    assert streamed[0].tool_calls == [{**call.tool_calls[0]}]
    assert reply.content == f"reply to population of {scripted_model.TEXT}"


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_typed_output_is_parsed(stage: Stage, method: str) -> None:
    with chat(stage.options()) as model:
        typed = model.with_structured_output(City, method=method)
        assert typed.invoke(PROMPT) == OSLO
        assert asyncio.run(typed.ainvoke(PROMPT)) == OSLO


def test_a_client_that_was_forgotten_leaks_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """`http_async_client` is missing, so LangChain creates its own client for asynchronous calls."""
    with RecordingProxy() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        http, ahttp = http_clients(**stage.options())
        model = langchain_openai.ChatOpenAI(
            model=MODEL, api_key=API_KEY, base_url=BASE_URL, http_client=http, max_retries=0
        )
        with pytest.raises(openai.APIConnectionError):
            asyncio.run(model.ainvoke(PROMPT))
        http.close()
        asyncio.run(ahttp.aclose())
        assert not proxy.knows(API_KEY, PROMPT)
    assert stage.posts == 0
