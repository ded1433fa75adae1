"""The pure half of reading a request; whole requests are in test_app.py and test_clients.py."""

from __future__ import annotations

import functools
import json
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from nomyo.router.errors import Refusal
from nomyo.router.protocol import decrypt_payload, read_headers
from tests.nomyo.wire.simple_client import client_key_pair, pem, sealed

PAYLOAD = {"model": "m", "messages": [{"role": "user", "content": "a secret"}]}


def headers(**changes: str | None) -> dict[str, str]:
    """Right headers but for the changes, names with underscores."""
    right: dict[str, str | None] = {
        "content-type": "application/octet-stream",
        "x-payload-id": "6f1c2c1e",
        "x-public-key": quote(pem()),
    }
    right.update({name.replace("_", "-"): value for name, value in changes.items()})
    return {name: value for name, value in right.items() if value is not None}


@functools.cache
def small_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def refusal(**changes: str | None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read_headers(headers(**changes))
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        quote(pem()), quote(pem().strip()), quote(pem(), safe=""), quote(pem().strip(), safe=""),
        pem().replace("\n", "%0a"),
    ],
    ids=["python", "python-from-file", "javascript-newline", "javascript", "lower-case-hex"],
)  # fmt: skip
def test_every_percent_encoding_of_the_client_key_is_read(text: str) -> None:
    key = read_headers(headers(x_public_key=text)).client_key
    assert key.public_numbers() == client_key_pair().public_key().public_numbers()


def test_the_other_headers_are_read() -> None:
    heading = read_headers(headers(x_payload_id="openai-compat-1732560000000-k3j9", x_security_tier="high"))
    assert heading.payload_id == "openai-compat-1732560000000-k3j9"
    assert heading.tier == "high"
    assert read_headers(headers()).tier is None


def test_a_media_type_may_have_parameters() -> None:
    read_headers(headers(content_type="Application/Octet-Stream; charset=utf-8"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"content_type": None}, "Content-Type must be application/octet-stream"),
        ({"content_type": "text/plain"}, "Content-Type must be application/octet-stream"),
        ({"x_payload_id": None}, "X-Payload-ID must be 1 to 1024 printable ASCII characters"),
        ({"x_payload_id": ""}, "X-Payload-ID"),
        ({"x_payload_id": "x" * 1025}, "X-Payload-ID"),
        ({"x_payload_id": "id\xfc"}, "X-Payload-ID"),
        ({"x_payload_id": "a\tb"}, "X-Payload-ID"),
        ({"x_security_tier": "High"}, "X-Security-Tier must be one of standard, high, maximum"),
        ({"x_security_tier": ""}, "X-Security-Tier"),
        ({"x_public_key": None}, "X-Public-Key must be a percent-encoded PEM public key, RSA of at least 2048 bits"),
        ({"x_public_key": "-----BEGIN PUBLIC KEY-----"}, "X-Public-Key"),
        ({"x_public_key": "%ff%fe"}, "X-Public-Key"),
    ],
)
def test_headers_that_are_wrong_are_a_400_that_says_which(changes: dict[str, str | None], said: str) -> None:
    refused = refusal(**changes)
    assert refused.status == 400
    assert said in refused.detail


def spki(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return quote(key.public_key().public_bytes(serialization.Encoding.PEM, form).decode())


@pytest.mark.parametrize(
    "make", [lambda: rsa.generate_private_key(65537, 1024), lambda: ec.generate_private_key(ec.SECP256R1())],
    ids=["rsa-1024", "ec"],
)  # fmt: skip
def test_a_client_key_that_is_weak_or_of_another_kind_is_refused(make: Any) -> None:
    assert "RSA of at least 2048 bits" in refusal(x_public_key=spki(make())).detail


@pytest.mark.parametrize("inside", [False, True], ids=["tag-beside", "tag-inside"])
def test_both_layouts_of_the_tag_are_opened(inside: bool) -> None:
    package = sealed(PAYLOAD, small_key().public_key(), inside=inside)
    assert decrypt_payload(package, small_key()) == PAYLOAD


def test_a_package_that_does_not_open_is_one_refusal_whatever_is_wrong() -> None:
    right = sealed(PAYLOAD, small_key().public_key())
    wrong = [
        b"", b"{}", b"[]", right[:-1], right.replace(b"1.0", b"0.9"),
        sealed(PAYLOAD, client_key_pair().public_key()),
        sealed(PAYLOAD, small_key().public_key(), encrypted_aes_key="AAAA"),
    ]  # fmt: skip
    details = set()
    for package in wrong:
        with pytest.raises(Refusal) as caught:
            decrypt_payload(package, small_key())
        assert caught.value.status == 400
        details.add(caught.value.detail)
    assert len(details) == 1


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ([PAYLOAD], "The payload must be a JSON object"),
        (None, "The payload must be a JSON object"),
        ({**PAYLOAD, "score": float("nan")}, "The payload must be a JSON object"),
        ({"messages": PAYLOAD["messages"]}, "model must be a non-empty string"),
        ({**PAYLOAD, "model": ""}, "model must be a non-empty string"),
        ({**PAYLOAD, "model": 1}, "model must be a non-empty string"),
        ({"model": "m"}, "messages must be a non-empty list of objects"),
        ({**PAYLOAD, "messages": []}, "messages must be a non-empty list of objects"),
        ({**PAYLOAD, "messages": ["a secret"]}, "messages must be a non-empty list of objects"),
        ({**PAYLOAD, "stream": True}, "Streaming is not supported"),
    ],
)
def test_a_payload_that_is_wrong_is_a_400_without_anything_of_it(payload: object, said: str) -> None:
    with pytest.raises(Refusal) as caught:
        decrypt_payload(sealed(payload, small_key().public_key()), small_key())
    assert caught.value.status == 400
    assert said in caught.value.detail
    assert "secret" not in str(caught.value)


def test_a_payload_of_too_many_objects_and_arrays_is_a_400_with_the_limit_and_the_number() -> None:
    payload = {**PAYLOAD, "logit_bias": [[]] * 100_000}
    with pytest.raises(Refusal) as caught:
        decrypt_payload(sealed(payload, small_key().public_key()), small_key())
    limit = 10_000 + len(json.dumps(payload)) // 24
    found = 100_004
    said = f"The payload has {found} objects and arrays; a payload of its length may have {limit}"
    assert (caught.value.status, caught.value.detail) == (400, said)


def test_stream_false_is_no_stream() -> None:
    payload = {**PAYLOAD, "stream": False}
    assert decrypt_payload(sealed(payload, small_key().public_key()), small_key()) == payload
