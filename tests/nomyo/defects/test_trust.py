"""C: what is trusted, and what is checked of an answer.

C5 cannot be mended by a client alone (see the threat model): whoever ends TLS can swap the reply key and seal an answer
of their own. What a client can notice, the replay of another answer, is tested here.
"""

from __future__ import annotations

import ctypes
import gzip
import json
import re
import socket
import sys
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import nomyo
from nomyo.SecureCompletionClient import SecureCompletionClient
from tests.nomyo.defects.calls import (
    API_KEY,
    MESSAGES,
    MODEL,
    ask_with,
    attempt,
    close,
    describe,
    is_error,
    outcome,
    run,
    supported_options,
)
from tests.nomyo.defects.conftest import Chat, fingerprint
from tests.nomyo.wire import package, server_keys
from tests.nomyo.wire.plain_router import PlainRouter, Reply, error

MIB = 1 << 20


def test_c1_every_answer_says_which_server_key_was_trusted(chat: Chat) -> None:
    told_of = []
    for _ in range(2):
        answer = chat.ask()
        assert isinstance(answer, dict), describe(answer)
        told_of.append(re.findall(r"sha256/[A-Za-z0-9+/]{43}=", json.dumps(answer["_metadata"])))
        expected = [fingerprint(chat.router)]
        assert told_of[-1] == expected, "no answer says which key of the server's its prompt was sealed to"
        chat.router.rotate_key()
    assert told_of[0] != told_of[1]


def test_c1_a_key_that_is_not_the_pinned_one_gets_no_prompt(chat: Chat) -> None:
    """The pin is an argument that the published client does not have; without it, it sends the prompt."""
    pin = fingerprint(chat.router)
    chat.router.rotate_key()
    found = chat.ask(supported_options(nomyo.SecureChatCompletion, server_key_pins=[pin]))
    assert not chat.router.posts, "there is no pin, and an impostor's key got the prompt"
    assert is_error(found, nomyo.SecurityError, pin), describe(found)


@pytest.mark.parametrize("fault", ["key-rsa-1024", "key-rsa-2048", "key-exponent-3"])
def test_c2_a_weak_server_key_gets_no_prompt(chat: Chat, fault: str) -> None:
    chat.router.fault(fault)
    found = chat.ask()
    assert not chat.router.posts, f"{fault}: the prompt was sealed to it and sent"
    assert is_error(found, nomyo.SecurityError, "key"), describe(found)


def test_c2_a_server_key_that_is_not_rsa_is_called_by_its_name(chat: Chat) -> None:
    chat.router.fault("key-ec")
    found = chat.ask()
    assert is_error(found, nomyo.SecurityError, "key", "EC"), f"an EC key of the server's is told as {describe(found)}"


def test_c3_an_answer_to_another_request_is_refused(chat: Chat) -> None:
    chat.router.fault("echo-wrong")
    found = chat.ask()
    assert is_error(found, nomyo.SecurityError), f"an answer to another request was handed over: {describe(found)}"


def test_c4_the_authenticated_time_is_not_overwritten_by_the_one_outside(chat: Chat) -> None:
    chat.router.metadata = lambda request: {**chat.router.correct_metadata(request), "processed_at": 111}
    chat.router.seal = lambda plaintext, key, at: package.seal(plaintext, key, 222)
    answer = chat.ask()
    assert isinstance(answer, dict), describe(answer)
    got = answer["_metadata"]["processed_at"]
    assert got == 111, f"processed_at is {got}, which anybody on the way can write, not the sealed 111"
    assert answer["_metadata"]["transport_processed_at"] == 222


def test_c5_an_earlier_answer_played_again_is_refused(chat: Chat) -> None:
    chat.router.fault("replay")
    first, second = chat.ask_often(2)
    assert isinstance(first, dict), describe(first)
    assert is_error(second, nomyo.SecurityError), f"an answer played again was handed over as new: {describe(second)}"


def test_c6_an_answer_of_another_tier_than_requested_is_refused(chat: Chat) -> None:
    chat.router.fault("tier-other")
    found = chat.ask(security_tier="high")
    assert is_error(found, nomyo.SecurityError), f"'high' was asked for, and 'standard' handed over: {describe(found)}"


LAX = ["aes-128", "aes-192", "nonce-8", "nonce-16", "ciphertext-lax-base64", "nonce-lax-base64", "tag-spare-bits"]


