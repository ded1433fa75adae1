"""`SecureCompletionClient`: every method as its users know it, and what is refused before anything is sent."""

from __future__ import annotations

import asyncio
import json
import ssl
import stat
import threading
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from nomyo import client_keys, gate, keys, strict_json
from nomyo.client import SecureCompletionClient
from nomyo.client_keys import KeyPair
from nomyo.config import PAYLOAD_MAX
from nomyo.errors import (
    ArgumentError,
    ArgumentTypeError,
    ClientClosedError,
    InsecureURLError,
    InsecureWarning,
    InternalError,
    KeyFileNotFoundError,
    KeyStoreError,
    ResponseError,
    ResponseNotBoundError,
    SecurityError,
    ServerKeyError,
)
from nomyo.options import Options
from tests.nomyo.client_calls import Wire, only, run, shared_key_pair
from tests.nomyo.wire import package as wire_package
from tests.nomyo.wire import server_keys
from tests.nomyo.wire.plain_router import Reply

KEY = shared_key_pair()
PEM = server_keys.public_pem(KEY.public_key()).decode()
PAYLOAD = {"model": "m", "messages": [{"role": "user", "content": "Grüße €"}], "temperature": 0.5}
SECRET = "prompt-6c1f4b2d8e"


def client(**options: Any) -> SecureCompletionClient:
    """A client of nobody, with a key pair."""
    made = SecureCompletionClient("https://localhost:1", **options)
    made.keyring.pair = KeyPair.of(KEY)
    return made


def sealed(value: object, key: rsa.RSAPrivateKey = KEY) -> bytes:
    return wire_package.seal(json.dumps(value).encode(), key.public_key(), 1_700_000_000)


def test_it_says_where_it_speaks_to() -> None:
    made = SecureCompletionClient("HTTPS://Router.Example:8443/eu//", max_retries=5, timeout=3)
    assert made.router_url == "https://router.example:8443/eu"
    assert made.origin == ("https", "router.example", 8443)
    assert (made.max_retries, made.timeout, made.allow_http) == (5, 3.0, False)
    assert repr(made) == "<SecureCompletionClient https://router.example:8443/eu>"
    assert SecureCompletionClient().router_url == "https://api.nomyo.ai"


def test_max_retries_may_stand_third_as_in_the_api_reference_or_fourth_as_in_the_published_client() -> None:
    for made in (
        SecureCompletionClient("https://h", False, 5),  # type: ignore[arg-type] # the published client's types stand
        SecureCompletionClient("https://h", False, True, 5),
        SecureCompletionClient("https://h", False, False, 5),
        SecureCompletionClient("https://h", max_retries=5),
    ):
        assert made.max_retries == 5
    assert SecureCompletionClient("https://h", False, False).max_retries == 2


@pytest.mark.parametrize("secure", [True, False])
def test_plaintext_is_locked_or_not_as_it_is_told(secure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    real: Callable[..., gate.DecryptedResponse] = gate.decrypt_response

    def decrypt_response(package: bytes, key: rsa.RSAPrivateKey, *, lock_memory: bool) -> gate.DecryptedResponse:
        asked.append(lock_memory)
        return real(package, key, lock_memory=lock_memory)

    monkeypatch.setattr(gate, "decrypt_response", decrypt_response)
    run(client(secure_memory=secure).decrypt_response(sealed({}), "x"))
    assert asked == [secure]
    assert client(secure_memory=secure)._service._lock is secure


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"router_url": "http://localhost"}, InsecureURLError, "allow_http"),
    ({"router_url": "http://example.com", "allow_http": True}, InsecureURLError, "unsafe_remote_http"),
    ({"router_url": "https://u:p@h"}, ArgumentError, "user name"),
    ({"router_url": 5}, ArgumentTypeError, "base_url: expected a str"),
    ({"max_retries": -1}, ArgumentError, "max_retries"),
    ({"max_retries": "2"}, ArgumentTypeError, "max_retries"),
    ({"timeout": 0}, ArgumentError, "timeout"),
    ({"min_server_key_bits": 1024}, ArgumentError, "min_server_key_bits"),
    ({"server_key_pins": ["abc"]}, ArgumentError, "server_key_pins"),
    ({"server_key_pins": None}, ArgumentTypeError, "server_key_pins"),
    ({"key_dir": 5}, ArgumentTypeError, "key_dir: expected a path, got int"),
    ({"keydir": "x"}, ArgumentTypeError, "unexpected keyword argument 'keydir'"),
]


