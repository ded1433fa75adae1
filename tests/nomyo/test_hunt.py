"""The hunt finds every planted leak: without this, that it finds nothing elsewhere would mean nothing."""

from __future__ import annotations

import asyncio
import base64
import functools
import io
import json
import logging
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo.errors import APIError
from nomyo.transport import Reply
from tests.nomyo.secret_search import SecretSearch, capture_output, encodings

SECRET = "the-planted-secret-81f0"

# Code of no test: its frames are looked into.
FOREIGN: dict[str, Any] = {}
exec(
    compile(
        """
def raise_with_local(secret):
    raise ValueError("nothing in here")

def raise_deep(secret):
    holder = [{"deep": (secret,)}]
    raise_with_local(None)

def raise_while_handling(secret):
    try:
        raise KeyError(secret)
    except KeyError:
        raise ValueError("nothing in here")

def raise_from(secret):
    raise ValueError("nothing in here") from LookupError(secret)

def raise_from_none(secret):
    try:
        raise KeyError(secret)
    except KeyError:
        raise ValueError("nothing in here") from None

async def waits(secret):
    import asyncio
    await asyncio.Event().wait()

def yields(secret):
    yield 1

def closing(secret):
    return lambda: secret
""",
        "/elsewhere.py",
        "exec",
    ),
    FOREIGN,
)


class Slotted:
    __slots__ = ("inner",)

    def __init__(self, inner: object) -> None:
        self.inner = inner

    def method(self) -> None: ...


class Told(Exception):  # noqa: N818 - it is a vessel
    def __str__(self) -> str:
        return SECRET


def raised(name: str, secret: str = SECRET) -> BaseException:
    try:
        FOREIGN[name](secret)
    except ValueError as error:
        return error
    raise AssertionError


def holding(inner: object) -> BaseException:
    error = ValueError("nothing in here")
    error.inner = inner  # type: ignore[attr-defined]  # any attribute
    return error


def noted() -> BaseException:
    error = ValueError("nothing in here")
    error.add_note(f"by the way: {SECRET}")
    return error


def parsed(read: Callable[[], object]) -> BaseException:
    try:
        read()
    except ValueError as error:
        return error
    raise AssertionError


def generator() -> object:
    begun = FOREIGN["yields"](SECRET)
    next(begun)
    return begun


