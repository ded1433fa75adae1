"""Clients of every kind before this router: ours, the published one, a request in the JavaScript client's form."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import ssl
import subprocess
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import nomyo
import nomyo_attest as na
from nomyo.router import RouterOptions, RunningRouter
from tests.nomyo.router.router_calls import client_of, policy_of

PUBLISHED = os.environ.get("NOMYO_PUBLISHED_PYTHON")
MESSAGES = [{"role": "user", "content": "Grüße"}]


# Ours.


Use = Callable[[nomyo.SecureChatCompletion], Coroutine[Any, Any, Any]]


@dataclass
class Ours:
    """Our client, with a key pair that is made once for all tests."""

    key_dir: Path

    def __call__(self, router: RunningRouter, use: Use, **more: Any) -> Any:
        """What `use` does with a client of this router."""

        async def run() -> Any:
            context = ssl.create_default_context(cafile=str(router.ca))
            async with (
                httpx.AsyncClient(verify=context) as http_client,
                nomyo.SecureChatCompletion(
                    router.url, http_client=http_client, max_retries=0, key_dir=self.key_dir, **more
                ) as client,
            ):
                return await use(client)

        return asyncio.run(run())


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Ours:
    return Ours(tmp_path_factory.mktemp("client") / "keys")


def ask(**more: Any) -> Use:
    return lambda client: client.create("m", MESSAGES, **more)


@pytest.fixture
def policy(router: RunningRouter) -> na.AppraisalPolicy:
    with client_of(router) as client:
        return policy_of(client.call())


def test_our_client_gets_its_answer(router: RunningRouter, ours: Ours) -> None:
    answer = ours(router, ask(security_tier="high"))
    assert answer["choices"][0]["message"]["content"] == "Grüße"
    verification = answer["_metadata"]["verification"]
    assert verification["payload_id_echoed"] is True
    assert verification["security_tier_echoed"] is True
    assert verification["server_key"] == router.server_key_pin


def test_our_client_takes_the_pin_that_the_router_tells(router: RunningRouter, ours: Ours) -> None:
    answer = ours(router, ask(), server_key_pins=[router.server_key_pin])
    assert answer["_metadata"]["verification"]["server_key_pinned"] is True


def test_our_client_hands_over_what_the_policy_affirms(
    router: RunningRouter, policy: na.AppraisalPolicy, ours: Ours
) -> None:
    answer = ours(router, ask(require_attestation=True), attestation_policy=policy)
    assert answer["_metadata"]["attestation_result"]["verdict"] == "affirming"


def test_our_client_hands_nothing_over_once_other_firmware_has_booted(
    server_key: rsa.RSAPrivateKey, ours: Ours
) -> None:
    with RunningRouter(RouterOptions(tpm="soft"), server_key=server_key) as router:
        with client_of(router) as client:
            policy = policy_of(client.call())
        router.boot_other_firmware()
        with pytest.raises(nomyo.AttestationError) as caught:
            ours(router, ask(require_attestation=True), attestation_policy=policy)
    assert caught.value.result.failed == ("pcr.values",)


def test_our_client_follows_a_key_that_was_rotated_between_calls(server_key: rsa.RSAPrivateKey, ours: Ours) -> None:
    new = rsa.generate_private_key(65537, 4096)
    with RunningRouter(RouterOptions(tpm="none"), server_key=server_key) as router:

        async def twice(client: nomyo.SecureChatCompletion) -> tuple[Any, Any]:
            first = await client.create("m", MESSAGES)
            router.rotate_key(new)
            return first, await client.create("m", MESSAGES)

        first, second = ours(router, twice)
        assert first["_metadata"]["verification"]["server_key"] != router.server_key_pin
        assert second["_metadata"]["verification"]["server_key"] == router.server_key_pin
        assert router.counts.key_fetches == 2
        assert router.counts.posts == 3  # the second was refused once, as sealed to the old key


def test_many_calls_of_our_client_are_one_connection_and_one_key_fetch(
    server_key: rsa.RSAPrivateKey, ours: Ours
) -> None:
    with RunningRouter(RouterOptions(tpm="soft"), server_key=server_key) as router:

        async def many(client: nomyo.SecureChatCompletion) -> None:
            for _ in range(10):
                await client.create("m", MESSAGES)

        ours(router, many)
        assert (router.counts.connections, router.counts.key_fetches, router.counts.posts) == (1, 1, 10)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("status-401", nomyo.AuthenticationError),
        ("status-403", nomyo.ForbiddenError),
        ("status-404", nomyo.NotFoundError),
        ("status-429-long", nomyo.RateLimitError),
        ("error-list", nomyo.InvalidRequestError),
        ("html", nomyo.ResponseError),
        ("redirect", nomyo.APIError),
        ("echo-payload-id", nomyo.ResponseNotBoundError),
        ("echo-tier", nomyo.ResponseNotBoundError),
        ("metadata-null", nomyo.ResponseError),
        ("text-nan", nomyo.ResponseError),
        ("client-key-swapped", nomyo.ResponseError),
        ("encryption-aes-128", nomyo.ResponseError),
        ("encryption-nonce-8", nomyo.ResponseError),
        ("encryption-tag-12", nomyo.ResponseError),
        ("encryption-tag-inside", nomyo.ResponseError),
        ("package-version", nomyo.ResponseError),
        ("package-list", nomyo.ResponseError),
        ("cut", nomyo.APIConnectionError),
        ("reset-before", nomyo.APIConnectionError),
        ("reset-after", nomyo.APIConnectionError),
        ("gzip-bomb", nomyo.SecurityError),
        ("key-503", nomyo.APIError),
        ("key-html", nomyo.ServerKeyError),
        ("key-rsa-1024", nomyo.ServerKeyError),
        ("key-ec", nomyo.ServerKeyError),
        ("quote-nonce", nomyo.AttestationError),
        ("quote-missing-pcr", nomyo.AttestationError),
        ("evidence-unavailable", nomyo.AttestationError),
    ],
)
def test_faults_meet_our_client_as_its_own_errors(
    router: RunningRouter,
    policy: na.AppraisalPolicy,
    fault: str,
    error: type[Exception],
    ours: Ours,
) -> None:
    router.fault = fault
    with pytest.raises(error):
        ours(router, ask(require_attestation=True, security_tier="standard"), attestation_policy=policy)


def test_a_replayed_answer_is_not_bound_to_the_request(router: RunningRouter, ours: Ours) -> None:
    async def twice(client: nomyo.SecureChatCompletion) -> None:
        await client.create("m", MESSAGES)
        router.fault = "replay"
        await client.create("m", MESSAGES)

    with pytest.raises(nomyo.ResponseNotBoundError):
        ours(router, twice)


# The published one.

SCRIPT = """
import asyncio, json, sys
from nomyo import SecureChatCompletion

