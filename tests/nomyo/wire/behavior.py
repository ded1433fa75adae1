"""Describe what a proxy does to a connection; `proxy.py` implements it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Action = Literal["cut", "reset", "stall", "flip"]


@dataclass(frozen=True)
class At:
    """A position in one direction of a connection: after `n` bytes.

    request: 0 counts from the first byte of the connection, including the handshake. k counts from the first byte of
        the k-th request, or of its response. With TLS, the bytes are those of records: a header of 5 bytes, then
        ciphertext.
    """

    n: int
    request: int = 0


@dataclass(frozen=True)
class Drip:
    """Send `n` bytes every `seconds` seconds, from the given request on."""

    n: int
    seconds: float
    request: int = 0


@dataclass(frozen=True)
class Behavior:
    """The behavior for one connection; by default, everything is forwarded. An integer n means `At(n)`.

    delay_ms: the delay in each direction, with unlimited bandwidth; a new connection takes an additional round trip,
        like the handshake of TCP.
    cut_up, cut_down: close both sides with FIN at this position of the data from, or to, the client.
    stall_up, stall_down: stop forwarding at this position, and keep the connection open.
    flip_up, flip_down: flip the lowest bit of the byte at this position.
    drip_up, drip_down: forward slowly.
    reset: close the client's side with RST: on "accept"; "before" the request is forwarded; "after" the request was
        forwarded and the server began to respond; "during" the response, after `reset_at` bytes.
    request: the number of the request to which `reset` applies.
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
        """Yield the actions in a direction, with their positions."""
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
        """Whether the behavior depends on the beginning of a request."""
        requests = [at.request for at, _ in (*self.strikes("up"), *self.strikes("down"))]
        requests += [drip.request for drip in (self.drip_up, self.drip_down) if drip is not None]
        return any(requests)
