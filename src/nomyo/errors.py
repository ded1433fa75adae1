"""Exceptions of this package.

::

    Exception
    └── NomyoError                              base class of all exceptions of this package
        ├── APIError                            the service refused the request; named as in nomyo 0.2.9
        │   └── APIStatusError                  it responded with an HTTP status other than 200
        │       ├── InvalidRequestError         400   (BadRequestError)
        │       ├── AuthenticationError         401
        │       ├── ForbiddenError              403   (PermissionDeniedError)
        │       ├── NotFoundError               404
        │       ├── RateLimitError              429
        │       ├── ServerError                 500   (InternalServerError)
        │       └── ServiceUnavailableError     503
        ├── APIConnectionError (ConnectionError)   no response arrived
        │   └── APITimeoutError (TimeoutError)     the call timed out
        ├── SecurityError                       a response or a setting cannot be trusted
        │   ├── ResponseError (ValueError)      a 200 that could not be decrypted and parsed
        │   │   └── ResponseTooLargeError       it exceeds a limit on bytes, or on objects and arrays
        │   ├── ResponseNotBoundError           it is for a different request, or names a different tier
        │   ├── ServerKeyError (ValueError)     the server's key is weak, malformed or not pinned
        │   ├── InsecureURLError (ValueError)   the URL uses plain HTTP, which is not allowed
        │   └── AttestationError (nomyo_attest.AttestationError)   the policy does not affirm the evidence
        ├── EvidenceLogError (nomyo_attest.LedgerError)   the evidence of a response cannot be stored
        ├── KeyStoreError (ValueError)          a key file cannot be used
        │   └── KeyFileNotFoundError (FileNotFoundError)
        ├── ArgumentError (ValueError)          an argument is invalid; nothing was sent
        │   └── ArgumentTypeError (TypeError)   it has the wrong type, or an unknown name
        ├── EventLoopError (RuntimeError)       no event loop, or not the one that the HTTP client belongs to
        ├── ClientClosedError (RuntimeError)    the client was closed
        └── InternalError (RuntimeError)        a defect of this package; names a source line, quotes no data

As in nomyo 0.2.9, neither `APIConnectionError` nor `SecurityError` is an `APIError`.

No exception carries a prompt, a completion, a password or an API key, neither in its attributes nor in the frames of
its traceback (see `traceback_scrubbing`).
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from nomyo_attest import errors as attest_errors
from nomyo_attest.installation import require_own_package

if TYPE_CHECKING:
    from nomyo_attest.appraisal import AttestationResult

# Every module of this package imports this one, and the other distribution called nomyo has no module of this name.
# Therefore this check runs even if that distribution's __init__.py has replaced this package's.
require_own_package(sys.modules.get("nomyo"))

UNREADABLE: Final = "response_unreadable"
TOO_LARGE: Final = "response_too_large"
NOT_BOUND: Final = "response_not_bound"
TIER_NOT_AS_REQUESTED: Final = "tier_not_as_requested"
KEY_REFUSED: Final = "server_key_refused"
KEY_NOT_PINNED: Final = "server_key_not_pinned"
INSECURE_URL: Final = "insecure_url"
NOT_AFFIRMED: Final = "not_affirmed"
HELD: Final = "held"


class NomyoError(Exception):
    """The base class of every error of this package.

    Attributes:
        payload_id: id of the request; None if it had none yet.
        attempts: how many times the request was sent.
        stage: ``"key"`` while the server's key is fetched, ``"completion"`` for the request itself, ``""`` elsewhere.
        retryable: whether the same call may succeed later.
        prompt_sent: whether the prompt was sent: False only if no byte of it left this machine; None if unknown.
    """

    payload_id: str | None = None
    attempts: int = 0
    stage: str = ""
    retryable: bool = False
    prompt_sent: bool | None = None


class APIError(NomyoError):
    """The service refused a request.

    Attributes:
        message: description of the problem; also `str()` of the error.
        status_code: HTTP status; None if there was none.
        error_details: the body of the response, if it was a JSON object. It is not authenticated.
        headers: the HTTP response's headers, with names in lower case.
        body: the body as a JSON value or as shortened text; None if it was empty.
        retry_after: seconds that the server asks the client to wait; None if it does not ask.
    """

    def __init__(
        self, message: str, status_code: int | None = None, error_details: dict[str, Any] | None = None
    ) -> None:
        self.message = message
        self.status_code = status_code
        self.error_details = error_details
        self.headers: Mapping[str, str] = {}
        self.body: object = None
        self.retry_after: float | None = None
        super().__init__(message)

    def __str__(self) -> str:
        return self.message


class APIStatusError(APIError):
    """The service responded with an HTTP status other than 200."""

    usual_status: int | None = None

    def __init__(
        self, message: str, status_code: int | None = None, error_details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, self.usual_status if status_code is None else status_code, error_details)


class InvalidRequestError(APIStatusError):
    """The request is invalid (400)."""

    usual_status = 400


class AuthenticationError(APIStatusError):
    """The API key is missing or wrong (401)."""

    usual_status = 401


class ForbiddenError(APIStatusError):
    """The request is not allowed, for example a model at a security tier (403)."""

    usual_status = 403


class NotFoundError(APIStatusError):
    """The endpoint does not exist: secure inference may not be enabled (404)."""

    usual_status = 404


class RateLimitError(APIStatusError):
    """Too many requests (429)."""

    usual_status = 429


class ServerError(APIStatusError):
    """The service failed (500)."""

    usual_status = 500


class ServiceUnavailableError(APIStatusError):
    """The service cannot process the request: overloaded, cooling down, or without the TPM that a tier needs (503)."""

    usual_status = 503


BadRequestError = InvalidRequestError
PermissionDeniedError = ForbiddenError
InternalServerError = ServerError


class APIConnectionError(NomyoError, ConnectionError):
    """No complete response arrived: the connection failed or broke, or a proxy refused it.

    Attributes:
        maybe_processed: whether the service may have processed the request anyway.
    """

    retryable = True
    maybe_processed: bool = False


class APITimeoutError(APIConnectionError, TimeoutError):
    """No complete response arrived in time."""


class SecurityError(NomyoError):
    """A response, a key or a setting cannot be trusted.

    Attributes:
        code: the kind of error: one of this module's constants.
        evidence_log: where the evidence of a decrypted but refused response is stored, as in `_metadata`; None if there
            is no ledger, or the response could not be decrypted.
        server_key: fingerprint, ``"sha256/…"``, of the key to which the request of a refused response was encrypted;
            None if no response was refused.
    """

    code: str = ""
    evidence_log: dict[str, Any] | None = None
    server_key: str | None = None

    def __init__(self, message: str = "", code: str = "") -> None:
        self.code = code or self.code
        super().__init__(message)


class ResponseError(SecurityError, ValueError):
    """A response with status 200 could not be decrypted and parsed.

    The reason is not given, since it would help an attacker.
    """

    code = UNREADABLE
    stage = "completion"

    def __init__(self, message: str = "the response could not be decrypted and read", code: str = "") -> None:
        super().__init__(message, code)


class ResponseTooLargeError(ResponseError):
    """A response with status 200 exceeds a limit of this client. It is not retried, since a retry would not help.

    Attributes:
        limit: the limit that was exceeded, in bytes, or in objects and arrays.
        found: the number found; if the response does not declare its length, the number of bytes read so far.
    """

    code = TOO_LARGE

    def __init__(self, message: str, limit: int = 0, found: int = 0) -> None:
        self.limit = limit
        self.found = found
        super().__init__(message)
        self.args = (message, limit, found)

    def __str__(self) -> str:
        return str(self.args[0])


class ResponseNotBoundError(SecurityError):
    """The response names a different request, or not the security tier that was requested."""

    code = NOT_BOUND
    stage = "completion"


class ServerKeyError(SecurityError, ValueError):
    """The server's public key is too weak, malformed, or not pinned."""

    code = KEY_REFUSED
    stage = "key"


