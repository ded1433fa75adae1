"""What a fault is, where in an answer it sets in, and the switch that turns one on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

STAGES: Final = {
    "key": "the response of /pki/public_key",
    "request": "None, before a request is looked at; a response to give at once instead of an answer",
    "forge": "the `nomyo_attest.testing.Forge` that makes the evidence in the place of the TPM, with its PCR values",
    "evidence": "dict: the `tpm_attestation` block",
    "completion": "dict: the answer with its `_metadata`",
    "plaintext": "bytes: the answer as JSON",
    "recipient": "the public key that the answer is sealed to",
    "seal": "None; a function of plaintext and key that seals in the place of `envelope.encrypt`",
    "bodies": "(bytes of the sealed answer, those of the answer before it or None)",
    "reply": "the response that carries the sealed answer",
}
"""Every point at which a fault can set in, in the order of an answer, with what is there to be changed."""

Change = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer wrong in exactly one way.

    Attributes:
        name: a slug.
        reason: one sentence: what is wrong.
        stage: one of `STAGES`.
        change: takes what is there at this stage, returns what takes its place.
    """

    name: str
    reason: str
    stage: str
    change: Change

    def at(self, stage: str, made: Any) -> Any:
        """`made`, changed if the fault sets in at this stage."""
        return self.change(made) if stage == self.stage else made


NONE: Final = Fault("", "Nothing is wrong.", "", lambda made: made)
"""No fault."""


class Switch:
    """The one fault of a router that is on, or none. Safe in several threads.

    Each request takes the fault once, so that it meets one alone however the switch is turned meanwhile.

    Args:
        table: name → fault.
    """

    def __init__(self, table: dict[str, Fault]) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._fault = NONE
        self._left: int | None = None

    @property
    def name(self) -> str | None:
        """Name of the fault that is on; None for none."""
        return self._fault.name or None

    def turn(self, name: str | None, times: int | None = None) -> None:
        """Turn a fault on, or all off with None.

        Args:
            name: of the table. Raises KeyError for another.
            times: how many requests are to meet it; None for all until it is turned off.
        """
        fault = NONE if name is None else self._table[name]
        with self._lock:
            self._fault, self._left = fault, times

    def take(self, *stages: str) -> Fault:
        """The fault for a request that passes through these stages; one that sets in at none of them is left as is."""
        with self._lock:
            fault = self._fault
            if fault.stage not in stages:
                return NONE
            if self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    self._fault, self._left = NONE, None
            return fault
