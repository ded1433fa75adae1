"""Errors of the reference router: it cannot start, or it refuses a request."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from nomyo.errors import NomyoError
from nomyo_attest.installation import install_command

EXTRA_PACKAGES: Final = ("starlette", "uvicorn", "h11", "trustme")
"""Packages of the extra `router`, which the client does not need."""


class RouterError(NomyoError, ValueError):
    """The router cannot run with these options. The message contains the problem and a hint."""


class MissingExtraError(RouterError, ImportError):
    """The extra `router` is not installed. Also an `ImportError`, so that code with optional imports can catch it."""


def require_extra() -> None:
    """Check that the extra `router` is installed. Raises `MissingExtraError`."""
    missing = [name for name in EXTRA_PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"the reference router needs {', '.join(missing)} from the extra router: {install_command('router')}"
        )


class Refusal(Exception):  # noqa: N818 - a response, not a failure of the router
    """A response other than 200 with the body ``{"detail": …}``, unencrypted, so it must contain no part of a prompt.

    Attributes:
        status: HTTP status.
        detail: the reason, for the client.
        headers: additional headers, such as Retry-After.
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
SHUTTING_DOWN: Final = "The router is shutting down; send the request again"
OUT_OF_TIME: Final = "The router is shutting down, and the request was not completed in time; send it again"
