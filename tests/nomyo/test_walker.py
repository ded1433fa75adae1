"""The search for secrets in exceptions finds them wherever they are: a walker that finds nothing proves nothing."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.nomyo.defects.walker import places_of

MARKER = "needle-41c7"

# Raised from a file that is not one of the tests, whose own frames the walker leaves out.
SOURCE = """
def by_message(secret):
    raise ValueError(f"no: {secret}")

def by_argument(secret):
    raise ValueError("no", [{"a": (secret,)}])

def by_attribute(secret):
    error = ValueError("no")
    error.holder = holder(secret)
    raise error

def by_note(secret):
    error = ValueError("no")
    error.add_note(secret)
    raise error

def by_cause(secret):
    raise ValueError("no") from KeyError(secret)

def by_context(secret):
    try:
        json.loads(secret)
    except ValueError:
        raise TypeError("no") from None

def by_local(secret):
    buffer = bytearray(secret, "ascii")
    del secret
    raise ValueError("no")

def by_method(secret):
    method = holder(secret).get
    del secret
    raise ValueError("no")

def by_group(secret):
    raise ExceptionGroup("no", [ValueError(secret)])

def by_nothing(secret):
    del secret
    raise ValueError("no")
"""


class Holder(msgspec.Struct):
    """Keeps a value in a slot."""

    value: Any

    def get(self) -> Any:
        return self.value

    def __repr__(self) -> str:
        return "<Holder>"


def raised(name: str) -> BaseException:
    """The exception of one of the functions above."""
    names: dict[str, Any] = {"json": json, "holder": Holder, **vars(builtins)}
    exec(compile(SOURCE, "elsewhere.py", "exec"), names)
    function: Callable[[str], None] = names[name]
    try:
        function(MARKER)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked at
        return error
    raise RuntimeError("nothing was raised")


WAYS = ["message", "argument", "attribute", "note", "cause", "context", "local", "method", "group"]


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_found_whichever_way_it_is_held(way: str) -> None:
    assert places_of(MARKER, raised(f"by_{way}"))


@pytest.mark.parametrize("way", ["local", "method"])
def test_frames_are_left_out_where_they_are_not_asked_for(way: str) -> None:
    assert not places_of(MARKER, raised(f"by_{way}"), frames=False)


def test_nothing_is_found_where_nothing_is() -> None:
    assert not places_of(MARKER, raised("by_nothing"))


def test_what_refers_to_itself_is_walked_once() -> None:
    ring: list[object] = [MARKER.encode()]
    ring.append(ring)
    assert len(places_of(MARKER, ring)) == 1