@pytest.mark.parametrize(("options", "kind", "words"), REFUSED, ids=[str(options) for options, _, _ in REFUSED])
def test_options_that_make_no_sense_are_refused_when_it_is_made(
    options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        SecureCompletionClient(**{"router_url": "https://h", **options})


def test_what_is_for_development_only_warns() -> None:
    with pytest.warns(InsecureWarning, match="plain http to localhost"):
        assert SecureCompletionClient("http://localhost", allow_http=True).allow_http is True
    with pytest.warns(InsecureWarning, match="2048 bits"):
        SecureCompletionClient("https://h", min_server_key_bits=2048)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SecureCompletionClient("https://h", allow_http=True, min_server_key_bits=4096)


def test_without_keys_there_are_none_yet() -> None:
    made = SecureCompletionClient("https://h")
    assert made.private_key is None
    assert made.public_key_pem is None


def test_generate_keys_makes_a_pair_of_4096_bits_and_uses_it(made: list[int]) -> None:
    low = SecureCompletionClient("https://h")
    low.generate_keys()
    assert made == [4096]
    assert low.private_key is KEY
    assert low.public_key_pem == PEM


def test_generate_keys_may_also_be_awaited_as_much_documentation_does(made: list[int]) -> None:
    async def main() -> None:
        low = SecureCompletionClient("https://h")
        await low.generate_keys()
        assert low.private_key is KEY

    run(main())


@pytest.mark.parametrize("password", [None, "correct horse"])
def test_keys_are_saved_privately_and_loaded_again(made: list[int], tmp_path: Path, password: str | None) -> None:
    folder = tmp_path / "keys"
    SecureCompletionClient("https://h").generate_keys(save_to_file=True, key_dir=str(folder), password=password)
    private = folder / "private_key.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "public_key.pem").read_text() == PEM
    assert (b"ENCRYPTED" in private.read_bytes()) is (password is not None)

    async def main() -> None:
        low = SecureCompletionClient("https://h")
        await low.load_keys(str(private), str(folder / "public_key.pem"), password)
        assert low.public_key_pem == PEM

    run(main())
    low = SecureCompletionClient("https://h")
    low.load_keys(private, password=password)
    assert low.public_key_pem == PEM


def test_the_folder_of_keys_is_client_keys_unless_told(
    made: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    SecureCompletionClient("https://h").generate_keys()
    assert list(tmp_path.iterdir()) == []
    SecureCompletionClient("https://h").generate_keys(True)
    assert sorted(path.name for path in (tmp_path / "client_keys").iterdir()) == ["private_key.pem", "public_key.pem"]


def test_keys_that_are_there_are_not_overwritten_and_the_pair_stays_as_it_was(made: list[int], tmp_path: Path) -> None:
    low = SecureCompletionClient("https://h")
    low.generate_keys(True, tmp_path / "keys")
    before = low.keyring.pair
    content = (tmp_path / "keys" / "private_key.pem").read_bytes()
    with pytest.raises(KeyStoreError):
        low.generate_keys(True, tmp_path / "keys")
    assert low.keyring.pair is before
    assert (tmp_path / "keys" / "private_key.pem").read_bytes() == content


def test_a_failed_load_changes_nothing_and_quotes_no_password(tmp_path: Path) -> None:
    client_keys.save_new(tmp_path / "keys", KEY, "the right one")
    private = tmp_path / "keys" / "private_key.pem"
    low = client()
    before = low.keyring.pair
    with pytest.raises(KeyStoreError) as caught:
        low.load_keys(private, password="hunter2hunter2")
    assert "hunter2" not in f"{caught.value!s}{caught.value!r}{vars(caught.value)}"
    with pytest.raises(KeyStoreError):
        low.load_keys(private)
    with pytest.raises(KeyFileNotFoundError):
        low.load_keys(tmp_path / "nowhere.pem")
    for path in (None, 5, b"private_key.pem"):
        with pytest.raises(ArgumentTypeError, match="private_key_path: expected a path"):
            low.load_keys(path)  # type: ignore[arg-type] # what is tested
    with pytest.raises(ArgumentTypeError, match="public_key_path: expected a path"):
        low.load_keys(private, 5)  # type: ignore[arg-type] # what is tested
    with pytest.raises(ArgumentTypeError, match="key_dir: expected a path"):
        low.generate_keys(True, None)  # type: ignore[arg-type] # what is tested
    assert low.keyring.pair is before


def test_somebody_elses_public_key_is_refused(tmp_path: Path) -> None:
    client_keys.save_new(tmp_path / "keys", KEY)
    public = tmp_path / "keys" / "public_key.pem"
    public.write_bytes(server_keys.public_pem(server_keys.pair(1001, 2048).public_key()))
    low = SecureCompletionClient("https://h")
    with pytest.raises(KeyStoreError):
        low.load_keys(tmp_path / "keys" / "private_key.pem", public)
    assert low.keyring.pair is None


def test_a_key_dir_is_used_for_the_calls(wire: Wire, tmp_path: Path) -> None:
    client_keys.save_new(tmp_path / "keys", KEY, "correct horse")

    async def main() -> dict[str, Any]:
        async with SecureCompletionClient(
            wire.router.url, key_dir=tmp_path / "keys", key_password="correct horse"
        ) as low:
            return await low.send_secure_request(PAYLOAD, "an id")

    assert run(main())["_metadata"]["payload_id"] == "an id"
    key = wire.posts[0].key
    assert key is not None
    assert key.public_numbers() == KEY.public_key().public_numbers()


def test_a_sealed_payload_is_the_body_that_a_router_opens(wire: Wire) -> None:
    low = wire.client().client
    package = run(low.encrypt_payload(PAYLOAD))
    assert type(package) is bytes
    assert wire_package.unseal(package, wire.router.private_key) == json.dumps(PAYLOAD).encode()


NO_PAYLOAD: list[tuple[Any, type[Exception], str]] = [
    (None, ArgumentError, "Payload must be a dictionary"),
    ([PAYLOAD], ArgumentError, "Payload must be a dictionary"),
    (json.dumps(PAYLOAD), ArgumentError, "Payload must be a dictionary"),
    ({}, ArgumentError, "Payload cannot be empty"),
    ({"a": object()}, ArgumentTypeError, "a: expected text, a number, a list or a dict, got object"),
    ({"a": float("nan")}, ArgumentError, "a: expected a finite number"),
    ({"messages": [{"content": {SECRET}}]}, ArgumentTypeError, r"messages\[0\].content: expected text, .*, got set"),
]


@pytest.mark.parametrize(("payload", "kind", "words"), NO_PAYLOAD, ids=[words for _, _, words in NO_PAYLOAD])
def test_what_is_no_payload_is_refused_before_anything_is_sent(
    payload: Any, kind: type[Exception], words: str, wire: Wire
) -> None:
    low = wire.client().client
    calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: low.encrypt_payload(payload),
        lambda: low.send_secure_request(payload, "an id"),
    ]
    for call in calls:
        with pytest.raises(kind, match=words) as caught:
            run(call())
        assert SECRET not in str(caught.value)
    assert wire.router.requests == []


def test_a_payload_may_have_ten_mebibytes_and_not_a_byte_more(wire: Wire) -> None:
    assert PAYLOAD_MAX == 10 * 1024 * 1024
    low = wire.client().client
    room = PAYLOAD_MAX - len(json.dumps({"a": ""}))
    package = run(low.encrypt_payload({"a": "x" * room}))
    assert len(wire_package.unseal(package, wire.router.private_key)) == PAYLOAD_MAX
    with pytest.raises(ArgumentError) as caught:
        run(low.encrypt_payload({"a": "x" * (room + 1)}))
    assert str(caught.value) == f"Payload too large: {PAYLOAD_MAX + 1} bytes (max: {PAYLOAD_MAX})"


BAD_CALLS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"payload_id": ""}, ArgumentError, "payload_id"),
    ({"payload_id": "a\r\nX-Evil: 1"}, ArgumentError, "payload_id"),
    ({"payload_id": None}, ArgumentTypeError, "payload_id"),
    ({"api_key": "a key"}, ArgumentError, "api_key"),
    ({"api_key": b"key"}, ArgumentTypeError, "api_key"),
    ({"security_tier": "ultra"}, ArgumentError, "'ultra'. Must be one of: standard, high, maximum"),
    ({"security_tier": ""}, ArgumentError, "Invalid security_tier: ''"),
    ({"security_tier": 5}, ArgumentError, "Invalid security_tier: int"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "kind", "words"), BAD_CALLS, ids=[str(one) for one, _, _ in BAD_CALLS])
