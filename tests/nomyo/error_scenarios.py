"""A scenario for every class of error that the client raises; all calls in them contain secrets."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

import nomyo_attest as na
from nomyo import SecureChatCompletion, errors
from nomyo.SecureCompletionClient import SecureCompletionClient
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import MODEL, Wire
from tests.nomyo.wire.plain_router import Recorded, Reply, error, limited

API_KEY = "bearer-2b9e61f0c7d84a35"
PROMPT = "prompt-7f03a9c2be516d48"
SYSTEM = "system-e4c1905db7f2683a"
TOOL = "tool-0d5e82b1c94f7a36"
COMPLETION = "completion-a61c4e93f20b8d75"
PASSWORD = "password-938be0d1f64c7a25"
SECRETS = (API_KEY, PROMPT, SYSTEM, TOOL, COMPLETION, PASSWORD)

MESSAGES = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": [{"type": "text", "text": f"{PROMPT}\nand more"}]},
]
TOOLS = [{"type": "function", "function": {"name": "look_up", "description": TOOL}}]


@dataclass
class ScenarioContext:
    """The environment of a scenario: calls to a router, a folder, and an encrypted key pair in it."""

    wire: Wire
    folder: Path
    keys: Path

    def __post_init__(self) -> None:
        echo = self.wire.router.complete

        def complete(payload: dict[str, Any], payload_id: str) -> dict[str, Any]:
            answer = echo(payload, payload_id)
            answer["choices"][0]["message"]["content"] = COMPLETION
            return answer

        self.wire.router.complete = complete

    def client(self, **options: Any) -> SecureChatCompletion:
        """Create a client of the router, with secrets."""
        return self.wire.client(**{"api_key": API_KEY, **options})

    def own(self, **options: Any) -> SecureChatCompletion:
        """Create a client with the encrypted key pair."""
        given = {"base_url": self.wire.router.url, "api_key": API_KEY, "max_retries": 0}
        return SecureChatCompletion(**{**given, "key_dir": self.keys, "key_password": PASSWORD, **options})

    async def ask(self, options: dict[str, Any] | None = None, **arguments: Any) -> Any:
        """Make a call with secrets in all its parts."""
        async with self.client(**options or {}) as client:
            return await ask(client, **arguments)


async def ask(client: SecureChatCompletion, **arguments: Any) -> Any:
    """Make a call with secrets in all its parts."""
    return await client.create(**{"model": MODEL, "messages": MESSAGES, "tools": TOOLS, **arguments})


Scenario = Callable[[ScenarioContext], Awaitable[object]]


def answered(*replies: Reply | Callable[[Recorded], Reply | None], **options: Any) -> Scenario:
    """A call with these replies."""

    async def play(stage: ScenarioContext) -> None:
        stage.wire.router.answer(*replies)
        await stage.ask(options)

    return play


def faulty(name: str, **arguments: Any) -> Scenario:
    """A call to a router with this fault."""

    async def play(stage: ScenarioContext) -> None:
        stage.wire.router.fault(name)
        await stage.ask(**arguments)

    return play


def at_once(work: Callable[[ScenarioContext], object]) -> Scenario:
    """A scenario without a call, which does not need an event loop."""

    async def play(stage: ScenarioContext) -> None:
        work(stage)

    setattr(play, "at_once", True)  # noqa: B010 - mypy rejects the assignment
    return play


def policy() -> na.AppraisalPolicy:
    return na.AppraisalPolicy.from_dict(Forge().policy())


async def not_affirmed(stage: ScenarioContext) -> None:
    forge = Forge().measure(0, b"other firmware")

    def attest(payload_id: str) -> Any:
        forge.payload_id = payload_id
        return forge.response()["_metadata"]["tpm_attestation"]

    stage.wire.router.attest = attest
    await stage.ask({"attestation_policy": policy()})


async def not_kept(stage: ScenarioContext) -> None:
    log = stage.folder / "evidence.jsonl"
    echo = stage.wire.router.complete

    def tamper(payload: dict[str, Any], payload_id: str) -> dict[str, Any]:
        log.chmod(0o666)
        return echo(payload, payload_id)

    stage.wire.router.complete = tamper
    log.unlink(missing_ok=True)
    await stage.ask({"evidence_log": log})


async def no_ledger(stage: ScenarioContext) -> None:
    log = stage.folder / "evidence.jsonl"
    log.unlink(missing_ok=True)
    client = stage.client(evidence_log=log)
    log.chmod(0o666)
    await ask(client)


async def refused_and_not_kept(stage: ScenarioContext) -> None:
    log = stage.folder / "none" / "evidence.jsonl"
    await stage.ask({"attestation_policy": policy(), "evidence_log": log, "evidence_log_failure": "warn"})


class Failing(httpx.AsyncBaseTransport):
    """A transport whose error contains and references as much as possible."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return await self._inner.handle_async_request(request)
        failure = ValueError(f"cannot send {request.headers.get('Authorization')}", request)
        failure.add_note(str(request.headers))
        raise failure from LookupError(request.headers)


