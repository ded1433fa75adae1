"""A call that goes well: what is sent, what is checked of the answer, and what is handed over."""

from __future__ import annotations

import json
import urllib.parse
import uuid
from typing import Any

import pytest

from nomyo import SecurityError
from nomyo.errors import ArgumentError
from nomyo.keys import fingerprint
from nomyo.SecureCompletionClient import SecureCompletionClient
from tests.nomyo.client_calls import API_KEY, MODEL, PROMPT, Wire, ask, content, only, run
from tests.nomyo.wire.plain_router import PlainRouter


def test_an_answer_comes_as_users_know_it_with_what_was_checked(wire: Wire) -> None:
    answer = wire.ask(security_tier="high", temperature=0.5)
    post = only(wire.posts)
    assert content(answer) == PROMPT
    assert answer["_metadata"]["verification"] == {
        "payload_id_echoed": True,
        "security_tier_echoed": True,
        "server_key": fingerprint(wire.router.private_key.public_key()),
        "server_key_pinned": False,
    }
    assert answer["_metadata"]["payload_id"] == post.payload_id
    assert answer["_metadata"]["processed_at"] == answer["_metadata"]["transport_processed_at"] == post.answered_at
    assert answer["_metadata"]["is_encrypted"] is True
    assert answer["_metadata"]["encryption_algorithm"] == "hybrid-aes256-rsa4096"
    assert answer["_metadata"]["security_tier"] == "high"
    assert answer["_metadata"]["memory_protection"]["platform"] == "linux"
    assert "attestation_result" not in answer["_metadata"]


def test_what_is_sent_is_the_protocols_and_nothing_else(wire: Wire) -> None:
    wire.ask(security_tier="standard", temperature=0.5, stop=["a"], extra_body={"top_k": 3})
    post = only(wire.posts)
    assert post.plaintext == {
        "model": MODEL,
        "messages": [{"role": "user", "content": PROMPT}],
        "temperature": 0.5,
        "stop": ["a"],
        "top_k": 3,
    }
    assert list(post.plaintext)[:2] == ["model", "messages"]
    assert post.header("Authorization") == f"Bearer {API_KEY}"
    assert post.header("X-Security-Tier") == "standard"
    assert post.header("Content-Type") == "application/octet-stream"
    assert post.header("Accept-Encoding") == "identity"
    key = post.header("X-Public-Key")
    assert key is not None
    assert key == urllib.parse.quote(urllib.parse.unquote(key))
    assert key.endswith("%0A")
    assert not [name for name, _ in post.headers if name.lower() in ("cookie", "transfer-encoding", "expect")]


def test_the_servers_key_is_asked_for_without_a_word_about_who_asks(wire: Wire) -> None:
    wire.ask()
    fetch = only(wire.router.key_fetches)
    names = {name.lower() for name, _ in fetch.headers}
    assert names == {"host", "accept", "accept-encoding", "connection", "user-agent"}
    assert fetch.body == b""


def test_every_call_has_a_random_uuid_of_version_4(wire: Wire) -> None:
    wire.ask_repeatedly(5)
    ids = [uuid.UUID(post.payload_id) for post in wire.posts]
    assert len(set(ids)) == 5
    assert {each.version for each in ids} == {4}
    assert [str(each) for each in ids] == [post.payload_id for post in wire.posts]


def test_every_call_is_sealed_anew(wire: Wire) -> None:
    wire.ask_repeatedly(3)
    packages = [json.loads(post.body) for post in wire.posts]
    assert len({package["encrypted_aes_key"] for package in packages}) == 3
    assert len({package["encrypted_payload"]["nonce"] for package in packages}) == 3


@pytest.mark.parametrize("own", ["bearer-of-this-call-only", None])
def test_an_api_key_of_the_call_goes_before_the_clients(wire: Wire, own: str | None) -> None:
    wire.ask(api_key=own)
    assert only(wire.posts).header("Authorization") == f"Bearer {own or API_KEY}"


def test_without_an_api_key_there_is_no_header(wire: Wire) -> None:
    wire.ask({"api_key": None})
    assert only(wire.posts).header("Authorization") is None


def test_without_a_tier_there_is_no_header_and_none_is_compared(wire: Wire) -> None:
    wire.router.fault("tier-other")
    answer = wire.ask()
    assert only(wire.posts).header("X-Security-Tier") is None
    assert answer["_metadata"]["security_tier"] == "high"


def test_the_inner_time_is_not_overwritten_by_the_outer_one(wire: Wire) -> None:
    wire.router.fault("processed-at-differs")
    metadata = wire.ask()["_metadata"]
    assert metadata["processed_at"] == only(wire.posts).answered_at
    assert metadata["transport_processed_at"] == 1


def test_the_outer_time_stands_in_where_there_is_no_inner_one(wire: Wire) -> None:
    right = wire.router.correct_metadata
    wire.router.metadata = lambda post: {k: v for k, v in right(post).items() if k != "processed_at"}
    metadata = wire.ask()["_metadata"]
    assert metadata["processed_at"] == metadata["transport_processed_at"] == only(wire.posts).answered_at


