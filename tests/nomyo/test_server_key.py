"""The server's key: fetched once for many calls, checked at each fetch, and never taken in another's place unseen."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any

import pytest

from nomyo import keys
from nomyo.errors import (
    APIConnectionError,
    APIStatusError,
    ArgumentError,
    ClientClosedError,
    NomyoError,
    ServerKeyError,
)
from nomyo.server_key import LIFETIME, ServerKey, ServerKeys
from tests.nomyo.client_calls import run
from tests.nomyo.wire import server_keys

ONE, TWO = (server_keys.pair(number, 2048).public_key() for number in (1001, 1002))
PEM_ONE, PEM_TWO = server_keys.public_pem(ONE), server_keys.public_pem(TWO)
PIN_ONE, PIN_TWO = keys.fingerprint(ONE), keys.fingerprint(TWO)


class Server:
    """What the key path answers, the times asked, and a clock."""

    def __init__(self, *answers: bytes | BaseException) -> None:
        self.answers = list(answers) or [PEM_ONE]
        self.fetches = 0
        self.now = 1000.0
        self.leave: asyncio.Event | None = None
        """The next fetches wait for it."""

    async def fetch(self) -> bytes:
        self.fetches += 1
        if self.leave is not None:
            await self.leave.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def keys(self, pins: Iterable[str] = (), least: int = 2048) -> ServerKeys:
        return ServerKeys(self.fetch, pins, least, clock=lambda: self.now)


def test_a_key_is_fetched_when_it_is_first_asked_for_and_once_for_many_calls() -> None:
    server = Server()
    cache = server.keys()
    assert server.fetches == 0
    found = [run(cache.get()) for _ in range(5)]
    assert server.fetches == 1
    assert {id(one) for one in found} == {id(found[0])}
    assert found[0].key.public_numbers() == ONE.public_numbers()
    assert (found[0].fingerprint, found[0].pinned, found[0].fetched_at) == (PIN_ONE, False, 1000.0)
    assert found[0].pem == PEM_ONE.decode()


def test_after_five_minutes_it_is_fetched_anew() -> None:
    assert LIFETIME == 300.0
    server = Server(PEM_ONE, PEM_TWO)
    cache = server.keys()
    run(cache.get())
    server.now += 299.9
    assert run(cache.get()).fingerprint == PIN_ONE
    assert server.fetches == 1
    server.now += 0.1
    assert run(cache.get()).fingerprint == PIN_TWO
    assert server.fetches == 2
    server.now += 299.9
    assert run(cache.get()).fetched_at == 1300.0
    assert server.fetches == 2


def test_it_is_renewed_when_that_is_asked_for_and_used_from_then_on() -> None:
    server = Server(PEM_ONE, PEM_TWO)
    cache = server.keys()
    assert run(cache.get()).fingerprint == PIN_ONE
    assert run(cache.refresh()).fingerprint == PIN_TWO
    assert run(cache.get()).fingerprint == PIN_TWO
    assert server.fetches == 2


@pytest.mark.parametrize("ask", ["get", "refresh"])
def test_those_who_ask_at_once_share_one_fetch(ask: str) -> None:
    server = Server()
    cache = server.keys()

    async def many() -> list[ServerKey]:
        server.leave = asyncio.Event()
        asyncio.get_running_loop().call_later(0.02, server.leave.set)
        found: list[ServerKey] = await asyncio.gather(*(getattr(cache, ask)() for _ in range(50)))
        return found

    found = run(many())
    assert server.fetches == 1
    assert len({id(one) for one in found}) == 1


def test_on_another_loop_it_is_the_same_key() -> None:
    server = Server()
    cache = server.keys()
    first = run(cache.get())
    assert run(cache.get()) is first
    assert server.fetches == 1
    run(cache.refresh())
    run(cache.refresh())
    assert server.fetches == 3
    assert cache._fetches == {}


@pytest.mark.parametrize("impatience", ["a cancelled task", "a timeout"])
def test_one_who_gives_up_does_not_end_the_fetch_for_the_others(impatience: str) -> None:
    server = Server()
    cache = server.keys()

    async def main() -> ServerKey:
        server.leave = asyncio.Event()
        impatient = asyncio.create_task(cache.get())
        await asyncio.sleep(0)
        patient = asyncio.create_task(cache.get())
        await asyncio.sleep(0.01)
        if impatience == "a timeout":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(impatient, 0.01)
        else:
            impatient.cancel()
            with pytest.raises(asyncio.CancelledError):
                await impatient
        server.leave.set()
        return await patient

    assert run(main()).fingerprint == PIN_ONE
    assert server.fetches == 1


def test_closing_ends_the_fetch_and_whoever_waits_for_it_is_told() -> None:
    server = Server()
    cache = server.keys()

    async def main() -> list[Any]:
        server.leave = asyncio.Event()
        waiting = [asyncio.create_task(cache.get()) for _ in range(3)]
        await asyncio.sleep(0.01)
        await cache.aclose()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "nomyo server key"]
        return await asyncio.gather(*waiting, return_exceptions=True)

    found = run(main())
    assert {type(one) for one in found} == {ClientClosedError}
    assert {str(one) for one in found} == {"the client was closed during the call"}
    assert len({id(one) for one in found}) == 3
    assert cache._fetches == {}


def test_closing_without_a_fetch_under_way_does_nothing() -> None:
    server = Server()
    cache = server.keys()
    run(cache.get())
    run(cache.aclose())
    run(cache.aclose())
    assert server.fetches == 1


def test_a_fetch_that_is_cancelled_by_anybody_else_is_cancelled() -> None:
    server = Server()
    cache = server.keys()

    async def main() -> None:
        server.leave = asyncio.Event()
        waiting = asyncio.create_task(cache.get())
        await asyncio.sleep(0.01)
        (flight,) = cache._fetches.values()
        flight.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(main())


def test_a_failed_fetch_has_processed_nothing() -> None:
    error = APIConnectionError("x")
    error.maybe_processed = True  # as of a request whose answer did not come: this one carried no prompt
    with pytest.raises(APIConnectionError) as caught:
        run(Server(error).keys().get())
    assert caught.value.maybe_processed is False


def failed() -> list[NomyoError]:
    down = APIStatusError("Failed to fetch server's public key: HTTP 503", 503)
    down.headers, down.body, down.retryable, down.retry_after = {"a": "b"}, {"detail": "d"}, True, 2.0
    return [down, APIConnectionError("Failed to connect to router: x"), ServerKeyError("refused")]


@pytest.mark.parametrize("error", failed(), ids=lambda error: type(error).__name__)
def test_a_failure_is_told_to_each_who_waits_as_an_error_of_its_own(error: NomyoError) -> None:
    server = Server(error)
    cache = server.keys()

    async def many() -> list[Any]:
        return await asyncio.gather(*(cache.get() for _ in range(5)), return_exceptions=True)

    found = run(many())
    assert server.fetches == 1
    assert len({id(one) for one in [error, *found]}) == 6
    for one in found:
        assert type(one) is type(error)
        assert (str(one), vars(one)) == (str(error), vars(error))
        assert one.stage == "key"
        assert one.__context__ is None
        assert one.__cause__ is None
        places, traceback = [], one.__traceback__
        while traceback is not None:
            places.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        assert "_refresh" not in places
        assert "fetch" not in places


def test_after_a_failure_the_next_who_asks_has_it_fetched_again() -> None:
    server = Server(APIConnectionError("x"), APIConnectionError("x"), PEM_ONE)
    cache = server.keys()
    for _ in range(2):
        with pytest.raises(APIConnectionError):
            run(cache.get())
    assert run(cache.get()).fingerprint == PIN_ONE
    assert server.fetches == 3


def test_a_key_that_is_known_outlives_a_failed_renewal_within_its_time() -> None:
    server = Server(PEM_ONE, APIConnectionError("x"))
    cache = server.keys()
    run(cache.get())
    with pytest.raises(APIConnectionError):
        run(cache.refresh())
    assert run(cache.get()).fingerprint == PIN_ONE
    server.now += LIFETIME
    with pytest.raises(APIConnectionError):
        run(cache.get())


def test_an_error_that_is_nobodys_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        run(Server(ZeroDivisionError()).keys().get())


@pytest.mark.parametrize(
    ("pem", "least"),
    [(b"", 2048), (b"<html>", 2048), (server_keys.ec_pem(), 2048), (PEM_ONE, 4096), (PEM_ONE + PEM_TWO, 2048)],
    ids=["nothing", "HTML", "EC", "too small", "two"],
)
def test_a_key_that_will_not_do_is_refused_and_not_remembered(pem: bytes, least: int) -> None:
    server = Server(pem)
    cache = server.keys(least=least)
    for tries in (1, 2):
        with pytest.raises(ServerKeyError) as caught:
            run(cache.get())
        assert caught.value.code == "server_key_refused"
        assert caught.value.stage == "key"
        assert caught.value.retryable is False
        assert server.fetches == tries


PINS = [[PIN_ONE], [PIN_TWO, PIN_ONE], PIN_ONE, (f" {PIN_ONE}\n",), {PIN_ONE}, iter([PIN_ONE])]


@pytest.mark.parametrize(
    "pins", PINS, ids=["a list", "one of several", "a text", "with blanks", "a set", "an iterator"]
)
def test_a_pinned_key_is_taken_and_said_to_be_pinned(pins: Iterable[str]) -> None:
    assert run(Server().keys(pins).get()).pinned is True


def test_another_key_is_refused_and_the_message_names_it_and_the_pins() -> None:
    server = Server(PEM_TWO)
    cache = server.keys([PIN_ONE])
    for tries in (1, 2):
        with pytest.raises(ServerKeyError) as caught:
            run(cache.get())
        assert caught.value.code == "server_key_not_pinned"
        assert caught.value.stage == "key"
        assert str(caught.value) == (
            f"the server's key is {PIN_TWO}, which is not pinned; pinned: {PIN_ONE}. Nothing was encrypted to it"
        )
        assert server.fetches == tries


def test_a_rotation_to_a_key_that_is_not_pinned_does_not_replace_the_one_that_is() -> None:
    server = Server(PEM_ONE, PEM_TWO, PEM_ONE)
    cache = server.keys([PIN_ONE])
    run(cache.get())
    server.now += LIFETIME
    with pytest.raises(ServerKeyError):
        run(cache.get())
    assert run(cache.get()).fingerprint == PIN_ONE


@pytest.mark.parametrize("pins", ["", "abc", ["sha256/abc"], [PIN_ONE, "x"], [None], [5], [PIN_ONE.encode()], None, 5])
def test_pins_that_are_none_are_refused_at_once(pins: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^server_key_pins: ") as caught:
        Server().keys(pins)
    assert caught.value.__context__ is None


def test_a_key_that_changes_is_told_in_the_log_by_fingerprint_alone(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(PEM_ONE, PEM_ONE, PEM_TWO)
    cache = server.keys()
    with caplog.at_level(logging.DEBUG, "nomyo"):
        run(cache.get())
        run(cache.refresh())
        assert caplog.records == []
        run(cache.refresh())
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("nomyo", "WARNING")
    assert record.getMessage() == f"the server's key changed from {PIN_ONE} to {PIN_TWO}"


def test_its_clock_is_the_monotonic_one() -> None:
    before = time.monotonic()
    found = run(ServerKeys(Server().fetch, (), 2048).get())
    assert before <= found.fetched_at <= time.monotonic()
