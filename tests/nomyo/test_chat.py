"""`SecureChatCompletion`: what is sealed and what is not, whose key goes where, and when the gate is on."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

import nomyo_attest as na
from nomyo import SecureChatCompletion, chat, client_keys, keys, strict_json
from nomyo.client_keys import Keyring
from nomyo.errors import (
    ArgumentError,
    ArgumentTypeError,
    AttestationError,
    AuthenticationError,
    ClientClosedError,
    InsecureURLError,
    InsecureWarning,
    InternalError,
    ResponseNotBoundError,
)
from nomyo.types import ChatCompletion
from nomyo_attest.testing import Forge
from tests.nomyo.client_calls import API_KEY, MODEL, PROMPT, Wire, ask, content, only, run
from tests.nomyo.defects.walker import places_of
from tests.nomyo.wire import server_keys
from tests.nomyo.wire.plain_router import PlainRouter

MESSAGES = [{"role": "user", "content": PROMPT}]
POLICY = na.AppraisalPolicy.from_dict(Forge().policy())
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture(autouse=True)
def _a_key_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that are made here send nothing, and each would make a key."""
    monkeypatch.setattr(keys, "generate", lambda: server_keys.pair(1003, 3072))


def evidence(payload_id: str) -> dict[str, Any]:
    """What a machine that the policy knows sends with its answer."""
    block = Forge(payload_id=payload_id).response()["_metadata"]["tpm_attestation"]
    assert isinstance(block, dict)
    return block


def other_firmware(payload_id: str) -> dict[str, Any]:
    """What a machine sends that booted something else."""
    block = Forge(payload_id=payload_id).measure(0, b"other firmware").response()["_metadata"]["tpm_attestation"]
    assert isinstance(block, dict)
    return block


def sent(wire: Wire, **arguments: Any) -> dict[str, Any]:
    """The payload that a call seals."""
    wire.ask(**arguments)
    plaintext = wire.posts[-1].plaintext
    assert plaintext is not None
    return plaintext


def test_model_and_messages_come_first_then_the_rest_in_the_callers_order(wire: Wire) -> None:
    rest = {
        "top_p": 0.5, "temperature": 0, "max_tokens": 5, "stop": ["a", "b"], "n": 2, "user": "u", "seed": 7,
        "frequency_penalty": -0.5, "presence_penalty": 2, "logit_bias": {"50256": -100}, "tool_choice": "auto",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "best_of": 1, "stream": False,
        "response_format": {"type": "json_object"}, "anything": {"else": [None, True]},
    }  # fmt: skip
    plaintext = sent(wire, **rest)
    assert list(plaintext) == ["model", "messages", *rest]
    assert plaintext == {"model": MODEL, "messages": MESSAGES, **rest}


