"""Decide before a prompt is sent whether it may be sent: the hold after a refusal, and canaries.

After an `AttestationError`, calls with the same origin and API key are refused for `hold` seconds, since many
frameworks send a refused prompt again. Only time or an affirmed canary ends the hold.

A canary is a constant question that is sent like a prompt. With `preflight`, one is sent before a prompt if no recent
response from the same server key, for the same model, tier and API key, was affirmed. This keeps a prompt from a server
that has changed and reports the change. It does not detect a server that responds honestly to the canary only, and a
load balancer may send the prompt to another machine.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import os
import secrets
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Final

import msgspec

from nomyo.errors import HELD, AttestationError, NomyoError

ENTRIES_MAX: Final = 1024
"""Maximum number of servers, and of refusals, that are remembered."""

CANARY: Final = {"messages": [{"role": "user", "content": "."}], "max_tokens": 1}
"""The payload of a canary, without the model."""

_SALT: Final = secrets.token_bytes(16)


class Account(msgspec.Struct, frozen=True):
    """An origin and an API key, of which only a salted digest is stored."""

    origin: tuple[str, str, int]
    api_key: bytes

    @classmethod
    def of(cls, origin: tuple[str, str, int], api_key: str | None) -> Account:
        """Create it; `api_key` is None for none."""
        return cls(origin, hashlib.sha256(_SALT + (api_key or "").encode("utf-8", "surrogatepass")).digest())


class Target(msgspec.Struct, frozen=True):
    """What an affirmed response vouches for: an account, a policy, a server key, a model and a tier."""

    account: Account
    policy_digest: str
    server_key: str
    model: str
    tier: str | None


class Affirmed(msgspec.Struct, frozen=True):
    """An affirmed response, and when it arrived on the monotonic clock."""

    payload_id: str
    at: float


class _Refused(msgspec.Struct, frozen=True):
    error: AttestationError
    at: float


class Admissions:
    """Refusals and affirmed responses. A client shares them with the clients that are derived from it.

    Args:
        clock: monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._refused: OrderedDict[Account, _Refused] = OrderedDict()
        self._affirmed: OrderedDict[Target, Affirmed] = OrderedDict()
        self._canaries: dict[Target, _Canary] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # a loop has only weak references
        self._lock = threading.Lock()
        _ALL.add(self)

    def forget_threads(self) -> None:
        """Drop the lock and the canaries in flight, in a forked child: their threads do not exist there."""
        self._lock = threading.Lock()
        self._canaries.clear()
        self._tasks.clear()

    def refused(self, account: Account, error: AttestationError) -> None:
        """Record a refusal: earlier affirmed responses of the account no longer count."""
        with self._lock:
            # A copy, since the traceback of the error itself refers to the caller's data.
            _remember(self._refused, account, _Refused(copy.copy(error), self.clock()))
            for target in [target for target in self._affirmed if target.account == account]:
                del self._affirmed[target]

    def affirmed(self, target: Target, payload_id: str, *, canary_sent_at: float | None = None) -> Affirmed | None:
        """Record an affirmed response. Returns None if it does not count, because of a refusal.

        Args:
            canary_sent_at: when it was sent, if it is the response to a canary, which ends the hold after an earlier
                refusal. After a refusal, no other response counts until a canary is affirmed.
        """
        with self._lock:
            refused = self._refused.get(target.account)
            if refused is not None:
                if canary_sent_at is None or canary_sent_at < refused.at:
                    return None
                del self._refused[target.account]
            affirmed = Affirmed(payload_id, self.clock())
            _remember(self._affirmed, target, affirmed)
            return affirmed

    def check_hold(self, account: Account, hold: float) -> None:
        """Raise the last refusal of the account again if it is less than `hold` seconds old."""
        refused = self._refused.get(account)
        left = 0.0 if refused is None else refused.at + hold - self.clock()
        if refused is None or left <= 0:
            return
        error = AttestationError(
            f"{refused.error}; for another {left:.0f} s after this refusal nothing is sent", refused.error.result
        )
        error.code, error.prompt_sent = HELD, False
        error.payload_id, error.evidence_log = refused.error.payload_id, refused.error.evidence_log
        error.server_key = refused.error.server_key
        raise error

    async def fresh(
        self, target: Target, maximum_age: float, hold: float, send: Callable[[], Awaitable[Affirmed | None]]
    ) -> Affirmed:
        """Return an affirmed response that is younger than `maximum_age` seconds; send a canary if there is none.

        One canary for a target is in flight at a time, on all event loops together. Callers that arrive meanwhile wait
        for it, and the cancellation of one does not cancel it for the others.

        Args:
            send: sends a canary; returns None if its response does not count.

        Raises:
            AttestationError: the calls of this account are held.
            NomyoError: an error of `send`; `prompt_sent` is False.
        """
        while True:
            self.check_hold(target.account, hold)
            known = self._affirmed.get(target)
            if known is not None and self.clock() - known.at < maximum_age:
                return known
            canary, is_own = self._canary(target, send)
            outcome = await asyncio.shield(asyncio.wrap_future(canary.outcome))
            if isinstance(outcome, NomyoError):
                error = copy.copy(outcome)  # each caller gets its own exception
                error.prompt_sent = False
                raise error
            if outcome is not None and is_own:
                return outcome  # even if `maximum_age` is 0

    def _canary(self, target: Target, send: Callable[[], Awaitable[Affirmed | None]]) -> tuple[_Canary, bool]:
        """Return the canary in flight, or start one. The second value says whether it was started here."""
        loop = asyncio.get_running_loop()
        with self._lock:
            known = self._canaries.get(target)
            if known is not None and known.loop.is_running():  # a loop that has stopped may never run again
                return known, False
            canary = self._canaries[target] = _Canary(Future(), loop)
        task = loop.create_task(self._send(target, canary, send), name="nomyo canary")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return canary, True

    async def _send(self, target: Target, canary: _Canary, send: Callable[[], Awaitable[Affirmed | None]]) -> None:
        outcome: Affirmed | NomyoError | None = None
        try:
            outcome = await send()
        except NomyoError as error:
            error.__traceback__ = error.__context__ = None
            outcome = error
        finally:  # if the loop ends, callers on other loops send another canary
            with self._lock:
                if self._canaries.get(target) is canary:
                    del self._canaries[target]
            canary.outcome.set_result(outcome)


