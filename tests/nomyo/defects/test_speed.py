"""P: connections, requests and key fetches are counted, and so is what is done on the event loop.

No test says how many milliseconds anything takes. Where the loop must not stand still, the work that used to stop it
takes hundreds of milliseconds, and the test allows a part of that.
"""

from __future__ import annotations

import asyncio
import binascii
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import nomyo
from nomyo.SecureCompletionClient import SecureCompletionClient
from tests.nomyo.defects.calls import Ticker, ask, close, describe, run
from tests.nomyo.defects.conftest import ROOT, Chat
from tests.nomyo.defects.system import locked_pages, needs_locking
from tests.nomyo.wire import server_keys

MIB = 1 << 20
CALLS = 4


def test_p1_many_calls_share_one_connection(chat: Chat) -> None:
    answers = chat.ask_often(CALLS)
    assert all(isinstance(answer, dict) for answer in answers), answers
    assert chat.router.connections == 1, f"{CALLS} calls opened {chat.router.connections} connections"
    assert len(chat.router.posts) == CALLS


def test_p2_certificates_are_not_read_again_for_each_call(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *arguments: Any, **options: Any) -> None:
        read.append(threading.current_thread().name)
        load(context, *arguments, **options)

    async def calls() -> Any:
        client = chat.client()
        try:
            first = await ask(client)
            monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
            return [first, *[await ask(client) for _ in range(CALLS)]]
        finally:
            await close(client)

    answers = run(calls)
    assert all(isinstance(answer, dict) for answer in answers), answers
    assert not read, f"{CALLS} calls read the certificate authorities {len(read)} times, on the event loop"


def test_p3_the_servers_key_is_fetched_once_for_many_calls(chat: Chat) -> None:
    answers = chat.ask_often(CALLS)
    assert all(isinstance(answer, dict) for answer in answers), answers
    fetched = len(chat.router.key_fetches)
    assert fetched == 1, f"{CALLS} calls fetched the server's key {fetched} times"


def test_p3_calls_that_begin_at_once_fetch_the_key_once(chat: Chat) -> None:
    async def calls() -> list[Any]:
        client = chat.client()
        try:
            return await asyncio.gather(*(ask(client) for _ in range(CALLS)))
        finally:
            await close(client)

    answers = run(calls)
    assert all(isinstance(answer, dict) for answer in answers), answers
    fetched = len(chat.router.key_fetches)
    assert fetched == 1, f"{CALLS} calls at once fetched the server's key {fetched} times"