def test_an_echo_that_is_missing_is_told(wire: Wire) -> None:
    wire.router.fault("echo-missing")
    metadata = wire.ask()["_metadata"]
    assert metadata["verification"]["payload_id_echoed"] is False
    assert metadata["payload_id"] == only(wire.posts).payload_id


def test_an_answer_without_metadata_gets_ours(wire: Wire) -> None:
    right = wire.router.encode
    wire.router.encode = lambda answer: right({k: v for k, v in answer.items() if k != "_metadata"})
    metadata = wire.ask()["_metadata"]
    assert metadata["verification"]["payload_id_echoed"] is metadata["verification"]["security_tier_echoed"] is False
    assert metadata["payload_id"] == only(wire.posts).payload_id


LIES: dict[str, Any] = {
    "attestation_result": {"verdict": "affirming"},
    "verification": {"server_key_pinned": True, "payload_id_echoed": True, "more": "lies"},
    "transport_processed_at": 4_000_000_000,
    "is_encrypted": False,
    "encryption_algorithm": "none",
}


@pytest.mark.parametrize("outer", [True, False])
def test_what_a_server_says_under_our_names_is_not_believed(wire: Wire, outer: bool) -> None:
    right, seal = wire.router.correct_metadata, wire.router.seal
    wire.router.metadata = lambda post: {**right(post), **LIES}
    if not outer:
        wire.router.seal = lambda plaintext, key, _: seal(plaintext, key, None)  # type: ignore[arg-type]  # no time outside
    metadata = wire.ask()["_metadata"]
    assert "attestation_result" not in metadata
    assert metadata["verification"]["server_key_pinned"] is False
    assert "more" not in metadata["verification"]
    assert metadata.get("transport_processed_at") == (only(wire.posts).answered_at if outer else None)
    assert metadata["is_encrypted"] is True
    assert metadata["encryption_algorithm"] == "hybrid-aes256-rsa4096"


@pytest.mark.parametrize("mebibytes", [1, 9])
def test_long_prompts_and_their_answers_pass(wire: Wire, mebibytes: int) -> None:
    prompt = "häßlich 😀 " * (mebibytes * 33_000)  # 31 bytes each in JSON
    answer = wire.ask(prompt=prompt)
    assert content(answer) == prompt
    post = only(wire.posts)
    assert post.header("Content-Length") == str(len(post.body))
    assert post.header("Transfer-Encoding") is None


def test_a_payload_above_the_limit_is_not_sent(wire: Wire) -> None:
    error = wire.refused(ArgumentError, prompt="x" * (10 * 1024 * 1024))
    assert "Payload too large" in str(error)
    assert wire.posts == []


def test_a_base_path_stands_before_both_paths(wire: Wire) -> None:
    with PlainRouter(prefix="/eu/west", authority=wire.router.authority) as router:
        wire.ask({"base_url": router.url + "//"})
        assert [each.path for each in router.requests] == [
            "/eu/west/pki/public_key",
            "/eu/west/v1/chat/secure_completion",
        ]


def test_the_low_level_methods_make_a_call_together(wire: Wire) -> None:
    async def calls() -> dict[str, Any]:
        async with wire.client() as chat:
            low = chat.client
            assert (await low.fetch_server_public_key()).encode() == wire.router.key_document
            assert json.loads(await low.encrypt_payload({"model": "m"}))["version"] == "1.0"
            return await low.send_secure_request({"model": "m", "messages": []}, "any id", "key", "high")

    metadata = run(calls())["_metadata"]
    post = only(wire.posts)
    assert (post.payload_id, post.tier, post.header("Authorization")) == ("any id", "high", "Bearer key")
    assert metadata["payload_id"] == "any id"
    assert wire.fetches == 1


def test_what_was_sealed_to_a_client_can_be_opened_by_it_alone(wire: Wire) -> None:
    low = wire.client().client
    pair = run(low.keyring.get())
    package = wire.router.seal(b'{"_metadata": {"payload_id": "a"}}', pair.private.public_key(), 7)
    assert run(low.decrypt_response(package, "a"))["_metadata"]["processed_at"] == 7
    with pytest.raises(SecurityError) as caught:
        run(low.decrypt_response(package, "b"))
    assert caught.value.code == "response_not_bound"
    with pytest.raises(SecurityError, match="generate_keys"):
        run(SecureCompletionClient(wire.router.url).decrypt_response(package, "a"))


def test_another_host_for_one_call_gets_no_key_of_ours(wire: Wire) -> None:
    with PlainRouter(authority=wire.router.authority) as other:

        async def calls() -> None:
            async with wire.client() as client:
                await ask(client, base_url=other.url)
                await ask(client, base_url=other.url, api_key="bearer-of-this-call-only")
                await ask(client)

        run(calls())
        assert [post.header("Authorization") for post in other.posts] == [None, "Bearer bearer-of-this-call-only"]
    assert only(wire.posts).header("Authorization") == f"Bearer {API_KEY}"


def test_acreate_does_as_create_does(wire: Wire) -> None:
    async def call() -> dict[str, Any]:
        async with wire.client() as client:
            return await client.acreate(MODEL, [{"role": "user", "content": PROMPT}], security_tier="high", n=2)

    assert content(run(call())) == PROMPT
    post = only(wire.posts)
    assert (post.tier, post.plaintext) == (
        "high",
        {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "n": 2},
    )