def test_the_plaintext_is_what_json_dumps_makes_of_it(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    encode = strict_json.encode

    def watched(value: object) -> bytearray:
        buffer = encode(value)
        written.append(bytes(buffer))
        return buffer

    monkeypatch.setattr(strict_json, "encode", watched)
    wire.ask(prompt="Grüße \U0001f600", temperature=0.5, stop=("a", "b"))
    payload = {"model": MODEL, "messages": [{"role": "user", "content": "Grüße \U0001f600"}], "temperature": 0.5}
    assert written == [json.dumps({**payload, "stop": ("a", "b")}).encode()]


def test_what_is_for_the_client_is_not_sealed(wire: Wire) -> None:
    plaintext = sent(
        wire, security_tier="high", api_key="bearer-2", base_url=wire.router.url, require_attestation=False, timeout=9,
        extra_body=None,
    )  # fmt: skip
    assert plaintext == {"model": MODEL, "messages": MESSAGES}


def test_an_extra_body_is_merged_in_whatever_its_names_are(wire: Wire) -> None:
    more = {"max_retries": 3, "timeout": 5, "security_tier": "high", "temperature": 0.7, "new": 1}
    plaintext = sent(wire, temperature=0.1, extra_body=more)
    assert plaintext == {"model": MODEL, "messages": MESSAGES, **more}
    assert list(plaintext)[:3] == ["model", "messages", "temperature"]
    assert only(wire.posts).tier is None


def refused(kind: type[Exception], words: str, wire: Wire, **arguments: Any) -> Exception:
    """A call that is refused before anything is sent."""
    with pytest.raises(kind, match=words) as caught:
        wire.ask(**arguments)
    assert wire.router.requests == []
    return caught.value


@pytest.mark.parametrize("value", [True, 1, "yes"])
def test_a_stream_is_not_to_be_had(value: object, wire: Wire) -> None:
    assert type(refused(ValueError, "stream: only False is supported", wire, stream=value)) is ArgumentError
    refused(ValueError, "stream: only False is supported", wire, extra_body={"stream": value})


@pytest.mark.parametrize("value", [False, None, 0])
def test_no_stream_may_be_said_aloud(value: object, wire: Wire) -> None:
    assert sent(wire, stream=value)["stream"] == value


BAD_CALLS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"security_tier": "ultra"}, ArgumentError, "Invalid security_tier: 'ultra'. Must be one of: standard, high, max"),
    ({"timeout": 0}, ArgumentError, "timeout"),
    ({"timeout": "5"}, ArgumentTypeError, "timeout"),
    ({"api_key": "a key"}, ArgumentError, "api_key"),
    ({"api_key": 5}, ArgumentTypeError, "api_key"),
    ({"require_attestation": True}, ArgumentError, "require_attestation: there is no policy"),
    (
        {"require_attestation": 1},
        ArgumentTypeError,
        "require_attestation: expected True or False in a call, .* got int",
    ),
    (
        {"require_attestation": "no"},
        ArgumentTypeError,
        "require_attestation: expected True or False in a call, .* got 'no'",
    ),
    ({"extra_body": [1]}, ArgumentTypeError, "extra_body: expected a dict, got list"),
    ({"base_url": "http://localhost"}, InsecureURLError, "allow_http"),
    ({"base_url": "https://u:p@h"}, ArgumentError, "user name"),
    ({"base_url": ["https://h"]}, ArgumentTypeError, "base_url: expected a str, got list"),
    ({"base_url": b"https://h"}, ArgumentTypeError, "base_url: expected a str, got bytes"),
    ({"base_url": ""}, ArgumentError, "base_url"),
    ({"temperature": float("nan")}, ArgumentError, "temperature: expected a finite number"),
    ({"tools": {1, 2}}, ArgumentTypeError, "tools: expected text, a number, a list or a dict, got set"),
]


@pytest.mark.parametrize(("arguments", "kind", "words"), BAD_CALLS, ids=[str(one) for one, _, _ in BAD_CALLS])
def test_a_call_that_makes_no_sense_is_refused_before_anything_is_sent(
    arguments: dict[str, Any], kind: type[Exception], words: str, wire: Wire
) -> None:
    error = refused(kind, words, wire, **arguments)
    assert type(error) is kind
    assert places_of(PROMPT, error) == []


def test_a_call_without_messages_is_a_type_error(wire: Wire) -> None:
    async def main() -> None:
        async with wire.client() as client:
            with pytest.raises(TypeError, match="missing 1 required positional argument: 'messages'"):
                await client.create("m")  # type: ignore[call-arg] # what is tested

    run(main())


def test_acreate_has_the_same_parameters_and_return(wire: Wire) -> None:
    async def main() -> dict[str, Any]:
        async with wire.client() as client:
            return await client.acreate(model=MODEL, messages=MESSAGES, security_tier="high")

    assert content(run(main())) == PROMPT
    assert inspect.signature(SecureChatCompletion.acreate) == inspect.signature(SecureChatCompletion.create)
    assert inspect.iscoroutinefunction(SecureChatCompletion.acreate)


def test_every_call_has_an_id_of_its_own_from_here(wire: Wire) -> None:
    answers = wire.ask_repeatedly(5)
    ids = [post.payload_id for post in wire.posts]
    assert len(set(ids)) == 5
    assert all(UUID4.fullmatch(one) for one in ids)
    assert [answer["_metadata"]["payload_id"] for answer in answers] == ids