class InsecureURLError(SecurityError, ValueError):
    """The base URL uses plain HTTP, which is not allowed."""

    code = INSECURE_URL


class AttestationError(SecurityError, attest_errors.AttestationError):
    """The policy does not affirm the evidence in a response; the completion is not released.

    Attributes:
        result: the complete `nomyo_attest.AttestationResult`, with every finding and no part of the completion.
        prompt_sent: True, since the protocol carries evidence only in the response, after the prompt was processed.
            False for the refusal of a canary, or if an earlier refusal is raised again (`code` is ``"held"``).
    """

    code = NOT_AFFIRMED
    stage = "completion"
    prompt_sent = True

    def __init__(self, message: str, result: AttestationResult) -> None:
        self.code = NOT_AFFIRMED
        self.result = result
        Exception.__init__(self, message, result)

    def __str__(self) -> str:
        return str(self.args[0])


class EvidenceLogError(NomyoError, attest_errors.LedgerError):
    """The ledger cannot be used, or a completion is not released because its evidence could not be stored.

    Attributes:
        path, problem, hint: the file, the problem, and the next action.
        prompt_sent: whether a response had arrived. It is lost, but may be billed.
    """

    prompt_sent = False


class KeyStoreError(NomyoError, ValueError):
    """A key file cannot be used, or must not be overwritten.

    Attributes:
        path: the file or folder.
        problem: the problem.
        hint: the next action.
    """

    def __init__(self, path: str | os.PathLike[str], problem: str, hint: str) -> None:
        self.path = os.fspath(path)
        self.problem = problem
        self.hint = hint
        super().__init__(self.path, problem, hint)

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.hint}"


class KeyFileNotFoundError(KeyStoreError, FileNotFoundError):
    """A key file does not exist."""

    def __init__(
        self, path: str | os.PathLike[str], problem: str = "does not exist", hint: str = "check its path"
    ) -> None:
        super().__init__(path, problem, hint)
        self.errno = errno.ENOENT
        self.filename = os.fspath(path)


class ArgumentError(NomyoError, ValueError):
    """An argument is invalid. Nothing was sent.

    Attributes:
        too_large: whether the payload exceeds the maximum size (`nomyo.config.PAYLOAD_MAX`).
    """

    prompt_sent = False
    too_large: bool = False


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument has the wrong type or an unknown name. Nothing was sent."""


class EventLoopError(NomyoError, RuntimeError):
    """No asyncio event loop is running, or the `http_client` belongs to a different event loop.

    The message contains a hint. Nothing was sent.
    """


class ClientClosedError(NomyoError, RuntimeError):
    """The client was closed before it was used, or during a call."""

    DURING_CALL: Final = "the client was closed during the call"

    def __init__(self, message: str = "the client is closed; create a new one") -> None:
        super().__init__(message)


class InternalError(NomyoError, RuntimeError):
    """A defect of this package, or of the `http_client`. The message names the error's class and source line."""


class InsecureWarning(UserWarning):
    """A setting meant for development only: plain HTTP, or a server key that is too small."""
