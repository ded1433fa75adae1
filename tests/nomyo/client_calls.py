"""Make calls with the client over a real connection and examine the results."""

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
    """Return a policy that the soft TPM's evidence satisfies, with changes."""
    return na.AppraisalPolicy.from_dict({**Forge().policy(), **changes})


def run(work: Coroutine[Any, Any, T], seconds: float = PATIENCE, *, debug: bool | None = None) -> T:
    """Run a coroutine on a new event loop; raise `AssertionError` if it hangs."""

    async def main() -> T:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await work
        except TimeoutError:
            if limit.expired():
                raise AssertionError(f"the call hangs: no result after {seconds:g} s") from None
            raise

    return asyncio.run(main(), debug=debug)


async def ask(client: SecureChatCompletion, prompt: str = PROMPT, **arguments: Any) -> dict[str, Any]:
    """Make one call."""
    return await client.create(MODEL, [{"role": "user", "content": prompt}], **arguments)


def content(completion: dict[str, Any]) -> str:
    """Return the text of the completion; the router echoes the last message."""
    text = completion["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


class Wire:
    """Calls to one router over TLS.

    donor: a client whose key pair all others share, since generating or loading one takes a second.
    """

    def __init__(self, router: PlainRouter, donor: SecureChatCompletion) -> None:
        self.router = router
        self._donor = donor

    def client(self, **options: Any) -> SecureChatCompletion:
        """Create a client of the router, without retries by default."""
        defaults = {"base_url": self.router.url, "api_key": API_KEY, "max_retries": 0, "timeout": 30.0}
        return self._donor.with_options(**{**defaults, **options})

    def ask(self, options: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        """Make one call with a new client; return the response."""
        return self.ask_repeatedly(1, options, **arguments)[0]

    def ask_repeatedly(
        self, times: int, options: dict[str, Any] | None = None, **arguments: Any
    ) -> list[dict[str, Any]]:
        """Make calls with one new client, one after the other; return the responses."""

        async def calls() -> list[dict[str, Any]]:
            async with self.client(**options or {}) as client:
                return [await ask(client, **arguments) for _ in range(times)]

        return self.run(calls())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on a new event loop."""
        return run(work)

    def refused(self, kind: type[E], options: dict[str, Any] | None = None, **arguments: Any) -> E:
        """Return the error that a call raises; its class must be exactly `kind`, not a subclass."""
        with pytest.raises(kind) as caught:
            self.ask(options, **arguments)
        assert type(caught.value) is kind
        return caught.value

    @property
    def posts(self) -> list[Recorded]:
        """The requests that the router received at the completion path."""
        return self.router.posts

    @property
    def fetches(self) -> int:
        """How often the server's key was fetched."""
        return len(self.router.key_fetches)


def error_facts(error: NomyoError) -> tuple[str, int, str, bool]:
    """Return the code of an error (of a `SecurityError`), its attempts, its stage, and whether it is retryable."""
    return getattr(error, "code", ""), error.attempts, error.stage, error.retryable


def only(values: Iterable[T]) -> T:
    """Return the only value."""
    (value,) = values
    return value


def shared_key_pair() -> rsa.RSAPrivateKey:
    """Return a cached key pair for clients, since generating one takes a second."""
    return server_keys.pair(1003, 3072)
