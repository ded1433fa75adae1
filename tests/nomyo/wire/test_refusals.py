from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.nomyo.wire.plain_router import POST_PATH, PlainRouter, Recorded
from tests.nomyo.wire.simple_client import Client, ClientResponse, pem, read, sealed


def detail(answer: ClientResponse) -> Any:
    return json.loads(answer.body)["detail"]


@pytest.mark.parametrize("name", ["X-Payload-ID", "X-Public-Key", "Content-Type"])
def test_a_missing_header_is_a_400(router: PlainRouter, client: Client, name: str) -> None:
    answer = client.call(headers={name: None})
    assert (answer.status, detail(answer)) == (400, f"{name} is missing")
    assert router.posts[0].refused == f"400: {name} is missing"


def quoted(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    return quote(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: "nonsense", "X-Public-Key is not a PEM public key"),
        (lambda: pem().replace("\n", " "), "X-Public-Key is not percent-encoded"),
        (lambda: quoted(ec.generate_private_key(ec.SECP256R1()).public_key()), "X-Public-Key is not RSA"),
        (
            lambda: quoted(rsa.generate_private_key(65537, 1024).public_key()),
            "X-Public-Key: expected at least 2048 bits, got 1024",
        ),
    ],
)
def test_a_bad_key_of_the_client_is_a_400(client: Client, make: Any, reason: str) -> None:
    answer = client.call(headers={"X-Public-Key": make()})
    assert answer.status == 400
    assert detail(answer).startswith(reason)


def test_a_tier_that_is_none_is_a_400(client: Client) -> None:
    assert client.call(tier="best").status == 400


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": "0.9"}, "version is not 1.0"),
        ({"algorithm": "other"}, "algorithm is not hybrid-aes256-rsa4096"),
        ({"key_algorithm": "RSA-OAEP-SHA1"}, "key_algorithm is not RSA-OAEP-SHA256"),
        ({"payload_algorithm": "AES-128-GCM"}, "payload_algorithm is not AES-256-GCM"),
        ({"more": 1}, "the package's fields are"),
        ({"encrypted_payload": []}, "encrypted_payload is not an object"),
        ({"inner": {"more": ""}}, "encrypted_payload is not an object of"),
        ({"encrypted_aes_key": "QUJD"}, "encrypted_aes_key is not encrypted to this server's key"),
        ({"encrypted_aes_key": "QR=="}, "encrypted_aes_key is not canonical base64"),
        ({"encrypted_aes_key": "Q?=="}, "encrypted_aes_key is not base64"),
        ({"encrypted_aes_key": None}, "encrypted_aes_key is not a string"),
        ({"aes_bytes": 16}, "AES key: expected 32 bytes, got 16"),
        ({"nonce_bytes": 16}, "nonce: expected 12 bytes, got 16"),
        ({"inner": {"tag": "QUJD"}}, "tag: expected 16 bytes, got 3"),
        ({"inner": {"ciphertext": "QUJD"}}, "the ciphertext cannot be decrypted"),
    ],
)
def test_a_bad_package_is_a_400(router: PlainRouter, client: Client, changes: dict[str, Any], reason: str) -> None:
    key = router.private_key.public_key()
    answer = client.call(key=key, body=sealed({"model": "m"}, key, **changes))
    assert answer.status == 400
    assert detail(answer).startswith(reason)
    assert router.posts[0].plaintext is None


@pytest.mark.parametrize(
    ("plaintext", "reason"),
    [
        (b"[]", "the payload is not a JSON object"),
        (b'"text"', "the payload is not a JSON object"),
        (b"{}", "the payload is empty"),
        (b"", "the payload is not JSON"),
        (b'{"x": "\xff"}', "the payload is not JSON in UTF-8"),
        (b'{"x": NaN}', "the payload contains NaN"),
        (b'{"x": 1, "x": 1}', "the payload has a duplicate key"),
    ],
)
def test_a_payload_that_is_no_object_of_json_is_a_400(client: Client, plaintext: bytes, reason: str) -> None:
    answer = client.call(plaintext)
    assert answer.status == 400
    assert detail(answer).startswith(reason)


@pytest.mark.parametrize("name", ["X-Payload-ID", "X-Public-Key", "Content-Type", "X-Security-Tier"])
def test_a_header_that_is_there_twice_is_a_400(client: Client, name: str) -> None:
    answer = client.call(tier="high", headers={name.upper(): "again"})
    assert (answer.status, detail(answer)) == (400, f"duplicate header {name}: 2 values")


def test_another_content_type_is_a_400(client: Client) -> None:
    answer = client.call(headers={"Content-Type": "application/json"})
    assert (answer.status, detail(answer)) == (400, "Content-Type is not application/octet-stream")


def test_a_request_sealed_to_a_former_key_is_a_400(router: PlainRouter, client: Client) -> None:
    key = router.private_key.public_key()
    router.rotate_key()
    answer = client.call(key=key)
    assert (answer.status, detail(answer)) == (400, "encrypted_aes_key is not encrypted to this server's key")
    read(client.call())


def test_a_key_may_change_between_fetch_and_post(router: PlainRouter, client: Client) -> None:
    def rotate(request: Recorded) -> None:
        if request.method == "POST":
            router.on_request = None
            router.rotate_key()

    router.on_request = rotate
    assert client.call().status == 400
    read(client.call())


def test_a_wrong_bearer_is_a_401() -> None:
    with PlainRouter(api_key="right") as router, Client(router.port, router.ca) as client:
        assert client.call().status == 401
        assert client.call(headers={"Authorization": "Bearer wrong"}).status == 401
        read(client.call(headers={"Authorization": "Bearer right"}))


def test_a_forbidden_model_is_a_403() -> None:
    with PlainRouter(forbidden={("m", "maximum")}, tpm=True) as router, Client(router.port, router.ca) as client:
        assert client.call(tier="maximum").status == 403
        read(client.call(tier="high"))


def test_without_secure_inference_it_is_a_404() -> None:
    with PlainRouter(secure_inference=False) as router, Client(router.port, router.ca) as client:
        answer = client.call()
        assert (answer.status, detail(answer)) == (404, "Secure inference not enabled")


def test_another_path_is_a_404_and_another_method_a_405(client: Client) -> None:
    for method, path, status in (("GET", "/", 404), ("POST", "/pki/public_key", 405), ("GET", POST_PATH, 405)):
        response = client.send(method, path)
        assert response.read()
        assert response.status == status


def test_tier_maximum_without_a_tpm_is_a_503(router: PlainRouter, client: Client) -> None:
    assert client.call(tier="maximum").status == 503
    router.tpm = True
    read(client.call(tier="maximum"))


def test_malformed_http_is_a_400(router: PlainRouter, client: Client) -> None:
    client.connection.connect()
    client.connection.sock.sendall(b"GET / HTTP/0.9\r\n\r\n")
    assert client.connection.sock.recv(100).startswith(b"HTTP/1.1 400 ")
    assert router.requests == []