def test_arguments_that_make_no_sense_are_refused_before_anything_is_sent(
    arguments: dict[str, Any], kind: type[Exception], words: str, wire: Wire
) -> None:
    low = wire.client().client
    with pytest.raises(kind, match=words):
        run(low.send_secure_request(**{"payload": PAYLOAD, "payload_id": "an id", **arguments}))
    assert wire.router.requests == []


def test_the_number_of_retries_may_be_changed_and_is_looked_at_again(wire: Wire) -> None:
    low = wire.client().client
    low.max_retries = -1
    with pytest.raises(ArgumentError, match="max_retries"):
        run(low.send_secure_request(PAYLOAD, "an id"))
    assert wire.router.requests == []


@pytest.mark.parametrize("tier", [None, "standard", "high"])
@pytest.mark.parametrize("api_key", [None, "", "bearer-1"])
def test_a_request_brings_its_answer(tier: str | None, api_key: str | None, wire: Wire) -> None:
    async def main() -> dict[str, Any]:
        async with wire.client().client as low:
            return await low.send_secure_request(PAYLOAD, "an id", api_key, tier)

    answer = run(main())
    (post,) = wire.posts
    assert post.refused is None
    assert post.plaintext == PAYLOAD
    assert (post.payload_id, post.tier) == ("an id", tier)
    assert post.header("Authorization") == (f"Bearer {api_key}" if api_key else None)
    assert answer["choices"][0]["message"]["content"] == "Grüße €"
    assert answer["_metadata"]["payload_id"] == "an id"
    assert "attestation_result" not in answer["_metadata"]


