"""Valid and tampered packages for tests of their decryption.

`tests.nomyo.wire.package` builds them; it shares no code with the client.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo import envelope
from nomyo.errors import ResponseError
from tests.nomyo.wire import package as wire
from tests.nomyo.wire import server_keys

MARK = "0a9357b1-withheld"
PLAINTEXT = f'{{"choices": "{MARK}"}}'.encode()  # its length is 2 modulo 3
KEY = server_keys.pair(1001, 2048)
OTHER_KEY = server_keys.pair(1002, 2048)
FIELDS = ["version", "algorithm", "encrypted_payload", "encrypted_aes_key", "key_algorithm", "payload_algorithm"]
PARTS = ["ciphertext", "nonce", "tag"]
BASE64_FIELDS = [*PARTS, "encrypted_aes_key"]


VALID = {inside: wire.seal(PLAINTEXT, KEY.public_key(), 1_700_000_000, tag_inside=inside) for inside in (False, True)}


def valid(*, inside: bool = False) -> bytes:
    """Return a valid package, with the tag inside the ciphertext or beside it."""
    return VALID[inside]


def document(*, inside: bool = False) -> dict[str, Any]:
    """Return a valid package as a dict, for tampering."""
    value = json.loads(valid(inside=inside))
    assert isinstance(value, dict)
    return value


def holder(package: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the object in a package that contains the field `name`."""
    inner = package["encrypted_payload"] if name in PARTS else package
    assert isinstance(inner, dict)
    return inner


def tampered(name: str, change: Callable[[Any], object], *, inside: bool = False) -> bytes:
    """Return a package with one changed field."""
    package = document(inside=inside)
    at = holder(package, name)
    at[name] = change(at[name])
    return json.dumps(package).encode()


def is_refused(package: bytes, *, key: rsa.RSAPrivateKey = KEY, tag_inside: bool = False) -> bool:
    """Return whether a package is rejected; check that the error is the only possible one and does not reveal data."""
    error = None
    try:
        envelope.decrypt(package, key, tag_inside=tag_inside)
    except ResponseError as caught:
        error = caught
    if error is None:
        return False
    assert type(error) is ResponseError
    assert str(error) == "the response could not be decrypted and read"
    assert error.code == "response_unreadable"
    assert error.args == (str(error),)
    assert vars(error) == vars(ResponseError())
    assert error.__cause__ is None
    assert error.__context__ is None
    return True


def opens(package: bytes, *, tag_inside: bool = False) -> bool:
    """Return whether a package can be decrypted; check that the result is `PLAINTEXT`."""
    if is_refused(package, tag_inside=tag_inside):
        return False
    assert envelope.decrypt(package, KEY, tag_inside=tag_inside).plaintext == PLAINTEXT
    return True


def flipped(data: bytes, bit: int) -> bytes:
    """Flip one bit."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