class Admission:
    """The admission of one prompt.

    Args:
        admissions: the state of the client.
        account: origin and API key of the call.
        policy_digest: of the policy that must affirm the server; empty without one.
        model, tier: of the prompt.
        hold: seconds for which a refusal holds later calls.
        preflight: maximum age in seconds of the last affirmed response; None to send no canaries.
        send: sends a canary.
    """

    def __init__(
        self,
        admissions: Admissions,
        account: Account,
        *,
        policy_digest: str,
        model: str,
        tier: str | None,
        hold: float,
        preflight: float | None,
        send: Callable[[], Awaitable[Affirmed | None]],
    ) -> None:
        self._admissions, self._account, self._policy_digest = admissions, account, policy_digest
        self._model, self._tier = model, tier
        self._hold, self._preflight = hold, preflight
        self._send = send

    def check(self) -> None:
        """Raise `AttestationError` if calls are held. Call it before anything is sent."""
        self._admissions.check_hold(self._account, self._hold)

    async def admit(self, server_key: str) -> dict[str, Any] | None:
        """Return the fact for `_metadata.verification.preflight`, or None without `preflight`. Raises as `fresh`.

        Args:
            server_key: fingerprint of the key to which the prompt will be encrypted.
        """
        if self._preflight is None:
            self.check()
            return None
        target = Target(self._account, self._policy_digest, server_key, self._model, self._tier)
        affirmed = await self._admissions.fresh(target, self._preflight, self._hold, self._send)
        return {"payload_id": affirmed.payload_id, "age": round(self._admissions.clock() - affirmed.at, 3)}


class _Canary(msgspec.Struct, frozen=True):
    outcome: Future[Affirmed | NomyoError | None]
    loop: asyncio.AbstractEventLoop


def _remember(entries: OrderedDict[Any, Any], key: object, value: object) -> None:
    entries[key] = value
    entries.move_to_end(key)
    if len(entries) > ENTRIES_MAX:
        entries.popitem(last=False)


_ALL: Final[weakref.WeakSet[Admissions]] = weakref.WeakSet()


def _forget_threads() -> None:
    for admissions in list(_ALL):
        admissions.forget_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
