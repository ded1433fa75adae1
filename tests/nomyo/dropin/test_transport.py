"""The transport under httpx, over the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from nomyo import ArgumentError, ArgumentTypeError, AttestationError, NomyoError, SecureChatCompletion
from nomyo.dropin import BASE_URL, EncryptedTransport, async_http_client, http_client, http_clients, refusal
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import API_KEY, MODEL, PROMPT, Wire, policy, run
from tests.nomyo.secret_search import SecretSearch
from tests.nomyo.wire.plain_router import Reply

URL = f"{BASE_URL}/chat/completions"
PAYLOAD = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}


def transport(
    wire: Wire, *, models: tuple[str, ...] = (), forward_api_key: bool = False, **options: Any
) -> EncryptedTransport:
    return EncryptedTransport(wire.client(**options), models=models, forward_api_key=forward_api_key)


@pytest.fixture
def http(wire: Wire) -> Iterator[httpx.Client]:
    with http_client(transport(wire), library="httpx") as client:
        yield client


def code(response: httpx.Response) -> str:
    found = response.json()["error"]["code"]
    assert isinstance(found, str)
    return found


def test_a_completion_is_encrypted_and_returned_by_both_clients_of_one_transport(wire: Wire, tpm: Forge) -> None:
    blocking, asynchronous = http_clients(transport(wire, attestation_policy=policy()), library="httpx")

    async def call() -> httpx.Response:
        async with asynchronous:
            return await asynchronous.post(URL, json=PAYLOAD)

    for response in (blocking.post(URL, json=PAYLOAD), run(call())):
        assert response.json()["choices"][0]["message"]["content"] == PROMPT
        assert response.headers["x-nomyo-verdict"] == "affirming"
    assert [post.plaintext for post in wire.posts] == [PAYLOAD, PAYLOAD]
    blocking.close()


@pytest.mark.parametrize(
    ("method", "url", "status", "expected"),
    [
        ("POST", "https://api.openai.com/v1/chat/completions", 400, "wrong_base_url"),
        ("POST", "http://nomyo.invalid/v1/chat/completions", 400, "wrong_base_url"),
        ("POST", "https://nomyo.invalid:8443/v1/chat/completions", 400, "wrong_base_url"),
        ("POST", "https://nomyo.invalid.example.com/v1/chat/completions", 400, "wrong_base_url"),
        ("GET", f"{BASE_URL}/models", 404, "not_encrypted"),
        ("POST", f"{BASE_URL}/embeddings", 404, "not_encrypted"),
        ("POST", f"{BASE_URL}/responses", 404, "not_encrypted"),
        ("POST", f"{BASE_URL}/completions", 404, "not_encrypted"),
    ],
)
def test_no_other_request_leaves_this_machine(
    wire: Wire, http: httpx.Client, method: str, url: str, status: int, expected: str
) -> None:
    response = http.request(method, url, json=PAYLOAD)

    assert (response.status_code, code(response)) == (status, expected)
    assert wire.router.requests == []


def test_headers_cookies_and_the_query_are_not_sent(wire: Wire, http: httpx.Client) -> None:
    http.post(
        f"{URL}?key=query-secret",
        json=PAYLOAD,
        headers={"User-Agent": "agent-secret", "OpenAI-Organization": "organization-secret", "Cookie": "cookie-secret"},
    )

    (post,) = wire.posts
    assert "secret" not in repr(post.headers).replace("/v1/chat/secure_completion", "")
    assert post.path == "/v1/chat/secure_completion"


@pytest.mark.parametrize(("forward", "sent"), [(False, API_KEY), (True, "key-of-the-request")])
def test_the_api_key_of_a_request_is_used_only_if_that_is_chosen(wire: Wire, forward: bool, sent: str) -> None:
    with http_client(transport(wire, forward_api_key=forward), library="httpx") as http:
        http.post(URL, json=PAYLOAD, headers={"Authorization": "Bearer key-of-the-request"})

    assert wire.posts[0].header("Authorization") == f"Bearer {sent}"


def test_the_declared_models_are_listed_without_asking_the_server(wire: Wire) -> None:
    with http_client(transport(wire, models=(MODEL,)), library="httpx") as http:
        listed = http.get(f"{BASE_URL}/models").json()

    assert [entry["id"] for entry in listed["data"]] == [MODEL]
    assert wire.router.requests == []


def test_a_refused_request_has_the_exception_with_the_result_in_an_extension(wire: Wire) -> None:
    with http_client(transport(wire, attestation_policy=policy()), library="httpx") as http:
        response = http.post(URL, json=PAYLOAD)
        with pytest.raises(httpx.HTTPStatusError) as caught:
            response.raise_for_status()

    error = refusal(caught.value)
    assert isinstance(error, AttestationError)
    assert (response.status_code, code(response), error.code) == (403, "not_affirmed", "not_affirmed")
    assert error.result.verdict.value == response.json()["error"]["verdict"]


def test_a_client_that_the_transport_creates_holds_refused_prompts(wire: Wire) -> None:
    created = EncryptedTransport(base_url=wire.router.url, attestation_policy=policy(), api_key=API_KEY, max_retries=0)
    created.client.client.keyring.pair = run(wire.client().client.keyring.get())
    with http_client(created, library="httpx") as http:
        assert [code(http.post(URL, json=PAYLOAD)) for _ in range(3)] == ["not_affirmed", "held", "held"]
    assert len(wire.posts) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [(Reply(delay=5), httpx.ReadTimeout), (Reply(reset="before"), httpx.ReadError)],
    ids=["timeout", "broken connection"],
)
def test_a_call_without_a_response_raises_the_error_of_the_library_and_is_not_sent_again(
    wire: Wire, http: httpx.Client, reply: Reply, kind: type[httpx.TransportError]
) -> None:
    wire.router.answer(reply)
    with pytest.raises(kind) as first:
        http.post(URL, json=PAYLOAD, timeout=0.5)
    with pytest.raises(kind) as again:
        http.post(URL, json=PAYLOAD, headers={"X-Stainless-Retry-Count": "1"})

    error = refusal(first.value)
    assert error is not None
    assert error is refusal(again.value)
    assert error.prompt_sent is True
    assert len(wire.posts) == 1
    # A new call, and another request, are sent.
    assert http.post(URL, json=PAYLOAD).status_code == 200
    assert http.post(URL, json=PAYLOAD, headers={"X-Stainless-Retry-Count": "1"}).status_code == 200


def test_a_server_that_is_not_there_is_a_connect_error_and_nothing_was_sent(wire: Wire) -> None:
    client = http_client(transport(wire, base_url="https://localhost:1"), library="httpx")
    with client as http, pytest.raises(httpx.ConnectError) as caught:
        http.post(URL, json=PAYLOAD)

    error = refusal(caught.value)
    assert error is not None
    assert error.prompt_sent is False


def test_what_the_transport_raises_does_not_refer_to_the_prompt_or_the_key(wire: Wire) -> None:
    own = transport(wire)
    wire.router.answer(lambda _: Reply(reset="before"))
    request = httpx.Request("POST", URL, json=PAYLOAD)

    async def call() -> None:
        await own.handle_async_request(request)

    for raising in (lambda: own.handle_request(request), lambda: run(call())):
        with pytest.raises(httpx.ReadError) as caught:
            raising()
        frames = caught.value.__traceback__
        while frames is not None and "dropin/transport" not in frames.tb_frame.f_code.co_filename:
            frames = frames.tb_next
        assert frames is not None
        names = frames.tb_frame.f_locals
        hunt = SecretSearch(PROMPT).look("error", refusal(caught.value))
        for name in set(names) - {"self"}:
            hunt.look(name, str(names[name]))
        assert hunt.found == []
        assert "request" not in names


def test_the_timeout_of_the_http_library_limits_the_whole_call(wire: Wire, http: httpx.Client) -> None:
    wire.router.answer(Reply(drip=(1, 0.2)))
    with pytest.raises(httpx.ReadTimeout):
        http.post(URL, json=PAYLOAD, timeout=httpx.Timeout(None, read=0.5))


def test_a_client_without_asyncio_gets_a_response_and_nothing_is_sent(wire: Wire) -> None:
    request = httpx.Request("POST", URL, json=PAYLOAD)
    coroutine = transport(wire).handle_async_request(request)
    with pytest.raises(StopIteration) as finished:
        coroutine.send(None)

    assert code(httpx.Response(400, content=finished.value.value.content)) == "needs_asyncio"
    assert wire.router.requests == []


def test_the_client_is_closed_with_the_last_http_client_if_the_transport_created_it(wire: Wire) -> None:
    created = EncryptedTransport(base_url=wire.router.url, api_key=API_KEY)
    created.client.client.keyring.pair = run(wire.client().client.keyring.get())
    first, second = (http_client(created, library="httpx") for _ in range(2))
    first.close()
    assert second.post(URL, json=PAYLOAD).status_code == 200
    second.close()
    with http_client(created, library="httpx") as closed:
        assert code(closed.post(URL, json=PAYLOAD)) == "client_closed"


def test_a_client_that_was_passed_stays_open(wire: Wire) -> None:
    client = wire.client()

    async def call() -> httpx.Response:
        async with async_http_client(EncryptedTransport(client), library="httpx"):
            pass
        async with async_http_client(EncryptedTransport(client), library="httpx") as http:
            return await http.post(URL, json=PAYLOAD)

    assert run(call()).status_code == 200


def test_cancellation_of_a_request_cancels_the_call(wire: Wire) -> None:
    async def call() -> None:
        async with async_http_client(transport(wire), library="httpx") as http:
            async with asyncio.timeout(0.3):
                await http.post(URL, json=PAYLOAD)

    wire.router.answer(Reply(delay=30))
    with pytest.raises(TimeoutError):
        run(call())


@pytest.mark.parametrize(
    "arguments",
    [{"client": "no client"}, {"client": None, "attestation_polcy": "p.toml"}],
)
def test_an_invalid_argument_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentTypeError):
        EncryptedTransport(**arguments)


def test_options_beside_a_client_or_a_transport_are_refused(wire: Wire) -> None:
    with pytest.raises(ArgumentTypeError, match="api_key"):
        EncryptedTransport(wire.client(), api_key="k")
    with pytest.raises(ArgumentTypeError, match="api_key"):
        http_client(transport(wire), api_key="k")
    with pytest.raises(ArgumentError, match="library"):
        http_client(transport(wire), library="requests")


def test_an_error_without_a_refusal_behind_it_has_none() -> None:
    assert refusal(ValueError("other")) is None
    loop = ValueError("a cycle")
    loop.__context__ = KeyError("k")
    loop.__context__.__context__ = loop
    assert refusal(loop) is None
    group = ExceptionGroup("several", [ValueError("other"), NomyoError("inner")])
    assert isinstance(refusal(group), NomyoError)


def test_a_stream_is_returned_as_events(wire: Wire, http: httpx.Client) -> None:
    with http.stream("POST", URL, json={**PAYLOAD, "stream": True}) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]

    assert json.loads(lines[0])["choices"][0]["delta"]["content"] == PROMPT
    assert lines[-1] == "[DONE]"
    assert wire.posts[0].plaintext == PAYLOAD


def test_a_client_class_with_options_of_the_request_is_not_reconfigured_by_a_body(wire: Wire) -> None:
    body = {**PAYLOAD, "require_attestation": False, "base_url": "https://elsewhere.invalid", "timeout": 0}
    with http_client(transport(wire, attestation_policy=policy()), library="httpx") as http:
        assert code(http.post(URL, json=body)) == "not_affirmed"
    assert wire.posts[0].plaintext == body


def test_a_transport_without_a_policy_logs_that_nothing_is_appraised(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    EncryptedTransport(wire.client(attestation_policy=policy()))
    assert caplog.messages == []
    EncryptedTransport(wire.client())
    assert caplog.messages == ["not appraised: without attestation_policy nothing is known about the server"]


def test_the_repr_of_a_transport_shows_no_key(wire: Wire) -> None:
    client = wire.client()
    assert isinstance(client, SecureChatCompletion)
    assert API_KEY not in repr(EncryptedTransport(client))
