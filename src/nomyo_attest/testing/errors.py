"""The one error of the forge: it was asked for something that it cannot make."""

from __future__ import annotations

from nomyo_attest.errors import NomyoAttestError


class ForgeError(NomyoAttestError, ValueError):
    """A forge was described in a way that makes no evidence, not even bad evidence.

    Attributes:
        field: what was set, e.g. ``"scheme"``.
        expected: what can stand there.
        got: what does.
    """

    def __init__(self, field: str, expected: str, got: str) -> None:
        self.field = field
        self.expected = expected
        self.got = got
        super().__init__(field, expected, got)

    def __str__(self) -> str:
        return f"forge: {self.field}: expected {self.expected}, got {self.got}"