def test_an_answer_is_opened_and_merged_as_users_know_it() -> None:
    answer = run(client().decrypt_response(sealed({"id": "x", "_metadata": {"security_tier": "high"}}), "an id"))
    assert answer["id"] == "x"
    assert answer["_metadata"] == {
        "payload_id": "an id",
        "processed_at": 1_700_000_000,
        "transport_processed_at": 1_700_000_000,
        "is_encrypted": True,
        "encryption_algorithm": "hybrid-aes256-rsa4096",
        "security_tier": "high",
        "verification": {"payload_id_echoed": False, "security_tier_echoed": True},
    }


@pytest.mark.parametrize(("size", "elsewhere"), [(1000, False), (400_000, True)])
def test_a_long_answer_is_opened_in_a_thread_and_a_short_one_at_once(
    size: int, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    real: Callable[..., gate.DecryptedResponse] = gate.decrypt_response

    def decrypt_response(package: bytes, key: rsa.RSAPrivateKey, *, lock_memory: bool) -> gate.DecryptedResponse:
        threads.append(threading.current_thread())
        return real(package, key, lock_memory=lock_memory)

    monkeypatch.setattr(gate, "decrypt_response", decrypt_response)
    opened = run(client().decrypt_response(sealed({"text": "x" * size}), "an id"))
    assert len(opened["text"]) == size
    assert (only(threads) is not threading.main_thread()) is elsewhere


def test_an_answer_to_another_request_is_not_opened() -> None:
    package = sealed({"choices": SECRET, "_metadata": {"payload_id": "another"}})
    with pytest.raises(ResponseNotBoundError) as caught:
        run(client().decrypt_response(package, "an id"))
    assert caught.value.code == "response_not_bound"


@pytest.mark.parametrize("package", [b"", b"{}", sealed({}, server_keys.pair(1001, 2048)), sealed([1])])
def test_an_answer_that_cannot_be_read_is_the_one_error(package: bytes) -> None:
    with pytest.raises(ResponseError, match=r"^the response could not be decrypted and read$"):
        run(client().decrypt_response(package, "an id"))


@pytest.mark.parametrize("package", [None, "{}", {}, 5, bytearray(b"{}")])
def test_the_body_of_an_answer_is_bytes(package: Any) -> None:
    with pytest.raises(ArgumentError, match="Encrypted response must be bytes"):
        run(client().decrypt_response(package, "an id"))


def test_an_answer_needs_an_id_and_a_key() -> None:
    for payload_id in ("", None, 5):
        with pytest.raises(ArgumentError, match="payload_id"):
            run(client().decrypt_response(sealed({}), payload_id))  # type: ignore[arg-type] # what is tested
    with pytest.raises(SecurityError, match="Private key not initialized"):
        run(SecureCompletionClient("https://h").decrypt_response(sealed({}), "an id"))


def test_the_servers_key_is_fetched_when_asked_for_and_used_from_then_on(wire: Wire) -> None:
    async def main() -> None:
        async with wire.client().client as low:
            first = await low.fetch_server_public_key()
            assert first.encode() == wire.router.key_document
            wire.router.rotate_key()
            await low.encrypt_payload(PAYLOAD)
            assert wire.fetches == 1
            second = await low.fetch_server_public_key()
            assert second.encode() == wire.router.key_document
            assert second != first
            package = await low.encrypt_payload(PAYLOAD)
            assert wire.fetches == 2
            assert json.loads(wire_package.unseal(package, wire.router.private_key)) == PAYLOAD

    run(main())


def test_pins_and_sizes_are_those_of_the_client(wire: Wire) -> None:
    pin = keys.fingerprint(wire.router.private_key.public_key())
    other = keys.fingerprint(KEY.public_key())
    pinned = run(wire.client(server_key_pins=[other, pin]).client.send_secure_request(PAYLOAD, "an id"))
    assert pinned["_metadata"]["verification"]["server_key_pinned"] is True
    assert pinned["_metadata"]["verification"]["server_key"] == pin
    with pytest.raises(ServerKeyError) as caught:
        run(wire.client(server_key_pins=other).client.encrypt_payload(PAYLOAD))
    assert caught.value.code == "server_key_not_pinned"
    wire.router.rotate_key(2048)
    with pytest.raises(ServerKeyError, match="2048") as caught:
        run(wire.client().client.encrypt_payload(PAYLOAD))
    assert caught.value.code == "server_key_refused"
    with pytest.warns(InsecureWarning):
        low = wire.client(min_server_key_bits=2048).client
    assert run(low.encrypt_payload(PAYLOAD))


def test_a_closed_client_sends_nothing(wire: Wire) -> None:
    async def main() -> None:
        async with wire.client().client as low:
            pass
        await low.aclose()
        for call in (low.fetch_server_public_key(), low.send_secure_request(PAYLOAD, "an id")):
            with pytest.raises(ClientClosedError):
                await call

    run(main())
    assert wire.router.requests == []


def test_leaving_the_context_by_an_error_closes_too_and_lets_it_pass(wire: Wire) -> None:
    low = wire.client().client

    async def leave_by_an_error() -> None:
        async with low as same:
            assert same is low
            raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await leave_by_an_error()
        with pytest.raises(ClientClosedError):
            await low.fetch_server_public_key()

    run(main())


def test_an_http_client_that_is_given_is_used_and_left_open(wire: Wire) -> None:
    seen: list[str] = []

    async def note(request: httpx.Request) -> None:
        seen.append(request.method)

    async def main() -> None:
        context = ssl.create_default_context(cafile=wire.router.ca)
        async with httpx.AsyncClient(verify=context, event_hooks={"request": [note]}) as given:
            async with wire.client(http_client=given).client as low:
                await low.send_secure_request(PAYLOAD, "an id")
            assert not given.is_closed

    run(main())
    assert seen == ["GET", "POST"]


def test_closing_ends_a_key_fetch_under_way_also_on_an_http_client_that_stays_open(wire: Wire) -> None:
    wire.router.answer(Reply(delay=20), on="GET")
    arrived = threading.Event()
    wire.router.on_request = lambda request: arrived.set()

    async def main() -> None:
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=wire.router.ca)) as given:
            low = wire.client(http_client=given).client
            call = asyncio.create_task(low.send_secure_request(PAYLOAD, "an id"))
            assert await asyncio.to_thread(arrived.wait, 10)
            await low.aclose()
            with pytest.raises(ClientClosedError):
                await asyncio.wait_for(call, 5)

    run(main())
    assert wire.posts == []


def test_clients_may_share_a_key_pair(made: list[int]) -> None:
    one = SecureCompletionClient("https://h")
    two = SecureCompletionClient.from_options(Options(base_url="https://h"), one.keyring)
    one.generate_keys()
    assert two.private_key is KEY
    assert two._service.keyring is one.keyring


def test_what_goes_wrong_inside_is_told_by_place_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(value: object) -> None:
        raise KeyError(SECRET, value)

    monkeypatch.setattr(strict_json, "snapshot", broken)
    calls: list[Coroutine[Any, Any, object]] = [
        client().encrypt_payload({"content": SECRET}),
        client().send_secure_request({"content": SECRET}, "an id"),
    ]
    place = r"internal error: KeyError at nomyo/test_client\.py, line \d+"
    for call in calls:
        with pytest.raises(InternalError, match=place) as caught:
            run(call)
        assert SECRET not in f"{caught.value!s}{caught.value!r}"
        assert caught.value.__context__ is None


def test_no_key_is_made_before_it_is_asked_for(made: list[int]) -> None:
    SecureCompletionClient("https://localhost:1")
    assert made == []