async def of_a_foreign_part(stage: ScenarioContext) -> None:
    context = ssl.create_default_context(cafile=stage.wire.router.ca)
    async with httpx.AsyncClient(transport=Failing(httpx.AsyncHTTPTransport(verify=context))) as http:
        await stage.ask({"http_client": http})


async def closed(stage: ScenarioContext) -> None:
    client = stage.client()
    await ask(client)
    await client.aclose()
    await ask(client)


async def answer_without_a_key(stage: ScenarioContext) -> None:
    low = SecureCompletionClient(stage.wire.router.url)
    await low.decrypt_response(b"{}", "an-id")


async def foreign_answer(stage: ScenarioContext) -> None:
    low = stage.client().client
    pair = await low.keyring.get()
    package = stage.wire.router.seal(f'["{COMPLETION}"]'.encode(), pair.private.public_key(), 7)
    await low.decrypt_response(package, "an-id")


async def too_many_arrays(stage: ScenarioContext) -> None:
    echo = stage.wire.router.complete
    stage.wire.router.complete = lambda payload, payload_id: {**echo(payload, payload_id), "more": [[]] * 100_000}
    await stage.ask({"max_retries": 2})


async def another_loop(stage: ScenarioContext) -> None:
    http = httpx.AsyncClient(verify=httpx.create_ssl_context())
    client = stage.client(http_client=http)

    def elsewhere() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask(client))
        used.set()
        done.wait()
        loop.run_until_complete(http.aclose())
        loop.close()

    used, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=elsewhere)
    thread.start()
    try:
        await asyncio.to_thread(used.wait)
        await ask(client)
    finally:
        done.set()
        await asyncio.to_thread(thread.join)


async def wrong_password(stage: ScenarioContext) -> None:
    async with stage.own(key_password=PASSWORD + "x") as client:
        await ask(client)


async def sent_below(stage: ScenarioContext) -> None:
    low = stage.client().client
    stage.wire.router.answer(Reply(403))
    await low.send_secure_request({"messages": MESSAGES}, "an-id", API_KEY, "high")


async def unwritable(stage: ScenarioContext) -> None:
    low = stage.client().client
    await low.encrypt_payload({"messages": MESSAGES, "tools": {PROMPT}})


async def without_a_model(stage: ScenarioContext) -> None:
    create: Any = stage.client().create
    await create(messages=MESSAGES)


