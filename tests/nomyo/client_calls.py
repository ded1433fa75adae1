"""Calls of the client over a real wire, and what comes of them: what the tests of the whole client share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import nomyo_attest as na
from nomyo import NomyoError, SecureChatCompletion
from nomyo_attest.testing import Forge
from tests.nomyo.wire import server_keys
from tests.nomyo.wire.plain_router import PlainRouter, Recorded

MODEL = "Qwen/Qwen3-0.6B"
API_KEY = "bearer-5f1d0c4e9a7b3d62"
PROMPT = "prompt-6c1f4b2d8e0a9357"
PATIENCE = 60.0
"""Seconds after which a call counts as hung."""

E = TypeVar("E", bound=BaseException)
T = TypeVar("T")


def policy(**changes: Any) -> na.AppraisalPolicy:
    """The policy that the soft TPM's evidence satisfies, changed."""
    return na.AppraisalPolicy.from_dict({**Forge().policy(), **changes})


def run(work: Coroutine[Any, Any, T], seconds: float = PATIENCE, *, debug: bool | None = None) -> T:
    """Run a coroutine on an event loop of its own; an `AssertionError` where it hangs."""

    async def main() -> T:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await work
        except TimeoutError:
            if limit.expired():
                raise AssertionError(f"it hangs: nothing for {seconds:g} s") from None
            raise

    return asyncio.run(main(), debug=debug)


async def ask(client: SecureChatCompletion, prompt: str = PROMPT, **arguments: Any) -> dict[str, Any]:
    """One call."""
    return await client.create(MODEL, [{"role": "user", "content": prompt}], **arguments)


def content(completion: dict[str, Any]) -> str:
    """What the model said: the router echoes the last message."""
    text = completion["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


class Wire:
    """Calls to one router over TLS.

    donor: a client whose key pair all others use: making or loading one takes a second.
    """

    def __init__(self, router: PlainRouter, donor: SecureChatCompletion) -> None:
        self.router = router
        self._donor = donor

    def client(self, **options: Any) -> SecureChatCompletion:
        """A client of the router; without retries unless they are asked for."""
        given = {"base_url": self.router.url, "api_key": API_KEY, "max_retries": 0, "timeout": 30.0}
        return self._donor.with_options(**{**given, **options})

    def ask(self, options: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        """What comes of one call of a client of its own."""
        return self.ask_repeatedly(1, options, **arguments)[0]

    def ask_repeatedly(
        self, times: int, options: dict[str, Any] | None = None, **arguments: Any
    ) -> list[dict[str, Any]]:
        """What comes of calls of one client, one after the other."""

        async def calls() -> list[dict[str, Any]]:
            async with self.client(**options or {}) as client:
                return [await ask(client, **arguments) for _ in range(times)]

        return self.run(calls())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine, on an event loop of its own."""
        return run(work)

    def refused(self, kind: type[E], options: dict[str, Any] | None = None, **arguments: Any) -> E:
        """The error that a call raises, which must be of this class exactly and of no other below it."""
        with pytest.raises(kind) as caught:
            self.ask(options, **arguments)
        assert type(caught.value) is kind
        return caught.value

    @property
    def posts(self) -> list[Recorded]:
        """The requests at the completion path, as the router saw them."""
        return self.router.posts

    @property
    def fetches(self) -> int:
        """How often the server's key was fetched."""
        return len(self.router.key_fetches)


def error_facts(error: NomyoError) -> tuple[str, int, str, bool]:
    """What every error says of its call: the code (of a SecurityError), the tries, the stage, and if one may retry."""
    return getattr(error, "code", ""), error.attempts, error.stage, error.retryable


def only(values: Iterable[T]) -> T:
    """The one value there is."""
    (value,) = values
    return value


def shared_key_pair() -> rsa.RSAPrivateKey:
    """The key pair of tests in which a client's key is made without taking a second."""
    return server_keys.pair(1003, 3072)
