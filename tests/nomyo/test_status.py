"""Statuses and bodies become errors: the published words, any bytes at all, and nothing that was sent comes back."""

from __future__ import annotations

import html
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import thread_time
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from nomyo import errors
from nomyo.errors import APIStatusError
from nomyo.redaction import REDACTED
from nomyo.status import BODY_MAX, DETAIL_MAX, NOT_FROM_ROUTER, status_error
from tests.nomyo.defects.walker import places_of, reachable

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KINDS: dict[int, type[APIStatusError]] = {
    400: errors.InvalidRequestError,
    401: errors.AuthenticationError,
    403: errors.ForbiddenError,
    404: errors.NotFoundError,
    429: errors.RateLimitError,
    500: errors.ServerError,
    503: errors.ServiceUnavailableError,
}
# status: with a detail, with JSON but no detail, without JSON (wire protocol, section 8)
WORDS = {
    400: ("Bad request: why", "Bad request: Unknown error", "Bad request: Invalid response format"),
    401: ("why", "Invalid API key or authentication failed", "Invalid API key or authentication failed"),
    403: ("Forbidden: why", "Forbidden: Model not allowed for the requested security tier",
          "Forbidden: Model not allowed for the requested security tier"),
    404: ("Endpoint not found: why", "Endpoint not found: Secure inference not enabled",
          "Endpoint not found: Secure inference not enabled"),
    429: ("Rate limit exceeded: why", "Rate limit exceeded: unknown", "Rate limit exceeded: unknown"),
    500: ("Server error: why", "Server error: unknown", "Server error: unknown"),
    503: ("Service unavailable: why", "Service unavailable: unknown", "Service unavailable: unknown"),
}  # fmt: skip
for _status in (201, 302, 402, 418, 422, 502, 504, 524, 529, 599):
    _start = f"Unexpected status code: {_status} "
    WORDS[_status] = (f"{_start}why", f"{_start}unknown", f"{_start}unknown")
SECRET = "a-prompt-of-several-words-6c1f4b2d8e0a9357"


def error_of(body: bytes, status: int = 400, secrets: tuple[str, ...] = (SECRET,)) -> APIStatusError:
    return status_error(status, {}, body, secrets=secrets, now=NOW)


@pytest.mark.parametrize("status", WORDS)
def test_each_status_has_the_published_class_and_words(status: int) -> None:
    with_detail, without_detail, without_json = WORDS[status]
    for body, message in (
        (b'{"detail": "why"}', with_detail),
        (b"{}", without_detail),
        (b'{"detail": null}', without_detail),
        (b'{"detail": ""}', without_detail),
        (b"null", without_detail),
        (b"", without_json),
        (b"why", without_json),
        (b'{"detail": "why"', without_json),
    ):
        error = error_of(body, status)
        assert type(error) is KINDS.get(status, APIStatusError)
        assert str(error) == error.message == message, body
        assert error.args == (message,)
        assert error.status_code == status


@pytest.mark.parametrize("status", WORDS)
@pytest.mark.parametrize(
    "body",
    [
        "<html>why</html>",
        "<!DOCTYPE html>\n<html lang='en'><title>Just a moment…</title>",
        "  <!-- by a proxy -->\n<HTML><body>",
        "<h1>Forbidden</h1>",
        "<head><title>502 Bad Gateway</title></head>\r\n<body>",
    ],
)
def test_an_html_page_is_not_taken_for_the_routers_word(status: int, body: str) -> None:
    error = error_of(body.encode(), status)
    assert f"an HTML page, {NOT_FROM_ROUTER}" in str(error)
    assert WORDS[status][2] not in str(error)
    assert type(error) is KINDS.get(status, APIStatusError)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "blocked by policy 7", "type": "gateway"}},
        {"error": "blocked by policy 7"},
        {"message": "blocked by policy 7", "requestId": "r1"},
    ],
)
def test_a_gateways_words_are_quoted_as_a_gateways(body: dict[str, Any]) -> None:
    error = error_of(json.dumps(body).encode(), 403)
    assert str(error) == f"Forbidden: blocked by policy 7 ({NOT_FROM_ROUTER})"
    assert error.body == body


def test_an_error_without_a_prefix_names_its_status_where_the_router_did_not_write_it() -> None:
    assert str(error_of(b"<html>", 401)) == f"HTTP 401: an HTML page, {NOT_FROM_ROUTER}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('["one", 2]', '["one", 2]'),
        ('"only this"', "only this"),
        ("5", "5"),
        ("true", "true"),
        ('{"detail": ["a", {"b": "ü"}]}', '["a", {"b": "ü"}]'),
        ('{"detail": {"msg": "no", "type": null}}', '{"msg": "no", "type": null}'),
        ('{"detail": 7.5}', "7.5"),
        ('{"detail": false}', "false"),
    ],
)
def test_a_detail_of_any_json_type_is_told(body: str, said: str) -> None:
    error = error_of(body.encode())
    assert str(error) == f"Bad request: {said}"
    assert error.body == json.loads(body)


