"""A fault of the router, the stages of a response at which faults apply, and the switch that selects a fault."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

STAGES: Final = {
    "key": "the response of /pki/public_key",
    "request": "None, before a request is processed; the fault returns the response to send instead",
    "forge": "the `nomyo_attest.testing.Forge` that replaces the TPM, with its PCR values",
    "evidence": "dict: the `tpm_attestation` block",
    "completion": "dict: the response with its `_metadata`",
    "plaintext": "bytes: the response as JSON",
    "recipient": "the public key to which the response is encrypted",
    "encrypt": "None; the fault returns a function of plaintext and key that replaces `envelope.encrypt`",
    "bodies": "(bytes of the encrypted response, those of the previous response or None)",
    "reply": "the HTTP response that carries the encrypted response",
}
"""Stages at which a fault can apply, in order → the value that it changes at that stage."""

Change = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which the router can respond incorrectly.

    Attributes:
        name: unique name, such as ``"text-nan"``.
        reason: a sentence that describes the fault.
        stage: one of `STAGES`.
        change: maps the correct value of this stage to the faulty one.
    """

    name: str
    reason: str
    stage: str
    change: Change

    def apply(self, stage: str, value: Any) -> Any:
        """Return `value`, changed if the fault applies at this stage."""
        return self.change(value) if stage == self.stage else value


NO_FAULT: Final = Fault("", "The router responds correctly.", "", lambda value: value)


class Switch:
    """Stores the fault that a router simulates now, if any. Thread-safe.

    Each request takes the fault once, so that at most one fault applies to it, even if the switch is set meanwhile.

    Args:
        table: name → fault.
    """

    def __init__(self, table: dict[str, Fault]) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._fault = NO_FAULT
        self._remaining: int | None = None

    @property
    def name(self) -> str | None:
        """Name of the active fault; None if no fault is active."""
        return self._fault.name or None

    def set_fault(self, name: str | None, times: int | None = None) -> None:
        """Activate a fault, or none.

        Args:
            name: name of the fault; None for no fault.
            times: number of requests to which it applies; None for every request until the switch is set again.

        Raises:
            KeyError: the table does not contain this name.
        """
        fault = NO_FAULT if name is None else self._table[name]
        with self._lock:
            self._fault, self._remaining = fault, times

    def take(self, *stages: str) -> Fault:
        """Return the fault for a request that passes through these stages, and count it; `NO_FAULT` if none applies."""
        with self._lock:
            fault = self._fault
            if fault.stage not in stages:
                return NO_FAULT
            if self._remaining is not None:
                self._remaining -= 1
                if self._remaining <= 0:
                    self._fault, self._remaining = NO_FAULT, None
            return fault