async def main():
    client = SecureChatCompletion(base_url=sys.argv[1], api_key="ours", max_retries=0, key_dir=sys.argv[2])
    for tier in (None, "standard", "high", "maximum"):
        more = {"security_tier": tier} if tier else {}
        print(json.dumps(await client.create("m", [{"role": "user", "content": "Gr\\u00fc\\u00dfe"}], **more)))
    try:
        await client.create("m", [{"role": "user", "content": "x"}], api_key="another")
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]))

asyncio.run(main())
"""


@pytest.mark.skipif(not PUBLISHED, reason="NOMYO_PUBLISHED_PYTHON names no Python with nomyo==0.2.9")
def test_the_published_client_gets_its_answers(server_key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    with RunningRouter(RouterOptions(tpm="soft", api_keys=("ours",)), server_key=server_key) as router:
        answers = []
        for _ in range(
            2
        ):  # with a new key pair, and with the same from its file, which is sent without a final newline
            done = subprocess.run(
                [str(PUBLISHED), "-c", SCRIPT, router.url, str(tmp_path / "keys")],
                env={**os.environ, "SSL_CERT_FILE": str(router.ca)},
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert done.returncode == 0, done.stderr
            answers += [json.loads(line) for line in done.stdout.splitlines()]
    refused = ["AuthenticationError", "Invalid API key or authentication failed"]
    assert [answers.pop(4), answers.pop(8)] == [refused, refused]
    assert {answer["choices"][0]["message"]["content"] for answer in answers} == {"Grüße"}
    metadata = [answer["_metadata"] for answer in answers]
    assert [one["security_tier"] for one in metadata] == 2 * ["standard", "standard", "high", "maximum"]
    learnt = metadata[0]["tpm_attestation"]["pcr_values"]["sha256"]
    policy = na.AppraisalPolicy.from_dict(
        {
            "format": "nomyo-attest-policy/1",
            "id": "learnt",
            "pcrs": {"sha256": {index: [value] for index, value in learnt.items()}},
        }
    )
    for answer in answers:
        assert na.appraise(answer, policy).verdict is na.Verdict.AFFIRMING


# The JavaScript client's form (wire-protocol, section 11), written by hand.


def in_javascript_s_form(router: RunningRouter, key: rsa.RSAPrivateKey) -> tuple[dict[str, str], bytes]:
    """Headers and body: `encodeURIComponent`, no final newline, a guessable id, no tier, the tag inside."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, form).decode().strip()
    headers = {
        "X-Payload-ID": "openai-compat-1767225600000-q7c2k1x9f",
        "X-Public-Key": quote(pem, safe="-_.!~*'()"),  # what encodeURIComponent leaves (ECMA-262, 19.2.6.4)
        "Content-Type": "application/octet-stream",
    }
    aes, nonce = os.urandom(32), os.urandom(12)
    server = serialization.load_pem_public_key(served(router))
    assert isinstance(server, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    # JSON.stringify: no blanks, and nothing escaped that need not be
    plaintext = json.dumps({"model": "m", "messages": MESSAGES}, ensure_ascii=False, separators=(",", ":")).encode()
    package = {
        "version": "1.0",
        "algorithm": "hybrid-aes256-rsa4096",
        "encrypted_payload": {
            "ciphertext": base64.b64encode(AESGCM(aes).encrypt(nonce, plaintext, None)).decode(),
            "nonce": base64.b64encode(nonce).decode(),
        },
        "encrypted_aes_key": base64.b64encode(server.encrypt(aes, oaep)).decode(),
        "key_algorithm": "RSA-OAEP-SHA256",
        "payload_algorithm": "AES-256-GCM",
    }
    return headers, json.dumps(package, separators=(",", ":")).encode()


def connection(router: RunningRouter) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(router.ca))
    return http.client.HTTPSConnection("localhost", urlsplit(router.url).port, context=context, timeout=20)


