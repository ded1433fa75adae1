"""DSPy over `nomyo proxy`: it has an HTTP client of its own, which cannot be replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from nomyo import SecureChatCompletion
from nomyo.dropin import BASE_URL
from nomyo.proxy.options import ProxyOptions
from nomyo.proxy.running import RunningProxy
from tests.nomyo.dropin.sdk.installed import sdk
from tests.nomyo.dropin.sdk.outcomes import OUTCOMES, Ask, other_firmware
from tests.nomyo.dropin.sdk.recording_proxy import RecordingProxy
from tests.nomyo.dropin.sdk.stage import API_KEY, MODEL, PROMPT, REPLY, Stage

dspy = sdk("dspy")


@contextmanager
def model(options: Mapping[str, Any], **more: Any) -> Iterator[Any]:
    client = SecureChatCompletion(**{"refusal_hold": 30, **options})
    with RunningProxy(client, ProxyOptions()) as proxy:
        yield dspy.LM(f"openai/{MODEL}", api_base=proxy.url, api_key="unused", cache=False, **more)


@contextmanager
def blocking(options: Mapping[str, Any]) -> Iterator[Ask]:
    with model(options) as each:
        yield lambda: each(PROMPT)[0]


@contextmanager
def asynchronous(options: Mapping[str, Any]) -> Iterator[Ask]:
    async def ask() -> Any:
        return (await each.acall(PROMPT))[0]

    with model(options) as each:
        yield lambda: asyncio.run(ask())


WAYS = {each.__name__: each for each in (blocking, asynchronous)}


@pytest.mark.parametrize("way", WAYS)
def test_a_reply_reaches_the_user(stage: Stage, way: str) -> None:
    with WAYS[way](stage.options()) as ask:
        assert [ask(), ask()] == [REPLY, REPLY]
    assert stage.prompts == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_prompt_is_sent_once(stage: Stage, way: str) -> None:
    other_firmware(stage)
    with WAYS[way](stage.options()) as ask:
        for code in ("not_affirmed", "held"):
            with pytest.raises(Exception, match=code):  # DSPy's own class for 401 and 403
                ask()
    assert stage.prompts == 1


def test_without_retries_of_its_own_a_failed_request_is_sent_once(stage: Stage) -> None:
    OUTCOMES["503"].prepare(stage)
    with model(stage.options(), num_retries=0) as each, pytest.raises(Exception, match=r"503|not available"):
        each(PROMPT)
    assert stage.prompts == 1


def test_without_the_proxy_nothing_leaks(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with RecordingProxy() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        each = dspy.LM(f"openai/{MODEL}", api_base=BASE_URL, api_key=API_KEY, cache=False, num_retries=0)
        with pytest.raises(Exception):  # noqa: B017, PT011
            each(PROMPT)
        assert not proxy.knows(API_KEY, PROMPT)
    assert stage.posts == 0
