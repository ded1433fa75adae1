"""Draws from a seed that come out the same on every Python: no generator, no floating-point library, no order."""

from __future__ import annotations

import hashlib
import uuid

FIRST = 1767225600
"""When every fleet's record begins, in seconds since 1970: 2026-01-01T00:00:00Z."""


def draw(seed: int, what: str, number: int = 0) -> float:
    """A number from 0 up to 1 that depends on the arguments alone."""
    return int.from_bytes(_digest(seed, what, number)[:6], "big") / 2**48


def choose(seed: int, what: str, among: int, number: int = 0) -> int:
    """A whole number from 0 up to `among`."""
    return int(draw(seed, what, number) * among)


def payload_id(seed: int, number: int) -> str:
    """The payload id of an answer: a UUID in the form of version 4."""
    return str(uuid.UUID(bytes=_digest(seed, "payload id", number)[:16], version=4))


def _digest(seed: int, what: str, number: int) -> bytes:
    return hashlib.sha256(f"{seed}/{what}/{number}".encode()).digest()
