"""Encrypt and decrypt the packages of the protocol. Pure functions: no I/O, no state.

A package is JSON. Its plaintext is encrypted with AES-256-GCM (NIST SP 800-38D) under a fresh key, with a nonce of 12
bytes, a tag of 16 and no associated data; that key is encrypted to the receiver's RSA key with RSAES-OAEP (RFC 8017,
7.1; SHA-256, MGF1 with SHA-256, no label)::

    {"version": "1.0", "algorithm": "hybrid-aes256-rsa4096",
     "encrypted_payload": {"ciphertext": …, "nonce": …, "tag": …},        padded base64 (RFC 4648, 4)
     "encrypted_aes_key": …,
     "key_algorithm": "RSA-OAEP-SHA256", "payload_algorithm": "AES-256-GCM"}

A package does not authenticate its sender: anyone who has the public key can encrypt to it.
"""

from __future__ import annotations

import base64
import binascii
import io
import secrets
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from nomyo import strict_json
from nomyo.errors import ResponseError
from nomyo.memory import wipe

VERSION: Final = "1.0"
ALGORITHM: Final = "hybrid-aes256-rsa4096"
KEY_ALGORITHM: Final = "RSA-OAEP-SHA256"
PAYLOAD_ALGORITHM: Final = "AES-256-GCM"

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16

_CHUNK_BYTES: Final = 768 * 1024
"""Bytes processed at a time, divisible by three for base64. A chunk takes under a millisecond, and other threads run
between two chunks.
"""

_BASE64_CHUNK_LENGTH: Final = _CHUNK_BYTES // 3 * 4
"""Length of a chunk in base64."""

_VALUES_MAX: Final = 100
"""Maximum number of JSON values in a package, as `strict_json.decode` counts them. A package has ten."""

_REQUIRED: Final = frozenset({"version", "algorithm", "encrypted_payload", "encrypted_aes_key"})
_OPTIONAL: Final = {"key_algorithm": KEY_ALGORITHM, "payload_algorithm": PAYLOAD_ALGORITHM}


def _oaep() -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


class Decrypted(msgspec.Struct, frozen=True):
    """A decrypted package.

    Attributes:
        plaintext: a buffer that the caller wipes.
        processed_at: the unauthenticated field of that name outside the ciphertext; None if absent.
    """

    plaintext: bytearray
    processed_at: int | None

    def __repr__(self) -> str:
        return f"<Decrypted {len(self.plaintext)} bytes>"


def encrypt(plaintext: bytes | bytearray, key: RSAPublicKey, *, processed_at: int | None = None) -> bytes:
    """Encrypt `plaintext` to `key`.

    Args:
        processed_at: Unix time in seconds, sent in the clear next to the ciphertext; only for responses.
    """
    aes_key = secrets.token_bytes(KEY_BYTES)
    nonce = secrets.token_bytes(NONCE_BYTES)
    encryptor = Cipher(algorithms.AES(aes_key), modes.GCM(nonce)).encryptor()
    package = io.BytesIO()  # grows, and is returned, without a copy, which would hold the GIL for a long time
    package.write(
        f'{{"version": "{VERSION}", "algorithm": "{ALGORITHM}", "encrypted_payload": {{"ciphertext": "'.encode()
    )
    with memoryview(plaintext) as view:
        for start in range(0, len(view), _CHUNK_BYTES):
            package.write(base64.b64encode(encryptor.update(view[start : start + _CHUNK_BYTES])))
    encryptor.finalize()
    encrypted_key = key.encrypt(aes_key, _oaep())
    package.write(
        (
            f'", "nonce": "{_b64(nonce)}", "tag": "{_b64(encryptor.tag)}"}}, '
            f'"encrypted_aes_key": "{_b64(encrypted_key)}", '
            f'"key_algorithm": "{KEY_ALGORITHM}", "payload_algorithm": "{PAYLOAD_ALGORITHM}"'
        ).encode()
    )
    package.write(b"}" if processed_at is None else f', "processed_at": {processed_at}}}'.encode())
    return package.getvalue()


def decrypt(package: bytes, key: RSAPrivateKey, *, tag_inside: bool = False) -> Decrypted:
    """Decrypt a package encrypted to `key`, and refuse one that deviates from the protocol.

    Args:
        tag_inside: also accept packages whose ciphertext ends with the tag, as sent by the JavaScript client.

    Raises the same `ResponseError` for every failure.
    """
    try:
        plaintext, processed_at = _decrypt_package(package, key, tag_inside=tag_inside)
    except (ValueError, InvalidTag):
        pass  # an error that revealed the failed step would be an oracle
    else:
        return Decrypted(plaintext, processed_at)
    raise ResponseError


def _decrypt_package(package: bytes, key: RSAPrivateKey, *, tag_inside: bool) -> tuple[bytearray, int | None]:
    """Return the plaintext and `processed_at`. Raises `ValueError` or `InvalidTag`."""
    outer = _require_object(strict_json.decode(package, values_max=_VALUES_MAX))
    if not outer.keys() >= _REQUIRED or outer["version"] != VERSION or outer["algorithm"] != ALGORITHM:
        raise ValueError
    if any(outer.get(name, value) != value for name, value in _OPTIONAL.items()):
        raise ValueError
    processed_at = outer.get("processed_at")
    if processed_at is not None and type(processed_at) is not int:
        raise ValueError
    inner = _require_object(outer["encrypted_payload"])
    ciphertext = _unb64(inner.get("ciphertext"))
    if "tag" not in inner and tag_inside:
        ciphertext, tag = ciphertext[:-TAG_BYTES], ciphertext[-TAG_BYTES:]
    else:
        tag = _unb64(inner.get("tag"))
    nonce = _unb64(inner.get("nonce"))
    encrypted_key = _unb64(outer["encrypted_aes_key"])
    if len(nonce) != NONCE_BYTES or len(tag) != TAG_BYTES or len(encrypted_key) != (key.key_size + 7) // 8:
        raise ValueError
    aes_key = key.decrypt(encrypted_key, _oaep())
    if len(aes_key) != KEY_BYTES:
        raise ValueError
    decryptor = Cipher(algorithms.AES(aes_key), modes.GCM(nonce, tag)).decryptor()
    plaintext = bytearray(len(ciphertext))
    try:
        _decrypt_into(decryptor, ciphertext, plaintext)
        decryptor.finalize()
    except BaseException:
        wipe(plaintext)  # not authenticated
        raise
    return plaintext, processed_at


def _decrypt_into(decryptor: Any, ciphertext: bytes, plaintext: bytearray) -> None:
    """Decrypt into `plaintext`, which is as long as `ciphertext`."""
    source, target = memoryview(ciphertext), memoryview(plaintext)
    for start in range(0, len(source), _CHUNK_BYTES):
        decryptor.update_into(source[start : start + _CHUNK_BYTES], target[start:])


def _require_object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError
    return value


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unb64(text: object) -> bytes:
    """Decode canonical base64. Raises `ValueError` for any other text."""
    if type(text) is not str:
        raise ValueError
    encoded = memoryview(text.encode("ascii"))
    decoded = bytearray()
    for start in range(0, len(encoded), _BASE64_CHUNK_LENGTH):
        chunk = encoded[start : start + _BASE64_CHUNK_LENGTH]
        data = binascii.a2b_base64(chunk, strict_mode=True)
        if binascii.b2a_base64(data, newline=False) != chunk or (decoded and len(decoded) % 3):
            raise ValueError
        decoded += data
    return bytes(decoded)
