"""Build packages of the wire protocol, sections 4 and 5, with any fault; decrypt them strictly.

Written from the protocol alone; it shares no code with the client that it tests.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = "1.0"
ALGORITHM = "hybrid-aes256-rsa4096"
KEY_ALGORITHM = "RSA-OAEP-SHA256"
PAYLOAD_ALGORITHM = "AES-256-GCM"
FIELDS = {"version", "algorithm", "encrypted_payload", "encrypted_aes_key", "key_algorithm", "payload_algorithm"}


class PackageError(ValueError):
    """A package violates the protocol; the text names the violation."""


def oaep(digest: hashes.HashAlgorithm | None = None) -> padding.OAEP:
    """Return the RSA-OAEP padding of the protocol: SHA-256 for the hash and MGF1, no label."""
    digest = digest or hashes.SHA256()
    return padding.OAEP(mgf=padding.MGF1(digest), algorithm=digest, label=None)


def seal(
    plaintext: bytes,
    key: rsa.RSAPublicKey,
    processed_at: int | None = None,
    *,
    aes_bytes: int = 32,
    nonce_bytes: int = 12,
    tag_bytes: int = 16,
    tag_inside: bool = False,
    digest: hashes.HashAlgorithm | None = None,
    alter: Callable[[dict[str, Any]], object] | None = None,
) -> bytes:
    """Encrypt a package to `key`; without keyword arguments, it is valid.

    tag_inside: append the tag to the ciphertext instead of adding a field `tag`, like the JavaScript client.
    alter: changes the package before it is serialized.
    """
    aes_key, nonce = os.urandom(aes_bytes), os.urandom(nonce_bytes)
    sealed = AESGCM(aes_key).encrypt(nonce, plaintext, None)
    ciphertext, tag = sealed[:-16], sealed[-16:][:tag_bytes]
    payload = {"ciphertext": b64(ciphertext), "nonce": b64(nonce), "tag": b64(tag)}
    if tag_inside:
        payload = {"ciphertext": b64(ciphertext + tag), "nonce": b64(nonce)}
    package: dict[str, Any] = {
        "version": VERSION,
        "algorithm": ALGORITHM,
        "encrypted_payload": payload,
        "encrypted_aes_key": b64(key.encrypt(aes_key, oaep(digest))),
        "key_algorithm": KEY_ALGORITHM,
        "payload_algorithm": PAYLOAD_ALGORITHM,
    }
    if processed_at is not None:
        package["processed_at"] = processed_at
    return json.dumps(package if alter is None else alter(package)).encode()


def unseal(body: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """Decrypt the package of a request, with the tag in either place. Raises `PackageError`."""
    package = strict_object(body, "the body")
    if package.keys() != FIELDS:
        raise PackageError(f"the package's fields are {sorted(package)}, not {sorted(FIELDS)}")
    for name, value in (
        ("version", VERSION),
        ("algorithm", ALGORITHM),
        ("key_algorithm", KEY_ALGORITHM),
        ("payload_algorithm", PAYLOAD_ALGORITHM),
    ):
        if package[name] != value:
            raise PackageError(f"{name} is not {value}")
    payload = package["encrypted_payload"]
    if not isinstance(payload, dict) or payload.keys() not in ({"ciphertext", "nonce", "tag"}, {"ciphertext", "nonce"}):
        raise PackageError("encrypted_payload is not an object of ciphertext, nonce and tag")
    inner = {name: from_b64(value, name) for name, value in payload.items()}
    wrapped = from_b64(package["encrypted_aes_key"], "encrypted_aes_key")
    if len(inner["nonce"]) != 12:
        raise PackageError(f"nonce: expected 12 bytes, got {len(inner['nonce'])}")
    if len(inner.get("tag", bytes(16))) != 16:
        raise PackageError(f"tag: expected 16 bytes, got {len(inner['tag'])}")
    try:
        aes_key = key.decrypt(wrapped, oaep())
    except ValueError:
        raise PackageError("encrypted_aes_key is not encrypted to this server's key") from None
    if len(aes_key) != 32:
        raise PackageError(f"AES key: expected 32 bytes, got {len(aes_key)}")
    try:
        return AESGCM(aes_key).decrypt(inner["nonce"], inner["ciphertext"] + inner.get("tag", b""), None)
    except InvalidTag:
        raise PackageError("the ciphertext cannot be decrypted") from None


def strict_object(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object: UTF-8, no duplicate keys, no NaN or Infinity. Raises `PackageError`."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(found)) != len(found):
            raise PackageError(f"{what} has a duplicate key")
        return dict(found)

    def constant(name: str) -> object:
        raise PackageError(f"{what} contains {name}, which is not JSON")

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except PackageError:
        raise
    except ValueError:
        raise PackageError(f"{what} is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise PackageError(f"{what} is not a JSON object")
    return value


def b64(data: bytes) -> str:
    """Base64 in the standard alphabet, padded."""
    return base64.b64encode(data).decode("ascii")


def from_b64(value: object, name: str) -> bytes:
    """Decode canonical base64. Raises `PackageError`."""
    if not isinstance(value, str):
        raise PackageError(f"{name} is not a string")
    try:
        data = binascii.a2b_base64(value.encode("ascii"), strict_mode=True)
    except ValueError:
        raise PackageError(f"{name} is not base64") from None
    if b64(data) != value:
        raise PackageError(f"{name} is not canonical base64")
    return data
