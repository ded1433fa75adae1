"""Faults of the status: answers other than 200, and error bodies in every shape but the documented one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.utils import formatdate
from time import time
from typing import Any, Final

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from nomyo.router.errors import FORBIDDEN, NOT_ENABLED, UNAUTHORIZED
from nomyo.router.faults.keys import PAGE
from nomyo.router.faults.model import Fault

DETAILS: Final = {
    400: "The request is invalid",
    401: UNAUTHORIZED,
    403: FORBIDDEN,
    404: NOT_ENABLED,
    408: "The request took too long",
    409: "Conflict",
    418: "I'm a teapot",
    425: "Too early",
    429: "Too many requests",
    500: "Internal error",
    502: "Bad gateway",
    503: "The inference backend is unavailable",
    504: "Gateway timeout",
    529: "Overloaded",
}
"""Status → detail of its fault."""

RETRY_SECONDS: Final = 1
"""What the faults with a Retry-After ask to wait."""


def _at_once(name: str, reason: str, answer: Response) -> Fault:
    return Fault(name, reason, "request", lambda _: answer)


def _status(name: str, reason: str, answer: Response) -> Fault:
    return _at_once(f"status-{name}", reason, answer)


def statuses() -> Iterator[Fault]:
    """The documented body under every status."""
    for status, detail in DETAILS.items():
        yield _status(str(status), f"The router answers {status}.", JSONResponse({"detail": detail}, status))


def retry_after() -> Iterator[Fault]:
    """429 and 503 that say when to come again."""
    for status in (429, 503):
        body = {"detail": DETAILS[status]}
        for name, header, value in (
            ("seconds", "Retry-After", str(RETRY_SECONDS)),
            ("ms", "retry-after-ms", str(1000 * RETRY_SECONDS)),
            ("long", "Retry-After", "1800"),
            ("nonsense", "Retry-After", "soon"),
        ):
            yield _status(
                f"{status}-{name}", f"The router answers {status} with {header}: {value}.",
                JSONResponse(body, status, {header: value}),
            )  # fmt: skip
        reason = f"The router answers {status} with a Retry-After that is a date {RETRY_SECONDS + 1} seconds ahead."
        yield Fault(f"status-{status}-date", reason, "request", _with_date(status))


def bodies() -> Iterator[Fault]:
    """Error bodies that are not an object with a text as its detail."""
    shapes: tuple[tuple[str, str, Any], ...] = (
        ("list", "a list", ["The request is invalid"]),
        ("string", "a string", "The request is invalid"),
        ("null", "null", None),
        ("number", "a number", 400),
        ("detail-list", "an object whose detail is a list", {"detail": [{"loc": ["body"], "msg": "field required"}]}),
        ("detail-null", "an object whose detail is null", {"detail": None}),
        ("detail-missing", "an object without a detail", {"error": {"message": "The request is invalid"}}),
        ("detail-long", "an object whose detail has a MiB", {"detail": "x" * (1 << 20)}),
        ("detail-control", "an object whose detail would move a terminal's cursor", {"detail": "a\x1b[2J\r\nb\u202ec"}),
    )
    for name, what, body in shapes:
        for status in (400, 503) if name in ("list", "string") else (400,):
            slug = f"error-{name}" if status == 400 else f"error-{name}-{status}"
            yield _at_once(slug, f"The body of a {status} is {what}.", JSONResponse(body, status))
    yield _at_once("error-html", "A 502 comes as an HTML page.", HTMLResponse(PAGE, 502))
    yield _at_once("error-empty", "A 400 comes without a body.", Response(status_code=400))


def others() -> Iterator[Fault]:
    """What proxies and captive portals answer."""
    yield _at_once("html", "A 200 comes with an HTML page.", HTMLResponse(PAGE))
    yield _at_once("empty", "A 200 comes without a body.", Response())
    yield _at_once("redirect", "The router redirects the request.", RedirectResponse("/v1/elsewhere", 307))
    yield _status("204", "The router answers 204.", Response(status_code=204))


def _with_date(status: int) -> Callable[[None], Response]:
    def answer(_: None) -> Response:
        # A date has no fractions of a second: two ahead are at least one.
        date = formatdate(time() + RETRY_SECONDS + 1, usegmt=True)
        return JSONResponse({"detail": DETAILS[status]}, status, {"Retry-After": date})

    return answer


def faults() -> Iterator[Fault]:
    """All of them."""
    yield from statuses()
    yield from retry_after()
    yield from bodies()
    yield from others()
