"""nomyo: encrypted chat completions, released only if a policy affirms the server's evidence.

::

    from nomyo import SecureChatCompletion

    async with SecureChatCompletion(api_key="…", attestation_policy="policy.toml") as client:
        response = await client.create(model="Qwen/Qwen3-0.6B", messages=[…], require_attestation=True)

Names are imported when they are first used, so that `nomyo --version` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nomyo_attest._version import __version__
from nomyo_attest.installation import require_client

require_client()

if TYPE_CHECKING:
    from nomyo.blocking import BlockingChatCompletion
    from nomyo.chat import SecureChatCompletion
    from nomyo.errors import (
        APIConnectionError,
        APIError,
        APIStatusError,
        APITimeoutError,
        ArgumentError,
        ArgumentTypeError,
        AttestationError,
        AuthenticationError,
        BadRequestError,
        ClientClosedError,
        EventLoopError,
        EvidenceLogError,
        ForbiddenError,
        InsecureURLError,
        InsecureWarning,
        InternalError,
        InternalServerError,
        InvalidRequestError,
        KeyFileNotFoundError,
        KeyStoreError,
        NomyoError,
        NotFoundError,
        PermissionDeniedError,
        RateLimitError,
        ResponseError,
        ResponseNotBoundError,
        ResponseTooLargeError,
        SecurityError,
        ServerError,
        ServerKeyError,
        ServiceUnavailableError,
    )
    from nomyo.memory import (
        SecureBuffer,
        disable_secure_memory,
        enable_secure_memory,
        get_memory_protection_info,
        secure_bytearray,
        secure_bytes,
    )
    from nomyo.response import ChatResponse

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "ArgumentError",
    "ArgumentTypeError",
    "AttestationError",
    "AuthenticationError",
    "BadRequestError",
    "BlockingChatCompletion",
    "ChatResponse",
    "ClientClosedError",
    "EventLoopError",
    "EvidenceLogError",
    "ForbiddenError",
    "InsecureURLError",
    "InsecureWarning",
    "InternalError",
    "InternalServerError",
    "InvalidRequestError",
    "KeyFileNotFoundError",
    "KeyStoreError",
    "NomyoError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "ResponseError",
    "ResponseNotBoundError",
    "ResponseTooLargeError",
    "SecureBuffer",
    "SecureChatCompletion",
    "SecurityError",
    "ServerError",
    "ServerKeyError",
    "ServiceUnavailableError",
    "__version__",
    "disable_secure_memory",
    "enable_secure_memory",
    "get_memory_protection_info",
    "secure_bytearray",
    "secure_bytes",
]

_HOMES = {
    "BlockingChatCompletion": "nomyo.blocking",
    "ChatResponse": "nomyo.response",
    "SecureChatCompletion": "nomyo.chat",
    "SecureBuffer": "nomyo.memory",
    "disable_secure_memory": "nomyo.memory",
    "enable_secure_memory": "nomyo.memory",
    "get_memory_protection_info": "nomyo.memory",
    "secure_bytearray": "nomyo.memory",
    "secure_bytes": "nomyo.memory",
}
"""Names that do not live in `nomyo.errors`."""


def __getattr__(name: str) -> Any:
    if name == "SecureCompletionClient":  # a module, as in nomyo 0.2.9; importing it sets the attribute
        return import_module("nomyo.SecureCompletionClient")
    if name in __all__:
        value = globals()[name] = getattr(import_module(_HOMES.get(name, "nomyo.errors")), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
