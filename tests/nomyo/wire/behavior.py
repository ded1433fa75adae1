"""What a proxy does to a connection: data only, `proxy.py` does it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Action = Literal["cut", "reset", "stall", "flip"]


@dataclass(frozen=True)
class At:
    """A byte of a connection, in one direction: the one after the first `n`.

    request: 0 counts from the connection's first byte, handshake and all. k counts from the first byte of its k-th
        request, or of what the server sends once that request has begun: the answer. Where TLS is, these are bytes of
        records: 5 of a head, then ciphertext.
    """

    n: int
    request: int = 0


@dataclass(frozen=True)
class Drip:
    """So many bytes at a time, so many seconds apart, once so many requests have begun."""

    n: int
    seconds: float
    request: int = 0


@dataclass(frozen=True)
class Behavior:
    """What happens to one connection; as it stands, everything passes. A number stands for `At` of it.

    delay_ms: what comes, comes so much later, in each direction and without a limit to how much is under way; a new
        connection costs a round trip more, as TCP's own handshake would.
    cut_up, cut_down: end both sides by FIN when so much has passed from the client, or to it.
    stall_up, stall_down: then nothing more passes in that direction, and the connection stays.
    flip_up, flip_down: the lowest bit of that byte is another.
    drip_up, drip_down: it passes slowly.
    reset: end the client's side by RST: on "accept", before anything else; "before" the first byte of the request is
        passed on; "after" the request was passed on and the server began to answer; "during" the answer, of which
        `reset_at` bytes were passed on.
    request: the request that `reset` means.
    """

    delay_ms: float = 0.0
    cut_up: At | int | None = None
    cut_down: At | int | None = None
    stall_up: At | int | None = None
    stall_down: At | int | None = None
    flip_up: At | int | None = None
    flip_down: At | int | None = None
    drip_up: Drip | None = None
    drip_down: Drip | None = None
    reset: Literal["", "accept", "before", "after", "during"] = ""
    reset_at: int = 64
    request: int = 1

    def strikes(self, direction: Literal["up", "down"]) -> Iterator[tuple[At, Action]]:
        """What happens in a direction, and where."""
        named: dict[Action, At | int | None] = {
            "flip": self.flip_up if direction == "up" else self.flip_down,
            "stall": self.stall_up if direction == "up" else self.stall_down,
            "cut": self.cut_up if direction == "up" else self.cut_down,
        }
        resets = {"before": ("up", 0), "after": ("down", 0), "during": ("down", self.reset_at)}
        where, n = resets.get(self.reset, ("", 0))
        if where == direction:
            named["reset"] = At(n, self.request)
        for action, at in named.items():
            if at is not None:
                yield (at if isinstance(at, At) else At(at)), action

    @property
    def counts_requests(self) -> bool:
        """Whether anything depends on where a request begins."""
        requests = [at.request for at, _ in (*self.strikes("up"), *self.strikes("down"))]
        requests += [drip.request for drip in (self.drip_up, self.drip_down) if drip is not None]
        return any(requests)
