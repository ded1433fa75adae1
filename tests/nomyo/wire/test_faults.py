"""What the reader made by hand says of an answer, under each fault."""

from __future__ import annotations

import gzip
import http.client
import json
import time
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.nomyo.wire.faults import FAULTS, OTHER_ID
from tests.nomyo.wire.plain_router import POST_PATH, PlainRouter
from tests.nomyo.wire.simple_client import Client, read, request_headers, sealed, was_reset

WRONG_ANSWERS = {
    "swapped-key": "not wrapped to us",
    "aes-128": "AES key of 16",
    "aes-192": "AES key of 24",
    "nonce-8": "nonce of 8",
    "nonce-16": "nonce of 16",
    "tag-12": "tag of 12",
    "tag-4": "tag of 4",
    "tag-inside": "tag missing",
    "tag-spare-bits": "tag not canonical",
    "oaep-sha1": "not wrapped to us",
    "version-0.9": "version 0.9",
    "algorithm-other": "algorithm aes",
    "key-algorithm-other": "key_algorithm RSA-OAEP-SHA1",
    "payload-algorithm-other": "payload_algorithm AES-128-GCM",
    "processed-at-text": "processed_at is no number",
    "version-missing": "version missing",
    "version-number": "version 1",
    "algorithm-missing": "algorithm missing",
    "algorithm-number": "algorithm 1",
    "encrypted_payload-missing": "encrypted_payload missing",
    "encrypted_payload-number": "encrypted_payload is a int",
    "encrypted_aes_key-missing": "encrypted_aes_key missing",
    "encrypted_aes_key-number": "encrypted_aes_key int",
    **{f"{name}-missing": f"{name} missing" for name in ("ciphertext", "nonce", "tag")},
    **{f"{name}-null": f"{name} NoneType" for name in ("ciphertext", "nonce", "tag")},
    **{f"{name}-lax-base64": f"{name} not canonical" for name in ("ciphertext", "nonce", "tag")},
    **{f"{name}-flipped": "does not open" for name in ("ciphertext", "nonce", "tag")},
    "payload-list": "encrypted_payload is a list",
    "body-list": "body is a list",
    "body-null": "body is a NoneType",
    "body-html": "body is no JSON",
    "body-empty": "body is no JSON",
    "body-not-utf8": "body is no text",
    "body-nested": "body is too deep",
    "plaintext-list": "plaintext is a list",
    "plaintext-null": "plaintext is a NoneType",
    "plaintext-nan": "plaintext has NaN",
    "plaintext-not-json": "plaintext is no JSON",
    "plaintext-not-utf8": "plaintext is no text",
    "plaintext-empty": "plaintext is no JSON",
    "plaintext-twice": "plaintext has a name twice",
    "plaintext-nested": "plaintext is too deep",
    "metadata-null": "_metadata is a NoneType",
    "metadata-list": "_metadata is a list",
    "echo-wrong": f"payload_id {OTHER_ID}",
    "echo-number": "payload_id 1",
    "echo-missing": "payload_id missing",
    "tier-other": "security_tier standard",
    "tier-missing": "security_tier missing",
    "processed-at-differs": "processed_at differs",
    "redirect": "status 307",
    "error-list": "status 400",
    "error-text": "status 400",
    "error-null": "status 400",
    "error-detail-list": "status 400",
    "error-html": "status 400",
    "error-long": "status 400",
    "status-204": "status 204",
    "status-418": "status 418",
}
ERROR_BODIES = {
    "error-list": [{"loc": ["body"], "msg": "bad"}],
    "error-text": "bad",
    "error-null": None,
    "error-detail-list": {"detail": [{"msg": "bad"}]},
    "error-long": {"detail": "x" * (1 << 20)},
}
BY_THEMSELVES = {"replay", "truncated", "slow-drip", "gzip", "gzip-bomb", "endless"} | {
    "reset-before",
    "reset-after",
    "reset-during",
}
KEYS = {name for name, fault in FAULTS.items() if fault.concern == "key"}


def test_every_fault_has_a_test() -> None:
    assert FAULTS.keys() == WRONG_ANSWERS.keys() | BY_THEMSELVES | KEYS