def test_the_tier_is_asked_for_and_must_be_the_one_that_is_answered(wire: Wire) -> None:
    assert wire.ask(security_tier="high")["_metadata"]["security_tier"] == "high"
    assert only(wire.posts).tier == "high"
    wire.router.metadata = lambda request: {"payload_id": request.payload_id, "security_tier": "standard"}
    error = wire.refused(ResponseNotBoundError, security_tier="high")
    assert error.code == "tier_not_as_requested"
    assert wire.ask()["_metadata"]["security_tier"] == "standard"


def test_the_api_key_is_the_clients_unless_the_call_has_one_and_may_be_changed(wire: Wire) -> None:
    async def main() -> None:
        async with wire.client() as client:
            await ask(client)
            await ask(client, api_key="bearer-2")
            await ask(client, api_key="")
            client.api_key = "bearer-3"
            await ask(client)
            client.api_key = None
            await ask(client)

    run(main())
    assert [post.header("Authorization") for post in wire.posts] == [
        f"Bearer {API_KEY}", "Bearer bearer-2", None, "Bearer bearer-3", None,
    ]  # fmt: skip


def test_an_api_key_that_fits_into_no_header_is_refused_when_the_client_is_made() -> None:
    with pytest.raises(ArgumentError, match="api_key") as caught:
        SecureChatCompletion("https://h", api_key="hunter2\n")
    assert "hunter2" not in str(caught.value)


def test_a_call_to_another_host_takes_no_key_along_and_one_to_the_same_host_does(wire: Wire) -> None:
    with PlainRouter(authority=wire.router.authority, prefix="/eu") as other:

        async def main() -> None:
            async with wire.client() as client:
                await ask(client, base_url=other.url)
                await ask(client, base_url=other.url + "/")
                await ask(client, base_url=other.url, api_key="bearer-2")
                await ask(client, base_url=wire.router.url + "/")
                client.api_key = "bearer-3"
                await ask(client, base_url=wire.router.url + "/")
                await ask(client, base_url=other.url)
                assert client.api_key == "bearer-3"

        run(main())
        assert [post.header("Authorization") for post in other.posts] == [None, None, "Bearer bearer-2", None]
        assert other.connections == 2  # one for each way in which its URL was written
    assert [post.header("Authorization") for post in wire.posts] == [f"Bearer {API_KEY}", "Bearer bearer-3"]


def test_the_clients_for_other_hosts_are_kept_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chat._CLIENTS_MAX == 16
    monkeypatch.setattr(chat, "_CLIENTS_MAX", 3)
    client = SecureChatCompletion("https://localhost:1")
    first, second, _ = (client._client_for(f"https://localhost:1/{number}") for number in range(3))
    assert client._client_for("https://localhost:1/0") is first
    client._client_for("https://localhost:1/3")  # the one that nobody asked for the longest goes
    assert client._client_for("https://localhost:1/0") is first
    assert client._client_for("https://localhost:1/1") is not second
    assert len(client._clients_by_url) == 3


def test_a_call_to_another_host_goes_through_the_same_gate(wire: Wire) -> None:
    with PlainRouter(authority=wire.router.authority) as other:
        other.attest = other_firmware

        async def main() -> None:
            async with wire.client(attestation_policy=POLICY) as client:
                await ask(client, base_url=other.url)

        with pytest.raises(AttestationError):
            run(main())
        assert len(other.posts) == 1


@pytest.mark.parametrize("in_the_call", [None, True])
@pytest.mark.parametrize("in_the_client", [None, True])
def test_with_the_gate_on_an_answer_comes_with_the_result(
    in_the_call: bool | None, in_the_client: bool | None, wire: Wire
) -> None:
    wire.router.attest = evidence
    answer = wire.ask(
        {"attestation_policy": POLICY, "require_attestation": in_the_client}, require_attestation=in_the_call
    )
    assert content(answer) == PROMPT
    assert answer["_metadata"]["attestation_result"]["verdict"] == "affirming"
    assert answer["_metadata"]["attestation_result"]["payload_id"] == only(wire.posts).payload_id


