"""Translate between OpenAI's HTTP API and calls of the client, in pure functions.

`plan` turns an HTTP request into the payload to encrypt, or refuses it. `respond` turns the outcome of the call, a
completion or an exception, into an HTTP response. Both return for every input: a completion that cannot be translated
becomes the error ``bad_completion``. The module does no I/O, reads no clock, and imports no HTTP library, so that
every interface that speaks HTTP translates in the same way.

Nothing in a request changes how it is sent, apart from the security tier: the rest of its body is the payload.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from nomyo import strict_json
from nomyo.dropin.events import event_stream, is_chat_completion
from nomyo.dropin.problems import (
    BAD_COMPLETION,
    INVALID_REQUEST,
    MODEL_NOT_FOUND,
    NOT_ENCRYPTED,
    Problem,
    header_value,
    problem_of,
)
from nomyo_attest.evidence.response import METADATA

COMPLETIONS: Final = "/chat/completions"
"""End of the path of the only requests that can be encrypted."""

MODELS: Final = "/models"
"""End of the path of the request for the list of models."""

TIER_HEADER: Final = "x-security-tier"

NO_RETRY: Final = {"cache-control": "no-store", "x-should-retry": "false"}
"""Headers of every response. The client has already made its attempts."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A request to send, and how to return its completion.

    Attributes:
        payload: the JSON object to encrypt.
        tier: the security tier that the request names, which the client checks; None for none.
        stream: whether to return the completion as server-sent events.
        include_usage: whether to add an event with the token counts.
    """

    payload: dict[str, Any]
    tier: str | None = None
    stream: bool = False
    include_usage: bool = False

    def __repr__(self) -> str:
        return "<Plan>"


class HTTPResponse(msgspec.Struct, frozen=True):
    """An HTTP response.

    Attributes:
        status: HTTP status.
        headers: names in lower case; without content-length.
        body: the whole body.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status}>"


class Refusal(HTTPResponse, frozen=True):
    """The response to a request that is not sent."""


def plan(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Plan | Refusal:
    """Turn an HTTP request into the payload to encrypt, or refuse it.

    Args:
        method: HTTP method.
        path: path of the URL; a query is ignored.
        headers: only `TIER_HEADER` is read, in upper or lower case.
        body: a JSON object (RFC 8259) without duplicate keys, NaN or infinities. The fields `stream`, `stream_options`
            and `security_tier` are removed; the rest is the payload.
    """
    if method.upper() != "POST" or not _path(path).endswith(COMPLETIONS):
        return refuse(NOT_ENCRYPTED)
    try:
        payload = strict_json.decode(body)
    except (ValueError, RecursionError):
        return _invalid("the body is not JSON, or has duplicate keys, NaN or too many levels")
    if not isinstance(payload, dict):
        return _invalid("the body must be a JSON object")
    stream, options = payload.pop("stream", None), payload.pop("stream_options", None)
    if not (stream is None or isinstance(stream, bool)):
        return _invalid("stream: expected true, false or null")
    if not (options is None or isinstance(options, dict)):
        return _invalid("stream_options: expected an object or null")
    usage = None if options is None else options.get("include_usage")
    if not (usage is None or isinstance(usage, bool)):
        return _invalid("stream_options.include_usage: expected true, false or null")
    tiers = [payload.pop("security_tier", None), *(headers[name] for name in headers if name.lower() == TIER_HEADER)]
    named = [tier for tier in tiers if tier is not None]
    if not all(isinstance(tier, str) for tier in named):
        return _invalid("security_tier: expected a string or null")
    if len(set(named)) > 1:
        return _invalid("security_tier: the body and the header X-Security-Tier differ")
    tier = named[0] if named else None
    return Plan(payload=payload, tier=tier, stream=stream is True, include_usage=usage is True)


def respond(outcome: object, plan: Plan) -> HTTPResponse:
    """Turn the outcome of a call into an HTTP response.

    Args:
        outcome: the completion that the client returned, or the exception that it raised.
        plan: the request.
    """
    if isinstance(outcome, BaseException):
        return _error_response(problem_of(outcome))
    metadata = _object(_object(outcome).get(METADATA))
    payload_id = header_value(metadata.get("payload_id"))
    verdict = header_value(_object(metadata.get("attestation_result")).get("verdict"))
    body = None
    if is_chat_completion(outcome):
        with suppress(ValueError, TypeError, RecursionError):  # JSON cannot represent it
            body = event_stream(outcome, include_usage=plan.include_usage) if plan.stream else encode(outcome)
    if body is None:
        return _error_response(msgspec.structs.replace(BAD_COMPLETION, payload_id=payload_id, verdict=verdict))
    kind = "text/event-stream; charset=utf-8" if plan.stream else "application/json"
    return HTTPResponse(200, _headers(kind, payload_id, verdict), body)


def refuse(problem: Problem) -> Refusal:
    """Return the response to a request that is not sent because of `problem`."""
    response = _error_response(problem)
    return Refusal(response.status, response.headers, response.body)


def asks_for_models(path: str) -> bool:
    """Whether a path is that of the list of models, or of an entry in it."""
    return _path(path).endswith(MODELS) or f"{MODELS}/" in _path(path)


def list_models(path: str, models: Iterable[str]) -> HTTPResponse:
    """Respond to a request for the list of models, or for one of them, with the models that the user declared.

    Args:
        path: path of the URL, which ends with `MODELS` or with that and the name of a model.
        models: names of the models.
    """
    entries = {name: {"id": name, "object": "model", "created": 0, "owned_by": "nomyo"} for name in models}
    if _path(path).endswith(MODELS):
        return _ok({"object": "list", "data": list(entries.values())})
    name = _path(path).rpartition(f"{MODELS}/")[2]
    return _ok(entries[name]) if name in entries else refuse(MODEL_NOT_FOUND)


def encode(document: object) -> bytes:
    """Encode a document as JSON in ASCII. Raises `ValueError` or `TypeError` if it cannot be represented."""
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode("ascii")


def _ok(document: object) -> HTTPResponse:
    return HTTPResponse(200, _headers("application/json", None, None), encode(document))


def _invalid(problem: str) -> Refusal:
    return refuse(msgspec.structs.replace(INVALID_REQUEST, message=f"{problem}; nothing was sent"))


def _error_response(problem: Problem) -> HTTPResponse:
    headers = _headers("application/json", problem.payload_id, problem.verdict)
    if problem.retry_after is not None:
        headers["retry-after"] = problem.retry_after
    return HTTPResponse(problem.status, headers, encode(problem.document()))


def _headers(kind: str, payload_id: str | None, verdict: str | None) -> dict[str, str]:
    headers = {"content-type": kind, **NO_RETRY}
    if payload_id is not None:
        headers |= {"x-nomyo-payload-id": payload_id, "x-request-id": payload_id}
    if verdict is not None:
        headers["x-nomyo-verdict"] = verdict
    return headers


def _path(path: str) -> str:
    return path.partition("?")[0]


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
