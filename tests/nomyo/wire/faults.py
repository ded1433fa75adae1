"""FAULTS: everything that a router can do wrong (wire protocol, section 10), by name.

`router.fault(name)` enables a fault until `router.reset_faults()`. Its `concern` is the part of the call it affects:

    "answer"      a response with status 200 that is invalid: a client must not release a completion
    "claim"       a correctly encrypted response whose `_metadata` does not match the request
    "transport"   the response is not valid HTTP, arrives too late, or has a coding that was not requested
    "error"       a status other than 200, with an unusual body
    "key"         an invalid response at the path of the server's key
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from cryptography.hazmat.primitives import hashes

from tests.nomyo.wire import package, server_keys
from tests.nomyo.wire.bombs import endless, gzip_bomb, gzipped
from tests.nomyo.wire.http11 import Reply
from tests.nomyo.wire.plain_router import HTML, PlainRouter, Recorded
from tests.nomyo.wire.request_checks import error

OTHER_ID: Final = "00000000-0000-4000-8000-000000000000"
_HTML: Final = [("Content-Type", "text/html")]
OTHER_KEY: Final = 1001  # a pair that no rotation reaches: it stands for somebody else's

Concern = Literal["answer", "claim", "transport", "error", "key"]


@dataclass(frozen=True)
class Fault:
    """One fault: what is wrong in a sentence, and how to switch it on."""

    concern: Concern
    reason: str
    switch: Callable[[PlainRouter], object]


def _metadata(change: Callable[[dict[str, Any]], object]) -> Callable[[PlainRouter], object]:
    """`_metadata` is what `change` makes of the right one."""

    def switch(router: PlainRouter) -> None:
        router.metadata = lambda request: change(router.correct_metadata(request))

    return switch


def _encode(encode: Callable[[Any], bytes]) -> Callable[[PlainRouter], object]:
    return lambda router: setattr(router, "encode", encode)


def _seal(**wrong: Any) -> Callable[[PlainRouter], object]:
    return lambda router: setattr(router, "seal", partial(package.seal, **wrong))


def _package(change: Callable[[dict[str, Any]], object]) -> Callable[[PlainRouter], object]:
    """The package is what `change` makes of the right one."""
    return _seal(alter=change)


def _payload(change: Callable[[dict[str, str]], object]) -> Callable[[PlainRouter], object]:
    """Its `encrypted_payload` is what `change` makes of the right one."""
    return _package(lambda parts: {**parts, "encrypted_payload": change(parts["encrypted_payload"])})


def _reply(make: Callable[[PlainRouter, Recorded], Reply]) -> Callable[[PlainRouter], object]:
    """Every POST is answered with what `make` makes."""
    return lambda router: router.answer(lambda request: make(router, request))


def _body(body: bytes) -> Callable[[PlainRouter], object]:
    return _reply(lambda router, request: Reply(body=body))


def _error(status: int, body: object) -> Callable[[PlainRouter], object]:
    return _reply(lambda router, request: Reply(status, body=json.dumps(body).encode()))


def _key(status: int, body: bytes) -> Callable[[PlainRouter], object]:
    return lambda router: router.answer(lambda request: Reply(status, body=body), on="GET")


def _without(parts: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if key != name}


def _flipped(text: str) -> str:
    """The same bytes but for their first bit, still canonical base64."""
    data = package.from_b64(text, "what is flipped")
    return package.b64(bytes([data[0] ^ 0x80]) + data[1:])


def _spare_bits(parts: dict[str, str], name: str) -> dict[str, str]:
    """The same bytes for a lax decoder: of the last character before `==` four bits mean nothing, and one is set."""
    text = parts[name].removesuffix("==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return {**parts, name: text[:-1] + alphabet[alphabet.index(text[-1]) | 1] + "=="}


def _replay(router: PlainRouter) -> None:
    first: list[bytes] = []

    def seal(*arguments: Any) -> bytes:
        first.append(package.seal(*arguments))
        return first[0]

    router.seal = seal


def _swap(router: PlainRouter) -> None:
    router.reply_key = lambda request: server_keys.pair(OTHER_KEY).public_key()


def _twice(answer: dict[str, Any]) -> bytes:
    right = json.dumps(answer)
    return (right[:-1] + ', "choices": []}').encode()


def _nan(answer: dict[str, Any]) -> bytes:
    return json.dumps({**answer, "created": float("nan")}).encode()


def _nested(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer)[:-1].encode() + b', "deep": ' + b"[" * 5000 + b"]" * 5000 + b"}"


def _fields() -> Iterator[tuple[str, Fault]]:
    """Each field of the package missing, of another type than the protocol's, or damaged."""

    def field(name: str, change: Callable[[Any], object]) -> Callable[[dict[str, Any]], object]:
        return lambda parts: {**parts, name: change(parts[name])}

    for name in ("version", "algorithm", "encrypted_payload", "encrypted_aes_key"):
        yield f"{name}-missing", Fault("answer", f"no {name}", _package(partial(_without, name=name)))
        yield f"{name}-number", Fault("answer", f"{name} is a number", _package(field(name, lambda value: 1)))
    for name in ("ciphertext", "nonce", "tag"):
        yield f"{name}-missing", Fault("answer", f"no {name}", _payload(partial(_without, name=name)))
        yield f"{name}-null", Fault("answer", f"{name} is null", _payload(field(name, lambda value: None)))
        lax = _payload(field(name, lambda value: value + "\n"))
        yield f"{name}-lax-base64", Fault("answer", f"a line break at the end of {name}", lax)
        yield f"{name}-flipped", Fault("answer", f"a bit of {name} is flipped", _payload(field(name, _flipped)))


