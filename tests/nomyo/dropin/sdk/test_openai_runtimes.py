"""OpenAI's SDK over the transport in event loops, threads and forked processes, and when a call is interrupted."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nomyo.dropin import async_openai_client, openai_client
from nomyo.dropin.portal import portal
from tests.nomyo.dropin.sdk.installed import sdk
from tests.nomyo.dropin.sdk.outcomes import slow
from tests.nomyo.dropin.sdk.scripted_model import reply_to
from tests.nomyo.dropin.sdk.stage import MESSAGES, MODEL, REPLY, Stage
from tests.nomyo.router.openai_server import ReceivedRequest, ScriptedReply

openai = sdk("openai")


async def other_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def ask(client: Any, prompt: str | None = None) -> str:
    messages = MESSAGES if prompt is None else [{"role": "user", "content": prompt}]
    content = client.chat.completions.create(model=MODEL, messages=messages).choices[0].message.content
    assert isinstance(content, str)
    return content


def test_a_client_works_in_one_event_loop_after_another(stage: Stage) -> None:
    client = async_openai_client(**stage.options())

    async def call() -> Any:
        return (await client.chat.completions.create(model=MODEL, messages=MESSAGES)).choices[0].message.content

    assert [asyncio.run(call()) for _ in range(3)] == [REPLY] * 3
    asyncio.run(client.close())


def test_a_blocking_call_works_inside_a_running_event_loop(stage: Stage) -> None:
    async def main() -> str:
        with openai_client(**stage.options()) as client:
            return ask(client)

    assert asyncio.run(main()) == REPLY


def test_a_client_is_shared_by_many_threads(stage: Stage) -> None:
    with openai_client(**stage.options()) as client, ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(lambda number: ask(client, f"question {number}"), range(48)))

    assert replies == [f"reply to question {number}" for number in range(48)]
    assert stage.prompts == 48


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12: a fork with threads
def test_a_client_works_in_a_forked_process(stage: Stage) -> None:
    with openai_client(**stage.options()) as client:
        assert ask(client) == REPLY
        child = os.fork()
        if not child:
            status = 1
            try:
                signal.alarm(30)
                status = 0 if ask(client, "child") == "reply to child" else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert ask(client) == REPLY
    assert stage.prompts == 3


def test_ctrl_c_interrupts_a_blocking_call(stage: Stage) -> None:
    arrived = threading.Event()

    def interrupt(request: ReceivedRequest) -> ScriptedReply:
        arrived.set()
        os.kill(os.getpid(), signal.SIGINT)
        return ScriptedReply(body=reply_to(request).body, delay=2)

    stage.model.answer = interrupt
    with openai_client(**stage.options()) as client:
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            ask(client)
        assert time.monotonic() - started < 1.5
        assert portal().call(other_tasks()) == []
        stage.model.answer = reply_to
        assert ask(client) == REPLY
    assert arrived.is_set()


def test_a_canceled_call_ends_at_once_and_is_not_repeated(stage: Stage) -> None:
    slow(stage)
    client = async_openai_client(openai_options={"max_retries": 2}, **stage.options())

    async def main() -> str:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.chat.completions.create(model=MODEL, messages=MESSAGES), 0.4)
        stage.model.answer = reply_to
        completion = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        await client.close()
        return str(completion.choices[0].message.content)

    assert asyncio.run(main()) == REPLY
    assert stage.prompts == 2


def test_a_closed_client_sends_nothing(stage: Stage) -> None:
    client = openai_client(**stage.options())
    ask(client)
    client.close()
    # The HTTP library's exception, which versions 1 and 2 wrap.
    with pytest.raises((openai.APIConnectionError, RuntimeError)) as caught:
        ask(client)
    assert "closed" in str(caught.value.__cause__ or caught.value)
    assert stage.prompts == 1
