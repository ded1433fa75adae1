"""Servers that send back what they were sent, in every place where an error may keep it."""

from __future__ import annotations

import base64
import html
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nomyo import APIConnectionError, APIStatusError, AttestationError, NomyoError, ResponseNotBoundError
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import Wire, run
from tests.nomyo.error_scenarios import API_KEY, COMPLETION, PROMPT, SECRETS, SYSTEM, TOOL, ScenarioContext, policy
from tests.nomyo.secret_search import SecretSearch, capture_output
from tests.nomyo.wire.http11 import read_request
from tests.nomyo.wire.loopback import Connection, Loopback, server_context
from tests.nomyo.wire.plain_router import Recorded, Reply

EVERYTHING = [API_KEY, PROMPT, SYSTEM, TOOL]

BODIES: dict[str, Callable[[str, Recorded], object]] = {
    "detail": lambda all_of_it, post: {"detail": all_of_it},
    "detail with the payload": lambda all_of_it, post: {"detail": {"input": post.plaintext, "auth": all_of_it}},
    "detail with the payload as JSON": lambda all_of_it, post: {"detail": json.dumps(post.plaintext) + all_of_it},
    "detail with the payload as Python": lambda all_of_it, post: {"detail": repr(post.plaintext) + all_of_it},
    "list": lambda all_of_it, post: [{"loc": ["body"], "input": EVERYTHING}],
    "string": lambda all_of_it, post: all_of_it,
    "keys": lambda all_of_it, post: {"detail": "no", "seen": dict.fromkeys(EVERYTHING, 1)},
    "deep": lambda all_of_it, post: {"a": {"b": [{"c": [EVERYTHING]}]}, "detail": "no"},
    "very deep": lambda all_of_it, post: json.loads('{"a":' * 60 + json.dumps(all_of_it) + "}" * 60),
    "beside": lambda all_of_it, post: {"detail": "no", "request": post.plaintext, "headers": dict(post.headers)},
}
TEXTS: dict[str, Callable[[str, Recorded], str]] = {
    "text": lambda all_of_it, post: f"failed at {all_of_it}",
    "page": lambda all_of_it, post: f"<html><pre>{html.escape(str(post.plaintext))} {html.escape(all_of_it)}</pre>",
    "trace": lambda all_of_it, post: f"Traceback: payload={post.plaintext!r} headers={post.headers!r}",
    "text cut in the middle": lambda all_of_it, post: "x" * 1990 + all_of_it,
    "JSON cut in the middle": lambda all_of_it, post: json.dumps({"detail": "x" * 65_490 + all_of_it}),
    "long": lambda all_of_it, post: (all_of_it + " ") * 5000,
}
OTHER_STATUSES = [401, 403, 404, 418, 422, 429, 502, 503]
IN_JSON = [(status, name) for name in BODIES for status in (400, 500)] + [(one, "detail") for one in OTHER_STATUSES]
"""Every body with a status whose message quotes the server and one that may be retried; every status with one body."""


@pytest.fixture
def stage(wire: Wire, tmp_path: Path) -> ScenarioContext:
    return ScenarioContext(wire, tmp_path, tmp_path)


def hunted(
    stage: ScenarioContext,
    kind: type[NomyoError],
    *,
    secrets: tuple[str, ...] = SECRETS,
    but: tuple[str, ...] = (),
    **asked: Any,
) -> list[str]:
    """Where the secrets are, after a call that fails with this kind of error.

    but: libraries whose log is left out. httpx logs the reason phrase as it comes, and httpcore all headers: what a
        server puts there stands in their log, and in nothing of ours.
    """
    options = asked.pop("options", {})
    hunt = SecretSearch(*secrets)
    with capture_output() as heard, pytest.raises(kind) as caught:
        run(stage.ask(options, **asked))
    hunt.look("error", caught.value)
    heard.search(hunt, but=but)
    return hunt.found


@pytest.mark.parametrize(("status", "name"), IN_JSON)
def test_an_error_that_quotes_the_request_in_json_is_told_without_it(
    stage: ScenarioContext, name: str, status: int
) -> None:
    stage.wire.router.answer(
        lambda post: Reply(status, body=json.dumps(BODIES[name](" ".join(EVERYTHING), post)).encode())
    )
    assert hunted(stage, APIStatusError) == []


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("status", [400, 502])
def test_an_error_that_quotes_the_request_in_text_is_told_without_it(
    stage: ScenarioContext, name: str, status: int
) -> None:
    stage.wire.router.answer(lambda post: Reply(status, body=TEXTS[name](" ".join(EVERYTHING), post).encode()))
    assert hunted(stage, APIStatusError) == []