@pytest.mark.parametrize(
    ("in_the_client", "in_the_call"), [(None, None), (True, None), (False, True), (None, True), (True, True)]
)
def test_what_the_policy_does_not_affirm_is_not_handed_over_nor_tried_again(
    in_the_client: bool | None, in_the_call: bool | None, wire: Wire
) -> None:
    wire.router.attest = other_firmware
    options = {"attestation_policy": POLICY, "require_attestation": in_the_client, "max_retries": 3}
    error = wire.refused(AttestationError, options, require_attestation=in_the_call)
    assert error.result.verdict is na.Verdict.CONTRAINDICATED
    assert (error.payload_id, error.attempts, error.stage, error.prompt_sent) == (
        only(wire.posts).payload_id, 1, "completion", True,
    )  # fmt: skip
    assert places_of(PROMPT, error) == []
    assert places_of(API_KEY, error) == []


OPEN = [(False, None), (False, False), (None, False), (True, False)]


@pytest.mark.parametrize(("in_the_client", "in_the_call"), OPEN)
def test_the_gate_can_be_left_open_aloud(in_the_client: bool | None, in_the_call: bool | None, wire: Wire) -> None:
    wire.router.attest = other_firmware
    options = {"attestation_policy": POLICY, "require_attestation": in_the_client}
    answer = wire.ask(options, require_attestation=in_the_call)
    assert "attestation_result" not in answer["_metadata"]


def test_attestation_without_a_policy_is_refused_when_the_client_is_made() -> None:
    with pytest.raises(ValueError, match="require_attestation: there is no policy to appraise by"):
        SecureChatCompletion("https://h", require_attestation=True)
    with pytest.raises(TypeError, match="require_attestation: expected True or False"):
        SecureChatCompletion("https://h", attestation_policy=POLICY, require_attestation=1)  # type: ignore[arg-type] # tested


def test_a_policy_may_be_a_file(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(Forge().policy()), encoding="utf-8")
    wire.router.attest = evidence
    for given in (path, str(path)):
        assert wire.ask({"attestation_policy": given})["_metadata"]["attestation_result"]["verdict"] == "affirming"
    for wrong, kind in ((tmp_path / "nowhere.toml", OSError), ({"id": "x"}, ArgumentTypeError), (5, ArgumentTypeError)):
        with pytest.raises(kind):
            SecureChatCompletion("https://h", attestation_policy=wrong)  # type: ignore[arg-type] # what is tested


def test_a_client_with_other_options_has_the_same_key_pair_and_key_of_the_service() -> None:
    one = SecureChatCompletion("https://h", api_key=API_KEY, max_retries=1, timeout=5, secure_memory=False)
    two = one.with_options(max_retries=7)
    assert type(two) is SecureChatCompletion
    assert two is not one
    assert (two.client.max_retries, two.client.timeout, two.api_key) == (7, 5.0, API_KEY)
    assert (one.client.max_retries, two.client._service._lock) == (1, False)
    assert two.client.keyring is one.client.keyring
    assert one.with_options().client.keyring is one.client.keyring


def test_a_client_with_another_key_folder_has_another_key_pair(tmp_path: Path) -> None:
    client_keys.save_new(tmp_path / "keys", server_keys.pair(1003, 3072))
    one = SecureChatCompletion("https://h")
    two = one.with_options(key_dir=tmp_path / "keys")
    assert two.client.keyring is not one.client.keyring
    three = two.with_options(max_retries=0)
    assert three.client.keyring is two.client.keyring
    assert run(three.client.keyring.get()).private.key_size == 3072


@pytest.mark.parametrize(
    ("url", "kept"),
    [("https://h/eu", True), ("https://H:443", True), ("https://h:8443", False), ("https://other", False)],
)
def test_an_api_key_does_not_cross_to_another_origin_unless_it_is_given_again(url: str, kept: bool) -> None:
    one = SecureChatCompletion("https://h", api_key=API_KEY)
    assert one.with_options(base_url=url).api_key == (API_KEY if kept else None)
    assert one.with_options(base_url=url, api_key="bearer-2").api_key == "bearer-2"
    there_and_back = one.with_options(base_url=url).with_options(timeout=5).with_options(base_url="https://h")
    assert there_and_back.api_key == (API_KEY if kept else None)


