"""The two endpoints over real TLS, asked by a client made by hand."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import nomyo_attest as na
from nomyo.router import RouterOptions, RunningRouter, app
from nomyo.router.app import KEY_PATH
from nomyo.router.errors import FORBIDDEN, INTERNAL, NO_TPM, NOT_ENABLED, UNAUTHORIZED
from nomyo.router.protocol import PACKAGE_MAX, decrypt_payload
from nomyo_attest.errors import AttesterError
from tests.nomyo.router.router_calls import appraise, block, client_of, detail, policy_of
from tests.nomyo.wire.simple_client import Client, read, request_headers

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "what the user said"}]}


def test_an_answer_has_everything_a_client_expects(client: Client) -> None:
    before = int(time.time())
    answer = client.call(QUESTION, tier="high")
    completion = read(answer)
    assert completion["choices"][0]["message"] == {"role": "assistant", "content": "what the user said"}
    metadata = completion["_metadata"]
    assert metadata["payload_id"] == answer.payload_id
    assert metadata["security_tier"] == "high"
    assert metadata["is_encrypted"] is True
    assert metadata["response_status"] == "success"
    assert before <= metadata["processed_at"] <= time.time()
    assert json.loads(answer.body)["processed_at"] == metadata["processed_at"]
    assert metadata["memory_protection"] == {
        "platform": "linux" if os.uname().sysname == "Linux" else "darwin",
        "memory_locking": False,
        "secure_zeroing": False,
        "core_dump_prevention": False,
    }
    assert metadata["cuda_device"] == {"available": False}
    assert answer.headers["cache-control"] == "no-store"


def test_few_large_packages_are_opened_at_a_time(router: RunningRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    now, most, lock = 0, 0, threading.Lock()
    real = decrypt_payload

    def counted(package: bytes, key: rsa.RSAPrivateKey) -> dict[str, Any]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.1)
        try:
            return real(package, key)
        finally:
            with lock:
                now -= 1

    def ask(length: int) -> int:
        with client_of(router) as one:
            return one.call({"model": "m", "messages": [{"role": "user", "content": "x" * length}]}).status

    monkeypatch.setattr(app, "decrypt_payload", counted)
    with ThreadPoolExecutor(6) as pool:
        assert {*pool.map(ask, [1_000_000] * 6)} == {200}
        assert most == app.CONCURRENT_LARGE_MAX
        assert {*pool.map(ask, [10] * 6)} == {200}
        assert most > app.CONCURRENT_LARGE_MAX


def test_the_answer_says_that_its_evidence_is_for_tests_only(client: Client) -> None:
    assert read(client.call())["_metadata"]["tpm_kind"] == "soft, public test keys: for tests only"


def test_the_evidence_is_affirmed_by_a_policy_learnt_from_another_answer(client: Client) -> None:
    policy = policy_of(client.call())
    assert appraise(client.call(), policy).verdict is na.Verdict.AFFIRMING


def test_every_answer_has_a_key_and_a_quote_of_its_own(client: Client) -> None:
    blocks = [block(client.call()) for _ in range(3)]
    assert len({one["aik_pubkey_b64"] for one in blocks}) == 3
    assert len({one["quote_b64"] for one in blocks}) == 3


def test_the_key_is_served_to_anybody_as_pem(client: Client) -> None:
    response = client.send("GET", KEY_PATH)
    assert response.status == 200
    text = response.read().decode()
    assert text.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert text.endswith("-----END PUBLIC KEY-----\n")


def test_the_connection_is_kept(router: RunningRouter, client: Client) -> None:
    before = router.counts.connections
    for _ in range(5):
        read(client.call())
    assert router.counts.connections - before == 1


def test_it_counts_what_it_sees(server_key: rsa.RSAPrivateKey) -> None:
    with RunningRouter(RouterOptions(tpm="none"), server_key=server_key) as router, client_of(router) as client:
        client.call()
        client.call(key=server_key.public_key())
        client.call(body=b"nonsense")
        counts = router.counts
        assert (counts.connections, counts.key_fetches, counts.posts, counts.responses) == (1, 2, 3, 2)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/v1/chat/secure_completion", 405), ("POST", KEY_PATH, 405)],
)
def test_other_paths_and_methods_get_an_error_in_the_protocol_s_form(
    client: Client, method: str, path: str, status: int
) -> None:
    response = client.send(method, path)
    assert response.status == status
    assert set(json.loads(response.read())) == {"detail"}


# Who is let in.


@pytest.fixture(scope="module")
def guarded(server_key: rsa.RSAPrivateKey) -> Any:
    options = RouterOptions(tpm="none", api_keys=("first-key", "second-key"))
    with RunningRouter(options, server_key=server_key) as router:
        yield router


@pytest.mark.parametrize("key", ["first-key", "second-key"])
def test_every_key_that_is_configured_is_let_in(guarded: RunningRouter, key: str) -> None:
    with client_of(guarded) as client:
        read(client.call(headers={"Authorization": f"Bearer {key}"}))
        read(client.call(headers={"Authorization": f"bearer {key}"}))  # schemes have no case (RFC 9110, 11.1)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer first-ke",
        "Bearer first-key2",
        "Bearer first-key second-key",
        "Basic first-key",
        "first-key",
        "Bearer schl\xfcssel",
    ],
)
def test_everything_else_is_a_401(guarded: RunningRouter, header: str | None) -> None:
    with client_of(guarded) as client:
        answer = client.call(headers={"Authorization": header})
    assert answer.status == 401
    assert detail(answer) == UNAUTHORIZED
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_key_endpoint_asks_for_no_key(guarded: RunningRouter) -> None:
    with client_of(guarded) as client:
        assert client.send("GET", KEY_PATH).status == 200


# Models and tiers.


@pytest.fixture(scope="module")
def tiered(server_key: rsa.RSAPrivateKey) -> Any:
    models = {"small": frozenset({"standard"}), "large": frozenset({"standard", "high", "maximum"})}
    with RunningRouter(RouterOptions(tpm="none", models=models), server_key=server_key) as router:
        yield router


@pytest.mark.parametrize(("model", "tier"), [("small", "high"), ("small", "maximum"), ("unknown", None)])
def test_a_model_that_the_tier_does_not_allow_is_a_403(tiered: RunningRouter, model: str, tier: str | None) -> None:
    with client_of(tiered) as client:
        answer = client.call({**QUESTION, "model": model}, tier=tier)
    assert answer.status == 403
    assert detail(answer) == FORBIDDEN


@pytest.mark.parametrize(("model", "tier"), [("small", None), ("small", "standard"), ("large", "high")])
def test_a_model_that_the_tier_allows_answers(tiered: RunningRouter, model: str, tier: str | None) -> None:
    with client_of(tiered) as client:
        assert read(client.call({**QUESTION, "model": model}, tier=tier))["model"] == model


def test_a_request_without_a_tier_gets_the_default_one(server_key: rsa.RSAPrivateKey) -> None:
    options = RouterOptions(tpm="none", default_tier="high")
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
        answer = client.call()
        answer.tier = "high"
        assert read(answer)["_metadata"]["security_tier"] == "high"


@pytest.mark.parametrize("tier", [None, "standard", "high"])
def test_lower_tiers_without_a_tpm_say_that_there_is_none(tiered: RunningRouter, tier: str | None) -> None:
    with client_of(tiered) as client:
        answer = client.call({**QUESTION, "model": "large" if tier else "small"}, tier=tier)
    assert block(answer) == {"is_available": False}
    assert read(answer)["_metadata"]["tpm_kind"] == "none"


def test_tier_maximum_without_a_tpm_is_a_503_that_says_nothing_of_retrying(tiered: RunningRouter) -> None:
    with client_of(tiered) as client:
        answer = client.call({**QUESTION, "model": "large"}, tier="maximum")
    assert answer.status == 503
    assert detail(answer) == NO_TPM
    assert "retry-after" not in answer.headers


def test_a_tpm_can_be_taken_away_and_given_back(router: RunningRouter, client: Client) -> None:
    assert block(client.call(tier="maximum"))["is_available"] is True
    router.tpm_available = False
    assert client.call(tier="maximum").status == 503
    assert block(client.call(tier="high")) == {"is_available": False}
    router.tpm_available = True
    assert block(client.call(tier="maximum"))["is_available"] is True


def test_a_tpm_that_fails_is_none(
    router: RunningRouter, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(payload_id: str) -> None:
        raise AttesterError("TPM2_Quote: out of order")

    monkeypatch.setattr(router._running.source, "attest", fails)
    assert block(client.call()) == {"is_available": False}
    assert client.call(tier="maximum").status == 503
    assert "the TPM failed: TPM2_Quote: out of order" in caplog.text


def test_disabled_secure_inference_is_a_404_on_both_endpoints(server_key: rsa.RSAPrivateKey) -> None:
    options = RouterOptions(tpm="none", secure_inference=False)
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
        answer = client.call(key=server_key.public_key())
        assert answer.status == 404
        assert detail(answer) == NOT_ENABLED
        assert client.send("GET", KEY_PATH).status == 404


# Requests that are wrong.


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"X-Payload-ID": None}, "X-Payload-ID"),
        ({"X-Public-Key": None}, "X-Public-Key"),
        ({"X-Public-Key": "nonsense"}, "X-Public-Key"),
        ({"Content-Type": None}, "Content-Type"),
        ({"Content-Type": "application/json"}, "Content-Type"),
        ({"X-Security-Tier": "top"}, "X-Security-Tier"),
    ],
)
def test_headers_that_are_wrong_are_a_400(client: Client, headers: dict[str, str | None], said: str) -> None:
    answer = client.call(headers=headers)
    assert answer.status == 400
    assert said in detail(answer)


def test_a_package_for_another_key_is_a_400(client: Client) -> None:
    answer = client.call(key=rsa.generate_private_key(65537, 4096).public_key())
    assert answer.status == 400
    assert "/pki/public_key" in detail(answer)


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_package_is_a_400(client: Client, body: bytes) -> None:
    assert client.call(body=body).status == 400


def test_streaming_is_a_400(client: Client) -> None:
    answer = client.call({**QUESTION, "stream": True})
    assert answer.status == 400
    assert "Streaming" in detail(answer)


def test_a_package_that_says_it_is_too_large_is_a_413(client: Client) -> None:
    answer = client.call(body=b" " * (PACKAGE_MAX + 1))
    assert answer.status == 413
    assert detail(answer) == f"The package is larger than {PACKAGE_MAX} bytes"


def test_a_package_that_turns_out_too_large_is_a_413(client: Client) -> None:
    """Chunked, so that nothing says so beforehand."""
    connection = client.connection
    pieces = iter([b" " * (1 << 20)] * 17)
    connection.request("POST", "/v1/chat/secure_completion", pieces, right(), encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["detail"].startswith("The package is larger")


def right() -> dict[str, str]:
    headers = {name: value for name, value in request_headers("6f1c2c1e").items() if value is not None}
    return {**headers, "Transfer-Encoding": "chunked"}


def test_the_largest_prompt_of_the_protocol_is_answered(client: Client) -> None:
    said = "x" * (10 * 1024 * 1024 - 200)
    completion = read(client.call({"model": "m", "messages": [{"role": "user", "content": said}]}))
    assert completion["choices"][0]["message"]["content"] == said


# Rate limits, as far as they show on the wire; the arithmetic is in test_rate_limit.py.


def test_the_fifth_request_at_once_is_a_429_with_retry_after(server_key: rsa.RSAPrivateKey) -> None:
    options = RouterOptions(tpm="none", rate_limit=True)
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
        answers = [client.call(key=server_key.public_key()) for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 429]
    assert answers[-1].headers["retry-after"] == "1"


def test_limits_are_those_of_a_bearer_key(server_key: rsa.RSAPrivateKey) -> None:
    options = RouterOptions(tpm="none", rate_limit=True, api_keys=("a", "b"))
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:

        def status(key: str) -> int:
            return client.call(key=server_key.public_key(), headers={"Authorization": f"Bearer {key}"}).status

        assert [status("a") for _ in range(5)] == [200, 200, 200, 200, 429]
        assert status("b") == 200
        assert [status("wrong") for _ in range(5)] == [401] * 5


def test_limits_are_those_of_a_host_where_bearers_are_made_up(server_key: rsa.RSAPrivateKey) -> None:
    options = RouterOptions(tpm="none", rate_limit=True)
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
        answers = [
            client.call(key=server_key.public_key(), headers={"Authorization": f"Bearer made-up-{number}"})
            for number in range(5)
        ]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 429]


# Many at once, and things that go wrong.


def test_fifty_requests_at_once_are_answered_each_with_its_own(router: RunningRouter) -> None:
    def ask(number: int) -> bool:
        with client_of(router) as client:
            answer = client.call({"model": "m", "messages": [{"role": "user", "content": f"number {number}"}]})
            return bool(read(answer)["choices"][0]["message"]["content"] == f"number {number}")

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(50)))


def test_a_client_that_goes_away_harms_nobody(router: RunningRouter, client: Client) -> None:
    with client_of(router) as other:
        connection = other.connection
        connection.putrequest("POST", "/v1/chat/secure_completion")
        for name, value in right().items():
            if name != "Transfer-Encoding":
                connection.putheader(name, value)
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"only a beginning")
    read(client.call())


def test_an_error_of_its_own_is_a_500_that_says_nothing(
    router: RunningRouter, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(payload: object) -> None:
        raise RuntimeError(f"cannot echo {payload}")

    monkeypatch.setattr("nomyo.router.app.echo", fails)
    answer = client.call(QUESTION)
    assert answer.status == 500
    assert detail(answer) == INTERNAL
    assert "failed: RuntimeError" in caplog.text
    assert "the user said" not in caplog.text


def test_no_log_has_a_prompt_a_key_or_an_answer_in_it(
    server_key: rsa.RSAPrivateKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    options = RouterOptions(tpm="soft", api_keys=("hunter2",), rate_limit=True)
    with RunningRouter(options, server_key=server_key) as router, client_of(router) as client:
        for bearer in ("hunter2", "hunter3"):
            for payload in (QUESTION, {**QUESTION, "stream": True}, ["what the user said"]):
                client.call(payload, headers={"Authorization": f"Bearer {bearer}"})
    assert "POST /v1/chat/secure_completion 200 " in caplog.text
    assert "POST /v1/chat/secure_completion 401 " in caplog.text
    for secret in ("hunter", "the user said", "BEGIN"):
        assert secret not in caplog.text
    assert not any(record.exc_info for record in caplog.records)