@pytest.mark.parametrize("fault", [*LAX, "key-algorithm-other", "payload-algorithm-other"])
def test_c7_a_package_that_the_protocol_does_not_allow_is_refused(chat: Chat, fault: str) -> None:
    chat.router.fault(fault)
    found = chat.ask()
    assert is_error(found, nomyo.SecurityError), f"{fault}: it was taken: {describe(found)}"


def test_c8_nothing_tells_which_step_of_opening_an_answer_failed(chat: Chat) -> None:
    found = {}
    for fault in ("swapped-key", "oaep-sha1", "tag-flipped", "version-0.9", "nonce-missing", "plaintext-not-json"):
        chat.router.reset_faults()
        chat.router.fault(fault)
        found[fault] = describe(chat.ask())
    assert len(set(found.values())) == 1, f"an attacker can tell the steps apart: {found}"


def test_c8_an_answer_that_cannot_be_opened_is_no_connection_problem(chat: Chat) -> None:
    chat.router.fault("version-0.9")
    found = chat.ask()
    assert is_error(found, nomyo.SecurityError), f"a downgrade is told as {describe(found)}"


def test_c9_an_answer_without_end_is_not_read_to_its_end(chat: Chat) -> None:
    largest, sent = 128, []

    def spaces(body: bytes) -> Iterator[bytes]:
        yield body
        for number in range(largest):
            sent.append(number)
            yield b" " * MIB

    chat.router.answer(lambda request: Reply(body=spaces(chat.router.correct_body(request))))
    found = chat.ask()
    assert len(sent) < largest, f"all of {largest} MiB were read: {describe(found)}"
    assert is_error(found, nomyo.SecurityError), describe(found)


def test_c9_a_small_answer_cannot_become_a_large_one(chat: Chat) -> None:
    packed = gzip.compress(bytes(192 * MIB), 1)
    chat.router.answer(lambda request: Reply(200, [("Content-Encoding", "gzip")], packed))
    tracemalloc.start()
    try:
        found = chat.ask()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * MIB, f"an answer of 1 MiB took {peak // MIB} MiB of memory: {describe(found)}"
    assert is_error(found, nomyo.SecurityError), describe(found)