def served(router: RunningRouter) -> bytes:
    fetch = connection(router)
    try:
        fetch.request("GET", "/pki/public_key")
        return fetch.getresponse().read()
    finally:
        fetch.close()


def test_a_request_in_the_javascript_client_s_form_is_answered(router: RunningRouter) -> None:
    key = rsa.generate_private_key(65537, 2048)
    headers, body = in_javascript_s_form(router, key)
    assert "/" not in headers["X-Public-Key"]  # unlike in the Python client's form
    assert not headers["X-Public-Key"].endswith("%0A")
    post = connection(router)
    try:
        post.request("POST", "/v1/chat/secure_completion", body, headers)
        response = post.getresponse()
        text = response.read()
    finally:
        post.close()
    assert response.status == 200, text
    package = json.loads(text)
    inner = {name: base64.b64decode(one) for name, one in package["encrypted_payload"].items()}
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    aes = key.decrypt(base64.b64decode(package["encrypted_aes_key"]), oaep)
    answer = json.loads(AESGCM(aes).decrypt(inner["nonce"], inner["ciphertext"] + inner["tag"], None))
    assert answer["choices"][0]["message"]["content"] == "Grüße"
    assert answer["_metadata"]["payload_id"] == headers["X-Payload-ID"]
    assert answer["_metadata"]["security_tier"] == "standard"
