"""Decide whether a request may use the proxy, before anything of it is processed: Host, Origin and token.

Any web page can send requests to this machine. The Host header of a page that reached it through its own name (DNS
rebinding) is wrong, and a page that addresses it directly sends its Origin.
"""

from __future__ import annotations

import hmac
import re
from typing import Final

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from nomyo.config import PAYLOAD_MAX
from nomyo.dropin.problems import Problem
from nomyo.proxy.options import ProxyOptions
from nomyo.serving.requests import bearer_of
from nomyo_attest.report.formatting import excerpt

_REQUEST: Final = "invalid_request_error"

BODY_MAX: Final = PAYLOAD_MAX + 1024
"""Maximum size of a request's body in bytes; it contains a few fields that are not part of the payload."""

_HOST: Final = Problem(421, _REQUEST, "host_not_allowed", "")
_ORIGIN: Final = Problem(403, _REQUEST, "origin_not_allowed", "")
TOKEN: Final = Problem(
    401, _REQUEST, "invalid_api_key", "the API key must be the token of this proxy (--token-file); nothing was sent"
)
MEDIA_TYPE: Final = Problem(
    415, _REQUEST, "unsupported_media_type", "Content-Type must be application/json; nothing was sent"
)
TOO_LARGE: Final = Problem(
    413, _REQUEST, "request_too_large", f"the body is larger than {BODY_MAX} bytes; nothing was sent"
)
NO_RESULT: Final = Problem(404, _REQUEST, "result_not_found", "no result of this payload id is stored")
SHUTTING_DOWN: Final = Problem(
    503, "unavailable_error", "shutting_down", "the proxy is shutting down; nothing was sent", retry_after="5"
)
OUT_OF_TIME: Final = Problem(
    503,
    "unavailable_error",
    "shutting_down",
    "the proxy is shutting down, and the request was not completed in time",
    attempts=None,
    prompt_sent=None,
)

_EXPOSED: Final = "x-nomyo-payload-id, x-nomyo-verdict, x-request-id, retry-after"
_FIELD_NAMES: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{0,1024}")
_PREFLIGHT_SECONDS: Final = "600"


def refused(headers: Headers, options: ProxyOptions, port: int) -> Problem | None:
    """Return why the Host or Origin header is refused; None if neither is.

    Args:
        port: the port on which the proxy listens.
    """
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not options.allows_host(hosts[0], port):
        named = excerpt(", ".join(hosts), 100) or "none"
        problem = f"the Host header ({named}) does not name this proxy. If it should, start the proxy with --allow-host"
        return msgspec.structs.replace(_HOST, message=f"{problem}; nothing was sent")
    for origin in headers.getlist("origin"):
        if not options.allows_origin(origin):
            problem = f"web pages of the origin {excerpt(origin, 100)} may not use this proxy"
            hint = "If they should, start the proxy with --allow-origin and this origin"
            return msgspec.structs.replace(_ORIGIN, message=f"{problem}. {hint}; nothing was sent")
    return None


def has_token(headers: Headers, options: ProxyOptions) -> bool:
    """Whether the request contains the token, if there is one. The comparison takes constant time."""
    return options.token is None or hmac.compare_digest(bearer_of(headers).encode(), options.token.encode())


def cors_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers with which the page of an allowed origin can read the response; none without an origin."""
    origin = headers.get("origin")
    if origin is None:
        return []
    cors = {"access-control-allow-origin": origin, "access-control-expose-headers": _EXPOSED, "vary": "Origin"}
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in cors.items()]


def is_preflight(request: Request) -> bool:
    """Whether a browser asks, for a page of an allowed origin, which requests that may send."""
    headers = request.headers
    return request.method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def preflight_response(headers: Headers) -> Response:
    """Allow the methods of the API and the requested headers; only the API key and the tier have an effect."""
    wanted = headers.get("access-control-request-headers", "")
    allowed = {"access-control-allow-methods": "GET, POST", "access-control-max-age": _PREFLIGHT_SECONDS}
    if wanted and _FIELD_NAMES.fullmatch(wanted):
        allowed["access-control-allow-headers"] = wanted
    if headers.get("access-control-request-private-network") == "true":
        allowed["access-control-allow-private-network"] = "true"
    return Response(status_code=204, headers=allowed)
