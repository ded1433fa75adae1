"""Calls that are given up at any moment: by cancellation, a timeout of the caller's, Ctrl-C, or others that fail."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from nomyo import SecureChatCompletion
from nomyo.call import Request
from nomyo.envelope import Decrypted
from nomyo.gate import DecryptedResponse
from nomyo.transport import Reply as Received
from tests.nomyo.client_calls import Wire, run
from tests.nomyo.error_scenarios import API_KEY, COMPLETION, MESSAGES, PASSWORD, PROMPT, SECRETS, ScenarioContext, ask
from tests.nomyo.secret_search import CapturedOutput, SecretSearch, capture_output
from tests.nomyo.wire.plain_router import Recorded, Reply
from tests.nomyo.wire.proxy import At, Behavior, Proxy

LONG = [{"role": "user", "content": PROMPT + "x" * 8_000_000}]


@pytest.fixture
def stage(wire: Wire, tmp_path: Path) -> ScenarioContext:
    return ScenarioContext(wire, tmp_path, tmp_path)


def fresh(stage: ScenarioContext) -> SecureChatCompletion:
    """A client that has to make its key pair first."""
    return SecureChatCompletion(stage.wire.router.url, api_key=API_KEY)


Begin = Callable[[ScenarioContext], Awaitable[Any]]


def through(behavior: Behavior) -> Begin:
    async def begin(stage: ScenarioContext) -> None:
        with Proxy("localhost", stage.wire.router.port) as proxy:
            proxy.default = behavior
            await stage.ask({"base_url": proxy.url})

    return begin


def slow(*replies: Reply, on: Any = "POST", **asked: Any) -> Begin:
    async def begin(stage: ScenarioContext) -> None:
        stage.wire.router.answer(*replies, on=on)
        await stage.ask({"max_retries": 1}, **asked)

    return begin


async def own_key(stage: ScenarioContext) -> None:
    async with fresh(stage) as client:
        await ask(client)


async def long_answer(stage: ScenarioContext) -> None:
    stage.wire.router.complete = lambda payload, payload_id: {"choices": [{"message": COMPLETION + "x" * 9_000_000}]}
    for _ in range(20):
        await stage.ask()


# What a call is waiting for when it is given up, after how many seconds it surely is, and how many POSTs there were
# then; None where that depends on the machine.
MOMENTS: dict[str, tuple[Begin, float, int | None]] = {
    "at once": (slow(Reply(delay=9)), 0.0, 0),
    "its own key pair": (own_key, 0.05, 0),
    "a connection": (through(Behavior(stall_down=0)), 0.3, 0),
    "the server's key": (slow(Reply(delay=9), on="GET"), 0.3, 0),
    "the server's key, half of it": (slow(Reply(drip=(16, 0.2)), on="GET"), 0.5, 0),
    "the request going out": (through(Behavior(stall_up=At(500, 2))), 0.5, 0),
    "the answer": (slow(Reply(delay=9)), 0.6, 1),
    "the answer, half of it": (slow(Reply(drip=(16, 0.1))), 0.5, 1),
    "an error, half of it": (slow(Reply(500, body=b"x" * 100, drip=(1, 0.1))), 0.5, 1),
    "the next try": (slow(Reply(503, [("Retry-After", "9")])), 0.6, 1),
    "a long prompt to be encrypted": (slow(Reply(delay=9), messages=LONG), 0.04, None),
    "a long answer to be opened": (long_answer, 0.4, None),
}


def warned(heard: CapturedOutput) -> list[str]:
    """The warnings there were, but for one of anyio's own: it drops a connection not begun yet without a word to it."""
    return [one for one in map(str, (warning.message for warning in heard.warnings)) if "try_connect" not in one]


def given_up(
    stage: ScenarioContext, name: str, way: Callable[[Awaitable[Any], float], Awaitable[Any]]
) -> BaseException:
    """The exception of a call that is given up in some way; nothing secret may be found in it, or be said."""
    begin, seconds, posts = MOMENTS[name]

    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.0
        await way(begin(stage), seconds)

    hunt = SecretSearch(*SECRETS)
    with capture_output() as heard:
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - each way of giving up has its own
            run(main(), debug=True)
        hunt.look("error", caught.value)
        caught.value.__traceback__ = None
    heard.search(hunt)
    assert hunt.found == []
    assert warned(heard) == []
    assert heard.unraisable == []
    assert posts is None or len(stage.wire.posts) == posts
    assert [record for record in heard.records if record.levelno >= logging.ERROR] == []
    return caught.value


async def cancelled(work: Awaitable[Any], seconds: float) -> None:
    task = asyncio.ensure_future(work)
    await asyncio.sleep(seconds)
    task.cancel("given up")
    await task


