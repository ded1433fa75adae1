"""A server that changes its key while a call is under way, or between calls; and keys that are pinned."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from nomyo import APIConnectionError, ArgumentError, InvalidRequestError, NomyoError, ServerKeyError
from nomyo import server_key as server_key_module
from nomyo.keys import fingerprint
from tests.nomyo.client_calls import PROMPT, Wire, ask, content, error_facts, run
from tests.nomyo.wire import server_keys
from tests.nomyo.wire.plain_router import Recorded, Reply, error


def pin(wire: Wire) -> str:
    """The fingerprint of the key that the router has now."""
    return fingerprint(wire.router.private_key.public_key())


def rotate_at(wire: Wire, *posts: int) -> None:
    """Have another key just before the router looks at its n-th POST, counted from 1."""
    seen = 0

    def look(request: Recorded) -> None:
        nonlocal seen
        if request.method == "POST":
            seen += 1
            if seen in posts:
                wire.router.rotate_key()

    wire.router.on_request = look


def sequence(wire: Wire) -> list[tuple[str, int]]:
    """Method and status of every request, in order."""
    return [(each.method, each.status) for each in wire.router.requests]


@pytest.mark.parametrize("max_retries", [0, 2])
def test_a_key_rotated_between_fetch_and_post_is_fetched_once_more_and_the_call_goes_on(
    wire: Wire, max_retries: int
) -> None:
    rotate_at(wire, 1)
    answer = wire.ask({"max_retries": max_retries})
    assert content(answer) == PROMPT
    assert sequence(wire) == [("GET", 200), ("POST", 400), ("GET", 200), ("POST", 200)]
    first, second = wire.posts
    assert first.payload_id == second.payload_id == answer["_metadata"]["payload_id"]
    assert first.body != second.body
    assert json.loads(first.body)["encrypted_aes_key"] != json.loads(second.body)["encrypted_aes_key"]
    assert answer["_metadata"]["verification"]["server_key"] == pin(wire)


def test_a_key_rotated_between_two_tries_is_fetched_once_more(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nomyo.status.BACKOFF_MAX", 0.0)
    wire.router.answer(Reply(500))
    rotate_at(wire, 2)
    answer = wire.ask({"max_retries": 1})
    assert content(answer) == PROMPT
    assert sequence(wire) == [("GET", 200), ("POST", 500), ("POST", 400), ("GET", 200), ("POST", 200)]
    first, second, third = wire.posts
    assert first.body == second.body != third.body
    assert {post.payload_id for post in wire.posts} == {answer["_metadata"]["payload_id"]}


def test_a_try_that_failed_for_a_rotated_key_is_no_retry(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nomyo.status.BACKOFF_MAX", 0.0)
    rotate_at(wire, 1)
    wire.router.answer(None, Reply(503), Reply(503))
    assert content(wire.ask({"max_retries": 2})) == PROMPT
    assert [post.status for post in wire.posts] == [400, 503, 503, 200]
    assert wire.posts[1].body == wire.posts[2].body == wire.posts[3].body


def test_two_rotations_in_a_row_are_one_too_many_for_a_call_but_not_for_the_next(wire: Wire) -> None:
    rotate_at(wire, 1, 2)

    async def calls() -> tuple[NomyoError, dict[str, Any]]:
        async with wire.client(max_retries=2) as client:
            with pytest.raises(InvalidRequestError) as caught:
                await ask(client)
            return caught.value, await ask(client)

    failure, answer = run(calls())
    assert error_facts(failure) == ("", 2, "completion", False)
    assert {post.payload_id for post in wire.posts[:2]} == {failure.payload_id}
    assert content(answer) == PROMPT
    assert [status for _, status in sequence(wire)] == [200, 400, 200, 400, 400, 200, 200]


def test_a_400_under_the_same_key_is_an_invalid_request_after_one_look_at_the_key(wire: Wire) -> None:
    wire.router.answer(error(400, "no such model"))
    failure = wire.refused(InvalidRequestError, {"max_retries": 2})
    assert error_facts(failure) == ("", 1, "completion", False)
    assert str(failure) == "Bad request: no such model"
    assert sequence(wire) == [("GET", 200), ("POST", 400), ("GET", 200)]


@pytest.mark.parametrize("reply", [Reply(503), Reply(reset="before"), Reply(404)])
def test_a_400_stays_one_where_the_key_cannot_be_looked_at(wire: Wire, reply: Reply) -> None:
    wire.router.answer(error(400, "no such model"))
    wire.router.answer(None, reply, on="GET")
    failure = wire.refused(InvalidRequestError, {"max_retries": 2})
    assert error_facts(failure) == ("", 1, "completion", False)


def test_a_rotation_to_a_key_that_will_not_do_is_not_followed(wire: Wire) -> None:
    def weaken(request: Recorded) -> None:
        if request.method == "POST":
            wire.router.rotate_key(2048)

    wire.router.on_request = weaken
    failure = wire.refused(InvalidRequestError, {"max_retries": 2})
    assert error_facts(failure) == ("", 1, "completion", False)
    assert (len(wire.posts), wire.fetches) == (1, 2)


def test_a_rotation_to_a_key_that_is_not_pinned_is_refused(wire: Wire) -> None:
    known = pin(wire)
    rotate_at(wire, 1)
    failure = wire.refused(ServerKeyError, {"max_retries": 2, "server_key_pins": [known]})
    assert error_facts(failure) == ("server_key_not_pinned", 1, "key", False)
    assert pin(wire) in str(failure)
    assert known in str(failure)
    assert len(wire.posts) == 1


def test_a_rotation_to_the_other_of_two_pins_goes_well(wire: Wire) -> None:
    pins = [fingerprint(server_keys.pair(number).public_key()) for number in (0, 1)]
    rotate_at(wire, 1)
    verification = wire.ask({"server_key_pins": pins})["_metadata"]["verification"]
    assert (verification["server_key"], verification["server_key_pinned"]) == (pins[1], True)
    assert [post.status for post in wire.posts] == [400, 200]


def test_a_key_that_is_not_pinned_is_refused_with_nothing_sent(wire: Wire) -> None:
    other = "sha256/" + "A" * 43 + "="
    failure = wire.refused(ServerKeyError, {"max_retries": 2, "server_key_pins": other})
    assert error_facts(failure) == ("server_key_not_pinned", 0, "key", False)
    assert "Nothing was encrypted to it" in str(failure)
    assert (wire.posts, wire.fetches) == ([], 1)


@pytest.mark.parametrize(
    "form", [str, lambda one: [one], lambda one: (one, "sha256/" + "A" * 43 + "="), lambda one: {one}]
)
def test_a_pinned_key_is_told_as_pinned(wire: Wire, form: Callable[[str], Any]) -> None:
    answer = wire.ask({"server_key_pins": form(pin(wire))})
    assert answer["_metadata"]["verification"]["server_key_pinned"] is True


def test_a_pin_that_is_none_is_an_argument_error(wire: Wire) -> None:
    with pytest.raises(ArgumentError, match="server_key_pins"):
        wire.client(server_key_pins=["sha1/AAAA"])


def test_a_change_of_the_servers_key_is_logged(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    before = pin(wire)
    rotate_at(wire, 1)
    with caplog.at_level(logging.WARNING, "nomyo"):
        wire.ask()
    assert [record.getMessage() for record in caplog.records] == [
        f"the server's key changed from {before} to {pin(wire)}"
    ]


def test_an_old_key_is_fetched_anew(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_key_module, "LIFETIME", 0.0)
    wire.ask_repeatedly(3)
    assert (len(wire.posts), wire.fetches) == (3, 3)


def test_fetching_the_key_by_hand_renews_it_for_calls(wire: Wire) -> None:
    async def calls() -> None:
        async with wire.client() as client:
            await ask(client)
            wire.router.rotate_key()
            await client.client.fetch_server_public_key()
            await ask(client)

    run(calls())
    assert [post.status for post in wire.posts] == [200, 200]
    assert wire.fetches == 2


def test_smaller_keys_are_taken_where_that_is_said_aloud(wire: Wire) -> None:
    wire.router.rotate_key(2048)
    with pytest.warns(UserWarning, match="2048 bits are accepted"):
        client = wire.client(min_server_key_bits=2048)

    async def call() -> dict[str, Any]:
        async with client:
            return await ask(client)

    assert content(run(call())) == PROMPT


def test_a_server_that_is_not_there_has_no_key(wire: Wire) -> None:
    failure = wire.refused(APIConnectionError, {"base_url": "https://localhost:1"})
    assert error_facts(failure) == ("", 0, "key", True)
    assert failure.maybe_processed is False
