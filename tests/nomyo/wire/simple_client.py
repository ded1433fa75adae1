"""A simple client of the wire protocol, based on http.client, to test the tools of this folder; it shares no code."""

from __future__ import annotations

import base64
import errno
import functools
import http.client
import json
import os
import ssl
import urllib.parse
import uuid
from dataclasses import dataclass
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


@functools.cache
def client_key_pair() -> rsa.RSAPrivateKey:
    """Return the client's key pair; 2048 bits is the minimum that a router accepts, and fast to generate."""
    return rsa.generate_private_key(65537, 2048)


@dataclass
class ClientResponse:
    """A response, with the payload id and the tier of its request."""

    status: int
    headers: dict[str, str]
    body: bytes
    payload_id: str
    tier: str | None


class Client:
    """Calls over one connection, which is opened again if the server has closed it."""

    def __init__(self, port: int, ca: str | None, host: str = "localhost") -> None:
        if ca is None:
            self.connection = http.client.HTTPConnection(host, port, timeout=20)
        else:
            context = ssl.create_default_context(cafile=ca)
            self.connection = http.client.HTTPSConnection(host, port, timeout=20, context=context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(
        self, method: str, path: str, headers: dict[str, str | None] | None = None, body: bytes | None = None
    ) -> http.client.HTTPResponse:
        """Send a request without the headers whose value is `None`; return the response before its body is read."""
        self.connection.putrequest(method, path, skip_accept_encoding=True)
        if body is not None:
            self.connection.putheader("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            if value is not None:
                self.connection.putheader(name, value)
        self.connection.endheaders(body)
        return self.connection.getresponse()

    def key_document(self) -> bytes:
        """Fetch the document at the path of the server's key."""
        return self.send("GET", "/pki/public_key").read()

    def call(
        self,
        payload: object = None,
        *,
        tier: str | None = None,
        key: rsa.RSAPublicKey | None = None,
        inside: bool = False,
        body: bytes | None = None,
        headers: dict[str, str | None] | None = None,
    ) -> ClientResponse:
        """Fetch the server's key, send an encrypted request, and return the response.

        key: use this key instead of fetching one.
        inside: whether the tag is inside the ciphertext.
        body: send this instead of an encrypted payload.
        headers: replace the headers with these names; `None` omits a header.
        """
        if key is None:
            loaded = serialization.load_pem_public_key(self.key_document())
            assert isinstance(loaded, rsa.RSAPublicKey)
            key = loaded
        payload_id = str(uuid.uuid4())
        sent_headers = {**request_headers(payload_id), "X-Security-Tier": tier, **(headers or {})}
        question = {"model": "m", "messages": [{"role": "user", "content": "Grüße"}]} if payload is None else payload
        sent = sealed(question, key, inside=inside) if body is None else body
        response = self.send("POST", "/v1/chat/secure_completion", sent_headers, sent)
        return ClientResponse(response.status, dict(response.headers), response.read(), payload_id, tier)


def request_headers(payload_id: str) -> dict[str, str | None]:
    """The headers of section 2."""
    return {
        "X-Payload-ID": payload_id,
        "X-Public-Key": urllib.parse.quote(pem()),
        "Content-Type": "application/octet-stream",
    }


def pem() -> str:
    """Return the client's public key in PEM, with a trailing newline."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return client_key_pair().public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def sealed(
    payload: object,
    key: rsa.RSAPublicKey,
    *,
    inside: bool = False,
    aes_bytes: int = 32,
    nonce_bytes: int = 12,
    inner: dict[str, object] | None = None,
    **changes: object,
) -> bytes:
    """Build a request package (section 4), with `changes`, and `inner` changes of its encrypted_payload.

    payload: an object, or the bytes of the plaintext.
    """
    aes, nonce = os.urandom(aes_bytes), os.urandom(nonce_bytes)
    plain = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    both = AESGCM(aes).encrypt(nonce, plain, None)
    parts = {"ciphertext": both[:-16], "nonce": nonce, "tag": both[-16:]}
    if inside:
        parts = {"ciphertext": both, "nonce": nonce}
    encoded: dict[str, object] = {name: base64.b64encode(part).decode() for name, part in parts.items()}
    package = {
        "version": "1.0",
        "algorithm": "hybrid-aes256-rsa4096",
        "encrypted_payload": encoded | (inner or {}),
        "encrypted_aes_key": base64.b64encode(key.encrypt(aes, OAEP)).decode(),
        "key_algorithm": "RSA-OAEP-SHA256",
        "payload_algorithm": "AES-256-GCM",
        **changes,
    }
    return json.dumps(package).encode()


CONNECTION_LOST = (ConnectionError, http.client.IncompleteRead, ssl.SSLEOFError)
"""Errors for a lost connection. With TLS, not every version of Python distinguishes an RST from a FIN."""


def was_reset(error: BaseException) -> bool:
    """Return whether a connection without TLS ended with RST; for a FIN, http.client raises a different error."""
    return isinstance(error, OSError) and error.errno == errno.ECONNRESET


def read(answer: ClientResponse) -> dict[str, Any]:
    """Return the completion in a response; raise `ValueError` for its first violation of the protocol."""
    if answer.status != 200:
        raise ValueError(f"status {answer.status}")
    package = _object(_json(answer.body, "body"), "body")
    for name, value in (("version", "1.0"), ("algorithm", "hybrid-aes256-rsa4096")):
        if package.get(name, "missing") != value:
            raise ValueError(f"{name} {package.get(name, 'missing')}")
    for name, value in (("key_algorithm", "RSA-OAEP-SHA256"), ("payload_algorithm", "AES-256-GCM")):
        if package.get(name, value) != value:
            raise ValueError(f"{name} {package[name]}")
    if type(package.get("processed_at", 0)) is not int:
        raise ValueError("processed_at is no number")
    if "encrypted_payload" not in package:
        raise ValueError("encrypted_payload missing")
    inner = _object(package["encrypted_payload"], "encrypted_payload")
    parts = {name: _bytes(inner.get(name, "missing"), name) for name in ("ciphertext", "nonce", "tag")}
    for name, length in (("nonce", 12), ("tag", 16)):
        if len(parts[name]) != length:
            raise ValueError(f"{name} of {len(parts[name])}")
    try:
        aes = client_key_pair().decrypt(_bytes(package.get("encrypted_aes_key", "missing"), "encrypted_aes_key"), OAEP)
    except ValueError as problem:
        raise problem if str(problem).startswith("encrypted_aes_key") else ValueError("not wrapped to us") from None
    if len(aes) != 32:
        raise ValueError(f"AES key of {len(aes)}")
    try:
        plain = AESGCM(aes).decrypt(parts["nonce"], parts["ciphertext"] + parts["tag"], None)
    except InvalidTag:
        raise ValueError("does not open") from None
    completion = _object(_json(plain, "plaintext"), "plaintext")
    metadata = _object(completion.get("_metadata"), "_metadata")
    for name, expected in (("payload_id", answer.payload_id), ("security_tier", answer.tier or "standard")):
        if metadata.get(name, "missing") != expected:
            raise ValueError(f"{name} {metadata.get(name, 'missing')}")
    if metadata["processed_at"] != package.get("processed_at"):
        raise ValueError("processed_at differs")
    return completion


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        message = f"{what} is a {type(value).__name__}"
        raise ValueError(message)  # noqa: TRY004 - every answer that is wrong is a ValueError
    return value


def _json(data: bytes, what: str) -> object:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in found}) < len(found):
            raise ValueError(f"{what} has a name twice")
        return dict(found)

    def constant(name: str) -> object:
        raise ValueError(f"{what} has {name}")

    try:
        value = json.loads(data.decode(), object_pairs_hook=pairs, parse_constant=constant)
    except UnicodeDecodeError:
        raise ValueError(f"{what} is no text") from None
    except json.JSONDecodeError:
        raise ValueError(f"{what} is no JSON") from None
    except RecursionError:
        raise ValueError(f"{what} is too deep") from None
    if _depth(value) > 500:  # the limit of the parser depends on the version of Python
        raise ValueError(f"{what} is too deep")
    return value


def _depth(value: object) -> int:
    """Return the depth of nested objects and arrays."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, (dict, list))]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


def _bytes(value: object, name: str) -> bytes:
    if not isinstance(value, str) or value == "missing":
        raise ValueError(f"{name} {'missing' if value == 'missing' else type(value).__name__}")
    data = base64.b64decode(value)
    if base64.b64encode(data).decode() != value:
        raise ValueError(f"{name} not canonical")
    return data