def test_p3_nothing_is_encrypted_before_the_key_is_at_hand(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is encrypted early waits in memory with its AES key for as long as the key takes to come."""
    from cryptography.hazmat.primitives.ciphers import Cipher

    begun: list[float] = []
    encryptor = Cipher.encryptor

    def timed(cipher: Any) -> Any:
        if threading.current_thread().name != type(chat.router).__name__:
            begun.append(time.monotonic())
        return encryptor(cipher)

    monkeypatch.setattr(Cipher, "encryptor", timed)
    answer = chat.ask()
    assert isinstance(answer, dict), describe(answer)
    (fetched,) = chat.router.key_fetches
    assert begun[0] > fetched.at, "the prompt was encrypted, and held in memory, before the server's key was asked for"


def slow_generation(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[threading.Thread]:
    """Make a key pair take so long, as it sometimes does: the threads in which pairs were made."""
    made: list[threading.Thread] = []
    pair = server_keys.pair(3001)

    def generate(*_: Any, **__: Any) -> rsa.RSAPrivateKey:
        made.append(threading.current_thread())
        time.sleep(seconds)
        return pair

    monkeypatch.setattr(rsa, "generate_private_key", generate)
    return made


def test_p4_the_event_loop_goes_on_while_a_key_pair_is_made(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 3.0
    made = slow_generation(monkeypatch, seconds)
    ticker = Ticker()

    async def call() -> Any:
        client = chat.client(key_dir=None)
        try:
            return await ticker.during(ask(client))
        finally:
            await close(client)

    answer = run(call)
    assert isinstance(answer, dict), describe(answer)
    assert len(made) == 1
    assert ticker.stall < 0.8 * seconds, f"nothing else ran for {ticker.stall:.2f} s while a key pair was made"


def byte_by_byte(size: int) -> float:
    """Seconds of computing in which Python overwrites as many bytes one by one: what both tests below compare with."""
    secret, start = bytearray(size), time.thread_time()
    for place in range(len(secret)):
        secret[place] = 0
    return time.thread_time() - start


def test_p5_a_long_prompt_is_not_wiped_byte_by_byte() -> None:
    size = 9 * MIB
    wiping, slow = [], []
    for _ in range(3):
        slow.append(byte_by_byte(size))
        secret, start = bytearray(size), time.thread_time()
        with nomyo.secure_bytearray(secret):
            pass
        wiping.append(time.thread_time() - start)
    ratio = min(wiping) / min(slow)
    assert ratio < 0.5, f"to protect and wipe 9 MiB takes {ratio:.1f} times as long as to overwrite each byte in Python"


APART = """
import sys
from tests.nomyo.wire.plain_router import PlainRouter

with PlainRouter() as router:
    router.complete = lambda payload, payload_id: {"choices": []}
    print(router.url, router.ca, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def url_apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A router in a process of its own: one in this process would keep the event loop waiting for the interpreter."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", APART], cwd=ROOT, **pipes) as program:
        assert program.stdout is not None
        assert program.stdin is not None
        url, ca = program.stdout.readline().split()
        monkeypatch.setenv("SSL_CERT_FILE", ca)
        yield url
        program.stdin.close()


def test_p5_the_event_loop_goes_on_during_a_long_prompt(url_apart: str, key_dir: Path) -> None:
    messages = [{"role": "user", "content": "x" * (9 * MIB)}]
    ticker = Ticker()

    async def call() -> Any:
        client = nomyo.SecureChatCompletion(base_url=url_apart, key_dir=str(key_dir), max_retries=0)
        try:
            return await ticker.during(ask(client, messages=messages))
        finally:
            await close(client)

    answer = run(call)
    assert isinstance(answer, dict), describe(answer)
    slow = byte_by_byte(9 * MIB)
    assert ticker.busy < 0.6 * slow, (
        f"nothing else ran while the loop computed for {ticker.busy:.2f} s at a 9 MiB prompt"
    )


def test_p6_a_long_answer_is_not_opened_on_the_event_loop(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "x" * (4 * MIB)
    decoded = {"on the event loop": 0, "in a thread": 0}
    decode = binascii.a2b_base64

    def watched(data: Any, /, **options: Any) -> bytes:
        if threading.current_thread().name != type(chat.router).__name__:
            decoded["in a thread" if asyncio._get_running_loop() is None else "on the event loop"] += len(data)
        return decode(data, **options)

    chat.router.complete = lambda payload, payload_id: {"choices": [{"message": {"content": long}}]}
    monkeypatch.setattr(binascii, "a2b_base64", watched)
    answer = chat.ask()
    assert isinstance(answer, dict), describe(answer)
    assert sum(decoded.values()) > len(long), "not all base64 was seen: the test looks at the wrong place"
    assert decoded["on the event loop"] < MIB, "an answer of 4 MiB was decoded and decrypted on the event loop"


def test_p7_loading_keys_leaves_no_page_locked(key_dir: Path) -> None:
    """Something else is allocated between two loads, as in any program, so that not all use the same page."""
    needs_locking()
    client = SecureCompletionClient("https://localhost")
    path = str(key_dir / "private_key.pem")
    before = locked_pages()
    others = []
    for _ in range(10):
        client.load_keys(path)
        others += [bytearray(2300 + 16 * step) for step in range(8)]
    more = locked_pages() - before
    assert more <= 0, f"the same key was loaded 10 times, and {more} kB more of memory stay locked"
