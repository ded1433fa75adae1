"""Long responses: those that models make are released; one beyond a limit is an error of its own, asked for once."""

from __future__ import annotations

from typing import Any

import pytest

from nomyo.errors import ResponseTooLargeError
from tests.nomyo.client_calls import Wire, error_facts

ALTERNATIVE = {"token": " model", "logprob": -12.345678, "bytes": [32, 109, 111, 100, 101, 108]}
CONTENT = [{**ALTERNATIVE, "top_logprobs": [ALTERNATIVE] * 20}] * 5000


def answered_with(wire: Wire, more: dict[str, Any]) -> None:
    echo = wire.router.complete
    wire.router.complete = lambda payload, payload_id: {**echo(payload, payload_id), **more}


@pytest.mark.slow
def test_five_thousand_tokens_with_twenty_alternatives_each_are_released(wire: Wire) -> None:
    answered_with(wire, {"logprobs": {"content": CONTENT}})
    assert wire.ask()["logprobs"]["content"] == CONTENT


def test_a_response_of_too_many_arrays_is_asked_for_once_and_the_error_names_the_limit(wire: Wire) -> None:
    answered_with(wire, {"more": [[]] * 200_000})
    error = wire.refused(ResponseTooLargeError, {"max_retries": 2})
    assert error_facts(error) == ("response_too_large", 1, "completion", False)
    assert len(wire.posts) == 1
    assert error.found > 200_000 > error.limit > 10_000
    assert f"{error.found} objects and arrays; the limit for its length is {error.limit}" in str(error)


def test_a_response_of_too_many_bytes_is_asked_for_once_and_the_error_names_the_limit(wire: Wire) -> None:
    answered_with(wire, {"more": "x" * (25 * 1024 * 1024)})
    error = wire.refused(ResponseTooLargeError, {"max_retries": 2})
    assert len(wire.posts) == 1
    assert error.found > error.limit == 32 * 1024 * 1024