@pytest.mark.parametrize("status", WORDS)
def test_details_are_an_object_where_the_published_client_has_them(status: int) -> None:
    has_them = status in KINDS or status in (502, 504)
    assert error_of(b'{"detail": "why", "x": 1}', status).error_details == (
        {"detail": "why", "x": 1} if has_them else None
    )
    for body in (b'["why"]', b'"why"', b"5", b"null", b"", b"why"):
        assert error_of(body, status).error_details is None


def test_the_body_is_kept_as_json_or_as_text_or_not_at_all() -> None:
    assert error_of(b'{"detail": "why", "x": [1, {"y": null}]}').body == {"detail": "why", "x": [1, {"y": None}]}
    assert error_of(b"<html>\xff</html>").body == "<html>\ufffd</html>"
    assert error_of(b"").body is None
    assert error_of(b"null").body is None


def test_the_headers_are_kept_and_retry_after_is_read() -> None:
    headers = {"retry-after": "7", "x-request-id": "r1"}
    error = status_error(429, headers, b"", now=NOW)
    assert error.headers == headers
    assert error.retry_after == 7.0
    assert status_error(429, {}, b"", now=NOW).retry_after is None
    dated = {"retry-after": "Fri, 02 Jan 2026 03:04:35 GMT"}
    assert status_error(503, dated, b"", now=NOW).retry_after == 30.0
    soon = {"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)}
    assert 30 < (status_error(503, soon, b"").retry_after or 0) <= 60


def test_a_long_detail_is_shortened_in_the_message() -> None:
    assert (BODY_MAX, DETAIL_MAX) == (65536, 500)
    error = error_of(json.dumps({"detail": "x" * 5000}).encode())
    assert str(error) == f"Bad request: {'x' * 500}…"
    assert str(error_of(json.dumps({"detail": "x" * 500}).encode())) == f"Bad request: {'x' * 500}"
    assert len(str(error_of(json.dumps(["y" * 400] * 50).encode()))) == len("Bad request: ") + 501


def test_a_long_text_is_shortened_in_the_body() -> None:
    assert error_of(b"x" * 5000).body == "x" * 2000


def test_what_is_behind_the_first_64_kib_is_not_looked_at() -> None:
    at_the_limit = b'"' + b"x" * (BODY_MAX - 2) + b'"'
    assert error_of(at_the_limit).body == "x" * (BODY_MAX - 2)
    assert error_of(at_the_limit + b"y").body == "x" * (BODY_MAX - 2)
    assert error_of(b'"' + b"x" * BODY_MAX + b'"').body == '"' + "x" * 1999


def test_deep_nesting_is_cut_and_deeper_nesting_is_no_json() -> None:
    deep: Any = "bottom"
    for _ in range(100):
        deep = {"x": [deep]}
    error = error_of(json.dumps({"detail": deep}).encode())
    assert "bottom" not in str(error.body)
    assert error_of(b"[" * 30_000 + b"]" * 30_000).message == "Bad request: Invalid response format"


@pytest.mark.parametrize("body", [b"1" * 5000, b'{"detail": ' + b"1" * 5000 + b"}"])
def test_numbers_of_thousands_of_digits_are_no_json(body: bytes) -> None:
    assert error_of(body).message == "Bad request: Invalid response format"


def size_of(value: object) -> int:
    """Characters of all texts that can be reached, each counted once."""
    return sum(len(one) for _, one in reachable(value) if isinstance(one, (str, bytes)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.just("detail"), inner, max_size=4)
    ),
    max_leaves=15,
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    JSON.map(lambda value: json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps({"detail": value}).encode()),
)


@given(status=st.integers(0, 999).filter(lambda status: status != 200), body=BODIES, times=st.integers(1, 3))
@example(status=400, body=b"\xff" * BODY_MAX, times=2)
@example(status=400, body=b'{"detail": NaN, "x": [Infinity, 1e999]}', times=1)
@example(status=400, body=b'{"detail": "\\ud800"}', times=1)
def test_any_status_and_any_bytes_are_the_right_class_and_of_bounded_length(
    status: int, body: bytes, times: int
) -> None:
    error = error_of(body * times, status)
    assert type(error) is KINDS.get(status, APIStatusError)
    assert error.status_code == status
    assert len(str(error)) <= len("Unexpected status code: 000 ") + 501 + len(f"… ({NOT_FROM_ROUTER})")
    start = WORDS[status][0].removesuffix("why") if status in KINDS else f"Unexpected status code: {status} "
    assert str(error).startswith(start)
    assert size_of(error) <= 3 * BODY_MAX + 5000
    assert error.headers == {}
    assert error.retry_after is None


# Nothing of these is part of the word that takes their place, and none is part of another.
SECRETS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=60)
    .map(lambda text: f"§{text}¶")
    .filter(lambda text: REDACTED not in text),
    min_size=1,
    max_size=3,
)


