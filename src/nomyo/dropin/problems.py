"""Describe an exception of the client as an error of OpenAI's HTTP API: status, type, code and body."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

import msgspec

from nomyo.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ArgumentError,
    AttestationError,
    ClientClosedError,
    EvidenceLogError,
    NomyoError,
    SecurityError,
)
from nomyo_attest.report.formatting import sanitize

BODY_MAX: Final = 2048
"""Maximum size of an error's body in bytes: some SDKs copy the whole body into an exception's message and the log."""

_HEADER_MAX: Final = 200

_FAILED_MAX: Final = 16
"""Maximum number of rule ids in a body. The exception contains the whole result."""

_REQUEST: Final = "invalid_request_error"
_UPSTREAM: Final = "upstream_error"


class Problem(msgspec.Struct, frozen=True):
    """An error, as the body and the headers of an HTTP response describe it.

    Attributes:
        status: HTTP status.
        type: type of the error in OpenAI's API.
        code: kind of the error.
        message: one line.
        payload_id: id of the request; None if it had none yet.
        attempts: how often the request was sent; None if that is unknown.
        prompt_sent: whether the prompt was sent; None if that is unknown.
        verdict: verdict of the appraisal; None if there was none.
        failed: ids of the rules that do not hold.
        retry_after: the service's Retry-After header; None if it sent none.
    """

    status: int
    type: str
    code: str
    message: str
    payload_id: str | None = None
    attempts: int | None = 0
    prompt_sent: bool | None = False
    verdict: str | None = None
    failed: tuple[str, ...] = ()
    retry_after: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the body as a JSON object, of at most `BODY_MAX` bytes in ASCII. A long message is cut."""
        error: dict[str, Any] = {
            "message": "",
            "type": self.type,
            "param": None,
            "code": self.code,
            "payload_id": self.payload_id,
            "attempts": self.attempts,
            "prompt_sent": self.prompt_sent,
        }
        if self.verdict is not None:
            error |= {"verdict": self.verdict, "failed": list(self.failed[:_FAILED_MAX])}
        error["message"] = sanitize(self.message[:BODY_MAX])
        while len(json.dumps({"error": error})) > BODY_MAX:
            error["message"] = error["message"][: len(error["message"]) * 7 // 8]
        return {"error": error}


NOT_ENCRYPTED: Final = Problem(
    404, _REQUEST, "not_encrypted", "only POST /chat/completions can be encrypted; nothing was sent"
)
INVALID_REQUEST: Final = Problem(400, _REQUEST, "invalid_request", "the request is invalid; nothing was sent")
MODEL_NOT_FOUND: Final = Problem(
    404, _REQUEST, "model_not_found", "the model is not one of those that were declared; nothing was sent"
)
WRONG_BASE_URL: Final = Problem(
    400,
    _REQUEST,
    "wrong_base_url",
    "set the base URL to https://nomyo.invalid/v1 (nomyo.dropin.BASE_URL); nothing was sent",
)
NEEDS_ASYNCIO: Final = Problem(
    400,
    _REQUEST,
    "needs_asyncio",
    "no asyncio event loop is running. Under trio, use a blocking client in a thread; nothing was sent",
)
BAD_COMPLETION: Final = Problem(
    502,
    _UPSTREAM,
    "bad_completion",
    "the response was decrypted and is not a chat completion with choices and messages; it is withheld",
    attempts=None,
    prompt_sent=True,
)

_INTERNAL: Final = (500, "internal_error", "internal_error")

_KINDS: Final[tuple[tuple[type[NomyoError], tuple[int, str, str]], ...]] = (
    (AttestationError, (403, "attestation_error", "")),
    (SecurityError, (403, "security_error", "")),
    (EvidenceLogError, (403, "evidence_log_error", "evidence_log")),
    (APITimeoutError, (504, "timeout", "timeout")),
    (APIConnectionError, (502, "connection_error", "connection_error")),
    (ArgumentError, (400, _REQUEST, "invalid_argument")),
    (ClientClosedError, (400, _REQUEST, "client_closed")),
)
"""Exception → status, type and code; an empty code stands for the exception's own. The first match counts."""


def problem_of(error: BaseException) -> Problem:
    """Describe any exception. The message of one that is not a `NomyoError` is not used, since it may quote data."""
    if not isinstance(error, NomyoError):
        return Problem(*_INTERNAL, f"internal error: {type(error).__name__}", prompt_sent=None)
    retry_after = None
    if isinstance(error, APIStatusError):
        service = error.status_code or 0
        # A status below 400, such as 204, would read as a success without choices.
        kind = (service if service >= HTTPStatus.BAD_REQUEST else 502), _UPSTREAM, f"upstream_{service}"
        retry_after = header_value(error.headers.get("retry-after"))
    else:
        kind = next((kind for class_, kind in _KINDS if isinstance(error, class_)), _INTERNAL)
    status, type_, code = kind
    if isinstance(error, ArgumentError) and error.too_large:
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    result = error.result if isinstance(error, AttestationError) else None
    return Problem(
        status,
        type_,
        code or getattr(error, "code", "") or "security",
        str(error),
        payload_id=error.payload_id,
        attempts=error.attempts,
        prompt_sent=error.prompt_sent,
        verdict=None if result is None else result.verdict.value,
        failed=() if result is None else result.failed,
        retry_after=retry_after,
    )


def header_value(value: object) -> str | None:
    """Return `value` if it is a string that can be a header's value: printable ASCII of at most 200 characters."""
    if isinstance(value, str) and 0 < len(value) <= _HEADER_MAX and value.isascii() and value.isprintable():
        return value
    return None
