"""R: what is tried again, and what an exception says and holds.

Where a test says how long something must take at the least, it compares the times at which requests arrived; none of
them says how quick anything must be.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import nomyo
from tests.nomyo.defects.calls import API_KEY, PROMPT, ask, attempt, close, describe, is_error, run
from tests.nomyo.defects.conftest import Chat
from tests.nomyo.defects.walker import places_of
from tests.nomyo.wire.plain_router import Recorded, Reply, error, limited

COMPLETION = "the-completion-93b7a0f4c1"


def gaps(requests: list[Recorded]) -> list[float]:
    """Seconds between each request and the next."""
    return [after.at - before.at for before, after in itertools.pairwise(requests)]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_r1_a_server_that_says_when_to_come_back_is_heeded(chat: Chat, form: Any) -> None:
    asked = 2 if form == "seconds" else 3  # a date has whole seconds, and one of them may be over already
    chat.router.answer(lambda request: limited(asked, form) if len(chat.router.posts) == 1 else None)
    answer = chat.ask({"max_retries": 1})
    assert isinstance(answer, dict), describe(answer)
    (waited,) = gaps(chat.router.posts)
    assert waited >= 1.9, f"Retry-After: {asked} s, and it came back after {waited:.1f} s"


def test_r1_milliseconds_are_heeded_too(chat: Chat) -> None:
    chat.router.answer(limited(1.5, "ms"))
    answer = chat.ask({"max_retries": 1})
    assert isinstance(answer, dict), describe(answer)
    (waited,) = gaps(chat.router.posts)
    assert waited >= 1.45, f"retry-after-ms: 1500, and it came back after {waited:.1f} s"


def test_r1_clients_that_fail_together_do_not_come_back_together(chat: Chat) -> None:
    """Twelve of them: the chance that all wait for more than 0.85 s of one at the most is 0.15¹²."""
    seen: set[str] = set()

    def first_fails(request: Recorded) -> Reply | None:
        new = request.payload_id not in seen
        seen.add(request.payload_id)
        return error(500, "not now") if new else None

    chat.router.answer(first_fails)

    async def calls() -> list[Any]:
        client = chat.client(max_retries=1)
        try:
            return await asyncio.gather(*(ask(client) for _ in range(12)))
        finally:
            await close(client)

    answers = run(calls)
    assert all(isinstance(answer, dict) for answer in answers), answers
    waited = []
    for payload_id in seen:
        waited += gaps([request for request in chat.router.posts if request.payload_id == payload_id])
    assert min(waited) < 0.85, f"all {len(waited)} came back after {min(waited):.2f} to {max(waited):.2f} s"


def test_r1_a_wait_of_an_hour_is_not_begun(chat: Chat) -> None:
    chat.router.answer(lambda request: limited(3600))
    found = chat.ask({"max_retries": 1})
    assert len(chat.router.posts) == 1, f"'Retry-After: 3600', and it came back after {gaps(chat.router.posts)} s"
    assert is_error(found, nomyo.RateLimitError), describe(found)


def test_r2_a_connection_that_the_server_closed_is_tried_again(chat: Chat) -> None:
    chat.router.answer(lambda request: Reply(truncate_at=0) if len(chat.router.posts) == 1 else None)
    answer = chat.ask({"max_retries": 1})
    assert isinstance(answer, dict), f"a connection closed by the server was not tried again: {describe(answer)}"
    assert len({request.payload_id for request in chat.router.posts}) == 1


def test_r3_a_missing_tpm_is_not_asked_for_again(chat: Chat) -> None:
    chat.router.tpm = False
    found = chat.ask({"max_retries": 1}, security_tier="maximum")
    assert len(chat.router.posts) == 1, f"no TPM, and it was asked for {len(chat.router.posts)} times"
    assert is_error(found, nomyo.ServiceUnavailableError), describe(found)
    assert found.retryable is False


@pytest.mark.parametrize("status", [408, 425, 529])
def test_r3_a_status_that_means_later_is_tried_later(chat: Chat, status: int) -> None:
    chat.router.answer(error(status, "not now"))
    answer = chat.ask({"max_retries": 1})
    assert isinstance(answer, dict), f"{status} was not tried again: {describe(answer)}"


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port of this machine that refuses connections: it is taken, and nothing listens at it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_r4_a_key_that_cannot_be_fetched_is_a_connection_problem(chat: Chat, refusing_port: int) -> None:
    found = chat.ask({"base_url": f"https://localhost:{refusing_port}"})
    assert is_error(found, nomyo.APIConnectionError), f"a connection refused is told as {describe(found)}"
    assert found.stage == "key"


def test_r4_a_key_that_cannot_be_fetched_is_fetched_again(chat: Chat) -> None:
    chat.router.answer(error(503, "starting"), on="GET")
    answer = chat.ask({"max_retries": 1})
    assert isinstance(answer, dict), f"503 at the key was not tried again: {describe(answer)}"


def test_r4_a_status_at_the_key_has_the_exception_of_that_status(chat: Chat) -> None:
    chat.router.answer(lambda request: error(503, "starting"), on="GET")
    found = chat.ask()
    assert is_error(found, nomyo.ServiceUnavailableError), f"503 at the key is told as {describe(found)}"


def test_r4_a_web_page_in_the_place_of_the_key_is_told(chat: Chat) -> None:
    chat.router.fault("key-html")
    found = chat.ask()
    assert is_error(found, nomyo.SecurityError, "HTML"), f"a captive portal is told as {describe(found)}"


def test_r5_a_key_rotated_between_two_tries_does_not_fail_the_call(chat: Chat) -> None:
    def first_fails(request: Recorded) -> Reply | None:
        if len(chat.router.posts) > 1:
            return None
        chat.router.rotate_key()
        return error(500, "restarting")

    chat.router.answer(first_fails)
    answer = chat.ask({"max_retries": 1})
    assert isinstance(answer, dict), f"the server's key changed between two tries: {describe(answer)}"
    assert len({request.payload_id for request in chat.router.posts}) == 1


STATUSES = {
    400: nomyo.InvalidRequestError,
    401: nomyo.AuthenticationError,
    403: nomyo.ForbiddenError,
    404: nomyo.APIError,
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("body", [["first", "second"], "first", None], ids=["list", "string", "null"])
def test_r6_a_status_has_its_exception_whatever_the_body_is(chat: Chat, status: int, body: object) -> None:
    chat.router.answer(lambda request: Reply(status, body=json.dumps(body).encode()))
    found = chat.ask()
    assert is_error(found, STATUSES[status]), f"{status} with {body!r} is told as {describe(found)}"
    assert found.status_code == status
    if body is not None:
        assert "first" in str(found)


class Reporter(logging.Handler):
    """A log handler that prints what a crash reporter would: message, arguments, and the frames of a traceback."""

    def __init__(self) -> None:
        super().__init__(level=1)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        for secret in (PROMPT, API_KEY, COMPLETION):
            self.found += places_of(secret, [record.getMessage(), record.args, record.exc_info])


@pytest.mark.parametrize("fault", ["error-list", "metadata-null", "version-0.9", "truncated"])
def test_r7_no_log_record_leads_to_the_prompt(chat: Chat, fault: str) -> None:
    """Faults that the published client does not expect: it logs a traceback with every one of its frames."""
    reporter, root = Reporter(), logging.getLogger()
    before = root.level
    root.addHandler(reporter)
    root.setLevel(1)
    chat.router.fault(fault)
    try:
        found = chat.ask()
    finally:
        root.removeHandler(reporter)
        root.setLevel(before)
    assert isinstance(found, Exception), describe(found)
    assert not reporter.found, f"{fault}: from a log record one gets to the prompt: {reporter.found[0]}"


def test_r8_an_answer_that_is_no_json_is_in_no_exception(chat: Chat) -> None:
    chat.router.encode = lambda answer: f"Here you are: {COMPLETION}".encode()
    found = chat.ask()
    assert isinstance(found, Exception), describe(found)
    places = places_of(COMPLETION, found, frames=False)
    assert not places, f"the decrypted answer is at {places[0]}"
    assert not places_of(COMPLETION, found)


@pytest.mark.parametrize("secret", [PROMPT, API_KEY])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500, 503])
def test_r9_no_frame_of_a_refusal_holds_the_prompt_or_the_api_key(chat: Chat, status: int, secret: str) -> None:
    chat.router.answer(lambda request: error(status, "no"))
    found = chat.ask()
    assert isinstance(found, nomyo.APIError), describe(found)
    places = places_of(secret, found)
    assert not places, f"{status}: it is at {places[0]}, and {len(places) - 1} more places"


def complete(payload: dict[str, Any], payload_id: str) -> dict[str, Any]:
    """An answer whose text nobody else has."""
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": COMPLETION}}]}


@pytest.mark.parametrize("fault", ["metadata-null", "echo-wrong", "tier-other", "plaintext-list", "plaintext-nan"])
def test_r9_no_frame_of_a_refused_answer_holds_the_completion(chat: Chat, fault: str) -> None:
    """Of these the published client refuses only some; the others it hands over, which it must not do either."""
    chat.router.complete = complete
    chat.router.fault(fault)
    found = chat.ask(security_tier="high")
    places = places_of(COMPLETION, found)
    assert not places, f"{fault}: the decrypted answer is at {places[0]}"
    assert isinstance(found, Exception), describe(found)


@pytest.mark.parametrize("fault", ["metadata-null", "metadata-list", "plaintext-list", "plaintext-null"])
def test_r10_a_wrong_type_in_an_answer_is_no_connection_problem(chat: Chat, fault: str) -> None:
    chat.router.fault(fault)
    found = chat.ask()
    assert is_error(found, nomyo.SecurityError), f"{fault} is told as {describe(found)}"


def test_r11_fewer_than_no_retries_are_refused(chat: Chat) -> None:
    found = attempt(lambda: chat.client(max_retries=-1))
    made = isinstance(found, nomyo.SecureChatCompletion)
    assert not made, f"max_retries=-1 was taken, and a call returns {describe(run(lambda: ask(found)))}"
    assert is_error(found, ValueError, "max_retries"), describe(found)


def test_r12_the_status_is_told_whatever_the_body_is(chat: Chat) -> None:
    chat.router.answer(lambda request: Reply(404, [("Content-Type", "text/html")], b"<html>Not here</html>"))
    found = chat.ask()
    assert is_error(found, nomyo.APIError), describe(found)
    assert found.status_code == 404, f"404 with a web page is told with status {found.status_code}"


def test_r12_an_error_tells_of_its_request_and_of_its_answer(chat: Chat) -> None:
    chat.router.answer(lambda request: error(418, "short and stout", [("X-Request-ID", "answer-1")]))
    found = chat.ask()
    assert is_error(found, nomyo.APIError), describe(found)
    wanted = {
        "status_code": 418,
        "payload_id": chat.router.posts[0].payload_id,
        "attempts": 1,
        "body": {"detail": "short and stout"},
    }
    got = {name: getattr(found, name, "nothing") for name in wanted}
    assert got == wanted, f"the error does not say {[name for name in wanted if got[name] == 'nothing']}"
    assert found.headers["x-request-id"] == "answer-1"


def test_r13_one_except_catches_all_that_can_go_wrong_with_a_call() -> None:
    shared = set(nomyo.APIError.__mro__) & set(nomyo.APIConnectionError.__mro__) & set(nomyo.SecurityError.__mro__)
    own = {kind for kind in shared if kind.__module__.startswith("nomyo")}
    assert own, "APIError, APIConnectionError and SecurityError have nothing in common but Exception"


def test_r13_a_connection_error_is_pythons_too(chat: Chat) -> None:
    chat.router.answer(lambda request: Reply(reset="before"))
    found = chat.ask()
    assert is_error(found, ConnectionError), f"a connection reset is told as {type(found).__mro__}"
    assert isinstance(found, nomyo.APIConnectionError)


def test_r13_not_found_has_a_name_and_openais_names_work(chat: Chat) -> None:
    chat.router.secure_inference = False
    found = chat.ask()
    assert type(found).__name__ == "NotFoundError", f"404 is told as {type(found).__name__}"
    assert isinstance(found, nomyo.APIError)
    names = ["APIStatusError", "APITimeoutError", "BadRequestError", "InternalServerError", "PermissionDeniedError"]
    assert not [name for name in names if not hasattr(nomyo, name)]
