"""What the reference router raises when it cannot start, and what it refuses requests with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nomyo.errors import NomyoError


class RouterError(NomyoError, ValueError):
    """The router cannot be run as asked: the message says what is wrong and what to give instead."""


class MissingExtraError(RouterError, ImportError):
    """The extra `router` is not installed. An `ImportError` too, so that optional imports fail as usual."""


class Refusal(Exception):  # noqa: N818 - it is an answer, not a mishap
    """An answer other than 200, its body ``{"detail": …}``. Never with anything of the prompt in it: it goes unsealed.

    Attributes:
        status: HTTP status.
        detail: what the client is told.
        headers: more headers, such as Retry-After.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        self.status: Final = status
        self.detail: Final = detail
        self.headers: Final = dict(headers or {})
        super().__init__(status, detail)


UNAUTHORIZED: Final = "Invalid API key or authentication failed"
FORBIDDEN: Final = "Model not allowed for the requested security tier"
NOT_ENABLED: Final = "Secure inference not enabled"
NO_TPM: Final = "Security tier maximum needs a TPM, and none is available"
INTERNAL: Final = "Internal error"
ENDING: Final = "The router is shutting down; send the request again"
OUT_OF_TIME: Final = "The router is shutting down, and the request was not completed in time; send it again"
