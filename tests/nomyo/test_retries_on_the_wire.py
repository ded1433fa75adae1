"""When a call is tried again, after how long, and with which bytes: statuses and Retry-After over the wire.

Time and chance are injected: the naps that an service takes are noted, not slept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from nomyo import (
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ForbiddenError,
    InvalidRequestError,
    NomyoError,
    NotFoundError,
    RateLimitError,
    SecureChatCompletion,
    ServerError,
    ServiceUnavailableError,
)
from nomyo.call import Request, Service
from nomyo.gate import Gate
from nomyo.rate_limit import CallQueue, RateLimiter
from nomyo.status import BACKOFF_MAX, RETRY_AFTER_MAX, STATUSES
from nomyo.transport import Transport
from tests.nomyo.client_calls import API_KEY, MODEL, PROMPT, Wire, error_facts, only, run
from tests.nomyo.wire.plain_router import Reply, error, limited

KINDS: dict[int, type[APIStatusError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    429: RateLimitError,
    500: ServerError,
    503: ServiceUnavailableError,
}
RETRIED = tuple(sorted(status for status, meaning in STATUSES.items() if meaning.retryable))
NOT_RETRIED = (201, 304, 400, 401, 402, 403, 404, 405, 409, 413, 418, 422, 501, 505, 525)


class Patient:
    """An service with the wire's router that naps without sleeping; what it would have slept is in `naps`."""

    def __init__(self, wire: Wire, donor: SecureChatCompletion, *, chance: float = 1.0) -> None:
        self.wire = wire
        self.naps: list[float] = []
        self.during_naps: Callable[[], object] = lambda: None
        self._keyring = donor.client.keyring
        self._chance = chance
        self._now = 0.0
        self._limiter = RateLimiter(lambda: self._now, lambda: 0.0)

    async def _nap(self, seconds: float) -> None:
        self.naps.append(seconds)
        self._now += seconds
        self.during_naps()

    def ask(self, *, seconds: float = 900.0, max_retries: int = 2, tier: str | None = None) -> dict[str, Any]:
        async def call() -> dict[str, Any]:
            transport = Transport()
            service = Service(
                self.wire.router.url,
                transport,
                self._keyring,
                Gate(None),
                min_server_key_bits=4096,
                queue=CallQueue(("https", "localhost", 443), limiter=lambda api_key: self._limiter),
                sleep=self._nap,
                random=lambda: self._chance,
            )
            messages = [{"role": "user", "content": PROMPT}]
            request = Request(
                payload={"model": MODEL, "messages": messages},
                payload_id="the-id",
                api_key=API_KEY,
                tier=tier,
                policy=None,
                gated=False,
            )
            try:
                return await service.run(request, time_limit=seconds, max_retries=max_retries)
            finally:
                await transport.aclose()

        return run(call())

    def refused(self, kind: type[NomyoError], **arguments: Any) -> Any:
        with pytest.raises(kind) as caught:
            self.ask(**arguments)
        assert type(caught.value) is kind
        assert caught.value.payload_id == "the-id"
        return caught.value


@pytest.fixture
def patient(wire: Wire, donor: SecureChatCompletion) -> Patient:
    return Patient(wire, donor)


@pytest.mark.parametrize("status", RETRIED)
def test_these_statuses_are_tried_again_with_the_same_bytes(patient: Patient, status: int) -> None:
    patient.wire.router.answer(Reply(status), Reply(status))
    patient.ask()
    posts = patient.wire.posts
    assert [post.status for post in posts] == [status, status, 200]
    assert len({post.body for post in posts}) == 1
    assert len({tuple(post.headers) for post in posts}) == 1
    assert patient.naps == [1.0, 2.0]


@pytest.mark.parametrize("status", RETRIED)
def test_these_statuses_are_told_after_the_last_try(patient: Patient, status: int) -> None:
    patient.wire.router.answer(lambda post: error(status, "busy"))
    failure = patient.refused(KINDS.get(status, APIStatusError))
    assert error_facts(failure) == ("", 3, "completion", True)
    assert (failure.status_code, len(patient.wire.posts)) == (status, 3)
    assert "busy" in str(failure)


@pytest.mark.parametrize("status", NOT_RETRIED)
def test_these_statuses_are_told_at_once(patient: Patient, status: int) -> None:
    patient.wire.router.answer(lambda post: Reply(status, [("Retry-After", "1")]))
    failure = patient.refused(KINDS.get(status, APIStatusError))
    assert error_facts(failure) == ("", 1, "completion", False)
    assert (failure.status_code, len(patient.wire.posts), patient.naps) == (status, 1, [])