def around(secret: str) -> st.SearchStrategy[bytes]:
    """Bodies in which a service echoes a text in one way or another."""
    in_json = [
        {"detail": secret},
        {"detail": f"invalid: {secret}!"},
        {"detail": [{"loc": ["body", "messages", 0], "input": secret}], secret: 1},
        {"detail": {"deep": [[{"x": {secret: [secret, secret + secret]}}]]}},
        [secret],
        secret,
        {"error": {"message": f"{secret}{secret}", "param": None}},
        {"detail": f"{{'messages': [{{'content': {secret!r}}}]}}"},
        {"detail": json.dumps({"messages": [{"content": secret}]})},
        {"detail": json.dumps({"messages": [{"content": secret}]}, ensure_ascii=False)},
    ]
    return st.sampled_from(
        [
            *(json.dumps(one).encode() for one in in_json),
            *(json.dumps(one, ensure_ascii=False).encode() for one in in_json),
            *(json.dumps(one).encode()[:-1] for one in in_json),
            *(json.dumps(one, ensure_ascii=False).encode()[:-2] for one in in_json),
            secret.encode(),
            f"<html><pre>{html.escape(secret)}</pre></html>".encode(),
            f"Cannot parse {secret!r}".encode(),
            f"{secret}\n{secret}".encode(),
        ]
    )


@given(data=st.data(), secrets=SECRETS, status=st.sampled_from([400, 422, 500, 502, 302]))
def test_what_was_sent_does_not_come_back_in_an_error(data: st.DataObject, secrets: list[str], status: int) -> None:
    secret = data.draw(st.sampled_from(secrets))
    body = data.draw(around(secret))
    error = status_error(status, {"x-echo": f"a{secret}b"}, body, secrets=secrets, now=NOW)
    assert places_of(secret, error) == []
    for form in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], html.escape(secret)):
        assert places_of(form, error) == []
    assert REDACTED in error.headers["x-echo"]


@pytest.mark.parametrize("length", [8, 24, 25, 100, 1999, 2000, 5000, 65_000, 70_000, 1_000_000])
@pytest.mark.parametrize("form", ['{{"detail": "{}"}}', '{{"detail": [{{"input": "{}"}}]}}', "<html>{}</html>", "{}"])
def test_a_text_that_is_cut_off_with_the_body_does_not_come_back_either(length: int, form: str) -> None:
    secret = (f"{SECRET} " * (length // len(SECRET) + 1))[:length]
    for body in (form.format(secret).encode(), form.format(secret).encode()[:BODY_MAX]):
        error = error_of(body, secrets=(secret,))
        assert places_of(secret[:8], error) == []


@pytest.mark.parametrize("quoted", [24, 30, len(SECRET) - 1])
def test_a_quotation_of_the_beginning_does_not_come_back(quoted: int) -> None:
    error = error_of(json.dumps({"detail": f"Too long: {SECRET[:quoted]}…, and so on"}).encode())
    assert str(error) == f"Bad request: Too long: {REDACTED}…, and so on"


@pytest.mark.parametrize("cut", range(8, len(SECRET)))
def test_a_text_that_begins_at_the_very_end_does_not_come_back(cut: int) -> None:
    error = error_of(f"<p>Your request: {SECRET[:cut]}".encode())
    assert error.body == f"<p>Your request: {REDACTED}"


def test_the_longer_of_two_texts_goes_first() -> None:
    error = status_error(400, {}, b'{"detail": "one-two-three and one-two-"}', secrets=["one-two-", "one-two-three"])
    assert str(error) == f"Bad request: {REDACTED} and {REDACTED}"


def test_short_texts_are_left_where_they_stand() -> None:
    error = status_error(400, {}, b'{"detail": "user is not allowed"}', secrets=["user", "allowed", ""])
    assert str(error) == "Bad request: user is not allowed"


def test_an_error_without_an_echo_is_told_whole() -> None:
    body = {"detail": "The model is overloaded", "code": "overloaded_error"}
    assert error_of(json.dumps(body).encode(), 503).body == body


@given(secret=st.text(min_size=8, max_size=40), text=st.text(max_size=60))
def test_what_has_nothing_of_the_prompt_is_left_as_it_is(secret: str, text: str) -> None:
    assume(not any(text[at : at + 4] in secret for at in range(max(1, len(text) - 3))))
    assume(not set(secret) & set("&<>\"'\\"))
    assert status_error(400, {"h": text}, json.dumps([text]).encode(), secrets=[secret], now=NOW).body == [text]


def test_a_prompt_of_megabytes_takes_no_time_to_be_taken_out() -> None:
    secrets = [f"{number} {'€ text ' * 100_000}" for number in range(20)]
    body = json.dumps({"detail": secrets[3]}).encode()
    start = thread_time()
    error = status_error(400, {}, body, secrets=secrets, now=NOW)
    assert thread_time() - start < 1.0
    assert places_of("€ text", error) == []


@pytest.mark.parametrize("status", [400, 403, 500, 502])
def test_a_message_is_one_line_without_commands_to_a_ci_system(status: int) -> None:
    detail = "no\n::error::forged ##vso[task.complete]\x1b[31m"
    found = status_error(status, {}, json.dumps({"detail": detail}).encode())
    assert str(found).isprintable()
    assert "no\\n::error::forged \\x23#vso[task.complete]\\x1b[31m" in str(found)
    assert found.body == {"detail": detail}
    assert found.error_details == {"detail": detail}