SCENARIOS: dict[str, tuple[type[BaseException], Scenario]] = {
    "APIStatusError 418": (errors.APIStatusError, faulty("status-418")),
    "APIStatusError 307": (errors.APIStatusError, faulty("redirect")),
    "APIStatusError 502": (errors.APIStatusError, answered(Reply(502))),
    "InvalidRequestError": (errors.InvalidRequestError, answered(error(400, "no"))),
    "AuthenticationError": (errors.AuthenticationError, answered(error(401, "no"))),
    "ForbiddenError": (errors.ForbiddenError, sent_below),
    "NotFoundError": (errors.NotFoundError, answered(Reply(404))),
    "RateLimitError": (errors.RateLimitError, answered(limited(90))),
    "ServerError": (errors.ServerError, answered(lambda post: Reply(500), max_retries=1)),
    "ServiceUnavailableError": (errors.ServiceUnavailableError, answered(Reply(503))),
    "ServiceUnavailableError key": (errors.ServiceUnavailableError, faulty("key-503")),
    "APIConnectionError": (errors.APIConnectionError, faulty("reset-after")),
    "APIConnectionError truncated": (errors.APIConnectionError, faulty("truncated")),
    "APIConnectionError key": (errors.APIConnectionError, faulty("key-reset")),
    "APITimeoutError": (errors.APITimeoutError, answered(Reply(delay=5), timeout=0.3)),
    "APITimeoutError drip": (errors.APITimeoutError, answered(Reply(drip=(16, 0.2)), timeout=0.5)),
    "SecurityError": (errors.SecurityError, answer_without_a_key),
    **{
        f"ResponseError {name}": (errors.ResponseError, faulty(name))
        for name in (
            "swapped-key",
            "ciphertext-flipped",
            "plaintext-not-json",
            "plaintext-list",
            "plaintext-twice",
            "plaintext-nan",
            "metadata-null",
            "metadata-list",
            "body-html",
            "gzip",
            "plaintext-not-utf8",
        )
    },
    "ResponseError by hand": (errors.ResponseError, foreign_answer),
    "ResponseTooLargeError": (errors.ResponseTooLargeError, too_many_arrays),
    "ResponseNotBoundError": (errors.ResponseNotBoundError, faulty("echo-wrong")),
    "ResponseNotBoundError tier": (errors.ResponseNotBoundError, faulty("tier-other", security_tier="high")),
    "ServerKeyError": (errors.ServerKeyError, faulty("key-ec")),
    "ServerKeyError pins": (
        errors.ServerKeyError,
        lambda stage: stage.ask({"server_key_pins": "sha256/" + "A" * 43 + "="}),
    ),
    "EventLoopError": (errors.EventLoopError, another_loop),
    "InsecureURLError": (
        errors.InsecureURLError,
        at_once(lambda stage: stage.own(base_url="http://localhost:1")),
    ),
    "InsecureURLError with_options": (
        errors.InsecureURLError,
        at_once(lambda stage: stage.client().with_options(base_url="http://example.org", allow_http=True)),
    ),
    "AttestationError": (errors.AttestationError, not_affirmed),
    "AttestationError no evidence": (
        errors.AttestationError,
        lambda stage: stage.ask({"attestation_policy": policy()}),
    ),
    "AttestationError not kept": (errors.AttestationError, refused_and_not_kept),
    "EvidenceLogError": (errors.EvidenceLogError, not_kept),
    "EvidenceLogError before": (errors.EvidenceLogError, no_ledger),
    "KeyStoreError": (errors.KeyStoreError, wrong_password),
    "KeyStoreError load": (
        errors.KeyStoreError,
        at_once(lambda stage: stage.client().client.load_keys(stage.keys / "private_key.pem", None, PASSWORD + "x")),
    ),
    "KeyStoreError no text": (
        errors.KeyStoreError,
        at_once(
            lambda stage: stage.client().client.load_keys(stage.keys / "private_key.pem", None, PASSWORD + "\ud800")
        ),
    ),
    "KeyStoreError another pair": (
        errors.KeyStoreError,
        at_once(
            lambda stage: stage.client().client.load_keys(
                stage.keys / "private_key.pem", stage.folder / "other.pem", PASSWORD
            )
        ),
    ),
    "KeyStoreError overwrite": (
        errors.KeyStoreError,
        at_once(lambda stage: stage.client().client.generate_keys(True, stage.keys, PASSWORD)),
    ),
    "KeyFileNotFoundError": (
        errors.KeyFileNotFoundError,
        at_once(lambda stage: stage.client().client.load_keys(stage.folder / "none.pem", password=PASSWORD)),
    ),
    "ArgumentError too large": (
        errors.ArgumentError,
        lambda stage: stage.ask(messages=[{"role": "user", "content": PROMPT * 500_000}]),
    ),
    "ArgumentError NaN": (errors.ArgumentError, lambda stage: stage.ask(temperature=float("nan"))),
    "ArgumentError no policy": (errors.ArgumentError, lambda stage: stage.ask(require_attestation=True)),
    "ArgumentError api_key": (errors.ArgumentError, lambda stage: stage.ask(api_key=f"{API_KEY}\n")),
    "ArgumentError URL": (
        errors.ArgumentError,
        at_once(lambda stage: stage.own(base_url=f"https://user:{PASSWORD}@localhost")),
    ),
    "ArgumentError pins": (errors.ArgumentError, at_once(lambda stage: stage.own(server_key_pins=[PASSWORD]))),
    "ArgumentTypeError": (errors.ArgumentTypeError, unwritable),
    "ArgumentTypeError name": (errors.ArgumentTypeError, lambda stage: stage.ask(max_retries=API_KEY)),
    "ArgumentTypeError missing": (errors.ArgumentTypeError, without_a_model),
    "ArgumentTypeError constructor": (errors.ArgumentTypeError, at_once(lambda stage: stage.own(key_pasword=PASSWORD))),
    "ArgumentTypeError api_key": (errors.ArgumentTypeError, at_once(lambda stage: stage.own(api_key=API_KEY.encode()))),
    "ArgumentTypeError with_options": (
        errors.ArgumentTypeError,
        at_once(lambda stage: stage.client().with_options(key_pasword=PASSWORD)),
    ),
    "ClientClosedError": (errors.ClientClosedError, closed),
    "InternalError": (errors.InternalError, of_a_foreign_part),
    "PolicyError": (na.PolicyError, at_once(lambda stage: stage.own(attestation_policy=stage.folder / "bad.toml"))),
    "FileNotFoundError": (
        FileNotFoundError,
        at_once(lambda stage: stage.own(attestation_policy=stage.folder / "no.toml")),
    ),
}