@pytest.mark.parametrize(
    ("status", "header", "value", "nap"),
    [
        (408, "Retry-After", "7", 7.0),
        (429, "Retry-After", "7", 7.0),
        (503, "Retry-After", "7", 7.0),
        (529, "Retry-After", "7", 7.0),
        (429, "Retry-After", "0", 0.0),
        (503, "retry-after", "1.5", 1.5),
        (529, "retry-after-ms", "250", 0.25),
        (408, "Retry-After", str(int(RETRY_AFTER_MAX)), RETRY_AFTER_MAX),
        (429, "Retry-After", "soon", 1.0),
        (503, "Retry-After", "-1", 1.0),
        (529, "Retry-After", "nan", 1.0),
        (408, "Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_the_server_says_how_long_to_wait(patient: Patient, status: int, header: str, value: str, nap: float) -> None:
    patient.wire.router.answer(Reply(status, [(header, value)]))
    patient.ask()
    assert patient.naps == [nap]


def test_milliseconds_go_before_seconds(patient: Patient) -> None:
    patient.wire.router.answer(Reply(429, [("Retry-After", "9"), ("retry-after-ms", "40")]))
    patient.ask()
    assert patient.naps == [0.04]


def test_the_server_may_say_until_when_to_wait(patient: Patient) -> None:
    patient.wire.router.answer(lambda post: limited(30, "date") if len(patient.wire.posts) == 1 else None)
    patient.ask()
    assert 25 < only(patient.naps) <= 30


@pytest.mark.parametrize(("after", "form"), [(61, "seconds"), (1800, "seconds"), (1800, "date"), (60.001, "ms")])
def test_a_wait_above_the_cap_is_left_to_the_caller(patient: Patient, after: float, form: Any) -> None:
    patient.wire.router.answer(lambda post: limited(after, form))
    failure = patient.refused(RateLimitError)
    assert error_facts(failure) == ("", 1, "completion", True)
    assert failure.retry_after == pytest.approx(after, abs=2)
    assert patient.naps == []


def test_a_wait_beyond_the_deadline_is_not_begun(patient: Patient) -> None:
    patient.wire.router.answer(lambda post: limited(20))
    before = time.monotonic()
    failure = patient.refused(RateLimitError, seconds=15)
    assert (failure.attempts, failure.retry_after, patient.naps) == (1, 20, [])
    assert time.monotonic() - before < 10


@pytest.mark.parametrize("chance", [0.0, 0.25, 1.0])
def test_waits_grow_twofold_with_full_jitter_up_to_a_cap(
    wire: Wire, donor: SecureChatCompletion, chance: float
) -> None:
    patient = Patient(wire, donor, chance=chance)
    wire.router.answer(lambda post: Reply(500))
    failure = patient.refused(ServerError, max_retries=7)
    assert failure.attempts == 8
    assert patient.naps == [chance * most for most in (1, 2, 4, 8, 16, BACKOFF_MAX, BACKOFF_MAX)]


def test_chance_is_the_systems_and_differs(wire: Wire, donor: SecureChatCompletion) -> None:
    service = donor.client._service
    drawn = {service._random() for _ in range(100)}
    assert len(drawn) == 100
    assert 0 <= min(drawn) < max(drawn) < 1
    assert service._sleep is asyncio.sleep


def test_without_retries_there_is_one_try(patient: Patient) -> None:
    patient.wire.router.answer(lambda post: Reply(500))
    assert error_facts(patient.refused(ServerError, max_retries=0)) == ("", 1, "completion", True)
    assert (len(patient.wire.posts), patient.naps) == (1, [])


def test_a_missing_tpm_at_tier_maximum_is_not_tried_again(patient: Patient) -> None:
    failure = patient.refused(ServiceUnavailableError, tier="maximum")
    assert error_facts(failure) == ("", 1, "completion", False)
    assert "needs a TPM" in str(failure)
    assert (len(patient.wire.posts), patient.naps) == (1, [])


def test_a_503_at_tier_maximum_that_says_when_to_come_back_is_tried_again(patient: Patient) -> None:
    patient.wire.router.tpm = True
    patient.wire.router.answer(Reply(503, [("Retry-After", "3")]))
    patient.ask(tier="maximum")
    assert patient.naps == [3.0]


@pytest.mark.parametrize("tier", [None, "standard", "high"])
def test_a_503_at_another_tier_is_tried_again(patient: Patient, tier: str | None) -> None:
    patient.wire.router.answer(Reply(503))
    patient.ask(tier=tier)
    assert patient.naps == [1.0]


def test_a_service_that_ends_connections_between_calls_is_found_again(patient: Patient) -> None:
    patient.wire.router.answer(Reply(500, close=True), Reply(reset="after"))
    patient.ask()
    assert [post.connection for post in patient.wire.posts] == [1, 2, 3]


def test_retries_of_the_key_and_of_the_request_are_counted_together(patient: Patient) -> None:
    patient.wire.router.answer(Reply(503), on="GET")
    patient.wire.router.answer(Reply(503), Reply(503))
    failure = patient.refused(ServiceUnavailableError, max_retries=2)
    assert error_facts(failure) == ("", 2, "completion", True)
    assert (patient.wire.fetches, len(patient.wire.posts), patient.naps) == (2, 2, [1.0, 2.0])


def test_the_deadline_holds_over_all_tries(wire: Wire) -> None:
    wire.router.answer(lambda post: Reply(500, delay=0.3))
    before = time.monotonic()
    with pytest.raises((APITimeoutError, ServerError)) as caught:
        wire.ask({"max_retries": 50, "timeout": 1.5})
    assert 0.3 < time.monotonic() - before < 3
    assert caught.value.attempts == len(wire.posts) < 6


@pytest.mark.parametrize("path", ["/v1", "/eu/v1/", "/v1/chat", "/v1/chat/completions"])
def test_a_base_url_of_an_openai_api_is_recognized_when_the_key_is_not_found(wire: Wire, path: str) -> None:
    failure = wire.refused(NotFoundError, {"base_url": wire.router.url + path})
    assert f"remove {path.removeprefix('/eu').rstrip('/')}, since the client appends its own paths" in str(failure)
    assert (failure.stage, wire.posts) == ("key", [])


def test_another_base_url_without_a_key_gets_no_advice_about_v1(wire: Wire) -> None:
    assert "remove" not in str(wire.refused(NotFoundError, {"base_url": f"{wire.router.url}/v10"}))


def test_the_date_of_the_response_is_what_retry_after_is_compared_with(patient: Patient) -> None:
    headers = [("Date", "Fri, 02 Jan 1998 03:04:05 GMT"), ("Retry-After", "Fri, 02 Jan 1998 03:04:12 GMT")]
    patient.wire.router.answer(Reply(503, headers), on="GET")
    patient.wire.router.answer(Reply(503, headers))
    patient.ask()
    assert patient.naps == [7.0, 7.0]