def test_an_api_key_does_not_go_from_https_to_http() -> None:
    one = SecureChatCompletion("https://localhost", api_key=API_KEY)
    with pytest.warns(InsecureWarning):
        assert one.with_options(base_url="http://localhost", allow_http=True).api_key is None


def test_a_changed_api_key_is_the_one_that_is_passed_on() -> None:
    one = SecureChatCompletion("https://h", api_key="bearer-1")
    one.api_key = "bearer-2"
    assert one.with_options(timeout=5).api_key == "bearer-2"


def test_options_that_nobody_takes_are_refused_by_name() -> None:
    client = SecureChatCompletion("https://h")
    with pytest.raises(TypeError, match=r"with_options\(\): unknown option 'model' \(options: base_url, "):
        client.with_options(model="m")
    for change, kind in (
        ({"max_retries": -1}, ArgumentError),
        ({"base_url": "http://h"}, InsecureURLError),
        ({"require_attestation": True}, ArgumentError),
        ({"attestation_policy": 5}, ArgumentTypeError),
        ({"api_key": "a b"}, ArgumentError),
    ):
        with pytest.raises(kind):
            client.with_options(**change)


def test_a_gate_is_passed_on(wire: Wire, tmp_path: Path) -> None:
    wire.router.attest = other_firmware
    gated = wire.client(attestation_policy=POLICY)

    async def call(client: SecureChatCompletion) -> None:
        async with client:
            await ask(client)

    with pytest.raises(AttestationError):
        run(call(gated.with_options(timeout=20)))
    run(call(gated.with_options(require_attestation=False)))
    run(call(gated.with_options(attestation_policy=None)))


@pytest.mark.parametrize("pins", [["p", "q"], "p"])
def test_pins_are_passed_on_though_they_were_given_once(pins: Any) -> None:
    pin = "sha256/" + "A" * 43 + "="
    given = (one.replace("p", pin).replace("q", pin) for one in pins)
    client = SecureChatCompletion("https://h", server_key_pins=given)
    again = client.with_options(timeout=5).with_options(timeout=6)
    expected = {pin} if pins else set()
    for one in (client, again):
        assert one.client._service.server_keys._pins == expected


OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"base_url": "http://localhost"}, InsecureURLError, "allow_http"),
    ({"max_retries": -1}, ArgumentError, "max_retries"),
    ({"max_retries": None}, ArgumentTypeError, "max_retries: expected an int, got NoneType"),
    ({"timeout": None}, ArgumentTypeError, "timeout"),
    ({"server_key_pins": None}, ArgumentTypeError, "server_key_pins"),
    ({"server_key_pins": "abc"}, ArgumentError, "server_key_pins"),
    ({"min_server_key_bits": 2047}, ArgumentError, "min_server_key_bits"),
    ({"key_dir": 5}, ArgumentTypeError, "key_dir"),
    ({"retries": 5}, ArgumentTypeError, "unexpected keyword argument 'retries'"),
]


@pytest.mark.parametrize(("options", "kind", "words"), OPTIONS, ids=[str(options) for options, _, _ in OPTIONS])
def test_options_that_make_no_sense_are_refused_when_it_is_made(
    options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        SecureChatCompletion(**{"base_url": "https://h", **options})


def test_the_published_place_of_the_key_folder_is_told_to_who_uses_it() -> None:
    with pytest.raises(TypeError, match="max_retries: expected an int, got str; pass the key folder as key_dir"):
        SecureChatCompletion("https://h", False, None, True, "client_keys")  # type: ignore[arg-type] # what is tested


def test_the_key_pair_is_begun_when_the_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Keyring] = []

    def start(keyring: Keyring) -> None:
        begun.append(keyring)

    monkeypatch.setattr(Keyring, "start", start)
    client = SecureChatCompletion("https://h")
    assert begun == [client.client.keyring]


def test_it_shows_where_it_speaks_to_and_its_policy_but_no_key() -> None:
    client = SecureChatCompletion("https://h/eu", api_key=API_KEY, key_password="hunter2")
    assert repr(client) == "<SecureChatCompletion https://h/eu>"
    gated = client.with_options(attestation_policy=POLICY)
    assert repr(gated) == "<SecureChatCompletion https://h/eu, policy 'forge'>"
    assert repr(gated.with_options(require_attestation=False)) == "<SecureChatCompletion https://h/eu>"