def test_c10_no_immutable_object_is_overwritten_behind_pythons_back(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    memset, overwritten = ctypes.memset, []

    def watched(target: Any, value: int, size: int) -> Any:
        address = target if isinstance(target, int) else ctypes.addressof(target)
        frame = sys._getframe(1)
        for name, one in frame.f_locals.items():
            if isinstance(one, (bytes, str)) and id(one) <= address < id(one) + sys.getsizeof(one):
                overwritten.append(f"{frame.f_code.co_name}: {name}")
        return memset(target, value, size)

    monkeypatch.setattr(ctypes, "memset", watched)
    answer = chat.ask()
    assert isinstance(answer, dict), describe(answer)
    assert not overwritten, f"bytes were written over at a guessed offset in {overwritten}"


def test_c11_allow_http_does_not_send_the_api_key_in_the_clear_to_another_host(
    key_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other host is this one under another name: nothing leaves the machine."""
    lookup = socket.getaddrinfo

    def here(host: Any, *arguments: Any, **options: Any) -> Any:
        return lookup("127.0.0.1" if host in ("router.example", b"router.example") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    with PlainRouter(tls=False) as router:
        url = f"http://router.example:{router.port}"
        found = run(lambda: ask_with(base_url=url, allow_http=True, api_key=API_KEY, key_dir=str(key_dir)))
        keys = [request.header("Authorization") for request in router.posts]
    assert not keys, f"the API key went over plain http to another host: {keys}"
    assert is_error(found, nomyo.SecurityError, "http"), describe(found)


def test_c11_a_scheme_is_a_scheme_in_capitals_too(chat: Chat) -> None:
    answer = chat.ask({"base_url": chat.router.url.replace("https", "HTTPS")})
    assert isinstance(answer, dict), f"HTTPS:// is told to be insecure: {describe(answer)}"


def test_c11_plain_http_is_refused_before_anything_else_is_done(key_dir: Path) -> None:
    class Prefetched(SecureCompletionClient):
        async def fetch_server_public_key(self) -> str:
            return server_keys.public_pem(server_keys.pair().public_key()).decode()

    async def call(router: PlainRouter) -> Any:
        client = Prefetched(router_url=router.url, max_retries=0)
        client.load_keys(str(key_dir / "private_key.pem"))
        return await outcome(client.send_secure_request({"model": MODEL, "messages": MESSAGES}, "1", api_key=API_KEY))

    with PlainRouter(tls=False) as router:
        found = run(partial(call, router))
        assert not router.requests, "without allow_http, a request with the API key went over plain http"
    assert is_error(found, nomyo.SecurityError, "allow_http"), describe(found)


@pytest.mark.parametrize(
    "url", ["https://name:word@localhost", "https://localhost?next=", "https://localhost/#part", "https://localhost#"]
)
def test_c11_a_base_url_with_more_than_a_place_in_it_is_refused(url: str) -> None:
    found = attempt(partial(nomyo.SecureChatCompletion, base_url=url))
    assert is_error(found, ValueError, "base_url"), f"{url} was taken as a base URL"


def test_c12_an_api_key_is_not_sent_to_another_host_than_its_own(chat: Chat) -> None:
    with PlainRouter(authority=chat.router.authority) as other:
        found = chat.ask(base_url=other.url)
        bearers = [request.header("Authorization") for request in other.posts]
    assert not any(bearers), f"another host got the API key: {bearers}"
    assert isinstance(found, dict), describe(found)


def test_c12_a_base_url_given_in_a_call_does_not_make_a_new_key_pair_each_time(chat: Chat) -> None:
    with PlainRouter(authority=chat.router.authority) as other:
        for answer in chat.ask_often(2, {"key_dir": None}, base_url=other.url):
            assert isinstance(answer, dict), describe(answer)
        pairs = {request.header("X-Public-Key") for request in other.posts}
    assert len(pairs) == 1, f"{len(pairs)} RSA-4096 key pairs were made for two calls"


def test_c12_a_base_url_given_in_a_call_does_not_change_the_number_of_retries(chat: Chat) -> None:
    with PlainRouter(authority=chat.router.authority) as other:
        other.answer(error(500, "not now"))
        found = chat.ask({"max_retries": 0}, base_url=other.url)
        assert len(other.posts) == 1, f"max_retries=0, and the request was sent {len(other.posts)} times"
    assert is_error(found, nomyo.ServerError), describe(found)


CLAIMS = {
    "forward secrecy": r"forward secrecy",
    "no plaintext in memory": r"no plaintext [^.]*\b(?:in|stored in) memory",
    "memory is surely zeroed": r"guarante\w+[^.]*\b(?:zero|wipe|memory)",
    "nothing can be swapped": r"(?:cannot|prevents?)[^.]*\bswap",
    "nothing can be replayed": r"cannot be replayed",
}
DENIALS = r"\b(?:no|not|none|never|neither|nor|without|cannot guarantee|nothing)\b|n't\b"


@pytest.mark.parametrize("claim", CLAIMS)
def test_c13_the_documentation_claims_nothing_that_does_not_hold(source: Path, claim: str) -> None:
    found = []
    for path in [*source.glob("*.md"), *source.glob("doc*/**/*.md")]:
        for sentence in re.split(r"(?<=[.:!?])\s|\n\s*\n|\n\s*[-*#|]", path.read_text(encoding="utf-8")):
            said = " ".join(sentence.split())
            claimed = re.search(CLAIMS[claim], said, re.IGNORECASE)
            if claimed and not re.search(DENIALS, said.replace(claimed[0], ""), re.IGNORECASE):
                found.append(f"{path.relative_to(source)}: {said[:100]}")
    assert not found, f"claimed: {found[:3]}"


def test_c14_a_prompt_is_not_held_many_times_over_while_it_is_sealed(chat: Chat) -> None:
    text = "x" * (3 * MIB)

    async def seal() -> Any:
        client = chat.client()
        try:
            await client.client.fetch_server_public_key()
            tracemalloc.start()
            return await outcome(client.client.encrypt_payload({"model": MODEL, "messages": [{"content": text}]}))
        finally:
            await close(client)

    try:
        found = run(seal)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(found, bytes), describe(found)
    copies = peak / len(text)
    assert copies < 5, f"sealing a prompt took {copies:.1f} times its size; once in JSON and once in base64 is 2.3"
