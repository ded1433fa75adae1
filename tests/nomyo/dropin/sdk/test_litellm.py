"""litellm over `openai_client` and `async_openai_client`, and retries by tenacity."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from nomyo.dropin import async_openai_client, openai_client, refusal
from tests.nomyo.dropin.sdk import scripted_model
from tests.nomyo.dropin.sdk.installed import sdk
from tests.nomyo.dropin.sdk.outcomes import OUTCOMES, Ask, cases, other_firmware, provoke
from tests.nomyo.dropin.sdk.stage import MESSAGES, MODEL, PROMPT, REPLY, Stage

litellm = sdk("litellm")
tenacity = sdk("tenacity")
pydantic = sdk("pydantic")
openai = sdk("openai")

# pydantic warns of litellm's classes, some of which are imported when they are needed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Items? .* using the `ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_(computed_)?fields' attribute:DeprecationWarning"),
]

City = pydantic.create_model("City", city=(str, ...), population=(int, ...))
OSLO = City(city=scripted_model.TEXT, population=scripted_model.NUMBER)
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of every call; litellm has a timeout of its own."""
    return {"model": f"openai/{MODEL}", "messages": MESSAGES, "timeout": options["timeout"]}


@contextmanager
def completion(options: Mapping[str, Any]) -> Iterator[Ask]:
    with openai_client(**options) as client:
        yield lambda: litellm.completion(client=client, **arguments(options)).choices[0].message.content


@contextmanager
def stream(options: Mapping[str, Any]) -> Iterator[Ask]:
    def ask() -> str:
        chunks = litellm.completion(client=client, stream=True, **arguments(options))
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    with openai_client(**options) as client:
        yield ask


@contextmanager
def acompletion(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> Any:
        return (await litellm.acompletion(client=client, **arguments(options))).choices[0].message.content

    client = async_openai_client(**options)
    yield lambda: asyncio.run(ask())
    asyncio.run(client.close())


@contextmanager
def astream(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> str:
        chunks = await litellm.acompletion(client=client, stream=True, **arguments(options))
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    client = async_openai_client(**options)
    yield lambda: asyncio.run(ask())
    asyncio.run(client.close())


WAYS = {each.__name__: each for each in (completion, stream, acompletion, astream)}

CLASSES: dict[int | str, Any] = {
    401: litellm.AuthenticationError,
    403: litellm.exceptions.APIError,
    429: litellm.RateLimitError,
    500: litellm.InternalServerError,
    502: litellm.BadGatewayError,
    503: litellm.ServiceUnavailableError,
    "connection": litellm.InternalServerError,
    "timeout": litellm.Timeout,
}
"""litellm has no exception of its own for a 403, and reports a lost connection as a 500."""


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)


@pytest.mark.parametrize("way", WAYS)
def test_a_reply_reaches_the_user(stage: Stage, way: str) -> None:
    with WAYS[way](stage.options()) as ask:
        assert [ask(), ask()] == [REPLY, REPLY]
    assert stage.prompts == 2
    assert stage.payload == {"model": MODEL, "messages": MESSAGES}


@pytest.mark.parametrize(("name", "way"), cases(WAYS))
def test_every_failure_is_an_exception_of_litellm_and_the_prompt_is_sent_once(
    stage: Stage, name: str, way: str
) -> None:
    outcome = OUTCOMES[name]
    error: Any = provoke(outcome, stage, WAYS[way])
    assert isinstance(error, CLASSES[outcome.kind])
    if isinstance(outcome.kind, int):
        assert error.status_code == outcome.kind


def test_the_retries_of_litellm_do_not_send_a_refused_prompt_again(stage: Stage) -> None:
    other_firmware(stage)
    with openai_client(**stage.options()) as client, pytest.raises(litellm.exceptions.APIError) as caught:
        litellm.completion(client=client, num_retries=3, **arguments(stage.options()))
    assert stage.prompts == 1
    assert getattr(refusal(caught.value), "code", "") in ("held", "not_affirmed")


def test_the_fallbacks_of_litellm_do_not_send_a_refused_prompt_again(stage: Stage) -> None:
    """litellm then raises an exception without a cause, whose message quotes the refusal."""
    other_firmware(stage)
    with (
        openai_client(**stage.options()) as client,
        pytest.raises(litellm.exceptions.APIConnectionError, match="not affirmed"),
    ):
        litellm.completion(client=client, fallbacks=["openai/other"], **arguments(stage.options()))
    assert stage.prompts == 1


def test_retries_by_tenacity_do_not_send_a_refused_prompt_again(stage: Stage) -> None:
    other_firmware(stage)
    attempts = []

    def ask() -> Any:
        attempts.append(1)
        return client.chat.completions.create(model=MODEL, messages=MESSAGES)

    retrying = tenacity.Retrying(stop=tenacity.stop_after_attempt(3), reraise=True)
    with openai_client(**stage.options()) as client, pytest.raises(openai.PermissionDeniedError) as caught:
        retrying(ask)
    assert caught.value.code == "held"
    assert (len(attempts), stage.prompts) == (3, 1)


def test_tools_formats_and_several_choices(stage: Stage) -> None:
    with openai_client(**stage.options()) as client:

        def ask(**more: Any) -> Any:
            return litellm.completion(client=client, **{**arguments(stage.options()), **more})

        call = ask(tools=[TOOL]).choices[0].message
        result = {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "700000"}
        reply = ask(messages=[*MESSAGES, call.model_dump(exclude_none=True), result], tools=[TOOL])
        typed = ask(response_format=City)
        several = ask(n=2)
        streamed = list(ask(stream=True, stream_options={"include_usage": True}))
    assert reply.choices[0].message.content == "reply to 700000"
    assert City.model_validate_json(typed.choices[0].message.content) == OSLO
    assert len(several.choices) == 2
    assert streamed[-1].usage.total_tokens == scripted_model.USAGE["total_tokens"]
    assert PROMPT not in repr(call)
