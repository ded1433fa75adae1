"""A fault of the router, the stages of a response at which faults apply, and the switch that turns one on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

STAGES: Final = {
    "key": "the response of /pki/public_key",
    "request": "None, before a request is processed; a response to send instead",
    "forge": "the `nomyo_attest.testing.Forge` that replaces the TPM, with its PCR values",
    "evidence": "dict: the `tpm_attestation` block",
    "completion": "dict: the response with its `_metadata`",
    "plaintext": "bytes: the response as JSON",
    "recipient": "the public key to which the response is encrypted",
    "encrypt": "None; a function of plaintext and key that replaces `envelope.encrypt`",
    "bodies": "(bytes of the encrypted response, those of the previous response or None)",
    "reply": "the HTTP response that carries the encrypted response",
}
"""The stages at which a fault can apply, in their order, and the value that it changes there."""

Change = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which the router responds wrongly.

    Attributes:
        name: its name, a slug.
        reason: a sentence that describes the fault.
        stage: one of `STAGES`.
        change: maps the value of this stage to the wrong one.
    """

    name: str
    reason: str
    stage: str
    change: Change

    def at(self, stage: str, value: Any) -> Any:
        """Return `value`, changed if the fault applies at this stage."""
        return self.change(value) if stage == self.stage else value


NONE: Final = Fault("", "Nothing is wrong.", "", lambda value: value)
"""The absence of a fault."""


class Switch:
    """Holds the fault of a router that is on, if any. Usable from several threads.

    Each request takes the fault once, so that only one applies to it even if the switch is turned meanwhile.

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
            times: number of requests to which it applies; None for all until it is turned off.
        """
        fault = NONE if name is None else self._table[name]
        with self._lock:
            self._fault, self._left = fault, times

    def take(self, *stages: str) -> Fault:
        """Take the fault for a request that passes through these stages; a fault at another stage stays on."""
        with self._lock:
            fault = self._fault
            if fault.stage not in stages:
                return NONE
            if self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    self._fault, self._left = NONE, None
            return fault