FAULTS: Final[dict[str, Fault]] = {
    # The answer's package.
    "swapped-key": Fault("answer", "sealed to another key than the client's", _swap),
    "replay": Fault("answer", "every answer after the first is the first one's bytes", _replay),
    "aes-128": Fault("answer", "a 16-byte AES key", _seal(aes_bytes=16)),
    "aes-192": Fault("answer", "a 24-byte AES key", _seal(aes_bytes=24)),
    "nonce-8": Fault("answer", "an 8-byte nonce", _seal(nonce_bytes=8)),
    "nonce-16": Fault("answer", "a 16-byte nonce", _seal(nonce_bytes=16)),
    "tag-12": Fault("answer", "the tag is cut to 12 bytes", _seal(tag_bytes=12)),
    "tag-4": Fault("answer", "the tag is cut to 4 bytes", _seal(tag_bytes=4)),
    "tag-inside": Fault("answer", "the tag is at the ciphertext's end, and no field", _seal(tag_inside=True)),
    "oaep-sha1": Fault("answer", "the AES key is wrapped with SHA-1", _seal(digest=hashes.SHA1())),
    "version-0.9": Fault("answer", "version is 0.9", _package(lambda p: {**p, "version": "0.9"})),
    "algorithm-other": Fault("answer", "algorithm is another one", _package(lambda p: {**p, "algorithm": "aes"})),
    "key-algorithm-other": Fault(
        "answer", "key_algorithm is another one", _package(lambda p: {**p, "key_algorithm": "RSA-OAEP-SHA1"})
    ),
    "payload-algorithm-other": Fault(
        "answer", "payload_algorithm is another one", _package(lambda p: {**p, "payload_algorithm": "AES-128-GCM"})
    ),
    "processed-at-text": Fault(
        "answer", "the outer processed_at is a text", _package(lambda p: {**p, "processed_at": "now"})
    ),
    **dict(_fields()),
    "tag-spare-bits": Fault("answer", "the base64 of tag is not canonical", _payload(lambda p: _spare_bits(p, "tag"))),
    "payload-list": Fault("answer", "encrypted_payload is a list", _payload(lambda p: list(p.values()))),
    "body-list": Fault("answer", "the package is in a list", _package(lambda p: [p])),
    "body-null": Fault("answer", "the body is null", _body(b"null")),
    "body-html": Fault(
        "answer",
        "a web page, status 200",
        _reply(lambda _, __: Reply(headers=[("Content-Type", "text/html")], body=HTML)),
    ),
    "body-empty": Fault("answer", "an empty body", _body(b"")),
    "body-not-utf8": Fault("answer", "bytes that are no text", _body(b"\xff\xfe\xfd")),
    "body-nested": Fault("answer", "5,000 lists in each other", _body(b"[" * 100_000)),
    # The plaintext in it.
    "plaintext-list": Fault("answer", "the completion is in a list", _encode(lambda a: json.dumps([a]).encode())),
    "plaintext-null": Fault("answer", "the completion is null", _encode(lambda a: b"null")),
    "plaintext-nan": Fault("answer", "the completion holds NaN", _encode(_nan)),
    "plaintext-not-json": Fault("answer", "the completion is a sentence", _encode(lambda a: b"Here you are: 42.")),
    "plaintext-not-utf8": Fault("answer", "the completion is no text", _encode(lambda a: b'{"choices": "\xff"}')),
    "plaintext-empty": Fault("answer", "the completion has no bytes", _encode(lambda a: b"")),
    "plaintext-twice": Fault("answer", "`choices` is there twice in the completion", _encode(_twice)),
    "plaintext-nested": Fault("answer", "100,000 lists in each other in the completion", _encode(_nested)),
    "metadata-null": Fault("answer", "_metadata is null", _metadata(lambda m: None)),
    "metadata-list": Fault("answer", "_metadata is a list", _metadata(lambda m: [m])),
    # What it claims.
    "echo-wrong": Fault("claim", "another payload id", _metadata(lambda m: {**m, "payload_id": OTHER_ID})),
    "echo-number": Fault("claim", "the payload id is a number", _metadata(lambda m: {**m, "payload_id": 1})),
    "echo-missing": Fault("claim", "no payload id", _metadata(partial(_without, name="payload_id"))),
    "tier-other": Fault("claim", "another tier", _metadata(lambda m: {**m, "security_tier": _other_tier(m)})),
    "tier-missing": Fault("claim", "no tier", _metadata(partial(_without, name="security_tier"))),
    "processed-at-differs": Fault(
        "claim", "the outer processed_at is not the inner one", _package(lambda p: {**p, "processed_at": 1})
    ),
    # How it comes.
    "truncated": Fault("transport", "the body ends early", _reply(lambda _, __: Reply(truncate_at=100))),
    "slow-drip": Fault("transport", "16 bytes a quarter second", _reply(lambda _, __: Reply(drip=(16, 0.25)))),
    "gzip": Fault("transport", "the right answer, gzipped", _reply(lambda r, q: gzipped(_right(r, q)))),
    "gzip-bomb": Fault(
        "transport", "the right answer and 128 MiB of spaces, gzipped", _reply(lambda r, q: gzip_bomb(_right(r, q)))
    ),
    "endless": Fault(
        "transport", "the right answer and spaces without end", _reply(lambda r, q: Reply(body=endless(_right(r, q))))
    ),
    "redirect": Fault(
        "transport",
        "307 to another path",
        _reply(lambda r, q: Reply(307, [("Location", f"{r.url}/elsewhere{q.path}")], b"")),
    ),
    "reset-before": Fault("transport", "RST before anything is done", _reply(lambda _, __: Reply(reset="before"))),
    "reset-after": Fault("transport", "RST when all is done", _reply(lambda _, __: Reply(reset="after"))),
    "reset-during": Fault("transport", "RST amid the answer", _reply(lambda _, __: Reply(reset="during"))),
    # Errors.
    "error-list": Fault("error", "400, the body is a list", _error(400, [{"loc": ["body"], "msg": "bad"}])),
    "error-text": Fault("error", "400, the body is a string", _error(400, "bad")),
    "error-null": Fault("error", "400, the body is null", _error(400, None)),
    "error-detail-list": Fault("error", "400, detail is a list", _error(400, {"detail": [{"msg": "bad"}]})),
    "error-html": Fault("error", "400 with a web page", _reply(lambda _, __: Reply(400, _HTML, HTML))),
    "error-long": Fault("error", "400, detail has 1 MiB", _reply(lambda _, __: error(400, "x" * (1 << 20)))),
    "status-204": Fault("error", "204", _reply(lambda _, __: Reply(204))),
    "status-418": Fault("error", "418", _reply(lambda _, __: error(418, "short and stout"))),
    # The key path.
    "key-503": Fault("key", "503", _key(503, b'{"detail": "starting"}')),
    "key-html": Fault("key", "a web page, status 200", lambda router: router.rotate_key(kind="html")),
    "key-rsa-1024": Fault("key", "RSA-1024", lambda router: router.rotate_key(1024)),
    "key-rsa-2048": Fault("key", "RSA-2048, where the algorithm's name says 4096", lambda r: r.rotate_key(2048)),
    "key-exponent-3": Fault("key", "RSA-4096 with the exponent 3", lambda router: router.rotate_key(exponent=3)),
    "key-ec": Fault("key", "P-256", lambda router: router.rotate_key(kind="ec")),
    "key-empty": Fault("key", "an empty body", lambda router: router.rotate_key(kind=b"")),
    "key-two": Fault("key", "two keys", lambda router: router.rotate_key(kind=router.key_document * 2)),
    "key-redirect": Fault("key", "302", lambda r: r.answer(lambda q: Reply(302, [("Location", r.url)], b""), on="GET")),
    "key-reset": Fault("key", "RST", lambda router: router.answer(lambda request: Reply(reset="before"), on="GET")),
}


def _right(router: PlainRouter, request: Recorded) -> bytes:
    """The right body, or nothing where the request is refused."""
    return router.correct_body(request) if request.refused is None else b""


def _other_tier(metadata: dict[str, Any]) -> str:
    return "high" if metadata["security_tier"] == "standard" else "standard"