def test_without_the_guard_a_cancelled_call_leaves_much(
    stage: ScenarioContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nomyo.traceback_scrubbing._scrubbed", lambda error, method: error)
    with pytest.raises(AssertionError, match=r"error\.Cance"):
        given_up(stage, "the answer", cancelled)


async def late(work: Awaitable[Any], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await work


async def waited_for(work: Awaitable[Any], seconds: float) -> None:
    await asyncio.wait_for(work, seconds)


async def beside_a_failure(work: Awaitable[Any], seconds: float) -> None:
    async def fail() -> None:
        await asyncio.sleep(seconds)
        raise LookupError("another task")

    async def call() -> None:
        await work

    async with asyncio.TaskGroup() as group:
        group.create_task(call())
        group.create_task(fail())


async def interrupted(work: Awaitable[Any], seconds: float) -> None:
    asyncio.get_running_loop().call_later(seconds, signal.raise_signal, signal.SIGINT)
    await work


@pytest.mark.parametrize("name", MOMENTS)
def test_a_call_that_is_cancelled_leaves_nothing(stage: ScenarioContext, name: str) -> None:
    assert type(given_up(stage, name, cancelled)) is asyncio.CancelledError


# asyncio cancels the call in each of these ways; what they add is the exception around it.
SOME_MOMENTS = ["its own key pair", "a connection", "the server's key", "the answer", "the next try"]


@pytest.mark.parametrize("name", SOME_MOMENTS)
@pytest.mark.parametrize("way", [late, waited_for])
def test_a_call_that_takes_too_long_for_its_caller_leaves_nothing(
    stage: ScenarioContext, name: str, way: Callable[[Awaitable[Any], float], Awaitable[Any]]
) -> None:
    assert isinstance(given_up(stage, name, way), TimeoutError)


@pytest.mark.parametrize("name", SOME_MOMENTS)
def test_a_call_in_a_group_of_which_another_fails_leaves_nothing(stage: ScenarioContext, name: str) -> None:
    assert type(given_up(stage, name, beside_a_failure)) is ExceptionGroup


@pytest.mark.parametrize("name", ["the answer", "the server's key", "the next try", "a connection"])
def test_a_call_that_is_interrupted_leaves_nothing(stage: ScenarioContext, name: str) -> None:
    assert type(given_up(stage, name, interrupted)) is KeyboardInterrupt


@pytest.mark.slow
def test_a_call_that_is_cancelled_at_any_step_leaves_nothing_and_the_client_goes_on(stage: ScenarioContext) -> None:
    async def main() -> tuple[list[BaseException], float]:
        failures: list[BaseException] = []
        begun = time.monotonic()
        async with stage.client() as client:
            for step in range(300):
                task = asyncio.create_task(ask(client))
                for _ in range(step % 60):
                    await asyncio.sleep(0 if step < 200 else 0.0005)
                task.cancel()
                failures += [
                    one for one in await asyncio.gather(task, return_exceptions=True) if not isinstance(one, dict)
                ]
            await ask(client)
        return failures, time.monotonic() - begun

    with capture_output() as heard:
        failures, _ = run(main())
    assert {type(failure) for failure in failures} == {asyncio.CancelledError}
    assert len(failures) > 100
    hunt = SecretSearch(*SECRETS).look("errors", failures)
    heard.search(hunt)
    assert hunt.found == []
    assert warned(heard) == []


@pytest.mark.parametrize("reply", [Reply(503, delay=0.3), Reply(reset="after", delay=0.3), Reply(delay=0.3)])
@pytest.mark.parametrize("stay", [0, 1])
def test_a_key_fetch_that_fails_when_nobody_waits_any_more_is_not_complained_of(
    stage: ScenarioContext, reply: Reply, stay: int
) -> None:
    if reply.status == 200 and not reply.reset:
        stage.wire.router.rotate_key(kind="ec")
    stage.wire.router.answer(reply, on="GET")

    async def main() -> list[Any]:
        client = stage.client()
        tasks = [asyncio.create_task(ask(client)) for _ in range(5)]
        await asyncio.sleep(0.15)
        for task in tasks[stay:]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.4)
        await client.aclose()
        del client
        gc.collect()
        return list(found)

    hunt = SecretSearch(*SECRETS)
    with capture_output() as heard:
        found = run(main(), debug=True)
        hunt.look("errors", found)
    heard.search(hunt)
    assert hunt.found == []
    assert [type(one) for one in found[stay:]] == [asyncio.CancelledError] * (5 - stay)
    assert [record.getMessage() for record in heard.records if "never retrieved" in record.getMessage()] == []
    assert [record for record in heard.records if record.levelno >= logging.ERROR] == []


def test_no_object_of_the_client_tells_a_secret_by_its_repr(stage: ScenarioContext, tmp_path: Path) -> None:
    told: set[str] = set()

    def look(request: Recorded) -> None:
        ours = [one for one in gc.get_objects() if str(type(one).__module__).startswith("nomyo.")]
        told.update(repr(one) for one in ours)

    stage.wire.router.on_request = look
    run(stage.ask())
    low = stage.own(key_dir=None, key_password=None).client
    request = Request(
        payload={"messages": MESSAGES}, payload_id="an-id", api_key=API_KEY, tier=None, policy=None, gated=False
    )
    made = [
        low,
        stage.client(),
        request,
        DecryptedResponse({"choices": COMPLETION}, None),
        Decrypted(bytearray(COMPLETION, "ascii"), None),
        Received(500, {"x-echo": API_KEY}, PROMPT.encode()),
        run(low.keyring.get()),
        low.keyring,
        SecureChatCompletion("https://localhost", api_key=API_KEY, key_dir=tmp_path / "keys", key_password=PASSWORD),
    ]
    hunt = SecretSearch(*SECRETS).look("reprs", sorted(told) + [repr(one) for one in made])
    assert hunt.found == []
    assert any("SecureChatCompletion" in one for one in told)
