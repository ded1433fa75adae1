"""Many calls at once: of one loop, of two, of threads; some given up, some on a client that is being closed."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from nomyo import ClientClosedError, KeyStoreError, SecureChatCompletion, ServiceUnavailableError
from tests.nomyo.client_calls import PROMPT, Wire, ask, content, run
from tests.nomyo.defects.conftest import write_keys
from tests.nomyo.wire.plain_router import Recorded, Reply


def test_twenty_calls_one_after_the_other_are_twenty_posts_one_fetch_and_one_connection(wire: Wire) -> None:
    wire.ask_repeatedly(20)
    assert (len(wire.posts), wire.fetches, wire.router.connections) == (20, 1, 1)


def test_a_hundred_calls_at_once_are_a_hundred_posts_and_one_fetch_and_each_has_its_own_answer(wire: Wire) -> None:
    async def main() -> list[dict[str, Any]]:
        async with wire.client() as client:
            return await asyncio.gather(*(ask(client, f"question {number}") for number in range(100)))

    answers = run(main())
    assert [content(answer) for answer in answers] == [f"question {number}" for number in range(100)]
    assert len({answer["_metadata"]["payload_id"] for answer in answers}) == 100
    assert (len(wire.posts), wire.fetches) == (100, 1)
    assert len({post.payload_id for post in wire.posts}) == 100
    assert wire.router.connections <= 100


def test_a_hundred_calls_at_once_survive_a_rotated_key(wire: Wire) -> None:
    async def main() -> list[dict[str, Any]]:
        async with wire.client() as client:
            await ask(client)
            wire.router.rotate_key()
            return await asyncio.gather(*(ask(client, f"question {number}") for number in range(100)))

    answers = run(main())
    assert [content(answer) for answer in answers] == [f"question {number}" for number in range(100)]
    ids = Counter(post.payload_id for post in wire.posts)
    assert max(ids.values()) <= 2
    assert wire.fetches < 30  # one for all that are refused while it is under way


def test_a_hundred_calls_at_once_each_get_the_error_of_the_one_fetch(wire: Wire) -> None:
    async def main() -> list[Any]:
        async with wire.client() as client:
            calls = (ask(client, f"question {number}") for number in range(100))
            return list(await asyncio.gather(*calls, return_exceptions=True))

    wire.router.answer(Reply(503, delay=0.3), on="GET")
    failures = run(main())
    assert {type(failure) for failure in failures} == {ServiceUnavailableError}
    assert len({id(failure) for failure in failures}) == len({failure.payload_id for failure in failures}) == 100
    assert (wire.fetches, wire.posts) == (1, [])


def test_errors_and_answers_at_once_go_to_those_they_belong_to(wire: Wire) -> None:
    def by_question(post: Recorded) -> Reply | None:
        assert post.plaintext is not None
        number = int(post.plaintext["messages"][0]["content"])
        return Reply(418, body=str(number).encode()) if number % 3 == 0 else None

    async def main() -> list[Any]:
        async with wire.client() as client:
            return list(await asyncio.gather(*(ask(client, str(n)) for n in range(60)), return_exceptions=True))

    wire.router.answer(by_question)
    for number, outcome in enumerate(run(main())):
        if number % 3 == 0:
            assert (outcome.status_code, outcome.body) == (418, number)
        else:
            assert content(outcome) == str(number)


def test_a_client_may_be_made_before_there_is_a_loop_and_used_in_several_one_after_the_other(wire: Wire) -> None:
    client = wire.client()
    for _ in range(3):
        assert content(run(ask(client))) == PROMPT
    run(client.aclose())
    assert (len(wire.posts), wire.fetches, wire.router.connections) == (3, 1, 3)


def in_threads(*works: Any) -> list[Any]:
    """What each function returns or raises, all begun at once."""
    found: list[Any] = [None] * len(works)
    gate = threading.Barrier(len(works))

    def work(place: int) -> None:
        gate.wait()
        try:
            found[place] = works[place]()
        except Exception as error:  # noqa: BLE001 - it is looked at by the test
            found[place] = error

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "it hangs"
    return found


@pytest.mark.parametrize("threads", [2, 8])
def test_threads_with_a_loop_each_may_share_a_client(wire: Wire, threads: int) -> None:
    client = wire.client()

    async def main(name: str) -> list[str]:
        answers = await asyncio.gather(*(ask(client, f"{name}-{number}") for number in range(10)))
        answers.append(await ask(client, f"{name}-last"))
        return [content(answer) for answer in answers]

    names = [f"thread-{number}" for number in range(threads)]
    found = in_threads(*(lambda name=name: run(main(name)) for name in names))
    assert found == [[*(f"{name}-{number}" for number in range(10)), f"{name}-last"] for name in names]
    assert len(wire.posts) == 11 * threads
    assert wire.fetches <= threads  # one at a time for each loop
    run(client.aclose())


def test_loops_that_come_and_go_in_threads_leave_nothing_in_the_client(wire: Wire) -> None:
    client = wire.client()
    found = in_threads(*(lambda: [content(run(ask(client))) for _ in range(5)] for _ in range(4)))
    assert found == [[PROMPT] * 5] * 4
    run(ask(client))
    assert len(client.client._transport._connections._pools) <= 1
    assert len(client.client._service.server_keys._fetches) <= 1


def test_one_key_pair_is_made_for_all_who_wait_for_it_also_where_some_give_up(wire: Wire) -> None:
    client = SecureChatCompletion(wire.router.url)

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(ask(client, f"question {number}")) for number in range(10)]
        await asyncio.sleep(0.01)
        for task in tasks[::2]:
            task.cancel()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    found = run(main())
    assert [type(one) for one in found] == [asyncio.CancelledError, dict] * 5
    assert len({post.header("X-Public-Key") for post in wire.posts}) == 1
    assert (len(wire.posts), wire.fetches) == (5, 1)
    run(client.aclose())


@pytest.mark.parametrize("first", [True, False])
def test_one_fetch_of_the_servers_key_goes_on_where_some_who_wait_for_it_give_up(wire: Wire, first: bool) -> None:
    wire.router.answer(Reply(delay=2), on="GET")

    async def main() -> list[Any]:
        async with wire.client() as client:
            tasks = [asyncio.create_task(ask(client, f"question {number}")) for number in range(10)]
            await asyncio.sleep(0.2)
            for task in tasks[:5] if first else tasks[5:]:
                task.cancel()
            return list(await asyncio.gather(*tasks, return_exceptions=True))

    found = run(main())
    gone = [asyncio.CancelledError] * 5
    assert [type(one) for one in found] == ([*gone, *[dict] * 5] if first else [*[dict] * 5, *gone])
    assert (len(wire.posts), wire.fetches) == (5, 1)


def test_a_call_whose_own_deadline_passes_does_not_end_the_fetch_for_the_others(wire: Wire) -> None:
    wire.router.answer(Reply(delay=0.6), on="GET")

    async def main() -> list[Any]:
        async with wire.client() as client:
            return list(await asyncio.gather(ask(client, timeout=0.2), ask(client), return_exceptions=True))

    hasty, patient = run(main())
    assert isinstance(hasty, TimeoutError)
    assert content(patient) == PROMPT
    assert wire.fetches == 1


def test_a_key_pair_that_cannot_be_loaded_is_tried_again_by_the_next_call(wire: Wire, tmp_path: Path) -> None:
    folder = write_keys(tmp_path / "keys")
    key = folder / "private_key.pem"
    text = key.read_text()
    key.write_text("no key")
    client = SecureChatCompletion(wire.router.url, key_dir=folder)
    for _ in range(2):
        with pytest.raises(KeyStoreError):
            run(ask(client))
    key.write_text(text)
    assert content(run(ask(client))) == PROMPT
    assert len(wire.posts) == 1


def test_a_closed_client_says_so_and_sends_nothing(wire: Wire) -> None:
    async def main() -> None:
        client = wire.client()
        await ask(client)
        await client.aclose()
        await client.aclose()
        for call in (
            ask(client),
            client.client.fetch_server_public_key(),
            client.client.send_secure_request({"a": 1}, "b"),
        ):
            with pytest.raises(ClientClosedError):
                await call

    run(main())
    assert len(wire.posts) == 1
    unused = wire.client()
    run(unused.aclose())
    with pytest.raises(ClientClosedError):
        run(ask(unused))


@pytest.mark.parametrize("max_retries", [0, 3])
@pytest.mark.parametrize("waiting_for", ["POST", "GET"])
def test_calls_under_way_on_a_client_that_is_closed_end_at_once_and_say_so(
    wire: Wire, max_retries: int, waiting_for: Literal["POST", "GET"]
) -> None:
    wire.router.answer(lambda request: Reply(delay=60), on=waiting_for)

    async def main() -> list[Any]:
        client = wire.client(max_retries=max_retries)
        tasks = [asyncio.create_task(ask(client)) for _ in range(5)]
        await asyncio.sleep(0.4)
        await client.aclose()
        return list(await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30))

    assert {type(one) for one in run(main())} == {ClientClosedError}


def test_a_client_may_be_closed_from_another_loop(wire: Wire) -> None:
    client = wire.client()
    wire.router.answer(lambda post: Reply(delay=20))
    under_way = threading.Event()
    wire.router.on_request = lambda request: under_way.set() if request.method == "POST" else None

    def close() -> None:
        assert under_way.wait(20)
        run(client.aclose())

    call, closing = in_threads(lambda: run(ask(client)), close)
    assert type(call) is ClientClosedError
    assert closing is None


async def outside_client(wire: Wire, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=ssl.create_default_context(cafile=wire.router.ca), **options)


def test_an_http_client_of_the_callers_is_used_and_not_closed(wire: Wire) -> None:
    async def main() -> None:
        http = await outside_client(wire)
        async with wire.client(http_client=http) as client:
            await asyncio.gather(*(ask(client) for _ in range(3)))
            await ask(client)
        assert not http.is_closed
        assert (await http.get(wire.router.url + "/pki/public_key")).status_code == 200
        await http.aclose()
        with pytest.raises(ClientClosedError):
            await ask(wire.client(http_client=http))

    run(main())
    assert (len(wire.posts), wire.fetches) == (4, 2)


def test_an_http_client_of_the_callers_changes_nothing_of_what_is_safe(wire: Wire) -> None:
    with type(wire.router)(authority=wire.router.authority) as other:
        wire.router.answer(lambda post: Reply(307, [("Location", other.url + post.path)], b""))

        async def main() -> Any:
            async with await outside_client(wire, follow_redirects=True, timeout=0.01) as http:
                try:
                    await ask(wire.client(http_client=http))
                except Exception as error:  # noqa: BLE001 - it is looked at below
                    return error

        assert run(main()).status_code == 307
        assert other.connections == 0
    assert wire.posts[0].header("Accept-Encoding") == "identity"


def test_a_fetch_of_the_key_by_an_http_client_of_the_callers_ends_with_our_client(wire: Wire) -> None:
    wire.router.answer(Reply(delay=20), on="GET")

    async def main() -> None:
        async with await outside_client(wire) as http, wire.client(http_client=http) as client:
            asyncio.get_running_loop().call_later(0.3, asyncio.ensure_future, client.aclose())
            with pytest.raises(ClientClosedError):
                await asyncio.wait_for(ask(client), 5)

    run(main())