@pytest.fixture(scope="module")
def shared() -> Iterator[PlainRouter]:
    with PlainRouter() as router:
        yield router


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_fault_makes_the_answer_wrong_in_its_way(shared: PlainRouter, name: str) -> None:
    shared.reset_faults()
    with Client(shared.port, shared.ca) as client:
        right = client.call(tier="high")
        shared.fault(name)
        wrong = client.call(tier="high")
        shared.reset_faults()
        again = client.call(tier="high")
    assert read(right)["model"] == read(again)["model"] == "m"
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the reader raises nothing else, and the text is compared
        read(wrong)
    assert str(caught.value) == WRONG_ANSWERS[name]
    if name in ERROR_BODIES:
        assert json.loads(wrong.body) == ERROR_BODIES[name]


def test_a_replay_is_the_first_answer_again(router: PlainRouter, client: Client) -> None:
    router.fault("replay")
    first, second = client.call(), client.call()
    read(first)
    with pytest.raises(ValueError, match=f"payload_id {first.payload_id}"):
        read(second)
    assert first.body == second.body


def test_a_truncated_answer_ends_early(router: PlainRouter, client: Client) -> None:
    router.fault("truncated")
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.call()
    assert len(caught.value.partial) == 100


def test_an_answer_may_be_reset_amidst() -> None:
    with PlainRouter(tls=False) as router, Client(router.port, None) as client:
        router.fault("reset-during")
        body = sealed({"model": "m"}, router.private_key.public_key())
        response = client.send("POST", POST_PATH, request_headers("an-id"), body)
        assert response.status == 200
        with pytest.raises(ConnectionResetError) as caught:
            response.read()
    assert was_reset(caught.value)


def test_the_key_path_may_be_reset() -> None:
    with PlainRouter(tls=False) as router, Client(router.port, None) as client:
        router.fault("key-reset")
        with pytest.raises(ConnectionResetError) as caught:
            client.key_document()
    assert was_reset(caught.value)


def test_a_slow_answer_drips(router: PlainRouter, client: Client) -> None:
    router.fault("slow-drip")
    router.complete = lambda payload, payload_id: {}
    router.seal = lambda *_: bytes(range(48))
    before = time.monotonic()
    answer = client.call()
    assert answer.body == bytes(range(48))
    assert time.monotonic() - before > 0.5


def test_a_gzipped_answer_is_right_inside(router: PlainRouter, client: Client) -> None:
    router.fault("gzip")
    answer = client.call()
    assert answer.headers["Content-Encoding"] == "gzip"
    answer.body = gzip.decompress(answer.body)
    read(answer)


def test_a_gzip_bomb_is_a_right_answer_of_128_mib(router: PlainRouter, client: Client) -> None:
    router.fault("gzip-bomb")
    answer = client.call()
    assert len(answer.body) < 1 << 18
    whole = gzip.decompress(answer.body)
    assert len(whole) > 128 << 20
    answer.body = whole
    read(answer)


def test_an_endless_answer_goes_on_until_the_client_leaves(router: PlainRouter, client: Client) -> None:
    router.fault("endless")
    body = sealed({"model": "m"}, router.private_key.public_key())
    response = client.send("POST", POST_PATH, request_headers("an-id"), body)
    assert len(response.read(8 << 20)) == 8 << 20
    client.connection.close()


@pytest.mark.parametrize("name", sorted(KEYS - {"key-reset"}))
def test_a_fault_of_the_key_path_shows_there(router: PlainRouter, client: Client, name: str) -> None:
    right = client.key_document()
    router.fault(name)
    response = client.send("GET", "/pki/public_key")
    document = response.read()
    assert response.status == {"key-503": 503, "key-redirect": 302}.get(name, 200)
    assert document != right
    if name.startswith(("key-rsa", "key-exponent")):
        key = load_pem_public_key(document)
        assert isinstance(key, rsa.RSAPublicKey)
        facts = {"key-rsa-1024": (1024, 65537), "key-rsa-2048": (2048, 65537), "key-exponent-3": (4096, 3)}
        assert (key.key_size, key.public_numbers().e) == facts[name]
    elif name == "key-ec":
        assert isinstance(load_pem_public_key(document), ec.EllipticCurvePublicKey)
    elif name == "key-two":
        assert document == right * 2
    elif name == "key-html":
        assert document.startswith(b"<!doctype html>")
