"""A router before a server that speaks OpenAI's chat completions."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo.router import RouterOptions, RunningRouter, completions
from nomyo.router.completions import echo
from nomyo.status import STATUSES
from tests.nomyo.router.openai_server import COMPLETION, OpenAIServer, ScriptedReply, completion
from tests.nomyo.router.router_calls import client_of, detail
from tests.nomyo.wire.simple_client import Client, read


class ClosingServer:
    """Answers each request on a connection, and closes the connection when it is idle for some seconds."""

    def __init__(self, idle_seconds: float) -> None:
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = idle_seconds

            def setup(self) -> None:
                super().setup()
                outer.connections += 1

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                body = json.dumps(COMPLETION).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


QUESTION = {
    "model": "llama",
    "messages": [{"role": "user", "content": "what the user said"}],
    "temperature": 0.5,
    "tools": [{"type": "function", "function": {"name": "weather"}}],
}


@pytest.fixture(scope="module")
def one_server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def server(one_server: OpenAIServer) -> OpenAIServer:
    one_server.answer = completion
    one_server.asked.clear()
    return one_server


@pytest.fixture(scope="module")
def forwarding(one_server: OpenAIServer, server_key: rsa.RSAPrivateKey) -> Iterator[RunningRouter]:
    options = RouterOptions(
        tpm="soft", upstream=f"{one_server.url}/", upstream_api_key="hunter2", upstream_timeout=0.5, api_keys=("ours",)
    )
    with RunningRouter(options, server_key=server_key) as router:
        yield router


@pytest.fixture
def client(forwarding: RunningRouter) -> Iterator[Client]:
    with client_of(forwarding) as client:
        yield client


BEARER: dict[str, str | None] = {"Authorization": "Bearer ours"}


def test_the_upstream_s_completion_is_answered_with_evidence(server: OpenAIServer, client: Client) -> None:
    answered = read(client.call(QUESTION, headers=BEARER))
    assert answered["_metadata"]["tpm_attestation"]["is_available"] is True
    del answered["_metadata"]
    assert answered == COMPLETION


def test_the_upstream_is_asked_what_was_asked(server: OpenAIServer, client: Client) -> None:
    client.call(QUESTION, headers=BEARER)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.payload == {**QUESTION, "stream": False}
    assert asked.headers["authorization"] == "Bearer hunter2"
    assert asked.headers["content-type"] == "application/json"


def test_no_header_of_the_client_reaches_the_upstream(server: OpenAIServer, client: Client) -> None:
    client.call(QUESTION, headers={**BEARER, "X-Other": "1"}, tier="high")
    headers = server.asked[0].headers
    assert not [name for name in headers if name.startswith("x-")]
    assert "ours" not in str(headers)


def test_metadata_of_the_upstream_is_dropped(server: OpenAIServer, client: Client) -> None:
    forged = {**COMPLETION, "_metadata": {"security_tier": "maximum", "tpm_attestation": {"is_available": True}}}
    server.answer = lambda _: ScriptedReply(body=json.dumps(forged).encode())
    metadata = read(client.call(QUESTION, headers=BEARER))["_metadata"]
    assert metadata["security_tier"] == "standard"
    assert "quote_b64" in metadata["tpm_attestation"]


@pytest.mark.parametrize(
    ("status", "answered"),
    [
        (400, 400), (404, 400), (413, 400), (422, 400), (429, 429), (503, 503),
        (500, 502), (502, 502), (504, 502), (408, 502), (425, 502), (520, 502), (524, 502), (529, 502),
        (401, 424), (402, 424), (403, 424), (405, 424), (418, 424), (302, 424), (204, 424), (501, 424), (505, 424),
    ],
)  # fmt: skip
def test_a_status_that_concerns_the_caller_is_passed_on_and_only_faults_that_may_pass_are_retried(
    server: OpenAIServer, client: Client, status: int, answered: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = b'{"error": {"message": "you asked: what the user said"}}' if status != 204 else b""
    server.answer = lambda _: ScriptedReply(status, body)
    answer = client.call(QUESTION, headers=BEARER)
    assert answer.status == answered
    assert "The inference server" in detail(answer) or "The request is too large" in detail(answer)
    assert b"the user said" not in answer.body  # errors travel unsealed
    assert "the user said" not in caplog.text


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"code": "context_length_exceeded", "type": "invalid_request_error"}, "the model's context length"),
        ({"code": 400, "type": "exceed_context_size_error", "n_ctx": 512}, "the model's context length"),
        ({"code": "model_not_found"}, "does not have the model"),
        ({"code": "what the user said", "type": ["x"]}, "refused the request"),
        ({"code": "context_length_exceeded", "param": "x" * 70_000}, "refused the request"),
        ("context_length_exceeded", "refused the request"),
    ],
)
def test_the_client_learns_why_the_upstream_refused_only_from_codes_that_the_router_knows(
    server: OpenAIServer, client: Client, error: object, reason: str
) -> None:
    if isinstance(error, dict):
        error = {"message": "you asked: what the user said", **error}
    server.answer = lambda _: ScriptedReply(400, json.dumps({"error": error}).encode())
    answer = client.call(QUESTION, headers=BEARER)
    assert answer.status == 400
    assert reason in detail(answer)
    assert b"the user said" not in answer.body


def test_an_error_that_breaks_off_keeps_its_status(server: OpenAIServer, client: Client) -> None:
    server.answer = lambda _: ScriptedReply(400, b'{"error": {"code": "model_not_found"}}', cut=True)
    answer = client.call(QUESTION, headers=BEARER)
    assert (answer.status, detail(answer)) == (400, "The inference server refused the request")


@pytest.mark.parametrize("value", ["", "7" * 65, "\xa07"])
def test_a_retry_after_that_cannot_be_passed_on_is_dropped(server: OpenAIServer, client: Client, value: str) -> None:
    server.answer = lambda _: ScriptedReply(503, b"{}", (("Retry-After", value),))
    answer = client.call(QUESTION, headers=BEARER)
    assert (answer.status, answer.headers.get("retry-after")) == (503, None)


@pytest.mark.parametrize(("status", "kept"), [(429, True), (503, True), (500, False)])
def test_retry_after_is_passed_on_with_its_status(
    server: OpenAIServer, client: Client, status: int, kept: bool
) -> None:
    server.answer = lambda _: ScriptedReply(status, b"{}", (("Retry-After", "7"),))
    answer = client.call(QUESTION, headers=BEARER)
    assert answer.headers.get("retry-after") == ("7" if kept else None)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"Hello.", b"[]", b"null", b"{}", b'{"choices": "x"}',
        b'{"choices": [], "x": NaN}', b'{"choices": [], "\xff": 1}', b"<html><body>Sign in</body></html>",
    ],
)  # fmt: skip
def test_a_response_that_is_not_a_completion_is_not_retried(server: OpenAIServer, client: Client, body: bytes) -> None:
    server.answer = lambda _: ScriptedReply(body=body)
    answer = client.call(QUESTION, headers=BEARER)
    assert (answer.status, detail(answer)) == (424, "The inference server's response is not a chat completion")


def test_a_response_that_cannot_be_decompressed_is_not_retried(server: OpenAIServer, client: Client) -> None:
    server.answer = lambda _: ScriptedReply(body=b"nonsense", headers=(("Content-Encoding", "gzip"),))
    answer = client.call(QUESTION, headers=BEARER)
    assert (answer.status, detail(answer)) == (424, "The inference server's response is not a chat completion")


def test_the_status_of_faults_that_a_retry_cannot_fix_is_retried_by_no_client() -> None:
    published = {429, 500, 502, 503, 504}
    assert completions.UNUSABLE not in published | {status for status, meaning in STATUSES.items() if meaning.retryable}
    assert completions.UNUSABLE < 500  # many clients and proxies retry every 5xx


def test_an_idle_connection_to_the_upstream_is_dropped_before_the_usual_five_seconds(
    server_key: rsa.RSAPrivateKey,
) -> None:
    """A server that closes idle connections after five seconds, as uvicorn and Node.js do."""
    with ClosingServer(5.0) as closing:
        options = RouterOptions(tpm="none", upstream=closing.url)
        with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
            assert client.call(QUESTION).status == 200
            assert client.call(QUESTION).status == 200
            assert closing.connections == 1
            time.sleep(4.5)
            assert client.call(QUESTION).status == 200
            assert closing.connections == 2


def test_silence_is_a_504(server: OpenAIServer, client: Client) -> None:
    server.answer = lambda _: ScriptedReply(delay=1.0)
    answer = client.call(QUESTION, headers=BEARER)
    assert (answer.status, detail(answer)) == (504, "The inference server did not respond in time")


def test_an_answer_that_breaks_off_is_a_502(server: OpenAIServer, client: Client) -> None:
    server.answer = lambda _: ScriptedReply(body=b"x" * 1000, cut=True)
    answer = client.call(QUESTION, headers=BEARER)
    assert answer.status == 502
    assert "ended the connection" in detail(answer)


def test_a_response_that_is_too_large_is_not_retried(
    server: OpenAIServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions, "COMPLETION_MAX", 10_000)
    server.answer = lambda _: ScriptedReply(body=b" " * 10_001)
    answer = client.call(QUESTION, headers=BEARER)
    assert (answer.status, detail(answer)) == (424, "The inference server's response is larger than 10000 bytes")


def test_a_response_with_log_probabilities_of_twenty_alternatives_passes(server: OpenAIServer, client: Client) -> None:
    alternative = {"token": " model", "logprob": -12.345678, "bytes": [32, 109, 111, 100, 101, 108]}
    token = {**alternative, "top_logprobs": [alternative] * 20}
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "logprobs": {"content": [token] * 5000}}
    long = {**COMPLETION, "choices": [choice]}
    body = json.dumps(long).encode()
    assert len(body) > 8_000_000
    server.answer = lambda _: ScriptedReply(body=body)
    assert read(client.call(QUESTION, headers=BEARER))["choices"] == long["choices"]


def test_a_response_of_more_objects_than_are_read_gets_a_status_that_is_not_retried(
    server: OpenAIServer, client: Client
) -> None:
    server.answer = lambda _: ScriptedReply(body=b'{"choices": [' + b"{}," * 100_000 + b"{}]}")
    answer = client.call(QUESTION, headers=BEARER)
    assert answer.status == 424
    assert detail(answer).startswith("The inference server's response has 100003 objects and arrays, more than the 225")


def test_a_prompt_of_half_a_million_commas_reaches_the_upstream(server: OpenAIServer, client: Client) -> None:
    table = "1,[x],{y}\n" * 251_000
    read(client.call({**QUESTION, "messages": [{"role": "user", "content": table}]}, headers=BEARER))
    assert server.asked[-1].payload["messages"][0]["content"] == table


def test_an_upstream_that_is_not_there_is_a_502(server_key: rsa.RSAPrivateKey) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else gets the port meanwhile
        bound.bind(("127.0.0.1", 0))
        options = RouterOptions(tpm="none", upstream=f"http://127.0.0.1:{bound.getsockname()[1]}/v1")
        with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
            answer = client.call(QUESTION)
    assert (answer.status, detail(answer)) == (502, "The inference server cannot be reached")


def test_a_proxy_of_the_environment_sees_no_prompt(
    server: OpenAIServer, server_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    options = RouterOptions(tpm="none", upstream=server.url)
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
        read(client.call(QUESTION))


def test_a_request_that_is_refused_never_reaches_the_upstream(server: OpenAIServer, client: Client) -> None:
    assert client.call(QUESTION).status == 401
    assert client.call({**QUESTION, "stream": True}, headers=BEARER).status == 400
    assert server.asked == []


def test_a_prompt_for_tier_maximum_without_a_tpm_never_reaches_the_upstream(
    server: OpenAIServer, forwarding: RunningRouter, client: Client
) -> None:
    forwarding.tpm_available = False
    try:
        assert client.call(QUESTION, headers=BEARER, tier="maximum").status == 503
    finally:
        forwarding.tpm_available = True
    assert server.asked == []


def test_an_upstream_with_tls_is_verified(server_key: rsa.RSAPrivateKey) -> None:
    """Another router stands in for a TLS server whose CA nobody trusts."""
    with RunningRouter(RouterOptions(tpm="none"), server_key=server_key) as stranger:
        options = RouterOptions(tpm="none", upstream=f"{stranger.url}/v1")
        with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
            answer = client.call(QUESTION)
            assert (answer.status, detail(answer)) == (424, "The inference server's certificate is not trusted")
        assert stranger.counts.posts == 0


def test_an_upstream_that_does_not_speak_tls_is_not_retried(
    server: OpenAIServer, server_key: rsa.RSAPrivateKey
) -> None:
    options = RouterOptions(tpm="none", upstream=server.url.replace("http:", "https:"))
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
        answer = client.call(QUESTION)
    assert (answer.status, detail(answer)) == (424, "TLS cannot be established with the inference server")


def said(*contents: Any, **more: Any) -> dict[str, Any]:
    """The echo of user messages with these contents."""
    return echo({"model": "m", "messages": [{"role": "user", "content": one} for one in contents], **more})


def content(completion: dict[str, Any]) -> Any:
    return completion["choices"][0]["message"]["content"]


def test_the_last_user_message_comes_back_in_openai_s_form() -> None:
    completion = said("first", "Grüße, and more")
    assert completion["object"] == "chat.completion"
    assert completion["model"] == "m"
    assert completion["id"].startswith("chatcmpl-")
    assert completion["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Grüße, and more"}, "finish_reason": "stop"}
    ]
    assert completion["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}


def test_what_others_said_is_not_echoed() -> None:
    messages = [{"role": "user", "content": "mine"}, {"role": "assistant", "content": "yours"}]
    assert content(echo({"model": "m", "messages": messages})) == "mine"
    assert content(echo({"model": "m", "messages": [{"role": "system", "content": "be kind"}]})) == ""


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}], "a\nb"),
        ([], ""), (None, ""), (["a"], ""), ([{"type": "text"}], ""), ({"text": "a"}, ""),
    ],
)  # fmt: skip
def test_content_in_parts_is_read(parts: object, text: str) -> None:
    assert content(said(parts)) == text


def test_max_tokens_cuts_after_so_many_words() -> None:
    completion = said("one two  three four", max_tokens=3)
    assert content(completion) == "one two  three"
    assert completion["choices"][0]["finish_reason"] == "length"
    assert completion["usage"]["completion_tokens"] == 3
    assert said("one two", max_completion_tokens=1)["choices"][0]["finish_reason"] == "length"
    assert said("one two", max_tokens=2)["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("most", [True, -1, "3", 1.0, None])
def test_max_tokens_that_are_no_number_cut_nothing(most: object) -> None:
    assert content(said("one two", max_tokens=most)) == "one two"


@pytest.mark.parametrize(("n", "choices"), [(3, 3), (1, 1), (0, 1), (-1, 1), ("2", 1), (True, 1), (10**9, 16)])
def test_as_many_choices_as_asked_for_within_reason(n: object, choices: int) -> None:
    completion = said("a b", n=n)
    assert [choice["index"] for choice in completion["choices"]] == list(range(choices))
    assert completion["usage"]["completion_tokens"] == 2 * choices


def test_a_cut_keeps_what_stands_before_the_first_word() -> None:
    assert content(said("  one two", max_tokens=1)) == "  one"
    assert content(said("one two", max_tokens=0)) == ""
    assert said("", max_tokens=0)["choices"][0]["finish_reason"] == "stop"


def test_a_long_prompt_is_counted_nearly_exactly() -> None:
    usage = said("word " * 200_000)["usage"]
    assert 200_000 <= usage["prompt_tokens"] <= 200_016
