"""Packages, right and tampered, and whether one opens: what the tests of the package reader share.

They are made by `tests.nomyo.wire.package`, which shares no code with what is tested.
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
PLAINTEXT = f'{{"choices": "{MARK}"}}'.encode()  # a length that leaves a remainder of 2 by three
KEY = server_keys.pair(1001, 2048)
OTHER_KEY = server_keys.pair(1002, 2048)
FIELDS = ["version", "algorithm", "encrypted_payload", "encrypted_aes_key", "key_algorithm", "payload_algorithm"]
PARTS = ["ciphertext", "nonce", "tag"]
BASE64_FIELDS = [*PARTS, "encrypted_aes_key"]


VALID = {inside: wire.seal(PLAINTEXT, KEY.public_key(), 1_700_000_000, tag_inside=inside) for inside in (False, True)}


def valid(*, inside: bool = False) -> bytes:
    """A package that is right; with the tag inside the ciphertext, or beside it."""
    return VALID[inside]


def document(*, inside: bool = False) -> dict[str, Any]:
    """The same as a dict, to be tampered."""
    value = json.loads(valid(inside=inside))
    assert isinstance(value, dict)
    return value


def holder(package: dict[str, Any], name: str) -> dict[str, Any]:
    """The object in a package that has the field `name`."""
    inner = package["encrypted_payload"] if name in PARTS else package
    assert isinstance(inner, dict)
    return inner


def tampered(name: str, change: Callable[[Any], object], *, inside: bool = False) -> bytes:
    """A package with one field changed."""
    package = document(inside=inside)
    at = holder(package, name)
    at[name] = change(at[name])
    return json.dumps(package).encode()


def is_refused(package: bytes, *, key: rsa.RSAPrivateKey = KEY, tag_inside: bool = False) -> bool:
    """Whether a package is refused as every package must be: by one error, which leads nowhere near the plaintext."""
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
    """Whether a package opens, which it may do to the one plaintext only."""
    if is_refused(package, tag_inside=tag_inside):
        return False
    assert envelope.decrypt(package, KEY, tag_inside=tag_inside).plaintext == PLAINTEXT
    return True


def flipped(data: bytes, bit: int) -> bytes:
    """The same bytes but for one bit."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
