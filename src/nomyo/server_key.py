"""Fetch, check and cache the server's public key, and fetch it again when it has expired or was rotated."""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from nomyo.errors import (
    KEY_NOT_PINNED,
    APIConnectionError,
    ArgumentError,
    ClientClosedError,
    NomyoError,
    ServerKeyError,
)
from nomyo.keys import fingerprint, load_server_key, parse_pin, public_pem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

logger = logging.getLogger("nomyo")

LIFETIME: Final = 300.0
"""Seconds for which a fetched key is used. A server that rotates its key must accept the old one for this long."""


class ServerKey(msgspec.Struct, frozen=True):
    """A public key of the server.

    Attributes:
        key: the key itself.
        fingerprint: ``sha256/`` and the base64 of SHA-256 over its SubjectPublicKeyInfo.
        pinned: whether it matches a pin.
        fetched_at: time of the fetch, in seconds of the monotonic clock.
    """

    key: RSAPublicKey
    fingerprint: str
    pinned: bool
    fetched_at: float

    @property
    def pem(self) -> str:
        """The key in PEM, as the service publishes it."""
        return public_pem(self.key)


class ServerKeys:
    """The cache of one server's key.

    Args:
        fetch: fetches the PEM from the server.
        pins: accepted fingerprints; empty to accept any key.
        minimum_bits: minimum size of the key in bits.
        clock: monotonic clock in seconds.

    Raises `ArgumentError` for invalid pins.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        pins: Iterable[str],
        minimum_bits: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._pins = _parse_pins(pins)
        self._minimum_bits = minimum_bits
        self._clock = clock
        self._cached: ServerKey | None = None
        self._closed = False
        self._fetches: dict[asyncio.AbstractEventLoop, asyncio.Task[ServerKey | NomyoError]] = {}

    async def get(self) -> ServerKey:
        """Return the server's key, which is fetched unless a recent one is cached. Raises the errors of `refresh`."""
        cached = self._cached
        if cached is not None and self._clock() - cached.fetched_at < LIFETIME:
            return cached
        return await self.refresh()

    async def refresh(self) -> ServerKey:
        """Fetch the server's key now; concurrent callers on the same loop share one fetch.

        Raises:
            ServerKeyError: it is weak, malformed or not pinned.
            APIConnectionError, APIStatusError: it could not be fetched; `stage` is ``"key"``.
        """
        loop = asyncio.get_running_loop()
        fetch = self._fetches.get(loop)
        if fetch is None or fetch.done():
            self._fetches[loop] = fetch = asyncio.create_task(self._refresh(), name="nomyo server key")
            fetch.add_done_callback(self._forget_fetch)
        outcome = await asyncio.shield(fetch)  # canceling one caller must not cancel the fetch for the others
        if isinstance(outcome, NomyoError):
            raise copy.copy(outcome)  # each caller gets its own exception
        return outcome

    async def aclose(self) -> None:
        """Cancel the fetch on the running loop; its callers get `ClientClosedError`."""
        self._closed = True
        fetch = self._fetches.get(asyncio.get_running_loop())
        if fetch is not None:
            fetch.cancel()
            await asyncio.wait([fetch])

    def _forget_fetch(self, fetch: asyncio.Task[ServerKey | NomyoError]) -> None:
        loop = fetch.get_loop()
        if self._fetches.get(loop) is fetch:
            del self._fetches[loop]

    async def _refresh(self) -> ServerKey | NomyoError:
        try:
            pem = await self._fetch()
            key = load_server_key(pem, self._minimum_bits)
        except asyncio.CancelledError:
            if not self._closed:
                raise
            return ClientClosedError(ClientClosedError.DURING_CALL)
        except NomyoError as error:
            error.stage = "key"
            if isinstance(error, APIConnectionError):
                error.maybe_processed = False  # the request itself was not sent
            error.__traceback__ = error.__context__ = None
            return error
        fetched = ServerKey(key, fingerprint(key), fingerprint(key) in self._pins, self._clock())
        if self._pins and not fetched.pinned:
            pins = ", ".join(sorted(self._pins))
            problem = f"the server's key is {fetched.fingerprint}, which is not pinned; pinned: {pins}"
            return ServerKeyError(f"{problem}. Nothing was encrypted to it", KEY_NOT_PINNED)
        previous, self._cached = self._cached, fetched
        if previous is not None and previous.fingerprint != fetched.fingerprint:
            logger.warning("the server's key changed from %s to %s", previous.fingerprint, fetched.fingerprint)
        return fetched


def _parse_pins(pins: Iterable[str]) -> frozenset[str]:
    try:
        return frozenset(map(parse_pin, [pins] if isinstance(pins, str) else pins))
    except (ValueError, TypeError) as error:
        problem = str(error)
    raise ArgumentError(f"server_key_pins: {problem}")
