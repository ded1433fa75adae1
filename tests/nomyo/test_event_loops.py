"""Event loops that come to an end or change, other kinds of loops, and copies of a client: clear errors, or none."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from nomyo import ArgumentTypeError, EventLoopError, NomyoError, SecureChatCompletion
from nomyo.SecureCompletionClient import SecureCompletionClient
from tests.nomyo.client_calls import API_KEY, PROMPT, Wire, ask, content
from tests.nomyo.secret_search import SecretSearch


@pytest.mark.filterwarnings("ignore:asynchronous generator:ResourceWarning")  # asyncio's, also about those of httpx
def test_a_loop_whose_asynchronous_generators_were_shut_down_gets_new_connections(wire: Wire) -> None:
    async def main() -> list[str]:
        async with wire.client() as client:
            said = [content(await ask(client))]
            for _ in range(2):
                await asyncio.get_running_loop().shutdown_asyncgens()
                said += [content(await ask(client)), content(await ask(client))]
            return said

    assert wire.run(main()) == [PROMPT] * 5
    assert wire.router.connections == 3


def outside_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=httpx.create_ssl_context())


def test_a_given_http_client_on_a_second_loop_is_an_error_that_names_the_fix(wire: Wire) -> None:
    http = outside_client()
    client = wire.client(http_client=http)
    first = asyncio.new_event_loop()
    assert content(first.run_until_complete(ask(client))) == PROMPT
    posts = len(wire.posts)
    for one in (client, client.with_options(max_retries=1)):
        with pytest.raises(EventLoopError, match="each event loop, or omit http_client") as caught:
            asyncio.run(ask(one))
        assert SecretSearch(PROMPT, API_KEY).look("error", caught.value).found == []
    assert len(wire.posts) == posts
    assert content(first.run_until_complete(ask(client))) == PROMPT
    first.run_until_complete(http.aclose())
    first.close()


def test_a_given_http_client_on_two_loops_at_once_is_an_error_that_names_the_fix(wire: Wire) -> None:
    http = outside_client()
    client = wire.client(http_client=http)
    found: list[object] = []

    def in_a_thread() -> None:
        try:
            found.append(asyncio.run(ask(client)))
        except NomyoError as error:
            found.append(error)

    async def main() -> None:
        await ask(client)
        thread = threading.Thread(target=in_a_thread)
        thread.start()
        await asyncio.to_thread(thread.join)
        await ask(client)
        await http.aclose()

    wire.run(main())
    assert isinstance(found[0], EventLoopError)


def test_a_given_http_client_that_keeps_no_connections_works_on_every_loop(wire: Wire) -> None:
    http = httpx.AsyncClient(
        verify=httpx.create_ssl_context(), limits=httpx.Limits(max_keepalive_connections=0, max_connections=9)
    )
    client = wire.client(http_client=http)
    assert [content(asyncio.run(ask(client))) for _ in range(3)] == [PROMPT] * 3


CALLS: dict[str, Callable[[SecureChatCompletion], Coroutine[Any, Any, Any]]] = {
    "create": ask,
    "acreate": lambda client: client.acreate("m", [{"role": "user", "content": PROMPT}]),
    "aclose": lambda client: client.aclose(),
    "fetch_server_public_key": lambda client: client.client.fetch_server_public_key(),
    "encrypt_payload": lambda client: client.client.encrypt_payload({"model": "m"}),
    "send_secure_request": lambda client: client.client.send_secure_request({"model": "m"}, "an-id"),
}


@pytest.mark.parametrize("name", CALLS)
def test_without_an_event_loop_of_asyncio_a_call_says_how_to_run_it(wire: Wire, name: str) -> None:
    call = CALLS[name](wire.client())
    with pytest.raises(EventLoopError, match=r"Run the call with asyncio\.run\(\); under trio, in a separate thread"):
        call.send(None)  # as another kind of event loop would start it
    assert wire.router.requests == []


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("kind", [SecureChatCompletion, SecureCompletionClient])
def test_a_client_is_neither_copied_nor_pickled_and_says_what_to_do(kind: type[Any], how: Callable[[Any], Any]) -> None:
    client = kind("https://localhost")
    with pytest.raises(
        ArgumentTypeError, match=r"can be neither copied nor pickled: .* Create one in each process"
    ) as caught:
        how(client)
    assert isinstance(caught.value, TypeError)
