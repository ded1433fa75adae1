"""A router written from the wire protocol alone, for tests of any client of it.

    with PlainRouter() as router:
        call(router.url, SSL_CERT_FILE=router.ca)
    assert len(router.posts) == 1

By default, its responses are correct. `answer` programs replies, `fault` enables a fault of `faults.FAULTS`, and each
step from a payload to the body of a response is an attribute that a test can replace:

    complete(payload, payload_id)   → the completion, an echo of the last message
    metadata(recorded)              → its `_metadata`, unless the completion brings one
    attest(payload_id)              → `tpm_attestation` in it, `None` for a router without a TPM
    encode(completion)              → the plaintext
    reply_key(recorded)             → the key that encrypts the response, the client's
    seal(plaintext, key, processed_at) → the body
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import trustme
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.nomyo.wire import completion, package, request_checks, server_keys
from tests.nomyo.wire.http11 import MalformedError, Reply, Request, read_request, send_reply
from tests.nomyo.wire.loopback import Connection, Loopback, server_context
from tests.nomyo.wire.request_checks import RefusedError, error, limited

__all__ = ["KEY_PATH", "POST_PATH", "PlainRouter", "Recorded", "Reply", "error", "limited"]

KEY_PATH = "/pki/public_key"
POST_PATH = "/v1/chat/secure_completion"
HTML = b"<!doctype html><html><head><title>Sign in</title></head><body><h1>Hotel network</h1></body></html>\n"


@dataclass
class Recorded(Request):
    """A request that the router received.

    at: time.monotonic() when the request was complete.
    connection: serial number of its TCP connection, from 1.
    plaintext: the payload; `None` if it is missing or cannot be decrypted.
    payload_id, tier, key: the values of its headers, as far as the router read them.
    refused: why the router rejects it, or `None`; programmed replies are sent nevertheless.
    status: the status of the reply; 0 if the connection was reset instead.
    answered_at: the Unix time in the response.
    """

    at: float = 0.0
    connection: int = 0
    plaintext: dict[str, Any] | None = None
    payload_id: str = ""
    tier: str | None = None
    key: rsa.RSAPublicKey | None = field(default=None, repr=False)
    refused: str | None = None
    status: int = 0
    answered_at: int = 0


Programmed = Reply | None | Callable[[Recorded], Reply | None]


class PlainRouter(Loopback):
    """The router, as a context manager.

    tls: False for http://localhost.
    api_key: the only accepted bearer token; `None` to accept all requests.
    forbidden: pairs (model, tier) that are rejected with 403.
    secure_inference: False for 404 at the completion path.
    tpm: False for 503 at tier maximum; `None` to depend on `attest`.
    prefix: a path before both paths, part of `url`.
    key, bits: the number and the size of the initial server key.
    authority: the CA of its certificate; `None` for a new one.

    The attribute `ca` is the path of the CA's certificate, for SSL_CERT_FILE; leaving the context deletes the file.
    """

    def __init__(
        self,
        *,
        tls: bool = True,
        api_key: str | None = None,
        forbidden: Collection[tuple[str, str | None]] = (),
        secure_inference: bool = True,
        tpm: bool | None = None,
        prefix: str = "",
        key: int = 0,
        bits: int = 4096,
        authority: trustme.CA | None = None,
    ) -> None:
        self.authority = authority or trustme.CA()
        super().__init__(server_context(self.authority) if tls else None)
        self.api_key = api_key
        self.forbidden = forbidden
        self.secure_inference = secure_inference
        self.tpm = tpm
        self.attest: Callable[[str], dict[str, Any] | None] | None = None
        self.requests: list[Recorded] = []
        self.key_number = key
        self.private_key = server_keys.pair(key, bits)
        self.ca = ""
        self._scheme = "https" if tls else "http"
        self._prefix = prefix
        self._used = {(key, bits, 65537)}
        self.reset_faults()

    def reset_faults(self) -> None:
        """Respond correctly from now on: undo `answer`, `fault` and replaced steps, and serve the current key."""
        self.complete: Callable[[dict[str, Any], str], dict[str, Any]] = completion.echo
        self.metadata: Callable[[Recorded], object] = self.correct_metadata
        self.encode: Callable[[Any], bytes] = completion.encode
        self.reply_key: Callable[[Recorded], rsa.RSAPublicKey] = completion.client_key
        self.seal: Callable[[bytes, rsa.RSAPublicKey, int], bytes] = package.seal
        self.on_request: Callable[[Recorded], object] | None = None
        self.key_document = server_keys.public_pem(self.private_key.public_key())
        self._answers: dict[str, deque[Programmed]] = {"GET": deque(), "POST": deque()}
        self._always: dict[str, Programmed] = {}

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return f"{self._scheme}://localhost:{self.port}{self._prefix}"

    @property
    def posts(self) -> list[Recorded]:
        """The requests at the completion path."""
        return [each for each in self.requests if each.method == "POST"]

    @property
    def key_fetches(self) -> list[Recorded]:
        """The requests at the key path."""
        return [each for each in self.requests if each.path == self._prefix + KEY_PATH]

    def answer(self, *replies: Programmed, on: Literal["GET", "POST"] = "POST") -> None:
        """Program the replies to the next requests with this method.

        Each reply is for one request, in order; `None` is the correct response. Later requests get correct responses. A
        single callable is called for every request instead, until `reset_faults` or the next callable. It receives the
        request with its plaintext, after `on_request`.
        """
        if len(replies) == 1 and callable(replies[0]):
            self._always[on] = replies[0]
        else:
            self._answers[on].extend(replies)

    def fault(self, name: str) -> None:
        """Enable a fault of the table `FAULTS`."""
        from tests.nomyo.wire.faults import FAULTS

        FAULTS[name].switch(self)

    def rotate_key(
        self, bits: int = 4096, *, kind: Literal["rsa", "ec", "html"] | bytes = "rsa", exponent: int = 65537
    ) -> None:
        """Use a different server key from now on.

        kind: "rsa" for a key pair that this router has not used; "ec", "html" and bytes only change the document at the
            key path, and requests encrypted to the previous RSA key can still be decrypted.
        """
        if isinstance(kind, bytes):
            self.key_document = kind
        elif kind == "ec":
            self.key_document = server_keys.ec_pem(self.key_number)
        elif kind == "html":
            self.key_document = HTML
        else:
            while (self.key_number, bits, exponent) in self._used:
                self.key_number += 1
            self._used.add((self.key_number, bits, exponent))
            self.private_key = server_keys.pair(self.key_number, bits, exponent)
            self.key_document = server_keys.public_pem(self.private_key.public_key())

    def correct_metadata(self, request: Recorded) -> dict[str, Any]:
        """Return `_metadata` as in section 6, before the client merges it."""
        evidence = self.attest(request.payload_id) if self.attest is not None else None
        return completion.metadata(request.payload_id, request.tier, request.answered_at, evidence)

    def correct_body(self, request: Recorded) -> bytes:
        """Build the body of the response to an accepted request, in all steps."""
        assert request.plaintext is not None
        answer: Any = self.complete(request.plaintext, request.payload_id)
        if isinstance(answer, dict) and "_metadata" not in answer:
            answer = {**answer, "_metadata": self.metadata(request)}
        return self.seal(self.encode(answer), self.reply_key(request), request.answered_at)

    def __enter__(self) -> Self:
        folder = self.resources.enter_context(tempfile.TemporaryDirectory(prefix="plain-router-"))
        self.ca = str(Path(folder) / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        return super().__enter__()

    async def serve(self, connection: Connection) -> None:
        good = True
        while good:
            try:
                request = await read_request(connection.reader)
            except (MalformedError, ValueError) as problem:
                await send_reply(connection, replace(error(400, f"Malformed request: {problem}"), close=True))
                return
            if request is None:
                return
            recorded = Recorded(**vars(request), at=time.monotonic(), connection=connection.serial)
            self.requests.append(recorded)
            reply = self._reply(recorded)
            if reply.reset not in {"before", "after"}:
                recorded.status = reply.status
            good = await send_reply(connection, reply)
            good = good and (recorded.header("Connection") or "").lower() != "close"

    def _reply(self, request: Recorded) -> Reply:
        if self.on_request is not None:
            self.on_request(request)
        request.answered_at = int(time.time())
        refusal = self._judge(request)
        reply = self._programmed(request)
        if reply is None:
            reply = refusal or Reply()
        elif refusal is not None and reply.status == 200 and reply.body is None:
            # Only the delivery of the response is programmed.
            reply = replace(reply, status=refusal.status, headers=[*reply.headers, *refusal.headers], body=refusal.body)
        if reply.body is None and reply.reset != "before":
            reply = replace(reply, body=self._body(request, reply.status))
        if "content-type" not in {name.lower() for name, _ in reply.headers}:
            kind = "application/x-pem-file" if request.method == "GET" and reply.status == 200 else "application/json"
            reply = replace(reply, headers=[*reply.headers, ("Content-Type", kind)])
        return reply

    def _body(self, request: Recorded, status: int) -> bytes:
        if status != 200:
            return json.dumps({"detail": f"Programmed: {status}"}).encode()
        return self.key_document if request.method == "GET" else self.correct_body(request)

    def _programmed(self, request: Recorded) -> Reply | None:
        queue = self._answers.get(request.method)
        programmed = queue.popleft() if queue else self._always.get(request.method)
        return programmed(request) if callable(programmed) else programmed

    def _judge(self, request: Recorded) -> Reply | None:
        try:
            self._accept_or_refuse(request)
        except RefusedError as refused:
            request.refused = str(refused)
            return error(refused.status, refused.detail)
        return None

    def _accept_or_refuse(self, request: Recorded) -> None:
        path = request.path.removeprefix(self._prefix)
        if path not in {KEY_PATH, POST_PATH} or not request.path.startswith(self._prefix):
            raise RefusedError(404, "Not Found")
        if request.method != ("GET" if path == KEY_PATH else "POST"):
            raise RefusedError(405, "Method Not Allowed")
        if path == KEY_PATH:
            return
        if not self.secure_inference:
            raise RefusedError(404, "Secure inference not enabled")
        request_checks.bearer(request, self.api_key)
        request_checks.content_type(request)
        request.payload_id = request_checks.payload_id(request)
        request.tier = request_checks.tier(request)
        request.key = request_checks.client_key(request)
        request.plaintext = request_checks.opened(request.body, self.private_key)
        model = request.plaintext.get("model")
        if (model, request.tier) in self.forbidden:
            raise RefusedError(403, f"Model {model} is not allowed at tier {request.tier}")
        if request.tier == "maximum" and not (self.attest is not None if self.tpm is None else self.tpm):
            raise RefusedError(503, "Tier maximum needs a TPM, and this server has none")
