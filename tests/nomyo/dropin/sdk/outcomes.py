"""What can become of a call, as the users of every SDK see it: one table for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from nomyo import errors
from nomyo.dropin import refusal
from tests.nomyo.dropin.sdk.scripted_model import reply_to
from tests.nomyo.dropin.sdk.stage import Stage
from tests.nomyo.router.openai_server import ReceivedRequest, ScriptedReply

Ask = Callable[[], str | None]
"""Send `stage.PROMPT` and return the text of the completion."""

Way = Callable[[Mapping[str, Any]], AbstractContextManager[Ask]]
"""A way to use an SDK: with the options of the client, it provides the function that asks."""


@dataclass(frozen=True)
class Outcome:
    """What becomes of a call.

    Attributes:
        prepare: makes the router or the model respond so.
        kind: HTTP status of the response that the SDK gets; ``"connection"`` or ``"timeout"`` if it gets none.
        code: `code` of that response; empty if there is none.
        error: class of what `refusal` returns; None if it returns None.
        error_code: its `code`, if it is a `SecurityError`.
        posts: how many requests the router receives.
        prompts: how many of them reach the model.
        options: options of the client.
        is_second: whether the same client has made such a call before, to which the counts do not refer.
    """

    prepare: Callable[[Stage], None]
    kind: int | str
    code: str
    error: type[errors.NomyoError] | None
    error_code: str = ""
    posts: int = 1
    prompts: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    is_second: bool = False


def other_firmware(stage: Stage) -> None:
    stage.router.boot_other_firmware()


def router_fault(name: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        stage.router.fault = name

    return prepare


def model_status(status: int, *headers: tuple[str, str]) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        stage.model.answer = lambda _: ScriptedReply(status, b"{}", headers)

    return prepare


def no_choices(stage: Stage) -> None:
    stage.model.answer = lambda _: ScriptedReply(body=json.dumps({"choices": []}).encode())


def slow(stage: Stage) -> None:
    def wait(request: ReceivedRequest) -> ScriptedReply:
        return ScriptedReply(body=reply_to(request).body, delay=0.8)

    stage.model.answer = wait


def nothing(stage: Stage) -> None:
    """Let them respond correctly."""


OUTCOMES: Final = {
    "refused": Outcome(other_firmware, 403, "not_affirmed", errors.AttestationError, "not_affirmed"),
    "held": Outcome(other_firmware, 403, "held", errors.AttestationError, "held", posts=0, prompts=0, is_second=True),
    "401": Outcome(router_fault("status-401"), 401, "upstream_401", errors.AuthenticationError, prompts=0),
    "403": Outcome(router_fault("status-403"), 403, "upstream_403", errors.ForbiddenError, prompts=0),
    "429": Outcome(model_status(429, ("Retry-After", "7")), 429, "upstream_429", errors.RateLimitError),
    "500": Outcome(router_fault("status-500"), 500, "upstream_500", errors.ServerError, prompts=0),
    "503": Outcome(model_status(503), 503, "upstream_503", errors.ServiceUnavailableError),
    "unreadable": Outcome(
        router_fault("text-not-json"), 403, "response_unreadable", errors.ResponseError, "response_unreadable"
    ),
    "not a completion": Outcome(no_choices, 502, "bad_completion", None),
    "broken connection": Outcome(router_fault("reset-after"), "connection", "", errors.APIConnectionError),
    "no server": Outcome(
        nothing,
        "connection",
        "",
        errors.APIConnectionError,
        posts=0,
        prompts=0,
        options={"base_url": "https://localhost:1"},
    ),
    "timeout": Outcome(slow, "timeout", "", errors.APITimeoutError, options={"timeout": 0.5}),
}
"""Name → outcome, each with a client that makes one attempt."""

_WITH_EVERY_WAY: Final = ("refused", "held", "429", "unreadable", "broken connection")


def cases(ways: Mapping[str, Way]) -> list[tuple[str, str]]:
    """Return names of outcomes and ways: every outcome with the first way, and some with the others."""
    first = next(iter(ways))
    return [(name, way) for way in ways for name in OUTCOMES if way == first or name in _WITH_EVERY_WAY]


def provoke(outcome: Outcome, stage: Stage, way: Way) -> Exception:
    """Make a call whose outcome this is, and return what the user of the SDK sees.

    Asserts that the exception of nomyo behind it and the counts are as expected.
    """
    with way(stage.options(**outcome.options)) as ask:
        outcome.prepare(stage)
        if outcome.is_second:
            with pytest.raises(Exception):  # noqa: B017, PT011 - its class is the SDK's
                ask()
            stage.count_from_now()
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the caller checks its class
            ask()
    error = caught.value
    found = refusal(error)
    assert type(found) is (outcome.error or type(None)), repr(error)
    if isinstance(found, errors.SecurityError):
        assert found.code == outcome.error_code
    assert (stage.posts, stage.prompts) == (outcome.posts, outcome.prompts)
    return error