LEAKS: dict[str, Callable[[], object]] = {
    "message": lambda: ValueError(f"cannot read {SECRET}"),
    "args": lambda: ValueError("nothing", {"payload": [SECRET]}),
    "str": Told,
    "attribute": lambda: holding(SECRET),
    "attribute of APIError": lambda: APIError("refused", 500, {"detail": SECRET}),
    "slot": lambda: holding(Slotted(SECRET)),
    "struct": lambda: holding(Reply(200, {}, SECRET.encode())),
    "key of a dict": lambda: holding({SECRET: 1}),
    "deep": lambda: holding([[({"x": {SECRET}},)]]),
    "namespace": lambda: holding(SimpleNamespace(a=SECRET)),
    "bytes": lambda: holding(SECRET.encode()),
    "bytearray": lambda: holding(bytearray(SECRET, "ascii")),
    "memoryview": lambda: holding(memoryview(SECRET.encode())),
    "file in memory": lambda: holding(io.BytesIO(SECRET.encode())),
    "text in memory": lambda: holding(io.StringIO(SECRET)),
    "base64": lambda: ValueError(base64.b64encode(f"Bearer {SECRET}".encode()).decode()),
    "base64, another place": lambda: ValueError(base64.b64encode(f"Bearer: {SECRET} ".encode()).decode()),
    "hex": lambda: ValueError(SECRET.encode().hex()),
    "utf-16": lambda: holding(SECRET.encode("utf-16-le")),
    "partial": lambda: holding(functools.partial(print, SECRET)),
    "bound method": lambda: holding(Slotted(SECRET).method),
    "method of a list": lambda: holding([SECRET].append),
    "iterator": lambda: holding(iter([SECRET])),
    "closure": lambda: holding(FOREIGN["closing"](SECRET)),
    "default": lambda: holding(eval("lambda x=secret: x", {"secret": SECRET})),
    "generator": lambda: holding(generator()),
    "cause": lambda: raised("raise_from"),
    "context": lambda: raised("raise_while_handling"),
    "context that is suppressed": lambda: raised("raise_from_none"),
    "note": noted,
    "group": lambda: ExceptionGroup("several", [ValueError("a"), ExceptionGroup("more", [ValueError(SECRET)])]),
    "frame": lambda: raised("raise_with_local"),
    "frame, deep": lambda: raised("raise_deep"),
    "frame of a cause": lambda: holding(raised("raise_with_local")),
    "document of JSON": lambda: parsed(functools.partial(json.loads, f"[{SECRET}")),
    "object of a codec": lambda: parsed((SECRET.encode() + b"\xff").decode),
    "private key": lambda: holding([rsa.generate_private_key(65537, 2048)]),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_found(name: str) -> None:
    assert SecretSearch(SECRET).look("error", LEAKS[name]()).found


def test_a_leak_in_a_suspended_coroutine_or_a_future_is_found() -> None:
    async def main() -> tuple[list[str], list[str], list[str]]:
        waiting = asyncio.create_task(FOREIGN["waits"](SECRET))
        await asyncio.sleep(0)
        future = asyncio.get_running_loop().create_future()
        future.set_result([SECRET])
        loop = Slotted(asyncio.get_running_loop())
        asyncio.get_running_loop().call_later(60, print, SECRET)
        hunts = [SecretSearch(SECRET).look("error", holding(each)).found for each in (waiting, future, loop)]
        waiting.cancel()
        return hunts[0], hunts[1], hunts[2]

    task, future, loop = asyncio.run(main())
    assert task
    assert future
    assert loop


@pytest.mark.parametrize(
    "say",
    [
        lambda: logging.getLogger("some.library").debug("sending %s", SECRET),
        lambda: logging.getLogger("some.library").debug(SECRET),
        lambda: logging.getLogger("some.library").error("failed", exc_info=raised("raise_with_local")),
        lambda: logging.getLogger("some.library").info("x", extra={"body": [SECRET]}),
        lambda: warnings.warn(f"odd: {SECRET}", stacklevel=1),
    ],
)
def test_a_leak_in_what_is_said_is_found(say: Callable[[], None]) -> None:
    with capture_output() as heard:
        say()
    hunt = SecretSearch(SECRET)
    heard.search(hunt)
    assert hunt.found


def test_a_leak_in_what_cannot_be_raised_is_found() -> None:
    class Unlucky:
        def __del__(self) -> None:
            raise ValueError(SECRET)

    def in_thread() -> None:
        raise ValueError("nothing in here") from LookupError(SECRET)

    for work in (Unlucky, lambda: run_thread(in_thread)):
        with capture_output() as heard:
            work()
        hunt = SecretSearch(SECRET)
        heard.search(hunt)
        assert hunt.found


def run_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_where_nothing_is_planted_nothing_is_found() -> None:
    hunt = SecretSearch(SECRET)
    hunt.look("error", raised("raise_deep", "harmless"))
    hunt.look("weak", holding(weakref.ref(Slotted)))
    hunt.look("module", holding(sys))
    assert hunt.found == []
    assert hunt.object_count > 10


def test_the_frames_of_tests_are_not_looked_into() -> None:
    secret = SECRET
    with pytest.raises(ValueError, match="23") as caught:
        raise ValueError(len(secret))
    assert SecretSearch(SECRET).look("error", caught.value).found == []


def test_every_form_of_a_secret_is_another() -> None:
    secret = "a secret/of some length"
    assert len(set(encodings(secret))) == len(encodings(secret)) == 7
    assert min(map(len, encodings(secret))) >= len(secret)