@pytest.mark.parametrize("length", [3_000, 60_000, 100_000])
@pytest.mark.parametrize("wrap", [str, json.dumps, lambda text: json.dumps({"detail": text})])
def test_of_a_long_prompt_that_is_sent_back_nothing_is_told(
    stage: ScenarioContext, length: int, wrap: Callable[[str], str]
) -> None:
    lines = [f"{PROMPT}, line {number}" for number in range(length // 30)]
    stage.wire.router.answer(lambda post: Reply(500, body=wrap("\n".join(lines)).encode()))
    messages = [{"role": "user", "content": "\n".join(lines)}]
    assert hunted(stage, APIStatusError, secrets=(PROMPT,), messages=messages) == []


def test_what_is_no_secret_is_told(stage: ScenarioContext) -> None:
    stage.wire.router.answer(Reply(400, [("X-Request-ID", "r-1")], b'{"detail": "no such model as Qwen/Qwen3-0.6B"}'))
    with pytest.raises(APIStatusError) as caught:
        run(stage.ask())
    assert str(caught.value) == "Bad request: no such model as Qwen/Qwen3-0.6B"
    assert caught.value.headers["x-request-id"] == "r-1"
    assert caught.value.error_details == {"detail": "no such model as Qwen/Qwen3-0.6B"}


@pytest.mark.parametrize("status", [400, 401, 429, 500, 302])
def test_an_error_that_quotes_the_request_in_its_headers_is_told_without_it(
    stage: ScenarioContext, status: int
) -> None:
    headers = [("X-Echo", one) for one in EVERYTHING] + [("Location", f"/?key={API_KEY}"), ("X-" + API_KEY, "name")]
    stage.wire.router.answer(lambda post: Reply(status, headers))
    assert hunted(stage, APIStatusError, but=("httpcore",)) == []


@pytest.mark.parametrize("value", [PROMPT, API_KEY, [PROMPT], {PROMPT: API_KEY}])
@pytest.mark.parametrize("name", ["payload_id", "security_tier"])
def test_an_echo_that_is_the_prompt_is_not_told(stage: ScenarioContext, name: str, value: object) -> None:
    right = stage.wire.router.correct_metadata
    stage.wire.router.metadata = lambda post: {**right(post), name: value}
    assert hunted(stage, ResponseNotBoundError, security_tier="high") == []


CLAIMS: dict[str, object] = {
    "completion": COMPLETION,
    "tpm_attestation": {"is_available": PROMPT},
    "security_tier": PROMPT,
    "memory_protection": {"memory_locking": API_KEY},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_that_is_the_prompt_is_not_told(stage: ScenarioContext, name: str) -> None:
    right = stage.wire.router.correct_metadata
    stage.wire.router.metadata = lambda post: {**right(post), name: CLAIMS[name]}
    judging = {"security_tier": ["high"], "memory_protection.memory_locking": [True], "completion": ["none"]}
    strict = type(policy()).from_dict({**policy().to_dict(), "claims": judging})
    assert hunted(stage, AttestationError, options={"attestation_policy": strict}) == []


FIELDS = ["pcr_banks", "quote_b64", "signature_b64", "aik_pubkey_b64"]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("form", [lambda text: text, lambda text: base64.b64encode(text.encode()).decode()])
def test_evidence_that_is_the_completion_is_not_told(
    stage: ScenarioContext, name: str, form: Callable[[str], str]
) -> None:
    block = Forge().response()["_metadata"]["tpm_attestation"]
    stage.wire.router.attest = lambda payload_id: {**block, name: form(f"{PROMPT} {API_KEY} {COMPLETION}")}
    assert hunted(stage, AttestationError, options={"attestation_policy": policy()}) == []


class Echoing(Loopback):
    """A server that answers every POST with a line made of what it was sent."""

    def __init__(self, context: ssl.SSLContext, line: bytes, key: bytes) -> None:
        super().__init__(context)
        self._line, self._key = line, key

    async def serve(self, connection: Connection) -> None:
        while (request := await read_request(connection.reader)) is not None:
            if request.method == "GET":
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self._key)
                connection.writer.write(head + self._key)
                continue
            connection.writer.write(self._line.replace(b"%", (request.header("Authorization") or "").encode()))
            await connection.writer.drain()
            return


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"HTTP/1.1 %\r\n\r\n", APIConnectionError),
        (b"HTTP/1.1 200 OK\r\n%\r\n\r\n", APIConnectionError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%\r\n", APIConnectionError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %\r\n\r\n", APIConnectionError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %\r\n\r\n", APIConnectionError),
        (b"%\r\n\r\n", APIConnectionError),
        (b"HTTP/1.1 500 %\r\nContent-Length: 0\r\n\r\n", APIStatusError),
    ],
)
def test_a_line_of_http_that_quotes_the_bearer_key_is_not_told(
    stage: ScenarioContext, line: bytes, kind: type[NomyoError]
) -> None:
    context = server_context(stage.wire.router.authority)
    with Echoing(context, line, stage.wire.router.key_document) as server:
        options = {"base_url": f"https://localhost:{server.port}"}
        assert hunted(stage, kind, options=options, but=("httpcore", "httpx")) == []