def test_a_closed_client_sends_nothing_nor_do_those_it_made_for_other_hosts(wire: Wire) -> None:
    with PlainRouter(authority=wire.router.authority) as other:

        async def main() -> None:
            client = wire.client()
            await ask(client)
            await ask(client, base_url=other.url)
            async with client as same:
                assert same is client
            await client.aclose()
            for arguments in ({}, {"base_url": other.url}):
                with pytest.raises(ClientClosedError):
                    await ask(client, **arguments)

        run(main())
        assert len(other.posts) == len(wire.posts) == 1


def test_leaving_the_context_closes(wire: Wire) -> None:
    async def main() -> None:
        async with wire.client() as client:
            pass
        with pytest.raises(ClientClosedError):
            await ask(client)

    run(main())


def test_the_clients_for_other_hosts_are_closed_with_the_one_that_made_them(wire: Wire) -> None:
    async def main() -> None:
        client = wire.client()
        others = [client._client_for(f"{wire.router.url}/{number}") for number in range(3)]
        await client.aclose()
        assert not client._clients_by_url
        for other in others:
            with pytest.raises(ClientClosedError):
                await ask(other)

    run(main())


def test_plain_http_to_this_machine_works_with_a_warning(wire: Wire) -> None:
    with PlainRouter(tls=False) as router:
        with pytest.warns(InsecureWarning):
            client = wire.client(base_url=router.url, allow_http=True)

        async def main() -> dict[str, Any]:
            async with client:
                return await ask(client)

        assert content(run(main())) == PROMPT


def test_a_subclass_is_made_by_with_options_as_a_subclass() -> None:
    class Mine(SecureChatCompletion):
        pass

    assert type(Mine("https://h").with_options(timeout=5)) is Mine


def test_a_subclass_that_changes_create_changes_acreate_and_calls_to_other_hosts_too(wire: Wire) -> None:
    class Mine(SecureChatCompletion):
        async def create(self, model: str, messages: list[dict[str, Any]], **kwargs: Any) -> ChatCompletion:
            return await super().create(model, messages, **{"user": "mine", **kwargs})

    async def main() -> None:
        async with Mine(wire.router.url, api_key=API_KEY) as client:
            client.client.keyring.pair = await wire.client().client.keyring.get()
            await client.acreate(MODEL, MESSAGES)
            await client.create(MODEL, MESSAGES, base_url=wire.router.url + "/")

    run(main())
    assert [post.plaintext and post.plaintext["user"] for post in wire.posts] == ["mine", "mine"]


def test_what_is_sent_is_what_the_arguments_were_when_the_call_was_made(wire: Wire) -> None:
    history = [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]
    before = json.dumps(history)

    async def main() -> None:
        async with wire.client() as client:
            call = asyncio.create_task(client.create(MODEL, history))
            await asyncio.sleep(0)
            history[0]["content"][0]["text"] = "later"  # type: ignore[index] # it is a list of dicts
            history.append({"role": "user", "content": "later"})
            await call

    run(main())
    plaintext = only(wire.posts).plaintext
    assert plaintext is not None
    assert json.dumps(plaintext["messages"]) == before


def test_a_refused_call_says_who_was_refused_and_holds_no_secret(wire: Wire) -> None:
    wire.router.api_key = "another"
    error = wire.refused(AuthenticationError)
    assert (error.status_code, error.payload_id, error.attempts) == (401, only(wire.posts).header("X-Payload-ID"), 1)
    for secret in (API_KEY, PROMPT):
        assert places_of(secret, error) == []


def test_what_goes_wrong_inside_is_told_by_place_and_nothing_else(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(value: object) -> None:
        raise KeyError(PROMPT, value)

    monkeypatch.setattr(strict_json, "snapshot", broken)
    error = wire.refused(InternalError)
    assert re.fullmatch(r"internal error: KeyError at nomyo/test_chat\.py, line \d+; please report.*", str(error))
    assert places_of(PROMPT, error) == []
